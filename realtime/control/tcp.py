"""The web server's socket and its connections: one server a port, and nobody who only sits there."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import time
from contextlib import suppress
from typing import Any

from aiohttp import web

__all__ = ["MAX_CONNECTIONS", "SILENT_S", "Connections", "reachable"]

MAX_CONNECTIONS = 256
SILENT_S = 10.0  # a connection that has asked for nothing by then is closed


class Connections:
    """Makes the protocol of each connection; refuses too many, and ends those that ask for nothing."""

    def __init__(self, server: web.Server) -> None:
        self._server = server
        self._born: dict[Any, float] = {}
        self.served: set[object] = set()

    def __call__(self) -> asyncio.BaseProtocol:
        self._forget_closed()
        if len(self._born) >= MAX_CONNECTIONS:
            return _Refuse()
        protocol = self._server()
        self._born[protocol] = time.monotonic()
        return protocol

    def drop_silent(self) -> None:
        """Abort what has not sent one whole request within SILENT_S."""
        late = time.monotonic() - SILENT_S
        for protocol, born in list(self._born.items()):
            if born < late and protocol not in self.served and protocol.transport is not None:
                protocol.transport.abort()
        self._forget_closed()

    def _forget_closed(self) -> None:
        fresh = time.monotonic() - 1.0  # its transport comes a moment after the protocol
        for protocol, born in list(self._born.items()):
            if protocol.transport is None and born < fresh:
                del self._born[protocol]
                self.served.discard(protocol)


class _Refuse(asyncio.Protocol):
    """Closes at once."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        with suppress(AttributeError):
            transport.abort()  # type: ignore[attr-defined]


def reachable(host: str) -> str:
    """For "all interfaces", the address of the one that leads out of this machine (no packet is sent)."""
    address = ipaddress.ip_address(host.split("%")[0])
    if not address.is_unspecified:
        return host
    for family, far in ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1")):
        with suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((far, 9))
            return str(probe.getsockname()[0])
    return "127.0.0.1" if address.version == 4 else "::1"
