"""Patches for other programs, written from the parameter table: `python -m realtime.patches -o DIR`."""
