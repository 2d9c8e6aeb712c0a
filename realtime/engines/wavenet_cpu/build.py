"""Compiles the native kernel of WaveNet decoders; see `realtime.native.build`."""

from realtime.native.build import CompilerError
from realtime.native.kernels import WAVENET

__all__ = ["CompilerError", "library"]

library = WAVENET.library
