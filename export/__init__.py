"""Freezes a trained translator into a bundle and proves that the bundle equals it."""

# umtn-live: by this name umtn/foreign.py knows the package from another project's
