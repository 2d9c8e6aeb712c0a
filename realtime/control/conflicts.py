"""Two controllers that move one parameter at the same time: the last one wins, and both are told."""

from __future__ import annotations

import time
from collections.abc import Callable

__all__ = ["Contest", "Teller", "Who"]

WITHIN_S = 1.0
TELL_EVERY_S = 1.0

Who = tuple[str, int] | str  # a UDP address, or the name of something else that sets values
Teller = Callable[[Who, str], None]


def _name(who: Who) -> str:
    return who if isinstance(who, str) else f"{who[0]}:{who[1]}"


class Contest:
    """Notes who set what last. Used from several threads: each entry is replaced as a whole."""

    def __init__(self) -> None:
        self._last: dict[str, tuple[Who, object, float, Teller]] = {}
        self._told: dict[str, float] = {}

    def note(self, address: str, value: object, who: Who, tell: Teller, now: float | None = None) -> None:
        """`who` sets `address`; if another did so within WITHIN_S and wants another value, tell both.

        tell: reaches `who`, here or from another thread. now: monotonic seconds, if the caller has them.
        """
        now = time.monotonic() if now is None else now
        before = self._last.get(address)
        self._last[address] = (who, value, now, tell)
        if before is None or before[0] == who or now - before[2] > WITHIN_S or before[1] == value:
            return
        if now - self._told.get(address, -TELL_EVERY_S) < TELL_EVERY_S:
            return
        self._told[address] = now
        shown = f"{value:.6g}" if isinstance(value, (int, float)) else str(value)
        for one, other, teller in ((before[0], who, before[3]), (who, before[0], tell)):
            text = f"{address} is set by {_name(other)} too; the last one wins, which is {shown} now"
            teller(one, text)
