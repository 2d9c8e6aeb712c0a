"""Messages whose time has not come: kept in order, acted upon by a timer of the loop, refused if absurd.

Threading model: everything here happens in the thread of one asyncio loop.
"""

from __future__ import annotations

import asyncio
import heapq
import time
from collections.abc import Callable
from typing import Any

from realtime.control.osc.packet import IMMEDIATELY, Message

__all__ = ["MAX_AHEAD_S", "Schedule"]

MAX_AHEAD_S = 10.0
MAX_SCHEDULED = 4096


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
