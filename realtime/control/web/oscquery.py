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
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from aiohttp import WSCloseCode, WSMsgType, web

from realtime.control.namespace import ERROR, Namespace, Reply, Value
from realtime.control.osc.inbox import Inbox, OscStats
from realtime.control.osc.packet import encode
from realtime.control.values import Who, quoted
from realtime.control.web.address_tree import ATTRIBUTES, OPTIONAL, Tree

__all__ = ["HEARTBEAT_S", "Listener", "MAX_CLIENTS", "MAX_MESSAGE_BYTES", "OscQuery", "PUSH_HZ"]


# One OSCQuery client on its WebSocket: what it listens to, what it sets, and how it is let go.
#
# Threading model: the asyncio loop of the HTTP server alone, except `tell` and `_tapped`, which any thread may call.
# One task reads, one writes. The writer waits for a slow client, and what changes meanwhile is sent once, with
# its latest value; a client that takes nothing for SEND_S is dropped, and no one else has waited for it.


PUSH_HZ = 30.0
SEND_S = 5.0
HEARTBEAT_S = 10.0  # a half-open client is found out within one and a half of these
MAX_MESSAGE_BYTES = 65536
MAX_WAITING = 256  # replies that have not been sent; further ones are dropped
MAX_ERRORS_PER_S = 50
TURN = 32  # messages after which others get their turn


class Listener:
    """Serves one open WebSocket until it closes. tree: gives the present one."""

    def __init__(
        self, socket: web.WebSocketResponse, name: str, space: Namespace, tree: Callable[[], Tree]
    ) -> None:
        self._socket = socket
        self.name = name
        self._space = space
        self._tree = tree
        self._revision = space.revision
        self._heard: dict[str, Value | None] = {}  # values, pushed as they change
        self._followed: set[str] = set()  # methods without a value, of which each message is passed on
        self._waiting: deque[bytes | str] = deque()
        self._news = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._inbox = Inbox(space, OscStats(), lambda replies, sender: self._say(replies), self.tell)
        self._errors: tuple[float, int] = (0.0, 0)  # second, how many in it

    async def serve(self, transport: asyncio.Transport | None) -> None:
        """Read and write until either ends."""
        self._space.taps = (*self._space.taps, self._tapped)
        writer = asyncio.create_task(self._write())
        reader = asyncio.create_task(self._read())
        try:
            await asyncio.wait({writer, reader}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._space.taps = tuple(tap for tap in self._space.taps if tap != self._tapped)
            self._inbox.clear()
            for task in (writer, reader):
                task.cancel()
            await asyncio.gather(writer, reader, return_exceptions=True)
            if not self._socket.closed and transport is not None:
                transport.abort()  # a farewell would wait for it again

    async def close(self) -> None:
        """Say goodbye, within a moment."""
        with suppress(Exception):
            async with asyncio.timeout(0.3):
                await self._socket.close(code=WSCloseCode.GOING_AWAY)

    def tell(self, who: Who, text: str) -> None:
        """An error sentence, from any thread."""
        with suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(self._complain, text)

    def _tapped(self, address: str, arguments: Sequence[object]) -> None:
        """A message has been acted upon, in any thread."""
        if address in self._followed:
            with suppress(RuntimeError):  # the loop has ended
                self._loop.call_soon_threadsafe(self._pass_on, address, arguments)

    def _pass_on(self, address: str, arguments: Sequence[object]) -> None:
        node = self._tree().nodes.get(address)
        packet = node.passed_on(arguments) if node is not None and address in self._followed else None
        if packet is not None:
            self._queue(packet)

    async def _read(self) -> None:
        count = 0
        async for message in self._socket:
            if message.type is WSMsgType.TEXT:
                self._command(message.data)
            elif message.type is WSMsgType.BINARY:
                self._inbox.wake()
                self._inbox.packet(message.data, self.name)
            count += 1
            if count % TURN == 0:  # what has arrived already is read without waiting
                await asyncio.sleep(0)

    async def _write(self) -> None:
        due = 0.0
        while True:
            await self._until_news()
            if self._space.revision != self._revision:
                self._path_changed()
            while self._waiting:
                await self._send(self._waiting.popleft())
            if time.monotonic() >= due:
                due = time.monotonic() + 0.9 / PUSH_HZ
                await self._push()

    async def _push(self) -> None:
        """Values that have changed since they were sent last."""
        nodes = self._tree().nodes
        for path, last in list(self._heard.items()):
            node = nodes.get(path)
            value = None if node is None or node.read is None else node.read()
            if node is not None and value is not None and value != last and path in self._heard:
                self._heard[path] = value
                await self._send(node.packet(value))

    async def _until_news(self) -> None:
        """A reply waits, or it is time to look for changed values."""
        with suppress(TimeoutError):
            async with asyncio.timeout(1 / PUSH_HZ):
                await self._news.wait()
        self._news.clear()

    async def _send(self, data: bytes | str) -> None:
        async with asyncio.timeout(SEND_S):
            await (self._socket.send_str(data) if isinstance(data, str) else self._socket.send_bytes(data))

    def _path_changed(self) -> None:
        """Another bundle: paths that are gone are no longer listened to, the others told anew."""
        self._revision = self._space.revision
        nodes = self._tree().nodes
        self._heard = {path: None for path in self._heard if path in nodes}
        self._followed &= set(nodes)
        self._waiting.append(json.dumps({"COMMAND": "PATH_CHANGED", "DATA": "/umtn"}))

    def _command(self, text: str) -> None:
        """LISTEN and IGNORE; anything else is an error."""
        try:
            content = json.loads(text)
            command, path = content["COMMAND"], content["DATA"]
        except (ValueError, KeyError, TypeError, RecursionError):
            self._complain(f'wanted is {{"COMMAND": "LISTEN", "DATA": "/umtn/mix"}}, but {quoted(text)} came')
            return
        node = self._tree().nodes.get(path) if isinstance(path, str) else None
        if command not in ("LISTEN", "IGNORE"):
            self._complain(f"COMMAND can be LISTEN or IGNORE, but {quoted(command)} came")
        elif node is None:
            self._complain(f"{command} takes a path of the tree, but {quoted(path)} came")
        elif command == "IGNORE":
            self._heard.pop(path, None)
            self._followed.discard(path)
        elif not node.access:
            self._complain(f"{quoted(path)} is a container, where no messages arrive")
        elif node.read is None:
            self._followed.add(path)
        else:
            self._heard[path] = None  # so that its present value is sent first
            self._news.set()

    def _complain(self, text: str) -> None:
        self._say([(ERROR, (text,))])

    def _say(self, replies: list[Reply]) -> None:
        for address, arguments in replies:
            if address != ERROR or self._may_complain():
                self._queue(encode(address, *arguments))

    def _queue(self, packet: bytes) -> None:
        if len(self._waiting) < MAX_WAITING:
            self._waiting.append(packet)
            self._news.set()

    def _may_complain(self) -> bool:
        second, count = self._errors
        now = time.monotonic()
        if now - second >= 1.0:
            second, count = now, 0
        self._errors = (second, count + 1)
        return count < MAX_ERRORS_PER_S


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
