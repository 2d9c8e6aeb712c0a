"""The address space as OSCQuery describes it: a tree of nodes with their attributes (Vidvox's proposal).

Where the proposal leaves a choice: a parameter carries VALUE and, as CONTENTS, its normalised twin; a bool's
TYPE is T or F as it stands; events and actions are write-only, an event being OSC's impulse (I).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from realtime.control.namespace import NORMALIZED, Namespace, Value
from realtime.control.osc.packet import encode, encode_flag, encode_head
from realtime.shared.parameters import FAMILIES, STATUS, Parameter, Status

__all__ = ["ATTRIBUTES", "READ", "WRITE", "Node", "Tree"]

READ, WRITE = 1, 2
ATTRIBUTES = (
    "FULL_PATH",
    "CONTENTS",
    "TYPE",
    "ACCESS",
    "VALUE",
    "RANGE",
    "DESCRIPTION",
    "UNIT",
    "CLIPMODE",
)
OPTIONAL = ("TAGS", "EXTENDED_TYPE", "CRITICAL", "OVERLOADS", "HTML")  # known, and carried by no node
_UNITS = {"dB": "gain.db", "ms": "time.ms", "s": "time.second", "Hz": "time.hz"}
_ARGUMENT_TAGS = {"": "I", "text": "s", "text?": "s", "switch": "T"}
_STATUS_TAGS = {"float": "f", "int": "i", "choice": "s", "string": "s"}


@dataclass
class Node:
    """One address. tags: its OSC types ("" for none, "T" for a bool); read: its value as it is sent."""

    path: str
    access: int = 0
    tags: str = ""
    read: Callable[[], Value] | None = None
    static: dict[str, Any] = field(default_factory=dict)
    contents: dict[str, Node] = field(default_factory=dict)

    def attribute(self, name: str) -> Any:
        """One attribute as JSON; None if this node does not carry it."""
        if name == "CONTENTS":
            return {key: node.json() for key, node in self.contents.items()} if self.contents else None
        if name == "VALUE":
            return None if self.read is None else [self._value(self.read())]
        if name == "TYPE" and self.tags == "T" and self.read is not None:
            return "T" if self.read() else "F"
        return self.static.get(name)

    def json(self, names: Sequence[str] = ATTRIBUTES) -> dict[str, Any]:
        """The attributes of these names that it carries; CONTENTS has all of those of the nodes below."""
        found = ((name, self.attribute(name)) for name in names)
        return {name: value for name, value in found if value is not None}

    def packet(self, value: Value) -> bytes:
        """An OSC message that tells of a value, with the type that TYPE names."""
        return encode_flag(self.path, bool(value)) if self.tags == "T" else encode(self.path, value)

    def passed_on(self, arguments: Sequence[object]) -> bytes | None:
        """A message that was sent to a method without a value, typed as TYPE says; None for a button let go."""
        if self.tags == "I":
            return None if [*arguments] == [0] else encode_head(self.path, "I")
        if self.tags == "T" and not isinstance(arguments[0], str):
            return encode_flag(self.path, bool(arguments[0]))
        texts = (a if isinstance(a, str) else f"{a:g}" for a in arguments if isinstance(a, (str, int, float)))
        return encode(self.path, *texts)

    def _value(self, value: Value) -> Value:
        return bool(value) if self.tags == "T" else value


class Tree:
    """All nodes of a namespace as it is now; `revision` tells when it is out of date."""

    def __init__(self, space: Namespace) -> None:
        self.revision = space.revision
        self.nodes: dict[str, Node] = {}
        self._put(_node("/", 0, description="the root of the address space"))
        for parameter in space.parameters:
            self._parameter(space, parameter)
        for status in STATUS:
            self._put(_status(space, status))
        for family in FAMILIES if space.latent_channels else ():
            about = f"{family.description}; a list of numbers sets channels from 0 on"
            self._put(_node(family.address, 0, description=about))
        for parameter in space.channels.values():
            self._put(_value(space, parameter))
        for address, added in space.added.items():
            self._put(_node(address, WRITE, added.tags or "", description=added.description))

    def _put(self, node: Node) -> None:
        """Into its place; a container that is not there yet is made."""
        known = self.nodes.get(node.path)
        if known is not None:  # a container was made before its description came
            node.contents = known.contents
        self.nodes[node.path] = node
        if node.path == "/":
            return
        head, _, name = node.path.rpartition("/")
        if (head or "/") not in self.nodes:
            self._put(_node(head, 0))
        self.nodes[head or "/"].contents[name] = node

    def _parameter(self, space: Namespace, parameter: Parameter) -> None:
        if parameter.kind in ("event", "action"):
            tags = "I" if parameter.kind == "event" else _ARGUMENT_TAGS[parameter.argument]
            self._put(_node(parameter.address, WRITE, tags, description=parameter.description))
            return
        self._put(_value(space, parameter))
        twin = _node(
            parameter.address + NORMALIZED,
            READ | WRITE,
            "f",
            lambda: space.position(parameter),
            f"{parameter.name} as a dial from 0 to 1",
            **_dial(space, parameter),
        )
        self._put(twin)


def _node(
    path: str,
    access: int,
    tags: str = "",
    read: Callable[[], Value] | None = None,
    description: str = "",
    **more: Any,
) -> Node:
    static = {"FULL_PATH": path, "ACCESS": access, **more}
    if tags:
        static["TYPE"] = tags
    if description:
        static["DESCRIPTION"] = description
    return Node(path, access, tags, read, static)


def _dial(space: Namespace, parameter: Parameter) -> dict[str, Any]:
    """RANGE of the normalised twin. A switch or a choice rests at few positions: a client that sets another one
    within MIN and MAX would not read back what it has set."""
    if parameter.kind == "float" and not space.fixed_at_zero(parameter):
        return _between(0.0, 1.0)
    places = [0.0] if parameter.kind == "float" else range(int(parameter.low), int(parameter.high) + 1)
    return _one_of([parameter.normalize(place) for place in places])


def _between(low: float, high: float) -> dict[str, Any]:
    return {"RANGE": [{"MIN": low, "MAX": high}], "CLIPMODE": ["both"]}


def _one_of(values: Sequence[Value]) -> dict[str, Any]:
    return {"RANGE": [{"VALS": [*values]}]}


def _value(space: Namespace, parameter: Parameter) -> Node:
    """A parameter that has a value: number, switch or choice."""
    more: dict[str, Any] = {}
    if parameter.kind == "choice":
        more |= _one_of(parameter.choices)
    elif space.fixed_at_zero(parameter):
        more |= _one_of([0.0])
    elif parameter.kind == "float":
        more |= _between(parameter.low, parameter.high)
    if parameter.unit in _UNITS:
        more["UNIT"] = [_UNITS[parameter.unit]]
    about = parameter.description
    if parameter.unit and parameter.unit not in _UNITS:  # the proposal has no name for it
        about += f" ({parameter.unit})"
    tags = {"choice": "s", "bool": "T"}.get(parameter.kind, "f")
    return _node(parameter.address, READ | WRITE, tags, lambda: space.value(parameter), about, **more)


def _status(space: Namespace, status: Status) -> Node:
    more = {"UNIT": [_UNITS[status.unit]]} if status.unit in _UNITS else {}
    about = status.description
    if status.unit and not more:
        about += f" ({status.unit})"
    read = lambda: space.status_value(status)  # noqa: E731
    return _node(status.address, READ, _STATUS_TAGS[status.kind], read, about, **more)
