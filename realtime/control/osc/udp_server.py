"""OSC over UDP: a socket, its Inbox, the replies and who subscribes to values.

Threading model: the OSC thread alone, except `tell`, which any thread may call.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from realtime.control.namespace import ERROR, BadValue, Namespace, Reply, Value, quoted
from realtime.control.osc.inbox import MAX_AHEAD_S, Inbox, OscStats
from realtime.control.osc.packet import encode
from realtime.control.server_thread import LoopThread, bind_udp
from realtime.control.values import Who
from realtime.shared.parameters import FAMILIES, PREFIX

__all__ = [
    "Address",
    "Dispatcher",
    "MAX_AHEAD_S",
    "MAX_HZ",
    "OscServer",
    "OscStats",
    "PUSH_HZ",
    "Subscribers",
    "Wish",
]


# Who wants to be told: status figures, and parameters when they change, as often as each one asked for.


PUSH_HZ = 10.0
MIN_HZ, MAX_HZ = 0.1, 100.0
REPEAT_S = 1.0  # everything again: UDP may lose a packet, and a program may have been restarted
MAX_SUBSCRIBERS = 32
MAX_PART = 128

Address = tuple[str, int]


class Wish(NamedTuple):
    """What a subscription asks for: `[host] [port] [rate_hz] [/part/of/the/tree]`."""

    address: Address
    rate_hz: float | None
    part: str


@dataclass
class _Subscriber:
    wish: Wish
    period_s: float
    due_s: float = 0.0
    repeat_s: float = 0.0
    last: dict[str, tuple[Value, ...]] = field(default_factory=dict)


class Subscribers:
    """Addresses that asked for pushes. A value is sent when it has changed, and once a second anyway.

    Latent channels come as the list `/umtn/latent/scale f f f ...`, only when one of them has changed.
    """

    def __init__(self, namespace: Namespace, send: Callable[[bytes, Address], None], own: Address) -> None:
        self._namespace = namespace
        self._send = send
        self._own = own
        self._all: dict[tuple[Address, str], _Subscriber] = {}
        self._revision = namespace.revision

    def __len__(self) -> int:
        return len(self._all)

    @property
    def rate_hz(self) -> float:
        """How often `push` must be called for the fastest of them."""
        return max((1 / s.period_s for s in self._all.values()), default=PUSH_HZ)

    def add(self, arguments: Sequence[object], sender: Address) -> Wish:
        """Subscribe `[host] port [rate_hz] [part]`, or the sender itself; BadValue says why not."""
        wish = self._read(arguments, sender)
        if wish.address == self._own:
            raise BadValue(
                "a subscription to this server's own port would never end; give the port you listen on"
            )
        key = (wish.address, wish.part)
        if key not in self._all and len(self._all) >= MAX_SUBSCRIBERS:
            raise BadValue(f"there are {MAX_SUBSCRIBERS} subscribers already; unsubscribe one first")
        self._all = {**self._all, key: _Subscriber(wish, 1 / (wish.rate_hz or PUSH_HZ))}
        return wish

    def remove(self, arguments: Sequence[object], sender: Address) -> Wish:
        """Forget all of an address, or one part; removing what is not there is no error."""
        wish = self._read(arguments, sender)
        gone = {key for key in self._all if key[0] == wish.address and wish.part in ("", key[1])}
        self._all = {key: s for key, s in self._all.items() if key not in gone}
        return wish

    def listening_for(self, sender: Address) -> list[Address]:
        """Other ports on the sender's machine: programs that send from one port and listen on another."""
        if not self._all:
            return []
        return list({a: None for a, _ in self._all if a[0] == sender[0] and a != sender})

    def push(self, now_s: float) -> None:
        """Send what has changed to those whose turn it is. now_s: of a clock that only goes forward."""
        due = [s for s in self._all.values() if now_s >= s.due_s - 1e-3]
        if not due:
            return
        if self._namespace.revision != self._revision:  # another bundle: everyone needs everything
            self._revision = self._namespace.revision
            for subscriber in self._all.values():
                subscriber.last = {}
        space = self._namespace
        values: dict[str, tuple[Value, ...]] = {a: (value,) for a, value in space.current().items()}
        lists = {f.address: space.family(f) for f in FAMILIES if space.latent_channels}
        encoded: dict[str, bytes] = {}
        for subscriber in due:
            for address in self._news(subscriber, values, lists, now_s):
                if address not in encoded:
                    encoded[address] = encode(address, *(values.get(address) or lists[address]))
                self._send(encoded[address], subscriber.wish.address)

    @staticmethod
    def _news(
        subscriber: _Subscriber,
        values: dict[str, tuple[Value, ...]],
        lists: dict[str, tuple[float, ...]],
        now_s: float,
    ) -> list[str]:
        """Addresses whose values this subscriber does not know yet; notes that it will."""
        subscriber.due_s = max(subscriber.due_s + subscriber.period_s, now_s)
        last, part = subscriber.last, subscriber.wish.part
        if now_s >= subscriber.repeat_s:
            subscriber.repeat_s = now_s + REPEAT_S
            for address in values:
                last.pop(address, None)
        now: dict[str, tuple[Value, ...]] = {**values, **lists}
        if part:
            now = {a: v for a, v in now.items() if a.startswith(part)}
        news = [address for address, value in now.items() if last.get(address) != value]
        subscriber.last = now
        return news

    def _read(self, arguments: Sequence[object], sender: Address) -> Wish:
        wanted = list(arguments)
        part = self._part(wanted.pop()) if wanted and str(wanted[-1]).startswith("/") else ""
        if len(wanted) > 3:
            raise BadValue(
                f"subscribe takes host, port, rate and a part, but {len(arguments)} arguments came"
            )
        host = wanted.pop(0) if wanted and isinstance(wanted[0], str) else sender[0]
        port = wanted.pop(0) if wanted else sender[1]
        if not isinstance(port, (int, float)) or port is True or not 1 <= port < 65536:  # also refuses NaN
            raise BadValue(f"subscribe takes a port from 1 to 65535, but {quoted(port)} came")
        rate = self._rate(wanted.pop(0)) if wanted else None
        if wanted:
            raise BadValue(
                f"subscribe takes [host] [port] [rate_hz] [/part], but {quoted(wanted[0])} came too"
            )
        return Wish((self._numeric(str(host), sender), int(port)), rate, part)

    @staticmethod
    def _rate(rate: object) -> float:
        if not isinstance(rate, (int, float)) or rate is True or not MIN_HZ <= rate <= MAX_HZ:  # also NaN
            raise BadValue(f"subscribe takes a rate of {MIN_HZ:g} to {MAX_HZ:g} Hz, but {quoted(rate)} came")
        return float(rate)

    def _part(self, part: object) -> str:
        """`/umtn/status`, or `/status` for short; as it stands in full."""
        text = str(part)
        if text.startswith(PREFIX) or PREFIX.startswith(text):
            full = text
        else:
            full = PREFIX + text.removeprefix("/")
        known = full == text or any(address.startswith(full) for address in self._namespace.routes)
        if len(full) > MAX_PART or not known:
            raise BadValue(
                f"subscribe takes a part that begins with {PREFIX} (or a known one without it, as /status), but "
                f"{quoted(text)} came"
            )
        return full

    def _numeric(self, host: str, sender: Address) -> str:
        """Names other than localhost are refused: looking one up would hold all messages up."""
        if host == "localhost":
            return "::1" if ":" in self._own[0] else "127.0.0.1"
        try:
            address = ipaddress.ip_address(host)
        except ValueError as error:
            raise BadValue(f"subscribe takes an IP address or localhost, but {quoted(host)} came") from error
        if ipaddress.ip_address(self._own[0]).is_loopback and not address.is_loopback:
            raise BadValue(f"OSC is bound to {self._own[0]}; start with --osc-host to reach {address}")
        return str(address)


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
