"""Plays a bundle live: engines, audio loop, control. Only `engines/torchscript.py` imports torch."""
