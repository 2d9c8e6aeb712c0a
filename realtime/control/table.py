"""One parameter of the table as plain data, for pages and patches that draw their controls from it."""

from __future__ import annotations

from typing import Any

from realtime.parameters import Parameter

__all__ = ["describe"]


def describe(p: Parameter, available: bool = True) -> dict[str, Any]:
    """JSON-ready; available: False for an action that this session cannot do."""
    return {
        "name": p.name,
        "kind": p.kind,
        "low": p.low,
        "high": p.high,
        "unit": p.unit,
        "default": p.default,
        "curve": p.curve,
        "description": p.description,
        "choices": list(p.choices),
        "argument": p.argument,
        "available": available,
    }
