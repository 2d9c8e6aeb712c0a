"""Whether compiled kernels are to be had here."""

from __future__ import annotations

from realtime.engines.wavenet_cpu import build

__all__ = ["wavenet_kernel"]


def wavenet_kernel() -> bool:
    try:
        return build.library().is_file()
    except build.CompilerError:
        return False
