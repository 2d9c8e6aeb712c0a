"""The web server of the instrument: the page under /ui/, OSCQuery everywhere else, on one TCP port.

Threading model: `HttpServer` binds its socket where it is made, so that a port in use is known at once, and
then runs one asyncio loop in one thread of the control process. Nothing here can stop the audio: it runs in
another process and reads the shared memory.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import socket
import zlib
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Protocol

from aiohttp import web

from realtime.control.bind import bind_tcp
from realtime.control.guard import Guard, is_loopback
from realtime.control.loop_thread import LoopThread
from realtime.control.namespace import Namespace
from realtime.control.pages import MAX_MESSAGE_BYTES, Pages
from realtime.control.qr import qr_lines
from realtime.control.tcp import Connections, reachable

__all__ = ["HttpServer", "OscQueryLike", "qr_lines"]

WEB = Path(__file__).parent / "web"
TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
}
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self' ws://{host}; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}

_log = logging.getLogger("realtime.web")
_quiet = logging.getLogger("realtime.web.requests")  # what strangers send is no news
_quiet.setLevel(logging.CRITICAL)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class OscQueryLike(Protocol):
    """What answers outside /ui."""

    async def http(self, request: web.Request) -> web.StreamResponse:
        """A GET."""

    async def socket(self, request: web.Request) -> web.StreamResponse:
        """A WebSocket upgrade."""

    async def close(self) -> None:
        """The end for every client."""


class HttpServer(LoopThread):
    """Serves the page and OSCQuery on host:port until `stop`; port 0 lets the system choose (see `port`).

    `bound`: a socket that listens there already.

    On another host than loopback a token is needed; one is made if none is given. `url` carries it. A token
    that was given is asked of everyone, one that was made only of other machines.
    """

    def __init__(
        self,
        namespace: Namespace,
        host: str = "127.0.0.1",
        port: int = 9100,
        oscquery: OscQueryLike | None = None,
        token: str | None = None,
        midi: Any = None,
        presets: Any = None,
        bound: socket.socket | None = None,
    ) -> None:
        bound = bound or bind_tcp(host, port)
        super().__init__("web", bound, "the web page's server", _log, patience_s=5.0)
        self.host, self.port = str(self._socket.getsockname()[0]), int(self._socket.getsockname()[1])
        self.token = token or (None if is_loopback(self.host) else secrets.token_urlsafe(16))
        self._guard = Guard(self.host, self.port, self.token, everyone=token is not None)
        self._oscquery = oscquery
        self._files = {path.name: path.read_bytes() for path in WEB.iterdir() if path.suffix in TYPES}
        version = zlib.crc32(b"".join(self._files[name] for name in sorted(self._files)))
        self._pages = Pages(namespace, f"{version:08x}", midi, presets)
        self._served: set[object] = set()

    @property
    def url(self) -> str:
        """What to open, token included; for all interfaces, the address by which others reach this machine."""
        host = reachable(self.host)
        shown = f"[{host}]" if ":" in host else host
        return f"http://{shown}:{self.port}/ui/" + (f"?token={self.token}" if self.token else "")

    async def _serve(self) -> None:
        app = web.Application(middlewares=[self._gate], client_max_size=MAX_MESSAGE_BYTES)
        app.router.add_route("*", "/{path:.*}", self._answer)
        runner = web.AppRunner(
            app,
            access_log=None,
            logger=_quiet,
            handle_signals=False,
            keepalive_timeout=20.0,
            shutdown_timeout=0.5,
        )
        await runner.setup()
        assert runner.server is not None
        connections = Connections(runner.server)
        self._served = connections.served
        loop = asyncio.get_running_loop()
        server = await loop.create_server(connections, sock=self._socket)
        ticks = asyncio.create_task(self._pages.tick_forever())
        try:
            while not self._stopping.is_set():
                await asyncio.sleep(0.05)
                connections.drop_silent()
        finally:
            ticks.cancel()
            server.close()
            await self._pages.close()
            if self._oscquery is not None:
                await self._oscquery.close()
            await runner.cleanup()

    @web.middleware
    async def _gate(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Guard before, headers after, and no traceback in between."""
        self._served.add(request.protocol)
        if sentence := self._guard.refusal(request):
            response: web.StreamResponse = _text(403, sentence)
        elif not self._guard.admitted(request):
            response = _text(
                401, "a token is needed: scan the code in the terminal, or open the URL shown there"
            )
        elif request.method not in ("GET", "HEAD"):
            response = _text(405, "only GET is understood here")
        else:
            response = await self._handled(request, handler)
            self._guard.remember(request, response)
        if not response.prepared:
            for name, value in _HEADERS.items():
                response.headers.setdefault(name, value)
        return response

    async def _handled(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            return await handler(request)
        except web.HTTPException as error:
            return _text(error.status, error.text or "")
        except Exception as error:
            _log.exception("%s failed", request.path[:80])
            return _text(500, f"failed inside the program ({error})")

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        upgrade = request.headers.get("Upgrade", "").lower() == "websocket"
        path = request.path
        if path == "/ui/socket" and upgrade:
            return await self._pages.socket(request)
        if path == "/ui" or path.startswith("/ui/"):
            return self._file(request, path.removeprefix("/ui").lstrip("/"))
        wants_page = "text/html" in request.headers.get("Accept", "") and not upgrade
        if path == "/" and wants_page and not request.query_string:
            return web.Response(status=302, headers={"Location": "/ui/"})
        if self._oscquery is None:
            return _text(404, "the page is at /ui/")
        return await (self._oscquery.socket(request) if upgrade else self._oscquery.http(request))

    def _file(self, request: web.Request, name: str) -> web.StreamResponse:
        if request.path == "/ui":  # the page's files are found relative to /ui/
            query = f"?{request.query_string}" if request.query_string else ""
            return web.Response(status=302, headers={"Location": f"/ui/{query}"})
        name = name or "index.html"
        content = self._files.get(name)
        if content is None:
            return _text(404, "there is no such file; the page is at /ui/")
        headers = {
            "Content-Type": TYPES[Path(name).suffix],
            "Content-Security-Policy": _POLICY.format(host=request.headers["Host"]),
        }
        return web.Response(body=content, headers=headers)


def _text(status: int, sentence: str) -> web.Response:
    return web.Response(status=status, text=sentence + "\n")
