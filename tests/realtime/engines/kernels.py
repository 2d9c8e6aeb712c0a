"""Whether compiled kernels are to be had here."""

from __future__ import annotations

from realtime.engines.wavenet import native_loop

__all__ = ["wavenet_kernel"]


def wavenet_kernel() -> bool:
    try:
        return native_loop.library().is_file()
    except native_loop.CompilerError:
        return False
