"""Compiles the native kernel of `live` models; see `realtime.native.build`."""

from realtime.native.build import CompilerError
from realtime.native.kernels import LIVE

__all__ = ["CompilerError", "library", "ready"]

library, ready = LIVE.library, LIVE.ready
