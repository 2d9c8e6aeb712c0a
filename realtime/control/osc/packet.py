"""OSC packets: bytes <-> (time, address, arguments).

Messages are parsed by python-osc, those of numbers alone by one `struct` call. Bundles are walked here, because
its bundle parser never returns from an element with a negative size, and because time tags must be judged before
anything is acted upon.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from pythonosc.osc_message import OscMessage
from pythonosc.osc_message import ParseError as MessageParseError

__all__ = [
    "IMMEDIATELY",
    "MAX_PACKET_BYTES",
    "Message",
    "PacketError",
    "decode",
    "encode",
    "encode_flag",
    "encode_head",
]

MAX_PACKET_BYTES = 16384
MAX_BUNDLE_DEPTH = 8
IMMEDIATELY = 0.0

_BUNDLE = b"#bundle\x00"
_NTP_TO_UNIX_S = 2208988800
_KNOWN_TAGS = frozenset("ifsbhdtTFNIrm[]")


class PacketError(ValueError):
    """The datagram is no OSC; the sentence says where it broke off."""


class Message(NamedTuple):
    """One OSC message; `when` is Unix time in seconds, or IMMEDIATELY."""

    when: float
    address: str
    arguments: tuple[object, ...]


def decode(data: bytes) -> list[Message]:
    """All messages of one datagram in order; PacketError if any part of it is broken (then none counts)."""
    if len(data) > MAX_PACKET_BYTES:
        raise PacketError(f"a packet of {len(data)} bytes; at most {MAX_PACKET_BYTES} are accepted")
    found: list[Message] = []
    _walk(data, IMMEDIATELY, 0, found)
    return found


def _walk(data: bytes, when: float, depth: int, found: list[Message]) -> None:
    if data[:1] == b"/":
        found.append(_message(data, when))
    elif data[:8] == _BUNDLE:
        _bundle(data, depth, found)
    else:
        raise PacketError("a packet that starts neither with '/' nor with '#bundle'")


def _message(data: bytes, when: float) -> Message:
    if len(data) % 4:
        raise PacketError(f"a message of {len(data)} bytes; OSC lengths are multiples of 4")
    at, tags = _check_tags(data)
    if b"I" in tags:  # an impulse carries nothing and means yes, as T does; python-osc does not know it
        data = data[:at] + tags.replace(b"I", b"T") + data[at + len(tags) :]
    try:
        if not tags.strip(b"fi") and len(data) == (at + len(tags)) // 4 * 4 + 4 + 4 * len(tags) and tags:
            numbers = struct.unpack_from(">" + tags.decode(), data, len(data) - 4 * len(tags))
            return Message(when, data[: data.index(0)].decode(), numbers)
        parsed = OscMessage(data)
        return Message(when, parsed.address, tuple(parsed))
    except (MessageParseError, UnicodeDecodeError, IndexError, struct.error, OverflowError) as error:
        raise PacketError("a message that breaks off or is not text where it should be") from error


def _check_tags(data: bytes) -> tuple[int, bytes]:
    """Where the type tags are, and what, all known.

    python-osc skips a type it does not know, so that the next argument would take its place.
    """
    comma = (data.find(b"\x00") // 4 + 1) * 4  # strings are padded to multiples of 4
    tags = data[comma + 1 : data.find(b"\x00", comma)] if data[comma : comma + 1] == b"," else b""
    for tag in tags.decode("latin-1"):
        if tag not in _KNOWN_TAGS:
            raise PacketError(f"an argument of type {tag!r}; accepted are i f s T F d h")
    return comma + 1, tags


def _bundle(data: bytes, depth: int, found: list[Message]) -> None:
    if depth >= MAX_BUNDLE_DEPTH:
        raise PacketError(f"bundles nested more than {MAX_BUNDLE_DEPTH} deep")
    if len(data) < 16:
        raise PacketError("a bundle without a time tag")
    (tag,) = struct.unpack_from(">Q", data, 8)
    when = IMMEDIATELY if tag <= 1 else tag / 2**32 - _NTP_TO_UNIX_S
    at = 16
    while at < len(data):
        size = struct.unpack_from(">i", data, at)[0] if at + 4 <= len(data) else -1
        if size <= 0 or at + 4 + size > len(data):
            raise PacketError("a bundle that breaks off inside an element")
        _walk(data[at + 4 : at + 4 + size], when, depth + 1, found)
        at += 4 + size


def _string(text: str) -> bytes:
    raw = text.encode("utf-8", "replace").replace(b"\x00", b"")
    return raw + b"\x00" * (4 - len(raw) % 4)


def encode(address: str, *arguments: float | str) -> bytes:
    """One message with `f`, `i` and `s` arguments only, which every host understands (bool becomes `i`)."""
    tags, body = ",", b""
    for argument in arguments:
        if isinstance(argument, str):
            tags, body = tags + "s", body + _string(argument)
        elif isinstance(argument, int):
            tags, body = tags + "i", body + struct.pack(">i", max(min(argument, 2**31 - 1), -(2**31)))
        else:
            tags, body = tags + "f", body + struct.pack(">f", max(min(float(argument), 3.4e38), -3.4e38))
    return _string(address) + _string(tags) + body


def encode_flag(address: str, on: bool) -> bytes:
    """A message with OSC's true or false, for clients that were told of that type."""
    return _string(address) + (b",T\x00\x00" if on else b",F\x00\x00")


def encode_head(address: str, tags: str) -> bytes:
    """What a message begins with, up to its first argument."""
    return _string(address) + _string("," + tags)
