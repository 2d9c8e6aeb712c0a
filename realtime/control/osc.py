"""The OSC server: UDP in, shared memory out, replies to whoever asked.

Threading model: `OscServer` binds its socket where it is made, so that a port in use is known at once, and
then runs one asyncio loop in one thread of the control process. Messages are handled in the order of their
arrival. Nothing here can stop the audio: it runs in another process and reads the shared memory.
"""

from __future__ import annotations

import asyncio
import errno
import heapq
import logging
import socket
import sys
import threading
import time
from dataclasses import dataclass
from typing import cast

from realtime.control.namespace import ERROR, BadValue, Namespace, Reply
from realtime.control.packet import IMMEDIATELY, Message, PacketError, decode, encode
from realtime.control.subscribers import PUSH_HZ, Address, Subscribers
from realtime.errors import UserError
from realtime.parameters import PREFIX

__all__ = ["MAX_AHEAD_S", "OscServer", "OscStats"]

MAX_AHEAD_S = 10.0
MAX_SCHEDULED = 4096
MAX_ERRORS_PER_S = 200
SOCKET_BUFFER_BYTES = 8 << 20
MAX_BATCH = 64

_log = logging.getLogger("realtime.osc")


@dataclass
class OscStats:
    """Counts since the start."""

    messages: int = 0
    malformed: int = 0
    errors_sent: int = 0
    errors_dropped: int = 0


def _bind(host: str, port: int) -> socket.socket:
    """A UDP socket for one server alone; UserError says which port is taken and what to do."""
    if not 0 <= port <= 65535:
        raise UserError(f"--osc-port takes 0 to 65535, but {port} came")
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0]
    except (OSError, UnicodeError) as error:
        raise UserError(f"--osc-host {host!r} is no address of a network interface ({error})") from error
    sock = socket.socket(family, kind)
    try:
        if sys.platform == "win32":  # elsewhere a UDP port is exclusive unless one asks otherwise
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_EXCLUSIVEADDRUSE, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SOCKET_BUFFER_BYTES)
        sock.setblocking(False)
        sock.bind(address)
    except (OSError, OverflowError) as error:
        sock.close()
        raise UserError(_why_not_bound(host, port, error)) from error
    return sock


def _why_not_bound(host: str, port: int, error: Exception) -> str:
    number = getattr(error, "errno", None)
    if number in (errno.EADDRNOTAVAIL, getattr(errno, "WSAEADDRNOTAVAIL", None)):
        return f"--osc-host {host} is no address of this machine; 127.0.0.1 is, and 0.0.0.0 means all of them"
    reason = (
        "is in use (by another session?)" if number == errno.EADDRINUSE else f"cannot be opened ({error})"
    )
    other = f"--osc-port {(port + 1) % 65536}"
    return f"OSC port {port} on {host} {reason}; choose another with {other}, or use --no-osc"


