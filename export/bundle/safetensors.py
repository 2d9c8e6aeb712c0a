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

__all__ = ["checked_floats", "read_safetensors", "told_about", "weights_kind"]

MAX_HEADER_BYTES = 16 << 20
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
    except (KeyError, ValueError, TypeError):
        raise UserError(f"{name} does not say which {part} it is; export the bundle again") from None


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
    except (ValueError, KeyError, TypeError, AttributeError, struct.error, RecursionError) as error:
        raise UserError(
            f"{name} is not a readable safetensors file ({error}); export the bundle again"
        ) from None


def _tensor(entry: Any, body: memoryview) -> np.ndarray:
    first, last = (int(offset) for offset in entry["data_offsets"])
    shape = tuple(int(size) for size in entry["shape"])
    dtype = np.dtype(_DTYPES[entry["dtype"]])
    if min((first, *shape), default=0) < 0 or last > len(body):
        raise ValueError("a tensor beyond the end of the file")
    if last - first != math.prod(shape) * dtype.itemsize:
        raise ValueError(f"{last - first} bytes for a tensor of shape {list(shape)}")
    return np.frombuffer(body[first:last], dtype).reshape(shape)


def checked_floats(
    arrays: Mapping[str, np.ndarray], wanted: Mapping[str, tuple[int, ...]], name: str
) -> dict[str, np.ndarray]:
    """The wanted arrays, contiguous float32; UserError names one that is missing, of another shape or not finite."""
    for key, shape in wanted.items():
        if key not in arrays or arrays[key].shape != shape:
            came = list(arrays[key].shape) if key in arrays else "missing"
            raise UserError(f"{name}: {key} is {came}, but {list(shape)} was wanted; export it again")
    clean = {key: np.ascontiguousarray(arrays[key], np.float32) for key in wanted}
    for key, array in clean.items():
        if not np.isfinite(array).all():
            raise UserError(f"{name}: {key} is not finite; the training went wrong before the export")
    return clean
