"""OSC address patterns: `?`, `*`, `[a-z]`, `[!a-z]`, `{one,two}` (OSC 1.0 specification).

Matched by following all possible positions at once, so that no pattern, however it is built, takes longer
than its length times the address's length (a regular expression with many stars would). Addresses are ASCII, as
the specification has them: a set of characters is 128 bits, however wide its ranges are written.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

__all__ = ["MAX_PATTERN", "is_pattern", "literal_start", "matches", "refusal", "steps"]

MAX_PATTERN = 128
MAX_GROUPS = 32  # of `?`, `*`, `[...]` and `{...}` together
_SPECIAL = frozenset("?*[{")
Token = tuple[str, int | tuple[str, ...]]  # a set of characters is a number, whose bit 97 stands for "a"


def literal_start(pattern: str) -> str:
    """What every matching address begins with: all before the first special character."""
    return pattern[: min((at for sign in _SPECIAL if (at := pattern.find(sign)) >= 0), default=len(pattern))]


def is_pattern(address: str) -> bool:
    """True if the address has any of the pattern characters."""
    return not _SPECIAL.isdisjoint(address)


def refusal(pattern: str) -> str:
    """Why a pattern is not even tried, in a sentence; "" if it may be."""
    if len(pattern) > MAX_PATTERN:
        return f"an address pattern of {len(pattern)} characters; at most {MAX_PATTERN}"
    if not pattern.isascii():
        return "an address pattern with characters beyond ASCII, of which no address has any"
    groups = sum(token[0] != "literal" for token in _tokens(pattern) or ())
    if groups > MAX_GROUPS:
        return f"an address pattern with {groups} wildcards and groups; at most {MAX_GROUPS}"
    return ""


def _characters(body: str) -> int:
    """`a-cx` -> the bits of a, b, c and x."""
    found, at = 0, 0
    while at < len(body):
        low = high = ord(body[at])
        if body[at + 1 : at + 2] == "-" and at + 2 < len(body):
            high = ord(body[at + 2])
            at += 2
        at += 1
        if low <= high:
            found |= (1 << high + 1) - (1 << low)
    return found


@lru_cache(maxsize=256)
def _tokens(pattern: str) -> tuple[Token, ...] | None:
    """Of an ASCII pattern of at most MAX_PATTERN characters; None if a bracket is not closed."""
    tokens: list[Token] = []
    at = 0
    while at < len(pattern):
        sign = pattern[at]
        end = at
        if sign in "[{":
            end = pattern.find("]" if sign == "[" else "}", at)
            if end < 0:
                return None
            body = pattern[at + 1 : end]
            if sign == "{":
                tokens.append(("one of", tuple(dict.fromkeys(body.split(",")))))
            else:
                tokens.append(
                    ("not", _characters(body[1:])) if body[:1] == "!" else ("in", _characters(body))
                )
        elif sign in "?*":
            if tokens[-1:] != [("*", ())] or sign == "?":  # two stars are one
                tokens.append((sign, ()))
        else:
            while end + 1 < len(pattern) and pattern[end + 1] not in _SPECIAL:
                end += 1
            tokens.append(("literal", (pattern[at : end + 1],)))
        at = end + 1
    return tuple(tokens)


def steps(pattern: str) -> int:
    """How much work one address is: the pattern's parts, and each word of a group."""
    return sum(len(body) if isinstance(body, tuple) and body else 1 for _, body in _tokens(pattern) or ())


def _to_slash(address: str, places: Iterable[int]) -> set[int]:
    """Where a star may end that began at one of `places`; a wildcard never crosses a slash."""
    reached: set[int] = set()
    for at in sorted(places):
        if at not in reached:  # else all after it is there already
            slash = address.find("/", at)
            reached.update(range(at, (len(address) if slash < 0 else slash) + 1))
    return reached


def _advance(token: Token, address: str, places: set[int]) -> set[int]:
    """Where a match may stand after `token`, if it stood at one of `places`."""
    kind, body = token
    if isinstance(body, tuple) and body:  # literal, one of
        return {at + len(word) for at in places for word in body if address.startswith(word, at)}
    if kind == "*":
        return _to_slash(address, places)
    inside = (at for at in places if at < len(address) and address[at] != "/")
    if isinstance(body, int):
        return {at + 1 for at in inside if (body >> ord(address[at]) & 1) == (kind == "in")}
    return {at + 1 for at in inside}


def matches(pattern: str, address: str) -> bool:
    """True if the whole address fits; a pattern with an open bracket, or one that is refused, fits nothing."""
    tokens = None if refusal(pattern) or not address.isascii() else _tokens(pattern)
    if tokens is None:
        return False
    places = {0}
    for token in tokens:
        if not places:
            return False
        places = _advance(token, address, places)
    return len(address) in places
