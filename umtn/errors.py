"""The one kind of error that a user can mend: a sentence, not a traceback."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__ = ["UserError", "advice", "words"]


class UserError(ValueError):
    """Something the user gave is wrong; the message is one sentence: what came, what was wanted."""


# Names as people type them: several between commas, and the nearest known one to a slip.


def words(given: str | None) -> tuple[str, ...]:
    """ "strings, piano," -> ("strings", "piano"); nothing -> ()."""
    return tuple(filter(None, (word.strip() for word in (given or "").split(","))))


def advice(name: str, known: Iterable[str]) -> str:
    """The nearest known name, or all of them."""
    every = list(known)
    near = difflib.get_close_matches(name, every, 1)
    return f"did you mean '{near[0]}'?" if near else f"known are {', '.join(every)}"
