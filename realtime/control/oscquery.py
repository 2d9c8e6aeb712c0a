"""OSCQuery: the address space over HTTP, and values both ways over WebSockets (Vidvox's proposal).

Threading model: `http` and `socket` run in the loop of the HTTP server that calls them. Values are read from
the shared memory and set through the namespace; nothing here is waited for by anything that sounds.

The proposal contradicts itself on an attribute that the server lacks: here one that it names is 204, any other
400. It has LISTEN pass on every message; here that is so of methods without a value, while values come when they
change, whatever moved them, and at PUSH_HZ at most: a fader's thousand a second would only pile up, and two hosts
that repeat to each other what they hear would never come to rest.
"""

from __future__ import annotations

import asyncio
import ipaddress
import json
import logging
from typing import Any

from aiohttp import web

from realtime.control.listener import HEARTBEAT_S, MAX_MESSAGE_BYTES, Listener
from realtime.control.namespace import Namespace
from realtime.control.schema import ATTRIBUTES, OPTIONAL, Tree

__all__ = ["MAX_CLIENTS", "OscQuery"]

MAX_CLIENTS = 32
_OUTSIDE = ("token",)  # keys of the query that are the HTTP server's own
_COMMANDS = ("LISTEN", "IGNORE", "PATH_CHANGED")
_ABSENT_COMMANDS = ("PATH_ADDED", "PATH_REMOVED", "PATH_RENAMED")

_log = logging.getLogger("realtime.oscquery")


class OscQuery:
    """Answers for one namespace. osc_port: UDP port of the OSC server, 0 if there is none.

    osc_host: what that server is bound to; "" if to the same address as the HTTP server.
    """

    def __init__(self, namespace: Namespace, osc_port: int, name: str, osc_host: str = "") -> None:
        self._space = namespace
        self._osc_port = osc_port
        self._osc_host = osc_host
        self._name = name
        self._tree = Tree(namespace)
        self._clients: set[Listener] = set()

    def __len__(self) -> int:
        return len(self._clients)

    async def close(self) -> None:
        """Let all clients go; for the end of the HTTP server."""
        await asyncio.gather(*(client.close() for client in self._clients))

    def tree(self) -> Tree:
        """The address space as it is now; made anew when its revision has changed."""
        if self._tree.revision != self._space.revision:
            self._tree = Tree(self._space)
        return self._tree

    async def http(self, request: web.Request) -> web.StreamResponse:
        """GET of a node with all below it, of attributes (?VALUE, ?VALUE&TYPE), or of ?HOST_INFO."""
        if request.method not in ("GET", "HEAD"):
            return _text(405, "only GET is understood here")
        wanted = [key for key in request.query if key not in _OUTSIDE]
        if "HOST_INFO" in wanted:  # alone whatever else is asked for, and whatever the path
            return _json(self.host_info(request))
        node = self.tree().nodes.get(request.path.rstrip("/") or "/")
        if node is None:
            return _text(404, f"there is no {request.path[:80]!r}; / has the whole tree")
        if not wanted:
            return _json(node.json())
        if not {*wanted} <= {*ATTRIBUTES, *OPTIONAL}:
            known = ", ".join(("HOST_INFO", *ATTRIBUTES))
            return _text(400, f"the attributes are {known}; {request.query_string[:80]!r} came")
        if {*wanted} & {*OPTIONAL} or ("VALUE" in wanted and node.read is None):
            return web.Response(status=204)  # not supported, or a value that ACCESS lets no one read
        # An attribute that this node does not carry (TYPE of a container) is left out: an empty object
        return _json(node.json(wanted))

    def host_info(self, request: web.Request) -> dict[str, Any]:
        """Who this is, where OSC and the WebSocket are, and which parts of the proposal it has."""
        here = request.transport.get_extra_info("sockname") if request.transport else None
        ip, port = (str(here[0]), int(here[1])) if here else ("127.0.0.1", 0)
        present = (*(a for a in ATTRIBUTES if a not in ("FULL_PATH", "CONTENTS")), *_COMMANDS)
        info: dict[str, Any] = {
            "NAME": self._name,
            "EXTENSIONS": {
                **dict.fromkeys(present, True),
                **dict.fromkeys((*OPTIONAL, *_ABSENT_COMMANDS), False),
            },
            "WS_IP": ip,
            "WS_PORT": port,
        }
        if self._osc_port:
            info |= {
                "OSC_IP": _reached(self._osc_host, ip),
                "OSC_PORT": self._osc_port,
                "OSC_TRANSPORT": "UDP",
            }
        return info

    async def socket(self, request: web.Request) -> web.WebSocketResponse:
        """A WebSocket: LISTEN and IGNORE as JSON text, values as OSC packets in binary frames, both ways.

        Refused with an HTTPException: 403 a foreign page, 503 too many clients, 400 no handshake.
        """
        origin = request.headers.get("Origin", "")
        if origin.startswith(("http://", "https://")) and origin.split("://")[1] != request.host:
            raise web.HTTPForbidden(text="a page of another site may not steer this instrument\n")
        if len(self._clients) >= MAX_CLIENTS:
            text = f"{MAX_CLIENTS} clients are connected already; close one first\n"
            raise web.HTTPServiceUnavailable(text=text)
        socket = web.WebSocketResponse(
            heartbeat=HEARTBEAT_S, max_msg_size=MAX_MESSAGE_BYTES, compress=False, timeout=1.0
        )
        if not socket.can_prepare(request).ok:
            raise web.HTTPBadRequest(text="this is no WebSocket handshake of version 13\n")
        peer = request.transport.get_extra_info("peername") if request.transport else None
        name = f"OSCQuery {peer[0]}:{peer[1]}" if peer else "OSCQuery"
        transport = request.transport
        await socket.prepare(request)
        listener = Listener(socket, name, self._space, self.tree)
        self._clients.add(listener)
        try:
            await listener.serve(transport)
        finally:
            self._clients.discard(listener)
            _log.debug("%s has gone", name)
        return socket


def _reached(bound: str, here: str) -> str:
    """Where a client that reached this machine at `here` reaches a server bound to `bound`."""
    if not bound or ipaddress.ip_address(bound).is_unspecified:
        return here
    return bound


def _json(content: dict[str, Any]) -> web.Response:
    return web.Response(
        text=json.dumps(content, allow_nan=False),
        content_type="application/json",
        headers={"Cache-Control": "no-store"},
    )


def _text(status: int, sentence: str) -> web.Response:
    return web.Response(status=status, text=sentence + "\n")
