"""Which instruction sets the native kernel of `live` models can be tested with here."""

from __future__ import annotations

from realtime.engines.live_cpu import build
from realtime.engines.live_cpu.library import supported

__all__ = ["ISAS"]


def _isas() -> tuple[str, ...]:
    try:
        return supported()
    except build.CompilerError:
        return ()


ISAS = _isas()  # none without a compiled kernel and a compiler
