"""Packets: what is read wrongly by the parser below must be refused above it."""

from __future__ import annotations

import pytest

from realtime.control.osc.packet import IMMEDIATELY, MAX_PACKET_BYTES, Message, PacketError, decode, encode


def test_there_and_back() -> None:
    assert decode(encode("/a/b", 1, 0.5, "word")) == [Message(IMMEDIATELY, "/a/b", (1, 0.5, "word"))]


def test_an_unknown_type_is_refused_even_behind_dirty_padding() -> None:
    """A comma in the padding hid the true tags, and python-osc dropped the argument it did not know."""
    with pytest.raises(PacketError, match="'x'"):
        decode(b"/abc\x00,f\x00,x\x00\x00")


def test_too_large() -> None:
    with pytest.raises(PacketError, match=str(MAX_PACKET_BYTES)):
        decode(b"/" + b"a" * MAX_PACKET_BYTES)
