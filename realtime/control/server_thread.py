"""A server in a thread of its own: one bound socket, one asyncio loop, an end that can be asked for.

Threading model: `start`, `stop` and `alive` are the control process's; `_serve` runs in the thread.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
import sys
import threading
from collections.abc import Callable

from umtn.errors import UserError

__all__ = ["LoopThread", "bind_tcp", "bind_udp"]


class LoopThread:
    """Runs `_serve` until `stop`. what: its name in the log's sentence should it fail. patience_s: of `stop`."""

    def __init__(
        self, name: str, bound: socket.socket, what: str, log: logging.Logger, patience_s: float
    ) -> None:
        self.failure: BaseException | None = None
        self._socket = bound
        self._what, self._log, self._patience_s = what, log, patience_s
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    @property
    def alive(self) -> bool:
        """False once the thread has ended; `failure` tells why."""
        return self._thread.is_alive()

    def start(self) -> None:
        """Begin to answer."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread and free the port; may be called twice, or without `start`."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(self._patience_s)
        self._socket.close()

    def _run(self) -> None:
        # Windows' default loop cannot watch a socket, only its own transports.
        try:
            with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
                runner.run(self._serve())
        except Exception as error:
            self.failure = error
            self._log.error("%s stopped (%s); the audio plays on", self._what, error)

    async def _serve(self) -> None:
        """The server itself, until `_stopping` is set."""
        raise NotImplementedError


# A port of one's own, before anything that is slow to import: one in use is known before anything sounds.


def bind_tcp(host: str, port: int) -> socket.socket:
    """A listening socket for the web page; UserError says which port is taken and what to do."""

    def prepare(sock: socket.socket) -> None:
        if sys.platform != "win32":  # else a restarted program would wait a minute for its port
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)

    return _bind("web", "web", socket.SOCK_STREAM, host, port, prepare)


def bind_udp(host: str, port: int, buffer_bytes: int) -> socket.socket:
    """A socket for OSC; UserError says which port is taken and what to do."""

    def prepare(sock: socket.socket) -> None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer_bytes)

    return _bind("osc", "OSC", socket.SOCK_DGRAM, host, port, prepare)


def _bind(
    option: str,
    name: str,
    kind: socket.SocketKind,
    host: str,
    port: int,
    prepare: Callable[[socket.socket], None],
) -> socket.socket:
    """option: as in `--osc-port`; name: as a sentence calls it."""
    if not 0 <= port <= 65535:
        raise UserError(f"--{option}-port takes 0 to 65535, but {port} came")
    try:
        family, found, _, _, address = socket.getaddrinfo(host, port, type=kind)[0]
    except (OSError, UnicodeError) as error:
        raise UserError(f"--{option}-host {host!r} is no address of a network interface ({error})") from error
    sock = socket.socket(family, found)
    try:
        if sys.platform == "win32":  # there two servers may share a port unless one asks otherwise
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_EXCLUSIVEADDRUSE, 1)
        prepare(sock)
        sock.setblocking(False)
        sock.bind(address)
        if kind == socket.SOCK_STREAM:
            sock.listen(64)
    except (OSError, OverflowError) as error:
        sock.close()
        raise UserError(_why_not_bound(option, name, host, port, error)) from error
    return sock


def _why_not_bound(option: str, name: str, host: str, port: int, error: Exception) -> str:
    number = getattr(error, "errno", None)
    if number in (errno.EADDRNOTAVAIL, getattr(errno, "WSAEADDRNOTAVAIL", None)):
        return f"--{option}-host {host} is no address of this machine; 127.0.0.1 is, and 0.0.0.0 means all of them"
    reason = (
        "is in use (by another session?)" if number == errno.EADDRINUSE else f"cannot be opened ({error})"
    )
    other = f"--{option}-port {(port + 1) % 65536}"
    return f"{name} port {port} on {host} {reason}; choose another with {other}, or use --no-{option}"
