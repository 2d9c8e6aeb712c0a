"""Values from outside: BadValue says what came and what was wanted, Conflict who else sets the same parameter.

Both are looked at before, or as, anything moves. Two controllers on one parameter: the last one wins, both are told.
"""

from __future__ import annotations

import difflib
import math
import time
from collections.abc import Callable, Collection, Sequence

from realtime.shared.parameters import Parameter

__all__ = [
    "BadValue",
    "Conflict",
    "Nearest",
    "Teller",
    "Who",
    "as_index",
    "as_number",
    "one_number",
    "quoted",
]

_SHOWN = 60  # characters of a foreign string that an error quotes
_SEARCHES_PER_S = 20
_KEPT = 256


class BadValue(ValueError):
    """An argument that cannot be used."""


def quoted(text: object) -> str:
    """A foreign value, short and printable."""
    return repr(text if not isinstance(text, str) else text[:_SHOWN])[: _SHOWN + 4]


def as_number(address: str, value: object) -> float:
    """A finite number, or BadValue."""
    if not isinstance(value, (int, float)):
        raise BadValue(
            f"{address} takes a number, but {type(value).__name__} {quoted(value)} came; nothing was set"
        )
    try:
        number = float(value)
    except OverflowError:  # JSON has whole numbers of any length
        number = math.inf
    if not math.isfinite(number):
        raise BadValue(f"{address} takes a finite number, but {number} came; nothing was set")
    return number


def as_index(parameter: Parameter, text: str) -> float:
    """Index of a choice given by its name, or BadValue with the nearest name."""
    if parameter.kind != "choice":
        raise BadValue(f"{parameter.address} takes a number, but the string {quoted(text)} came")
    if text in parameter.choices:
        return float(parameter.choices.index(text))
    near = difflib.get_close_matches(text[:_SHOWN], parameter.choices, 1)
    hint = f"; did you mean {near[0]}?" if near else ""
    known = ", ".join(parameter.choices)
    raise BadValue(f"{parameter.address} knows {known}, but {quoted(text)} came{hint}")


def one_number(address: str, arguments: Sequence[object]) -> float:
    """The only argument, which must be a number."""
    if len(arguments) != 1:
        raise BadValue(f"{address} takes one argument, but {len(arguments)} came; nothing was set")
    return as_number(address, arguments[0])


class Nearest:
    """Known address nearest to an unknown one; so few searches a second that a flood costs nothing."""

    def __init__(self) -> None:
        self._found: dict[str, str] = {}
        self._second = 0.0
        self._left = 0

    def forget(self) -> None:
        """The addresses have changed."""
        self._found = {}

    def __call__(self, address: str, known: Collection[str]) -> str:
        """One of `known`, or "" if too many were looked for in this second."""
        if address in self._found:
            return self._found[address]
        now = time.monotonic()
        if now - self._second >= 1.0:
            self._second, self._left = now, _SEARCHES_PER_S
        if self._left <= 0 or not known:
            return ""
        self._left -= 1
        if len(self._found) >= _KEPT:
            self._found = {}
        near = difflib.get_close_matches(address, known, 1, 0.0)[0]
        self._found[address] = near
        return near


WITHIN_S = 1.0
TELL_EVERY_S = 1.0

Who = tuple[str, int] | str  # a UDP address, or the name of something else that sets values
Teller = Callable[[Who, str], None]


def _name(who: Who) -> str:
    return who if isinstance(who, str) else f"{who[0]}:{who[1]}"


class Conflict:
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
