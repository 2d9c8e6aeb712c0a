"""Who may use the web page's server: judged by the headers of each request, before anything else.

A browser sends whatever a foreign web page tells it to, to this machine too. `Origin` says which page asked;
`Host` unmasks a foreign name that its owner has pointed at this machine (DNS rebinding). Neither can be forged
by a page. The token keeps out the others on the network.
"""

from __future__ import annotations

import hmac
import ipaddress
import socket

from aiohttp import web

__all__ = ["Guard", "is_loopback"]

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