class OscServer:
    """Serves a Namespace on host:port until `stop`; port 0 lets the system choose (see `port`)."""

    def __init__(self, namespace: Namespace, host: str = "127.0.0.1", port: int = 9100) -> None:
        self._socket = _bind(host, port)
        self.host, self.port = self._socket.getsockname()[:2]
        self.stats = OscStats()
        self.failure: BaseException | None = None
        self._namespace = namespace
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="osc", daemon=True)

    def start(self) -> None:
        """Begin to answer."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread and free the port; may be called twice, or without `start`."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(2.0)
        self._socket.close()

    @property
    def alive(self) -> bool:
        """False once the thread has ended; `failure` tells why."""
        return self._thread.is_alive()

    def _run(self) -> None:
        # Windows' default loop cannot watch a socket, only its own transports.
        try:
            with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
                runner.run(self._serve())
        except Exception as error:
            self.failure = error
            _log.error("the OSC server stopped (%s); the audio plays on", error)

    async def _serve(self) -> None:
        loop = asyncio.get_running_loop()
        own = (str(self.host), int(self.port))
        _, protocol = await loop.create_datagram_endpoint(
            lambda: _Protocol(self._namespace, self.stats, self._socket, own), sock=self._socket
        )
        try:
            while not self._stopping.is_set():
                await asyncio.sleep(1 / PUSH_HZ)
                protocol.tick()
        finally:
            protocol.close()


class _Protocol(asyncio.DatagramProtocol):
    """One datagram in, its messages acted upon, replies out."""

    def __init__(self, namespace: Namespace, stats: OscStats, sock: socket.socket, own: Address) -> None:
        self._namespace = namespace
        self._stats = stats
        self._transport: asyncio.DatagramTransport | None = None
        self._subscribers = Subscribers(namespace, self._send, own)
        self._later: list[tuple[float, int, Message, Address]] = []  # heap: by time, then by arrival
        self._arrivals = 0
        self._errors_left = MAX_ERRORS_PER_S
        self._second = 0.0
        self._unlogged = 0
        self._sender: Address = own
        namespace.add(f"{PREFIX}ping", lambda arguments: [(f"{PREFIX}pong", ())])
        namespace.add(f"{PREFIX}subscribe", lambda arguments: self._subscribe(arguments, join=True))
        namespace.add(f"{PREFIX}unsubscribe", lambda arguments: self._subscribe(arguments, join=False))

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[object, ...]) -> None:
        sender = (str(addr[0]), int(str(addr[1])))
        try:
            messages = decode(data)
        except PacketError as error:
            self._stats.malformed += 1
            self._reply([(ERROR, (f"not understood: {error}; nothing was set",))], sender)
            return
        for message in messages:
            if message.when == IMMEDIATELY:
                self._act(message, sender)
            else:
                self._act_in_time(message, sender)

    def error_received(self, exc: Exception) -> None:
        """A listener has gone away; it may come back."""
        _log.debug("a reply could not be delivered: %s", exc)

    def tick(self) -> None:
        """PUSH_HZ times a second: pushes, and a fresh allowance of error replies each second."""
        self._subscribers.push()
        now = time.monotonic()
        if now - self._second >= 1.0:
            self._second, self._errors_left = now, MAX_ERRORS_PER_S
            if self._unlogged:
                _log.warning("%d more messages could not be used", self._unlogged)
            self._unlogged = 0

    def close(self) -> None:
        """Free the port."""
        if self._transport is not None:
            self._transport.close()

    def _act(self, message: Message, sender: Address) -> None:
        self._stats.messages += 1
        self._sender = sender
        try:
            replies = self._namespace.answer(message.address, message.arguments)
        except Exception as error:
            _log.exception("%s failed", message.address[:80])
            replies = [(ERROR, (f"{message.address[:80]} failed inside the program ({error})",))]
        if replies:
            self._reply(replies, sender)

    def _act_in_time(self, message: Message, sender: Address) -> None:
        ahead = message.when - time.time()
        if ahead <= 0:
            self._act(message, sender)
        elif ahead > MAX_AHEAD_S:
            text = f"{message.address[:80]} is timed {ahead:.0f} s ahead, at most {MAX_AHEAD_S:.0f} s"
            self._reply([(ERROR, (f"{text} are accepted; are the two clocks set alike?",))], sender)
        elif len(self._later) >= MAX_SCHEDULED:
            text = f"{MAX_SCHEDULED} messages wait for their time already; {message.address[:80]} was refused"
            self._reply([(ERROR, (text,))], sender)
        else:
            self._arrivals += 1
            heapq.heappush(self._later, (message.when, self._arrivals, message, sender))
            asyncio.get_running_loop().call_later(ahead, self._act_on_due)

    def _act_on_due(self) -> None:
        # A timer may ring a moment early by the wall clock; 1 ms is below any block.
        now = time.time() + 1e-3
        while self._later and self._later[0][0] <= now:
            _, _, message, sender = heapq.heappop(self._later)
            self._act(message, sender)

    def _subscribe(self, arguments: object, join: bool) -> list[Reply]:
        assert isinstance(arguments, tuple)
        change = self._subscribers.add if join else self._subscribers.remove
        try:
            host, port = change(arguments, self._sender)
        except BadValue as error:
            return [(ERROR, (str(error),))]
        return [(f"{PREFIX}{'subscribed' if join else 'unsubscribed'}", (host, port))]

    def _reply(self, replies: list[Reply], sender: Address) -> None:
        for address, arguments in replies:
            if address == ERROR and not self._may_complain(str(arguments[0]), sender):
                continue
            data = encode(address, *arguments)
            for receiver in (sender, *self._subscribers.listening_for(sender)):
                self._send(data, receiver)

    def _may_complain(self, text: str, sender: Address) -> bool:
        """Log and send the first MAX_ERRORS_PER_S errors of a second, count the rest."""
        if self._errors_left <= 0:
            self._stats.errors_dropped += 1
            self._unlogged += 1
            return False
        self._errors_left -= 1
        self._stats.errors_sent += 1
        if self._errors_left >= MAX_ERRORS_PER_S - 5:  # the log of a second stays readable
            _log.warning("%s:%d: %s", *sender, text)
        else:
            self._unlogged += 1
        return True

    def _send(self, data: bytes, receiver: Address) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.sendto(data, receiver)
