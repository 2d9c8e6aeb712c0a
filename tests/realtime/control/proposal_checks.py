"""What the text of the OSCQuery proposal states about a node and about HOST_INFO, as lists of faults."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

Node = dict[str, Any]

OPTIONAL = frozenset(
    [
        "ACCESS",
        "VALUE",
        "RANGE",
        "DESCRIPTION",
        "TAGS",
        "EXTENDED_TYPE",
        "UNIT",
        "CRITICAL",
        "CLIPMODE",
        "OVERLOADS",
        "HTML",
    ]
)
# On request only: never part of the description of a node
ON_REQUEST = frozenset({"HOST_INFO", "HTML"})
CLIPMODES = frozenset({"none", "low", "high", "both"})
# units.md, by dataspace
UNITS = frozenset(
    [
        f"distance.{unit}"
        for unit in ["m", "km", "dm", "cm", "mm", "um", "nm", "pm", "inches", "feet", "miles", "pixels"]
    ]
    + [f"angle.{unit}" for unit in ("degree", "radian")]
    + [f"gain.{unit}" for unit in ("linear", "midigain", "db", "db-raw")]
    + [f"time.{unit}" for unit in ["second", "bark", "bpm", "cents", "hz", "mel", "midinote", "ms", "speed"]]
    + [f"speed.{unit}" for unit in ["m/s", "mph", "km/h", "kn", "ft/s", "ft/h"]]
)


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def json_fits(tag: str, value: Any) -> bool:
    """Whether `value` is the JSON form of a value of that type tag.

    T and F are nil in the third revision and booleans since: both are let pass.
    """
    if tag in "ih":
        return _number(value) and float(value).is_integer()
    if tag in "fdt":
        return _number(value)
    if tag in "sSc":
        return isinstance(value, str)
    if tag == "r":
        return isinstance(value, str) and len(value) == 9 and value[0] == "#" and int(value[1:], 16) >= 0
    return value is None or (tag in "TF" and isinstance(value, bool))


def structure(type_tags: str) -> list[Any]:
    """ "i[ff]i" as ["i", ["f", "f"], "i"]; ValueError for brackets that do not match or tags that OSC lacks."""
    stack: list[list[Any]] = [[]]
    for tag in type_tags:
        if tag == "[":
            stack[-1].append([])
            stack.append(stack[-1][-1])
        elif tag == "]" and len(stack) > 1:
            stack.pop()
        elif tag in "ifsbhtdScrmTFNI":
            stack[-1].append(tag)
        else:
            raise ValueError(f"TYPE {type_tags!r}: {tag!r} is out of place")
    if len(stack) > 1:
        raise ValueError(f"TYPE {type_tags!r}: a bracket stays open")
    return stack[0]


def _well_formed(type_tags: str) -> bool:
    try:
        structure(type_tags)
    except ValueError:
        return False
    return True


def per_value(tags: list[Any], items: Any) -> Iterator[tuple[str, Any]]:
    """Pairs each type tag with its item of VALUE, RANGE, UNIT, ...: one item may stand for all of them."""
    if not isinstance(items, list):
        raise ValueError(f"{items!r} is not an array")
    if len(items) == 1 < len(tags):
        items = items * len(tags)
    if len(items) != len(tags):
        raise ValueError(f"{items!r} has {len(items)} items for {len(tags)} types")
    for tag, item in zip(tags, items):
        if isinstance(tag, list):
            yield from per_value(tag, item)
        else:
            yield tag, item


def _range_fits(tag: str, limits: Any) -> bool:
    if not isinstance(limits, dict) or set(limits) - {"MIN", "MAX", "VALS"}:
        return False
    ends = [limits[end] for end in ("MIN", "MAX") if end in limits]
    choices = limits.get("VALS", [])
    return (
        isinstance(choices, list)
        and all(json_fits(tag, value) for value in [*ends, *choices])
        and ends == sorted(ends)
    )


# Attributes with one item for each value
PER_VALUE: dict[str, Callable[[str, Any], bool]] = {
    "VALUE": json_fits,
    "RANGE": _range_fits,
    "CLIPMODE": lambda tag, item: item in CLIPMODES,
    "UNIT": lambda tag, item: item in UNITS,
    "EXTENDED_TYPE": lambda tag, item: isinstance(item, str),
}
# Attributes of the node as a whole
WHOLE: dict[str, Callable[[Any], bool]] = {
    "TYPE": lambda item: isinstance(item, str) and _well_formed(item),
    "CONTENTS": lambda item: isinstance(item, dict),
    "ACCESS": lambda item: type(item) is int and item in (0, 1, 2, 3),
    "DESCRIPTION": lambda item: isinstance(item, str),
    "TAGS": lambda item: isinstance(item, list) and all(isinstance(tag, str) for tag in item),
    "CRITICAL": lambda item: isinstance(item, bool),
    "OVERLOADS": lambda item: isinstance(item, list) and all("CONTENTS" not in other for other in item),
}


def readable(node: Node) -> bool:
    """Without ACCESS a value is readable where VALUE is supported."""
    return bool(node.get("ACCESS", 3) & 1)


def writable(node: Node) -> bool:
    """Without ACCESS everything that has a TYPE is writable."""
    return "TYPE" in node and bool(node.get("ACCESS", 3) & 2)


def node_faults(node: Node, path: str, extensions: dict[str, bool]) -> Iterator[str]:
    """What one node at `path` breaks, its contents not looked into."""
    if node.get("FULL_PATH") != path:
        yield f"FULL_PATH {node.get('FULL_PATH')!r} at {path}"
    for name in sorted(ON_REQUEST & set(node)):
        yield f"{path}: {name} was not asked for"
    for name in sorted(OPTIONAL & set(node)):
        if not extensions.get(name):
            yield f"{path}: {name} is served but not in EXTENSIONS"
    for name in sorted(set(WHOLE) & set(node)):
        if not WHOLE[name](node[name]):
            yield f"{path}: {name} {node[name]!r}"
    if "VALUE" in node and not readable(node):
        yield f"{path}: VALUE though ACCESS is {node['ACCESS']}"
    if node.get("ACCESS") and "TYPE" not in node:
        yield f"{path}: a value without TYPE"
    yield from _value_faults(node, path)


def _value_faults(node: Node, path: str) -> Iterator[str]:
    if not WHOLE["TYPE"](node.get("TYPE", "")):
        return  # then nothing can be said of its values
    for name in sorted(set(PER_VALUE) & set(node)):
        try:
            pairs = list(per_value(structure(node.get("TYPE", "")), node[name]))
        except ValueError as error:
            yield f"{path}: {name}: {error}"
            continue
        yield from (
            f"{path}: {name} {item!r} for {tag}" for tag, item in pairs if not PER_VALUE[name](tag, item)
        )


def tree_faults(node: Node, path: str, extensions: dict[str, bool]) -> Iterator[str]:
    """Faults of a node and of all below it; children lie where their names say."""
    yield from node_faults(node, path, extensions)
    for name, child in node.get("CONTENTS", {}).items():
        yield from tree_faults(child, f"{path.rstrip('/')}/{name}", extensions)


HOST_KEYS: dict[str, Callable[[Any], bool]] = {
    "NAME": lambda item: isinstance(item, str),
    "EXTENSIONS": lambda item: (
        isinstance(item, dict) and all(isinstance(flag, bool) for flag in item.values())
    ),
    "OSC_IP": lambda item: isinstance(item, str),
    "OSC_PORT": lambda item: type(item) is int,
    "OSC_TRANSPORT": lambda item: item in ("TCP", "UDP"),
    "WS_IP": lambda item: isinstance(item, str),
    "WS_PORT": lambda item: type(item) is int,
}


def host_faults(info: Node) -> Iterator[str]:
    """What HOST_INFO breaks; every key of it may be missing."""
    for name in sorted(set(HOST_KEYS) & set(info)):
        if not HOST_KEYS[name](info[name]):
            yield f"HOST_INFO: {name} {info[name]!r}"
