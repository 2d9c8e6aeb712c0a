"""Patches for other programs, written from the parameter table: `python -m realtime.hosts -o DIR`."""
