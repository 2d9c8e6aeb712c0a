"""An OSCQuery client written from the text of the proposal, with the standard library alone.

It shares no code with the program: HTTP by http.client, WebSocket by hand (RFC 6455), OSC by hand (OSC 1.0).
"""

from __future__ import annotations

import base64
import http.client
import json
import os
import socket
import struct
import time
from collections.abc import Iterator
from typing import Any

__all__ = ["Closed", "OscQueryClient", "WebSocket", "osc_packet", "osc_parse"]

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


class OscQueryClient:
    """Browses, listens and sets; knows host and port of the HTTP server alone."""

    def __init__(self, host: str, port: int) -> None:
        self.host, self.port = host, port
        self._http = http.client.HTTPConnection(host, port, timeout=5)
        self.socket: WebSocket | None = None

    def get(self, path: str, attribute: str = "") -> tuple[int, Any]:
        """Status, and the JSON if there is any."""
        self._http.request("GET", path + (f"?{attribute}" if attribute else ""))
        reply = self._http.getresponse()
        body = reply.read()
        if reply.status != 200:
            return reply.status, None
        assert reply.headers.get_content_type() == "application/json"
        return 200, json.loads(body)

    def node(self, path: str) -> dict[str, Any]:
        status, content = self.get(path)
        assert status == 200, (path, status)
        assert isinstance(content, dict)
        return content

    def host_info(self) -> dict[str, Any]:
        return dict(self.get("/", "HOST_INFO")[1])

    def walk(self, node: dict[str, Any] | None = None) -> Iterator[dict[str, Any]]:
        """Every node of the tree, from one request."""
        node = self.node("/") if node is None else node
        yield node
        for name, child in node.get("CONTENTS", {}).items():
            assert child["FULL_PATH"] == f"{node['FULL_PATH'].rstrip('/')}/{name}"
            yield from self.walk(child)

    def connect(self, **headers: str) -> WebSocket:
        self.socket = WebSocket(self.host, self.port, headers)
        assert self.socket.status == 101, self.socket.status
        return self.socket

    def command(self, command: str, path: str) -> None:
        assert self.socket is not None
        self.socket.send(TEXT, json.dumps({"COMMAND": command, "DATA": path}).encode())

    def set(self, path: str, tags: str, *values: Any) -> None:
        """Over the WebSocket."""
        assert self.socket is not None
        self.socket.send(BINARY, osc_packet(path, tags, *values))

    def set_by_udp(self, path: str, tags: str, *values: Any) -> None:
        """To where HOST_INFO says that OSC goes."""
        info = self.host_info()
        assert info["OSC_TRANSPORT"] == "UDP"
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.sendto(osc_packet(path, tags, *values), (info["OSC_IP"], info["OSC_PORT"]))

    def hear(self, path: str, timeout_s: float = 3.0) -> tuple[str, list[Any]]:
        """Type and values of the next packet for that path; others are passed over."""
        assert self.socket is not None
        deadline = time.monotonic() + timeout_s
        while (frame := self.socket.receive(max(deadline - time.monotonic(), 0.001))) is not None:
            if frame[0] == BINARY:
                address, tags, values = osc_parse(frame[1])
                if address == path:
                    return tags, values
        raise AssertionError(f"nothing for {path} within {timeout_s} s")

    def notice(self, timeout_s: float = 3.0) -> dict[str, Any]:
        """The next text frame."""
        assert self.socket is not None
        deadline = time.monotonic() + timeout_s
        while (frame := self.socket.receive(max(deadline - time.monotonic(), 0.001))) is not None:
            if frame[0] == TEXT:
                return dict(json.loads(frame[1]))
        raise AssertionError(f"no text within {timeout_s} s")

    def close(self) -> None:
        self._http.close()
        if self.socket is not None:
            self.socket.close()
