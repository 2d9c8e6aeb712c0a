"""An OSCQuery client that knows the text of the proposal (third revision) and nothing of the server beside it.

HTTP/1.1 gives the tree; a WebSocket LISTEN, IGNORE, PATH_* and binary OSC; values go where HOST_INFO says.
"""

from __future__ import annotations

import http.client
import json
import socket
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from tests.realtime.control.wire import BINARY, TEXT, WebSocket, osc_packet, osc_parse

__all__ = ["HostInfo", "Node", "ProposalClient", "QueryError", "pack", "walk"]

Node = dict[str, Any]


class QueryError(Exception):
    """Something else than 200 and an object came; 408 is the client's own word for nothing at all."""

    def __init__(self, status: int, target: str):
        super().__init__(f"{status} for {target}")
        self.status = status


@dataclass(frozen=True)
class HostInfo:
    """HOST_INFO with the stated defaults: what it leaves out is where the query server itself is."""

    name: str
    extensions: dict[str, bool]
    osc: tuple[str, int]
    transport: str
    websocket: tuple[str, int]

    @classmethod
    def read(cls, info: Node, ip: str, port: int) -> HostInfo:
        return cls(
            name=info.get("NAME", ""),
            extensions=info.get("EXTENSIONS", {}),
            osc=(info.get("OSC_IP", ip), info.get("OSC_PORT", port)),
            transport=info.get("OSC_TRANSPORT", "UDP"),
            websocket=(info.get("WS_IP", ip), info.get("WS_PORT", port)),
        )

    def supports(self, extension: str) -> bool:
        """What is not listed is not supported; IGNORE comes with LISTEN."""
        return self.extensions.get("LISTEN" if extension == "IGNORE" else extension, False)


def pack(path: str, type_tags: str, values: list[Any]) -> bytes:
    """One OSC message. A boolean is sent as T or F, whichever of the two TYPE names."""
    left, tags, carried = deque(values), "", []
    for tag in type_tags:
        if tag in "TF":
            tag = "T" if left.popleft() else "F"
        elif tag not in "NI":
            carried.append(left.popleft())
        tags += tag
    assert not left, f"{path} takes {type_tags!r}, but {values} came"
    return osc_packet(path, tags, *carried)


def walk(node: Node) -> Iterator[Node]:
    """`node` and everything below it: one reply describes a whole branch."""
    yield node
    for child in node.get("CONTENTS", {}).values():
        yield from walk(child)


class ProposalClient:
    """Asks, listens and sets; knows address and port of the query server alone."""

    def __init__(self, ip: str, port: int, timeout_s: float = 5.0) -> None:
        self.ip, self.port, self.timeout_s = ip, port, timeout_s
        self._http = http.client.HTTPConnection(ip, port, timeout=timeout_s)
        self._udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket: WebSocket | None = None
        self._heard: deque[tuple[str, str, list[Any]]] = deque()
        self._notices: deque[Node] = deque()

    def close(self) -> None:
        self._http.close()
        self._udp.close()
        self.disconnect()

    # HTTP

    def get(self, path: str, attribute: str = "") -> Node:
        """The object at `path`, or only one attribute of it; QueryError for anything but 200."""
        return self.request(quote(path) + (f"?{attribute}" if attribute else ""))

    def request(self, target: str) -> Node:
        """The object at a path with query and fragment, sent as it is written."""
        try:
            self._http.request("GET", target)
            reply = self._http.getresponse()
            body = reply.read()
        except OSError as error:
            self._http.close()  # what is left of it would be taken for the next reply
            if isinstance(error, TimeoutError):
                raise QueryError(408, target) from None
            raise
        if reply.status != 200:
            raise QueryError(reply.status, target)
        assert reply.version == 11, "the server has to speak HTTP/1.1"
        assert reply.headers.get_content_type() == "application/json"
        found = json.loads(body)
        assert isinstance(found, dict), f"{target}: {found!r} is no object"
        return found

    def status(self, path: str, attribute: str = "") -> int:
        try:
            self.get(path, attribute)
        except QueryError as error:
            return error.status
        return 200

    def host(self) -> HostInfo:
        """HOST_INFO comes as it is, not wrapped in its name as the other attributes are."""
        return HostInfo.read(self.get("/", "HOST_INFO"), self.ip, self.port)

    def value(self, path: str) -> list[Any]:
        return list(self.get(path, "VALUE")["VALUE"])

    # OSC

    def set(self, path: str, *values: Any) -> None:
        """Sends `values` as TYPE names them; a CRITICAL node gets them over TCP where a socket is open."""
        node = self.get(path)
        packet = pack(path, node["TYPE"], list(values))
        if node.get("CRITICAL") and self._socket:
            self.send_over_socket(packet)
        else:
            self.send_datagram(packet)

    def send_datagram(self, packet: bytes) -> None:
        host = self.host()
        assert host.transport == "UDP", f"this client speaks no {host.transport}"
        self._udp.sendto(packet, host.osc)

    # WebSocket

    @property
    def socket(self) -> WebSocket:
        assert self._socket is not None, "connect() first"
        return self._socket

    def connect(self) -> WebSocket:
        self._socket = WebSocket(*self.host().websocket)
        assert self._socket.status == 101, self._socket.status
        return self._socket

    def disconnect(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def command(self, name: str, data: Any) -> None:
        self.socket.send(TEXT, json.dumps({"COMMAND": name, "DATA": data}).encode())

    def listen(self, path: str) -> None:
        self.command("LISTEN", path)

    def ignore(self, path: str) -> None:
        self.command("IGNORE", path)

    def send_over_socket(self, packet: bytes) -> None:
        self.socket.send(BINARY, packet)

    def hear(self, path: str, timeout_s: float | None = None) -> tuple[str, list[Any]]:
        """Type tags and values of the next OSC message to that path; TimeoutError if none comes."""
        for address, tags, values in self._next(self._heard, timeout_s):
            if address == path:
                return tags, values
        raise TimeoutError(f"nothing for {path}")

    def notice(self, timeout_s: float | None = None) -> Node:
        """The server's next command (PATH_CHANGED, ...); TimeoutError if none comes."""
        for notice in self._next(self._notices, timeout_s):
            return notice
        raise TimeoutError("no command")

    def _next(self, heap: deque[Any], timeout_s: float | None) -> Iterator[Any]:
        """What one of the two kinds of frames brings; the other kind is kept for later."""
        deadline = time.monotonic() + (self.timeout_s if timeout_s is None else timeout_s)
        while True:
            while heap:
                yield heap.popleft()
            left_s = deadline - time.monotonic()
            frame = self.socket.receive(left_s) if left_s > 0 else None
            if frame is None:
                return
            if frame[0] == BINARY:
                self._heard.append(osc_parse(frame[1]))
            else:
                notice = json.loads(frame[1])
                assert set(notice) == {"COMMAND", "DATA"}, f"no command: {notice}"
                self._notices.append(notice)
