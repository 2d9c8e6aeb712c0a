"""OSC address patterns: what they match, and that no pattern costs much more than a plain address."""

from __future__ import annotations

import random
import re
import sys
import tracemalloc
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytest

from realtime.control.address_pattern import matches
from realtime.control.namespace import Namespace
from realtime.shared.memory import SharedState

DOMAINS = tuple(f"{'a' * 30}{i:02d}" for i in range(60))
HOSTILE = {
    "the whole of Unicode": "/umtn/" + 20 * "[a-\U0010ffff]",
    "its complement": "/umtn/" + 20 * "[!a-\U0010ffff]",
    "the whole of ASCII": "/umtn/" + 20 * "[ -~]",
    "many groups": "/umtn/blend/" + 23 * "{,a}",
    "many words": "/umtn/blend/" + 2 * ("{" + ",".join("a" * n for n in range(9)) + "}"),
    "many stars": "/umtn/blend/" + 100 * "*",
    "stars apart": "/umtn/blend/" + 28 * "*?" + "*b",
    "stars and groups": "/umtn/blend/" + 15 * "*{,a}" + "b",
    "an open bracket": "/umtn/" + 100 * "[",
    "too long": "/umtn/" + 4000 * "*?",
    "channels": "/umtn/latent/scale/" + 13 * "{,1,2,3}",
}


def as_regex(pattern: str) -> str:
    """The same pattern for another matcher: Python's own, which is slow on many stars and always right."""
    text, at = "", 0
    while at < len(pattern):
        sign = pattern[at]
        if sign == "[":
            end = pattern.index("]", at)
            body = pattern[at + 1 : end]
            inside = {chr(c) for c in range(128) if _listed(chr(c), body.removeprefix("!"))}
            wanted = {chr(c) for c in range(128)} - inside if body.startswith("!") else inside
            text += (
                "(?:" + "|".join(re.escape(c) for c in sorted(wanted - {"/"})) + ")"
                if wanted - {"/"}
                else "(?!)"
            )
        elif sign == "{":
            end = pattern.index("}", at)
            text += "(?:" + "|".join(map(re.escape, pattern[at + 1 : end].split(","))) + ")"
        else:
            end = at
            text += {"?": "[^/]", "*": "[^/]*"}.get(sign, re.escape(sign))
        at = end + 1
    return text


def _listed(character: str, body: str) -> bool:
    while body:
        if body[1:2] == "-" and len(body) > 2:
            if body[0] <= character <= body[2]:
                return True
            body = body[3:]
        elif body[0] == character:
            return True
        else:
            body = body[1:]
    return False


def test_small_patterns_match_what_a_regular_expression_does() -> None:
    draw = random.Random(0)
    pieces = [
        "a",
        "b",
        "c",
        "/",
        "-",
        "?",
        "*",
        "[a-b]",
        "[!a]",
        "[ab-]",
        "[b-a]",
        "[]",
        "[!]",
        "{a,bc}",
        "{,a}",
        "{a/b,c}",
    ]
    found = 0
    for _ in range(20_000):
        pattern = "".join(draw.choices(pieces, k=draw.randint(0, 5)))
        address = "".join(draw.choices("abc/-", k=draw.randint(0, 5)))
        wanted = re.fullmatch(as_regex(pattern), address) is not None
        assert matches(pattern, address) == wanted, (pattern, address)
        found += wanted
    assert found > 500


@pytest.mark.parametrize("pattern", ["[a", "/umtn/{a,b", "a" * 129, "[a-ü]", "ü*"])
def test_what_is_no_pattern_matches_nothing(pattern: str) -> None:
    assert not matches(pattern, pattern)
    assert not matches(pattern, "a")
    assert not matches("[!a]", "ü") and not matches("?", "ü")


@pytest.fixture
def wide(shared: SharedState) -> Namespace:
    """As many addresses as a large bundle has."""
    return Namespace(shared, DOMAINS, 512)


def _steps(act: Callable[[], Any]) -> int:
    """Lines of Python and calls that it takes."""
    count = 0

    def note(frame: FrameType, event: str, argument: object) -> Any:
        nonlocal count
        count += 1
        return note

    sys.settrace(note)
    try:
        act()
    finally:
        sys.settrace(None)
    return count


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_pattern_costs_little_time(wide: Namespace, name: str) -> None:
    """20 ranges of all of Unicode, in 172 bytes, made the program deaf for 24 s."""
    plain = _steps(lambda: wide.answer("/umtn/*", ()))
    assert _steps(lambda: wide.answer(HOSTILE[name], ())) < 400 * plain


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_pattern_takes_little_memory_and_keeps_less(wide: Namespace, name: str) -> None:
    """They took 3 GB, and a cache kept them."""
    wide.answer("/umtn/*", ())
    tracemalloc.start()
    try:
        wide.answer(HOSTILE[name], ())
        kept, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 2_000_000
    assert kept < 500_000


def test_a_flood_of_new_patterns_is_cut_short_and_known_ones_are_answered(wide: Namespace) -> None:
    assert len(wide.answer("/umtn/blend/*", ())) == len(DOMAINS)
    hard = "/umtn/latent/scale/" + 12 * "{,1,2,3}"
    first = wide.answer(f"{hard}{{8,9}}*", ())
    assert "too many" not in str(first)
    refused = [wide.answer(f"{hard}{i:03d}*", ()) for i in range(100)]
    assert sum("too many new patterns" in str(r) for r in refused) > 30
    assert len(wide.answer("/umtn/blend/*", ())) == len(DOMAINS)


def test_the_memory_of_patterns_is_bounded(wide: Namespace) -> None:
    wide.answer("/umtn/*", ())
    tracemalloc.start()
    try:
        for i in range(2000):
            wide._matching(f"/umtn/latent/scale/*{i * '*'}"[:40] + f"{{,{i}}}", True)
            wide._second = 0.0
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept < 8_000_000


@pytest.mark.parametrize(
    ("pattern", "sentence"),
    [
        ("/umtn/[a-ü]*", "beyond ASCII"),
        ("/umtn/" + 33 * "?", "33 wildcards and groups; at most 32"),
        ("/umtn/" + 200 * "*", "206 characters; at most 128"),
    ],
)
def test_a_refused_pattern_says_why(namespace: Namespace, pattern: str, sentence: str) -> None:
    ((address, (text,)),) = namespace.answer(pattern, (1.0,))
    assert address == "/error" and sentence in str(text)
