"""Weights that a bundle's ONNX graphs have in common with its safetensors files are stored once, in those.

A graph stands in the archive with ONNX's own external data: location (the file's name in the bundle), offset, length.
`whole` puts the numbers back before anybody sees the graph, so that engines and other hosts get plain ONNX. The few
fields of the protocol buffer that this needs are read here, for the stage has no onnx package:

    Model.graph = 7    Graph.initializer = 5    Tensor.raw_data = 9, .external_data = 13, .data_location = 14
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping

__all__ = ["thin", "whole"]

GRAPH, INITIALIZER, RAW, EXTERNAL, LOCATION = 7, 5, 9, 13, 14
LEAST = 1024  # bytes; of fewer the reference would take more room than it saves
Place = tuple[str, int, int]  # file, offset, length


def thin(graph: bytes, files: Mapping[str, bytes]) -> bytes:
    """The graph without the numbers that lie in one of the safetensors files as well; unchanged if it is no ONNX."""
    places: dict[bytes, Place] = {}
    for name in sorted(files):
        if name.endswith(".safetensors"):
            for offset, data in _tensors(files[name]):
                places.setdefault(_digest(data), (name, offset, len(data)))

    def without(tensor: bytes) -> bytes:
        fields = list(_fields(tensor))
        raw = next((value for number, value, _ in fields if number == RAW and isinstance(value, bytes)), b"")
        place = places.get(_digest(raw)) if len(raw) >= LEAST else None
        if place is None:
            return tensor
        kept = b"".join(piece for number, _, piece in fields if number != RAW)
        told = zip((b"location", b"offset", b"length"), place, strict=True)
        entries = (_field(1, key) + _field(2, str(value).encode()) for key, value in told)
        return (
            kept + b"".join(_field(EXTERNAL, entry) for entry in entries) + _varint(LOCATION << 3) + b"\x01"
        )

    return _with_tensors(graph, without)


def whole(graph: bytes, read: Callable[[str], bytes]) -> bytes:
    """The graph with all its numbers inside; `read` gives another file of the bundle. ValueError: it has none there."""
    files: dict[str, bytes] = {}

    def filled(tensor: bytes) -> bytes:
        fields = list(_fields(tensor))
        if not any(number == EXTERNAL for number, _, _ in fields):
            return tensor
        told = {}
        for number, value, _ in fields:
            if number == EXTERNAL and isinstance(value, bytes):
                entry = {n: v for n, v, _ in _fields(value) if isinstance(v, bytes)}
                told[entry.get(1, b"").decode()] = entry.get(2, b"").decode()
        name = told.get("location", "")
        if name not in files:
            files[name] = read(name)
        offset, length = int(told.get("offset", "0")), int(told.get("length", "0"))
        if offset < 0 or length < 0 or offset + length > len(files[name]):
            raise ValueError(
                f"it asks for {length} bytes at {offset} of {name!r}, which has {len(files[name])}"
            )
        kept = b"".join(piece for number, _, piece in fields if number not in (EXTERNAL, LOCATION))
        return kept + _field(RAW, files[name][offset : offset + length])

    return _with_tensors(graph, filled)


def _with_tensors(model: bytes, change: Callable[[bytes], bytes]) -> bytes:
    """The model, every initializer of its graph changed; as it is where it is no ONNX."""

    def changed(graph: bytes) -> bytes:
        return b"".join(
            _field(INITIALIZER, change(value))
            if number == INITIALIZER and isinstance(value, bytes)
            else piece
            for number, value, piece in _fields(graph)
        )

    try:
        fields = list(_fields(model))
    except IndexError:  # whoever loads it says what is wrong with it
        return model
    return b"".join(
        _field(GRAPH, changed(value)) if number == GRAPH and isinstance(value, bytes) else piece
        for number, value, piece in fields
    )


def _fields(message: bytes) -> Iterator[tuple[int, int | bytes, bytes]]:
    """Number, value (bytes of what has a length, else 0) and piece of each field; IndexError: it is no message."""
    at = 0
    while at < len(message):
        start = at
        key, at = _read_varint(message, at)
        number, wire, value = key >> 3, key & 7, 0
        if wire == 2:
            length, at = _read_varint(message, at)
            content, at = message[at : at + length], at + length
        elif wire in (1, 5):
            content, at = b"", at + (8 if wire == 1 else 4)
        elif wire == 0:
            _, at = _read_varint(message, at)
            content = b""
        else:
            raise IndexError(f"no wire type {wire}")
        if at > len(message) or number == 0:
            raise IndexError("cut short")
        yield number, content if wire == 2 else value, message[start:at]


def _read_varint(message: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[at]
        value, shift, at = value | (byte & 127) << shift, shift + 7, at + 1
        if byte < 128:
            return value, at
        if shift > 63:
            raise IndexError("no number")


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def _field(number: int, content: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def _tensors(safetensors: bytes) -> Iterator[tuple[int, bytes]]:
    """Offset in the file and bytes of each tensor; none of a file that is not one."""
    size = int.from_bytes(safetensors[:8], "little")
    try:
        header = json.loads(safetensors[8 : 8 + size])
        spans = [about["data_offsets"] for name, about in header.items() if name != "__metadata__"]
    except (ValueError, TypeError, KeyError, AttributeError):
        return
    for start, end in sorted(spans):
        if end - start >= LEAST:
            yield 8 + size + start, safetensors[8 + size + start : 8 + size + end]


def _digest(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()
