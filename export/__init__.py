"""Freezes a trained translator into a bundle and proves that the bundle equals it."""
