"""The audio process: devices, files, resampling, the signal path. Nothing else runs there."""
