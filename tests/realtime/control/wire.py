"""OSC 1.0 messages and the client's side of a WebSocket (RFC 6455), byte by byte.

It shares no code with the program, and sends whatever a test wants to see refused.
"""

from __future__ import annotations

import base64
import os
import socket
import struct
import time
from typing import Any

__all__ = ["BINARY", "TEXT", "Closed", "WebSocket", "osc_packet", "osc_parse"]

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10


def _padded(text: str) -> bytes:
    raw = text.encode() + b"\x00"
    return raw + b"\x00" * (-len(raw) % 4)


def osc_packet(address: str, tags: str = "", *values: Any) -> bytes:
    """One OSC message with the types i f s d h T F I N."""
    body, rest = b"", list(values)
    for tag in tags:
        if tag in "ifdh":
            body += struct.pack({"i": ">i", "f": ">f", "d": ">d", "h": ">q"}[tag], rest.pop(0))
        elif tag == "s":
            body += _padded(rest.pop(0))
    return _padded(address) + _padded("," + tags) + body


def osc_parse(data: bytes) -> tuple[str, str, list[Any]]:
    """Address, type tags, values."""

    def text(at: int) -> tuple[str, int]:
        end = data.index(b"\x00", at)
        return data[at:end].decode(), (end // 4 + 1) * 4

    address, at = text(0)
    tags, at = text(at)
    values: list[Any] = []
    for tag in tags[1:]:
        if tag in "if":
            values.append(struct.unpack_from(">" + tag, data, at)[0])
            at += 4
        elif tag == "s":
            word, at = text(at)
            values.append(word)
        else:
            values.append({"T": True, "F": False, "N": None, "I": None}[tag])
    assert at == len(data)
    return address, tags[1:], values


class Closed(Exception):
    """The server has ended the connection."""


class WebSocket:
    """The client's side of one connection."""

    def __init__(self, host: str, port: int, headers: dict[str, str] | None = None) -> None:
        self.socket = socket.create_connection((host, port), 5)
        key = base64.b64encode(os.urandom(16)).decode()
        lines = ["GET / HTTP/1.1", f"Host: {host}:{port}", "Upgrade: websocket", "Connection: Upgrade"]
        lines += [f"Sec-WebSocket-Key: {key}", "Sec-WebSocket-Version: 13"]
        lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
        self.socket.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())
        self._buffer = b""
        while b"\r\n\r\n" not in self._buffer:
            self._more(time.monotonic() + 5)
        head, _, self._buffer = self._buffer.partition(b"\r\n\r\n")
        self.status = int(head.split()[1])

    def send(self, kind: int, data: bytes) -> None:
        mask = os.urandom(4)
        size = len(data)
        length = (
            bytes([0x80 | size])
            if size < 126
            else bytes([0x80 | 126]) + struct.pack(">H", size)
            if size < 65536
            else bytes([0x80 | 127]) + struct.pack(">Q", size)
        )
        body = (int.from_bytes(data) ^ int.from_bytes((mask * (size // 4 + 1))[:size])).to_bytes(size)
        self.socket.sendall(bytes([0x80 | kind]) + length + mask + body)

    def receive(self, timeout_s: float = 3.0) -> tuple[int, bytes] | None:
        """The next text or binary frame; None if none comes. Answers pings on the way."""
        deadline = time.monotonic() + timeout_s
        try:
            while True:
                kind, data = self._frame(deadline)
                if kind == PING:
                    self.send(PONG, data)
                elif kind == CLOSE:
                    raise Closed(struct.unpack(">H", data[:2])[0] if data else 0)
                elif kind in (TEXT, BINARY):
                    return kind, data
        except TimeoutError:
            return None

    def _frame(self, deadline: float) -> tuple[int, bytes]:
        # Nothing is taken from the buffer before the whole frame is there.
        self._need(2, deadline)
        size, start = self._buffer[1] & 0x7F, 2
        if size >= 126:
            start = 4 if size == 126 else 10
            self._need(start, deadline)
            size = int.from_bytes(self._buffer[2:start])
        self._need(start + size, deadline)
        kind, data = self._buffer[0] & 0x0F, self._buffer[start : start + size]
        self._buffer = self._buffer[start + size :]
        return kind, data

    def _need(self, size: int, deadline: float) -> None:
        while len(self._buffer) < size:
            self._more(deadline)

    def _more(self, deadline: float) -> None:
        self.socket.settimeout(max(deadline - time.monotonic(), 0.001))
        try:
            data = self.socket.recv(65536)
        except ConnectionError as error:
            raise Closed from error
        if not data:
            raise Closed
        self._buffer += data

    def close(self) -> None:
        self.socket.close()
