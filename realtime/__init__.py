"""Plays a bundle live: engines, audio loop, control. Never imports torch (only `engines/torchscript.py` does)."""
