"""Packets to acts: what comes most is recognised by its first bytes, all else is parsed with care; OSC's one way in.

UDP and OSCQuery's WebSocket have an Inbox each: recognise or parse, wait until it is due, Namespace.receive, reply.
Threading model: everything here happens in the thread of one asyncio loop.
"""

from __future__ import annotations

import asyncio
import heapq
import logging
import struct
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from realtime.control.namespace import ERROR, Namespace, Reply
from realtime.control.osc.packet import IMMEDIATELY, Message, PacketError, decode, encode, encode_head
from realtime.control.values import Teller

__all__ = ["Inbox", "MAX_AHEAD_S", "OscStats", "Schedule"]

MAX_AHEAD_S = 10.0
MAX_SCHEDULED = 4096
_FLOAT, _INT = struct.Struct(">f").unpack, struct.Struct(">i").unpack

_log = logging.getLogger("realtime.osc")


@dataclass
class OscStats:
    """Counts since the start."""

    messages: int = 0
    malformed: int = 0
    errors_sent: int = 0
    errors_dropped: int = 0


class Schedule:
    """act(message, sender) is called when a message is due: at once, if its time is past or is none."""

    def __init__(self, act: Callable[[Message, Any], None]) -> None:
        self._act = act
        self._later: list[tuple[float, int, Message, Any]] = []  # heap: by time, then by arrival
        self._arrivals = 0

    def put(self, message: Message, sender: Any) -> str:
        """Act now or later; else why not, in a sentence."""
        if message.when == IMMEDIATELY:
            self._act(message, sender)
            return ""
        ahead = message.when - time.time()
        if ahead <= 0:
            self._act(message, sender)
            return ""
        if ahead > MAX_AHEAD_S:
            text = f"{message.address[:80]} is timed {ahead:.0f} s ahead, at most {MAX_AHEAD_S:.0f} s"
            return f"{text} are accepted; are the two clocks set alike?"
        if len(self._later) >= MAX_SCHEDULED:
            return f"{MAX_SCHEDULED} messages wait for their time already; {message.address[:80]} was refused"
        self._arrivals += 1
        heapq.heappush(self._later, (message.when, self._arrivals, message, sender))
        asyncio.get_running_loop().call_later(ahead, self._act_on_due)
        return ""

    def clear(self) -> None:
        """Forget what waits; timers still running find nothing."""
        self._later.clear()

    def _act_on_due(self) -> None:
        # A timer may ring a moment early by the wall clock; 1 ms is below any block.
        now = time.time() + 1e-3
        while self._later and self._later[0][0] <= now:
            _, _, message, sender = heapq.heappop(self._later)
            self._act(message, sender)


class Inbox:
    """One packet in, its messages acted upon, replies out through `reply(replies, sender)`.

    tell: reaches a sender from any thread. own: addresses that only this way in knows -> what answers them.
    """

    def __init__(
        self,
        namespace: Namespace,
        stats: OscStats,
        reply: Callable[[list[Reply], Any], None],
        tell: Teller,
        own: Mapping[str, Callable[[Sequence[object], Any], list[Reply]]] | None = None,
    ) -> None:
        self._namespace, self._stats, self._reply, self._tell = namespace, stats, reply, tell
        self._own = own or {}
        self._schedule = Schedule(self._act)
        self._numbers: dict[bytes, tuple[str, Callable[[bytes], tuple[float]]]] = {}
        self._names: dict[bytes, tuple[str, tuple[int]]] = {}
        self._revision = -1
        self.now = 0.0  # of this wake-up; a clock call for each message would cost as much as it
        self.wake()

    def wake(self) -> None:
        """Before the packets of one wake-up."""
        self.now = time.monotonic()
        if self._namespace.revision != self._revision:
            self._learn()

    def packet(self, data: bytes, sender: Any) -> None:
        """Act on one packet, a datagram or a WebSocket's message."""
        found = self._numbers.get(data[:-4])
        if found is not None:
            address, unpack = found
            arguments = unpack(data[-4:])
        elif data in self._names:
            address, arguments = self._names[data]
        else:
            self._parse(data, sender)
            return
        self._stats.messages += 1
        replies = self._namespace.receive(address, arguments, sender, self._tell, self.now)
        if replies:
            self._reply(replies, sender)

    def clear(self) -> None:
        """Forget what waits for its time."""
        self._schedule.clear()

    def _learn(self) -> None:
        """Beginnings of all messages that set one number: address and type, as they come on the wire.

        A number is the last 4 bytes of such a message and all that varies. Of a choice by its name there are so few
        that whole messages are known.
        """
        self._revision = self._namespace.revision
        unpackers: tuple[tuple[str, Callable[..., tuple[float]]], ...] = (("f", _FLOAT), ("i", _INT))
        self._numbers = {
            encode_head(address, tag): (address, unpack)
            for address in self._namespace.setters
            for tag, unpack in unpackers
        }
        self._names = {
            encode(p.address, name): (p.address, (index,))
            for p in self._namespace.parameters
            for index, name in enumerate(p.choices)
        }

    def _parse(self, data: bytes, sender: Any) -> None:
        try:
            messages = decode(data)
        except PacketError as error:
            self._stats.malformed += 1
            self._reply([(ERROR, (f"not understood: {error}; nothing was set",))], sender)
            return
        for message in messages:
            refused = self._schedule.put(message, sender)
            if refused:
                self._reply([(ERROR, (refused,))], sender)

    def _act(self, message: Message, sender: Any) -> None:
        self._stats.messages += 1
        address, arguments = message.address, message.arguments
        try:
            if address in self._own:
                replies = self._own[address](arguments, sender)
            else:
                replies = self._namespace.receive(address, arguments, sender, self._tell)
        except Exception as error:
            _log.exception("%s failed", address[:80])
            replies = [(ERROR, (f"{address[:80]} failed inside the program ({error})",))]
        if replies:
            self._reply(replies, sender)
