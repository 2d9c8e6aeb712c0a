"""Files of tensors: safetensors, read as numpy arrays."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from umtn.errors import UserError

if TYPE_CHECKING:
    from export.bundle.bundle import Bundle

__all__ = [
    "checked_floats",
    "finite_number",
    "read_safetensors",
    "told_about",
    "weights_kind",
    "whole_number",
]

MAX_HEADER_BYTES = 16 << 20
LARGEST = float(np.finfo(np.float32).max)
_DTYPES = {"F32": "<f4", "F64": "<f8", "F16": "<f2", "I64": "<i8", "I32": "<i4", "U8": "u1", "I8": "i1"}


def weights_kind(bundle: Bundle) -> str | None:
    """Which native engine a bundle brings weights for: "wavenet", "live", or None."""
    if f"weights/{bundle.manifest.domains[0].id}.safetensors" not in bundle.names:
        return None
    return "wavenet" if bundle.manifest.sampled else "live"


def told_about(metadata: Mapping[str, str], part: str, name: str) -> dict[str, Any]:
    """What the export wrote about a part, its `kind` at least."""
    try:
        about: dict[str, Any] = json.loads(metadata[part])
        if not isinstance(about["kind"], str):
            raise TypeError
        return about
    except (KeyError, ValueError, TypeError, RecursionError):
        raise UserError(f"{name} does not say which {part} it is; export the bundle again") from None


def whole_number(value: Any) -> int:
    """A whole number of JSON; ValueError for a bool, a fraction, one that no array's size could be."""
    if type(value) is not int or not -(1 << 31) <= value < 1 << 31:
        raise ValueError(f"a whole number was wanted, but {str(value)[:40]} came")
    return value


def finite_number(value: Any) -> float:
    """A number of JSON that float32 can hold; ValueError for NaN, infinity, a bool."""
    if type(value) not in (int, float) or not abs(value) <= LARGEST:
        raise ValueError(f"a finite number was wanted, but {str(value)[:40]} came")
    return float(value)


def read_safetensors(data: bytes, name: str = "the file") -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Tensors and metadata of a safetensors file; UserError where it is damaged.

    8 bytes: length of the header; JSON header {name: {dtype, shape, data_offsets}}; the tensors.
    """
    try:
        (length,) = struct.unpack_from("<Q", data)
        if length > min(MAX_HEADER_BYTES, len(data) - 8):
            raise ValueError(f"a header of {length} bytes in a file of {len(data)}")
        header = json.loads(data[8 : 8 + length])
        metadata = header.pop("__metadata__", {})
        body = memoryview(data)[8 + length :]
        return {key: _tensor(entry, body) for key, entry in header.items()}, dict(metadata)
    except (
        ValueError, KeyError, TypeError, AttributeError, OverflowError, struct.error, RecursionError,
    ) as error:  # fmt: skip
        raise UserError(
            f"{name} is not a readable safetensors file ({error}); export the bundle again"
        ) from None


def _tensor(entry: Any, body: memoryview) -> np.ndarray:
    first, last = entry["data_offsets"]
    shape = tuple(entry["shape"])
    if not all(type(number) is int for number in (first, last, *shape)):
        raise ValueError("a size or an offset that is no whole number")
    dtype = np.dtype(_DTYPES[entry["dtype"]])
    if min((first, *shape), default=0) < 0 or last > len(body):
        raise ValueError("a tensor beyond the end of the file")
    if last - first != math.prod(shape) * dtype.itemsize:
        raise ValueError(f"{last - first} bytes for a tensor of shape {list(shape)}")
    return np.frombuffer(body[first:last], dtype).reshape(shape)


def checked_floats(
    arrays: Mapping[str, np.ndarray], wanted: Mapping[str, tuple[int, ...]], name: str
) -> dict[str, np.ndarray]:
    """The wanted arrays, contiguous float32; UserError names one that is missing, of another shape or type, or not
    finite (in float32: kernels know no other)."""
    for key, shape in wanted.items():
        if key not in arrays or arrays[key].shape != shape:
            came = list(arrays[key].shape) if key in arrays else "missing"
            raise UserError(f"{name}: {key} is {came}, but {list(shape)} was wanted; export it again")
        if arrays[key].dtype.kind != "f":
            raise UserError(
                f"{name}: {key} is {arrays[key].dtype}, but floating-point numbers were wanted; export it again"
            )
    with np.errstate(over="ignore"):  # of float64: judged below
        clean = {key: np.require(arrays[key], np.float32, ["C", "A"]) for key in wanted}
    for key, array in clean.items():
        if not np.isfinite(array).all():
            raise UserError(f"{name}: {key} is not finite; the training went wrong before the export")
    return clean
