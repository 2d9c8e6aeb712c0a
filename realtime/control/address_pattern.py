"""OSC address patterns: `?`, `*`, `[a-z]`, `[!a-z]`, `{one,two}` (OSC 1.0 specification).

Matched by following all possible positions at once, so that no pattern, however it is built, takes longer
than its length times the address's length (a regular expression with many stars would).
"""

from __future__ import annotations

from functools import lru_cache

__all__ = ["is_pattern", "literal_start", "matches"]

_SPECIAL = frozenset("?*[{")
Token = tuple[str, frozenset[str] | tuple[str, ...]]


def literal_start(pattern: str) -> str:
    """What every matching address begins with: all before the first special character."""
    return pattern[: min((at for sign in _SPECIAL if (at := pattern.find(sign)) >= 0), default=len(pattern))]


def is_pattern(address: str) -> bool:
    """True if the address has any of the pattern characters."""
    return not _SPECIAL.isdisjoint(address)


def _characters(body: str) -> frozenset[str]:
    """`a-cx` -> {a, b, c, x}."""
    found: set[str] = set()
    at = 0
    while at < len(body):
        if body[at + 1 : at + 2] == "-" and at + 2 < len(body):
            found.update(map(chr, range(ord(body[at]), ord(body[at + 2]) + 1)))
            at += 3
        else:
            found.add(body[at])
            at += 1
    return frozenset(found)


@lru_cache(maxsize=256)
def _tokens(pattern: str) -> tuple[Token, ...]:
    """ValueError if a bracket is not closed."""
    tokens: list[Token] = []
    at = 0
    while at < len(pattern):
        sign = pattern[at]
        end = at
        if sign == "[":
            end = pattern.index("]", at)
            body = pattern[at + 1 : end]
            tokens.append(("not", _characters(body[1:])) if body[:1] == "!" else ("in", _characters(body)))
        elif sign == "{":
            end = pattern.index("}", at)
            tokens.append(("one of", tuple(pattern[at + 1 : end].split(","))))
        elif sign in "?*":
            if tokens[-1:] != [("*", ())] or sign == "?":  # two stars are one
                tokens.append((sign, ()))
        else:
            tokens.append(("one of", (sign,)))
        at = end + 1
    return tuple(tokens)


def _advance(token: Token, address: str, at: int) -> list[int]:
    """Where a match may stand after `token`, if it stood at `at`; a wildcard never crosses a slash."""
    kind, body = token
    if kind == "one of":
        return [at + len(word) for word in body if address.startswith(word, at)]
    if kind == "*":
        slash = address.find("/", at)
        return list(range(at, (len(address) if slash < 0 else slash) + 1))
    if at >= len(address) or address[at] == "/":
        return []
    fits = kind == "?" or (address[at] in body) == (kind == "in")
    return [at + 1] if fits else []


def matches(pattern: str, address: str) -> bool:
    """True if the whole address fits; a pattern with an open bracket fits nothing."""
    try:
        tokens = _tokens(pattern)
    except ValueError:
        return False
    places = {0}
    for token in tokens:
        places = {after for at in places for after in _advance(token, address, at)}
    return len(address) in places
