"""Who wants to be told: status figures, and parameters when they change, as often as each one asked for."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from realtime.control.namespace import BadValue, Namespace, Value, quoted
from realtime.control.osc.packet import encode
from realtime.shared.parameters import FAMILIES, PREFIX

__all__ = ["MAX_HZ", "PUSH_HZ", "Address", "Subscribers", "Wish"]

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
