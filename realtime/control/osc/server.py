"""OSC over UDP: a socket, its Inbox, the replies and who subscribes to values.

Threading model: the OSC thread alone, except `tell`, which any thread may call.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Sequence

from realtime.control.namespace import ERROR, BadValue, Namespace, Reply
from realtime.control.osc.inbox import MAX_AHEAD_S, Inbox, OscStats
from realtime.control.osc.packet import encode
from realtime.control.osc.subscriptions import Address, Subscribers
from realtime.control.server_thread import LoopThread, bind_udp
from realtime.control.values import Who
from realtime.shared.parameters import PREFIX

__all__ = ["Dispatcher", "MAX_AHEAD_S", "OscServer", "OscStats"]


MAX_ERRORS_PER_S = 200
SUBSCRIBE, UNSUBSCRIBE = f"{PREFIX}subscribe", f"{PREFIX}unsubscribe"

_log = logging.getLogger("realtime.osc")


class Dispatcher:
    """What is particular to UDP: subscriptions, and replies through `send` that no flood of errors multiplies."""

    def __init__(
        self, namespace: Namespace, stats: OscStats, send: Callable[[bytes, Address], None], own: Address
    ) -> None:
        self._namespace = namespace
        self._stats = stats
        self._send = send
        self.subscribers = Subscribers(namespace, send, own)
        self._errors_left = MAX_ERRORS_PER_S
        self._second = 0.0
        self._unlogged = 0
        namespace.add(SUBSCRIBE, _only_udp, "sif", "[host] port [rate_hz] [/part]: push values there (UDP)")
        namespace.add(UNSUBSCRIBE, _only_udp, "si", "[host] port: push no more (UDP)")
        self.inbox = Inbox(
            namespace,
            stats,
            self._reply,
            self.tell,
            {
                SUBSCRIBE: lambda arguments, sender: self._subscribe(arguments, sender, join=True),
                UNSUBSCRIBE: lambda arguments, sender: self._subscribe(arguments, sender, join=False),
            },
        )

    def tick(self) -> None:
        """As often as subscribers.rate_hz says: pushes, and each second a fresh allowance of errors."""
        now = time.monotonic()
        self.subscribers.push(now)
        if now - self._second >= 1.0:
            self._second, self._errors_left = now, MAX_ERRORS_PER_S
            if self._unlogged:
                _log.warning("%d more messages could not be used", self._unlogged)
            self._unlogged = 0

    def tell(self, who: Who, text: str) -> None:
        """An error sentence for one sender."""
        if not isinstance(who, str):
            self._reply([(ERROR, (text,))], who)

    def _subscribe(self, arguments: Sequence[object], sender: Address, join: bool) -> list[Reply]:
        change = self.subscribers.add if join else self.subscribers.remove
        try:
            wish = change(arguments, sender)
        except BadValue as error:
            return [(ERROR, (str(error),))]
        more = [v for v in (wish.rate_hz, wish.part or None) if v is not None]
        return [(f"{PREFIX}{'subscribed' if join else 'unsubscribed'}", (*wish.address, *more))]

    def _reply(self, replies: list[Reply], sender: Address) -> None:
        for address, arguments in replies:
            if address == ERROR and not self._may_complain(str(arguments[0]), sender):
                continue
            data = encode(address, *arguments)
            for receiver in (sender, *self.subscribers.listening_for(sender)):
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


def _only_udp(arguments: object) -> list[Reply]:
    return [(ERROR, ("subscribe is for OSC over UDP; over a WebSocket LISTEN does it",))]


# The OSC server: UDP in, shared memory out, replies to whoever asked.
#
# Threading model: `OscServer` binds its socket where it is made, so that a port in use is known at once, and
# then runs one asyncio loop in one thread of the control process. Messages are handled in the order of their
# arrival. Nothing here can stop the audio: it runs in another process and reads the shared memory.
#
# A wake-up of the loop costs ten times what a message costs. So one wake-up reads all that waits, and while
# messages come in a flood the socket is read once a millisecond (a tick of Windows' clock, 16 ms) instead of being
# waited for.


SOCKET_BUFFER_BYTES = 8 << 20
MAX_BATCH = 512  # then timers get their turn
MAX_DATAGRAM = 65536
FLOOD_WAKES, FLOOD_S = 8, 0.008  # so many wake-ups in so short a time are a flood
POLL_S = 0.001


class OscServer(LoopThread):
    """Serves a Namespace on host:port until `stop`; port 0 lets the system choose (see `port`)."""

    def __init__(self, namespace: Namespace, host: str = "127.0.0.1", port: int = 9100) -> None:
        bound = bind_udp(host, port, SOCKET_BUFFER_BYTES)
        super().__init__("osc", bound, "the OSC server", _log, patience_s=2.0)
        self.host, self.port = self._socket.getsockname()[:2]
        self.stats = OscStats()
        own = (str(self.host), int(self.port))
        self._dispatcher = Dispatcher(namespace, self.stats, self._send, own)
        self._wakes: deque[float] = deque([0.0] * FLOOD_WAKES, FLOOD_WAKES)

    async def _serve(self) -> None:
        loop = asyncio.get_running_loop()
        loop.add_reader(self._socket, self._readable, loop)
        try:
            while not self._stopping.is_set():
                await asyncio.sleep(1 / self._dispatcher.subscribers.rate_hz)
                self._dispatcher.tick()
        finally:
            loop.remove_reader(self._socket)

    def _readable(self, loop: asyncio.AbstractEventLoop) -> None:
        """Something has come: read it, and wait for more or, in a flood, look again in a moment."""
        self._read_all()
        now = self._dispatcher.inbox.now
        self._wakes.append(now)
        if now - self._wakes[0] < FLOOD_S:
            loop.remove_reader(self._socket)
            loop.call_later(POLL_S, self._poll, loop)

    def _poll(self, loop: asyncio.AbstractEventLoop) -> None:
        """In a flood: read what has come since; when there is nothing, the flood is over."""
        if self._stopping.is_set():
            return
        if self._read_all():
            loop.call_later(POLL_S, self._poll, loop)
        else:
            loop.add_reader(self._socket, self._readable, loop)

    def _read_all(self) -> int:
        """Act on up to MAX_BATCH datagrams that wait; returns how many there were."""
        receive, act = self._socket.recvfrom, self._dispatcher.inbox.packet
        self._dispatcher.inbox.wake()
        for count in range(MAX_BATCH):
            try:
                data, sender = receive(MAX_DATAGRAM)
            except (BlockingIOError, InterruptedError):
                return count
            except OSError as error:  # Windows reports here that a listener has gone away; it may come back
                _log.debug("a reply could not be delivered: %s", error)
                continue
            try:
                act(data, sender[:2])
            except Exception:
                _log.exception("a packet of %d bytes failed inside the program", len(data))
        return MAX_BATCH

    def _send(self, data: bytes, receiver: Address) -> None:
        """Send or forget: a full buffer or a receiver that is away holds nothing up."""
        try:
            self._socket.sendto(data, receiver)
        except OSError as error:
            _log.debug("a reply could not be delivered: %s", error)
