"""Which instruction sets the native kernel of `live` models can be tested with here."""

from __future__ import annotations

from realtime.engines.live import kernel
from realtime.engines.live.kernel import supported

__all__ = ["ISAS"]


def _isas() -> tuple[str, ...]:
    try:
        return supported()
    except kernel.CompilerError:
        return ()


ISAS = _isas()  # none without a compiled kernel and a compiler
