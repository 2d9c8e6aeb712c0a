"""Plays a bundle live: engines, audio loop, control. Only `engines/torchscript.py` imports torch."""

# umtn-live: by this name umtn/missing.py knows the package from another project's
