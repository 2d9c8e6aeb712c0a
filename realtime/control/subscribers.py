"""Who wants to be told: status figures ten times a second, and parameters when they change."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Sequence

from realtime.control.namespace import BadValue, Namespace, Value, quoted
from realtime.control.packet import encode
from realtime.parameters import STATUS

__all__ = ["PUSH_HZ", "Address", "Subscribers"]

PUSH_HZ = 10
MAX_SUBSCRIBERS = 32

Address = tuple[str, int]


class Subscribers:
    """Addresses that asked for pushes. A value is sent when it has changed, and once a second anyway."""

    def __init__(self, namespace: Namespace, send: Callable[[bytes, Address], None], own: Address) -> None:
        self._namespace = namespace
        self._send = send
        self._own = own
        self._addresses: dict[Address, None] = {}
        self._last: dict[str, Value] = {}
        self._ticks = 0

    def __len__(self) -> int:
        return len(self._addresses)

    def add(self, arguments: Sequence[object], sender: Address) -> Address:
        """Subscribe `[host] port`, or the sender itself; BadValue says why not."""
        address = self._resolve(arguments, sender)
        if address == self._own:
            raise BadValue(
                "a subscription to this server's own port would never end; give the port you listen on"
            )
        if address not in self._addresses and len(self._addresses) >= MAX_SUBSCRIBERS:
            raise BadValue(f"there are {MAX_SUBSCRIBERS} subscribers already; unsubscribe one first")
        self._addresses[address] = None
        self._last.clear()  # the newcomer needs everything
        return address

    def remove(self, arguments: Sequence[object], sender: Address) -> Address:
        """Forget a subscription; removing what is not there is no error (two controllers may tidy up)."""
        address = self._resolve(arguments, sender)
        self._addresses.pop(address, None)
        return address

    def listening_for(self, sender: Address) -> list[Address]:
        """Other ports on the sender's machine: programs that send from one port and listen on another."""
        return [a for a in self._addresses if a[0] == sender[0] and a != sender]

    def push(self) -> None:
        """Send what has changed to everyone; called PUSH_HZ times a second."""
        if not self._addresses:
            return
        if self._ticks % PUSH_HZ == 0:
            self._last.clear()
        self._ticks += 1
        for address, value in self._current().items():
            if self._last.get(address) != value:
                self._last[address] = value
                data = encode(address, value)
                for subscriber in self._addresses:
                    self._send(data, subscriber)

    def _current(self) -> dict[str, Value]:
        space = self._namespace
        values: dict[str, Value] = {s.address: space.status_value(s) for s in STATUS}
        values.update(
            {p.address: space.value(p) for p in space.parameters if p.kind not in ("event", "action")}
        )
        return values

    def _resolve(self, arguments: Sequence[object], sender: Address) -> Address:
        wanted = list(arguments)
        if len(wanted) > 2:
            raise BadValue(f"subscribe takes a host and a port, but {len(wanted)} arguments came")
        host = wanted.pop(0) if wanted and isinstance(wanted[0], str) else sender[0]
        port = wanted[0] if wanted else sender[1]
        if not isinstance(port, (int, float)) or not 1 <= port < 65536:  # also refuses NaN
            raise BadValue(f"subscribe takes a port from 1 to 65535, but {quoted(port)} came")
        return self._numeric(str(host), sender), int(port)

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
