"""A TCP port of one's own, before anything that is slow to import: one in use is known before anything sounds."""

from __future__ import annotations

import errno
import socket
import sys

from realtime.errors import UserError

__all__ = ["bind"]


def bind(host: str, port: int) -> socket.socket:
    """A listening TCP socket; UserError says which port is taken and what to do."""
    if not 0 <= port <= 65535:
        raise UserError(f"--web-port takes 0 to 65535, but {port} came")
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except (OSError, UnicodeError) as error:
        raise UserError(f"--web-host {host!r} is no address of a network interface ({error})") from error
    sock = socket.socket(family, kind)
    try:
        if sys.platform == "win32":  # there SO_REUSEADDR would let two servers share a port
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_EXCLUSIVEADDRUSE, 1)
        else:  # else a restarted program would wait a minute for its port
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setblocking(False)
        sock.bind(address)
        sock.listen(64)
    except (OSError, OverflowError) as error:
        sock.close()
        raise UserError(_why_not_bound(host, port, error)) from error
    return sock


def _why_not_bound(host: str, port: int, error: Exception) -> str:
    number = getattr(error, "errno", None)
    if number in (errno.EADDRNOTAVAIL, getattr(errno, "WSAEADDRNOTAVAIL", None)):
        return f"--web-host {host} is no address of this machine; 127.0.0.1 is, and 0.0.0.0 means all of them"
    reason = (
        "is in use (by another session?)" if number == errno.EADDRINUSE else f"cannot be opened ({error})"
    )
    other = f"--web-port {(port + 1) % 65536}"
    return f"web port {port} on {host} {reason}; choose another with {other}, or use --no-web"
