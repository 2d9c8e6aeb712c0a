"""ONNX graphs made once per run: tracing a tiny module takes seconds, and many tests export the same ones.

A module is the same as an earlier one if all that it holds is: its classes, settings and weights, to the bit.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import pickle
from collections.abc import Iterator, Sequence
from typing import Any

import onnx
import torch

from export import onnx as graphs

__all__ = ["fingerprint", "remembered"]


class _Contents(pickle.Pickler):
    """Pickles tensors as their numbers: their own pickles hold addresses."""

    def persistent_id(self, thing: Any) -> Any:
        if not isinstance(thing, torch.Tensor):
            return None
        numbers = thing.detach().contiguous().numpy().tobytes()
        kind = (type(thing).__name__, str(thing.dtype), tuple(thing.shape), thing.requires_grad)
        return (*kind, hashlib.sha256(numbers).digest())


def fingerprint(*things: object) -> bytes:
    """Of all that they hold."""
    written = io.BytesIO()
    _Contents(written).dump(things)
    return hashlib.sha256(written.getvalue()).digest()


@contextlib.contextmanager
def remembered() -> Iterator[dict[bytes, bytes]]:
    """Within it `export.onnx.trace` answers from memory where it can; what it has made, serialised."""
    made: dict[bytes, bytes] = {}
    trace = graphs.trace

    def once(
        module: torch.nn.Module, inputs: dict[str, torch.Tensor], outputs: Sequence[str]
    ) -> onnx.ModelProto:
        module.eval()
        try:
            key = fingerprint(module, inputs, tuple(outputs))
        except (pickle.PicklingError, AttributeError, TypeError):  # a class inside a function
            return trace(module, inputs, outputs)
        if key not in made:
            made[key] = trace(module, inputs, outputs).SerializeToString()
        return onnx.load_model_from_string(made[key])

    graphs.trace = once  # type: ignore[assignment]
    try:
        yield made
    finally:
        graphs.trace = trace
