"""The web server of the instrument: the page under /ui/, OSCQuery everywhere else, on one TCP port.

Threading model: `HttpServer` binds its socket where it is made, so that a port in use is known at once, and
then runs one asyncio loop in one thread of the control process. Nothing here can stop the audio: it runs in
another process and reads the shared memory.
"""

from __future__ import annotations

import asyncio
import hmac
import ipaddress
import logging
import secrets
import socket
import time
import zlib
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

from aiohttp import web

from realtime.control.namespace import Namespace
from realtime.control.server_thread import LoopThread, bind_tcp
from realtime.control.web.page_socket import MAX_MESSAGE_BYTES, Pages

__all__ = [
    "Connections",
    "Guard",
    "HttpServer",
    "MAX_CONNECTIONS",
    "OscQueryLike",
    "SILENT_S",
    "is_loopback",
    "qr_lines",
    "reachable",
]


# The web server's socket and its connections: one server a port, and nobody who only sits there.


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


# Who may use the web page's server: judged by the headers of each request, before anything else.
#
# A browser sends whatever a foreign web page tells it to, to this machine too. `Origin` says which page asked;
# `Host` unmasks a foreign name that its owner has pointed at this machine (DNS rebinding). Neither can be forged
# by a page. The token keeps out the others on the network.


_LOCAL_NAMES = ("localhost", "localhost.localdomain")


def is_loopback(host: str) -> bool:
    """True for an address that only this machine can reach."""
    try:
        address = ipaddress.ip_address(host.split("%")[0])
    except ValueError:
        return host in _LOCAL_NAMES
    mapped = getattr(address, "ipv4_mapped", None)
    return bool((mapped or address).is_loopback)


class Guard:
    """host: what the server is bound to. everyone: the token is asked of this machine's own programs too."""

    def __init__(self, host: str, port: int, token: str | None, everyone: bool) -> None:
        self._local_only = is_loopback(host)
        self._token, self._everyone = token, everyone
        self.cookie = f"umtn_{port}"  # cookies do not tell ports apart
        own = socket.gethostname().lower()
        self._names = {*_LOCAL_NAMES} | (set() if self._local_only else {own, f"{own}.local"})

    def refusal(self, request: web.Request) -> str | None:
        """Why the request is refused, in a sentence; None if it is welcome."""
        hosts, origins = request.headers.getall("Host", []), request.headers.getall("Origin", [])
        host = hosts[0].strip().lower() if len(hosts) == 1 else ""
        if not self._known(host):
            return f"this server is not called {host[:60]!r}; use the address that the program shows"
        if any(origin.strip().lower() not in (f"http://{host}", f"https://{host}") for origin in origins):
            return f"a page of {origins[0][:60]!r} may not steer this instrument"
        if request.headers.get("Sec-Fetch-Site") == "cross-site" and not _is_navigation(request):
            return "another site's page may not read from this instrument"
        return None

    def admitted(self, request: web.Request) -> bool:
        """True if no token is needed, or the right one came in the query or in the cookie."""
        if self._token is None or (not self._everyone and is_loopback(request.remote or "")):
            return True
        return self._right(request.query.get("token")) or self._right(request.cookies.get(self.cookie))

    def remember(self, request: web.Request, response: web.StreamResponse) -> None:
        """Turn a right token in the query into a cookie."""
        if self._token and self._right(request.query.get("token")) and not response.prepared:
            response.set_cookie(self.cookie, self._token, httponly=True, samesite="Strict", path="/")

    def _right(self, given: str | None) -> bool:
        wanted = self._token or ""
        return given is not None and hmac.compare_digest(given.encode(errors="replace"), wanted.encode())

    def _known(self, host: str) -> bool:
        """An address, or one of our own names; a bare address cannot be rebound."""
        name = _without_port(host)
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return name in self._names
        return is_loopback(name) or not self._local_only


def _without_port(host: str) -> str:
    if host.startswith("["):
        name, bracket, port = host[1:].partition("]")
        return name if bracket and (not port or port[1:].isdecimal()) else ""
    name, colon, port = host.partition(":")
    return name if not colon or port.isdecimal() else ""


def _is_navigation(request: web.Request) -> bool:
    return request.headers.get("Sec-Fetch-Mode") == "navigate" and request.method == "GET"


# A URL as a QR code in the terminal, so that nobody has to type a token into a phone.


QUIET = 2  # modules of white around; the standard says 4, cameras are content with 2
_GLYPHS = {(1, 1): "█", (1, 0): "▀", (0, 1): "▄", (0, 0): " "}


def qr_lines(url: str, colour: bool = False) -> list[str]:
    """Lines of half blocks, one character for two modules; [] if the segno package is not installed.

    Lit is white: right on a dark terminal. colour: with escapes that make it black on white on any terminal.
    """
    try:
        import segno
    except ImportError:
        return []
    rows = [[1 - (module & 1) for module in row] for row in segno.make(url, error="l", micro=False).matrix]
    width = len(rows[0]) + 2 * QUIET
    white = [1] * width
    rows = [white] * QUIET + [[1] * QUIET + row + [1] * QUIET for row in rows] + [white] * QUIET
    if len(rows) % 2:
        rows.append(white)
    lines = ["".join(_GLYPHS[pair] for pair in zip(*rows[i : i + 2])) for i in range(0, len(rows), 2)]
    return [f"\x1b[38;5;231;48;5;16m{line}\x1b[0m" for line in lines] if colour else lines


WEB = Path(__file__).parent / "page"
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
