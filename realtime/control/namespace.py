"""What each `/umtn/…` address means, apart from how it arrived: OSC today, other protocols later.

`answer(address, arguments)` acts and returns the replies for the sender; it never raises on bad input and
nothing moves unless the whole message is right (a number out of range is clipped, and said so).
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Sequence

from realtime.control.pattern import is_pattern, matches
from realtime.parameters import FAMILIES, MAX_LATENT, PREFIX, STATUS, Parameter, Status, with_domains
from realtime.shared import SharedState

__all__ = ["ERROR", "Action", "Namespace", "Reply"]

ERROR = "/error"
NORMALIZED = "/normalized"
MAX_PATTERN = 128
_SHOWN = 60  # characters of a foreign string that an error quotes

Value = float | int | str
Reply = tuple[str, tuple[Value, ...]]
Route = Callable[[Sequence[object]], list[Reply]]
# argument: the text, a switch's on or off, None where none is needed. Returns what to answer ("" for nothing);
# ValueError says why not
Action = Callable[[str | bool | None], str]
_FAMILIES = {family.address: family for family in FAMILIES}
_NOTHING: list[Reply] = []


class BadValue(ValueError):
    """An argument that cannot be used."""


def quoted(text: object) -> str:
    """A foreign value, short and printable."""
    return repr(text if not isinstance(text, str) else text[:_SHOWN])[: _SHOWN + 4]


class Namespace:
    """The address space of one session, over its shared memory."""

    def __init__(self, shared: SharedState, domains: tuple[str, ...], latent_channels: int = 0) -> None:
        self.shared = shared
        self.domains = domains
        self.latent_channels = min(latent_channels, MAX_LATENT)
        self.texts = {status.name: "" for status in STATUS if status.kind == "string"}
        self.actions: dict[str, Action] = {}
        self.parameters = with_domains(domains)
        self.routes: dict[str, Route] = {}
        self._events = {p.address for p in self.parameters if p.kind in ("event", "action")}
        self._actions: set[str] = set()
        for parameter in self.parameters:
            self._add_parameter(parameter)
        for status in STATUS:
            self.routes[status.address] = self._status_route(status)

    def add(self, address: str, route: Route) -> None:
        """A further address (ping, subscribe); patterns do not reach it."""
        self.routes[address] = route
        self._actions.add(address)

    def answer(self, address: str, arguments: Sequence[object]) -> list[Reply]:
        """Act on one message; the replies are for its sender."""
        route = self.routes.get(address) or self._family_route(address)
        if route is not None:
            return route(arguments)
        if is_pattern(address):
            return self._answer_pattern(address, arguments)
        if address in (ERROR, f"{PREFIX}pong"):
            return _NOTHING  # another server's replies: answering them would never end
        near = difflib.get_close_matches(address[:MAX_PATTERN], list(self.routes), 1, 0.0)
        return [(ERROR, (f"unknown address {quoted(address)}; the nearest known is {near[0]}",))]

    def _answer_pattern(self, pattern: str, arguments: Sequence[object]) -> list[Reply]:
        if len(pattern) > MAX_PATTERN:
            return [(ERROR, (f"an address pattern of {len(pattern)} characters; at most {MAX_PATTERN}",))]
        # A bare "/umtn/*" asks for values; it must not fire events in passing.
        skipped = self._actions if arguments else self._actions | self._events
        found = [a for a in self.routes if a not in skipped and matches(pattern, a)]
        if not found:
            return [(ERROR, (f"no address matches the pattern {quoted(pattern)}",))]
        return [reply for address in found for reply in self.routes[address](arguments)]

    def value(self, parameter: Parameter) -> Value:
        """Current value as it is sent: a choice by its name, a bool as 0 or 1."""
        number = self.shared.get(parameter.stored)
        if parameter.kind == "choice" and 0 <= int(number) < len(parameter.choices):
            return parameter.choices[int(number)]
        return int(number) if parameter.kind in ("bool", "choice") else number

    def status_value(self, status: Status) -> Value:
        """Latest status figure as it is sent."""
        if status.kind == "string":
            return self.texts[status.name]
        number = self.shared.status_get(status.name)
        if not math.isfinite(number):
            return 0.0
        if status.kind == "choice" and 0 <= int(number) < len(self.domains):
            return self.domains[int(number)]
        return int(number) if status.kind in ("int", "choice") else number

    def set(self, parameter: Parameter, value: object) -> list[Reply]:
        """Store a value given by name, number or bool; the reply tells of clipping or of refusal."""
        try:
            number = _index(parameter, value) if isinstance(value, str) else _number(parameter.address, value)
        except BadValue as error:
            return [(ERROR, (str(error),))]
        return self._store(parameter, number)

    def _store(self, parameter: Parameter, number: float) -> list[Reply]:
        clipped = parameter.clip(number)
        self.shared.set(parameter.stored, clipped)
        if parameter.name == "to":  # choosing a domain ends a blend
            for i in range(len(self.domains)):
                self.shared.set(f"blend/{i}", 0.0)
        if parameter.low <= number <= parameter.high:
            return _NOTHING
        text = (
            f"{parameter.address} takes {parameter.low:g} to {parameter.high:g} {parameter.unit}".rstrip()
            + f", but {number:g} came; {clipped:g} was set"
        )
        return [(ERROR, (text,))]

    def _add_parameter(self, parameter: Parameter) -> None:
        if parameter.kind == "event":
            self.routes[parameter.address] = self._event_route(parameter)
            return
        if parameter.kind == "action":
            self.routes[parameter.address] = self._action_route(parameter)
            return
        self.routes[parameter.address] = self._value_route(parameter)
        self.routes[parameter.address + NORMALIZED] = self._normalized_route(parameter)

    def _value_route(self, parameter: Parameter) -> Route:
        def route(arguments: Sequence[object]) -> list[Reply]:
            if len(arguments) == 1:
                return self.set(parameter, arguments[0])
            if not arguments:
                return [(parameter.address, (self.value(parameter),))]
            return _too_many(parameter.address, arguments)

        return route

    def _normalized_route(self, parameter: Parameter) -> Route:
        address = parameter.address + NORMALIZED

        def route(arguments: Sequence[object]) -> list[Reply]:
            if not arguments:
                return [(address, (float(parameter.normalize(self.shared.get(parameter.stored))),))]
            if len(arguments) > 1:
                return _too_many(address, arguments)
            try:
                position = _number(address, arguments[0])
            except BadValue as error:
                return [(ERROR, (str(error),))]
            self.shared.set(parameter.stored, parameter.denormalize(position))
            if 0.0 <= position <= 1.0:
                return _NOTHING
            return [(ERROR, (f"{address} takes 0 to 1, but {position:g} came; it was clipped",))]

        return route

    def _event_route(self, parameter: Parameter) -> Route:
        def route(arguments: Sequence[object]) -> list[Reply]:
            if len(arguments) > 1:
                return _too_many(parameter.address, arguments)
            try:
                # A button sends 1 when pressed and 0 when let go; only the press counts.
                pressed = not arguments or _number(parameter.address, arguments[0]) > 0
            except BadValue as error:
                return [(ERROR, (str(error),))]
            if pressed:
                self.shared.set(parameter.stored, self.shared.get(parameter.stored) + 1)  # events are counted
            return _NOTHING

        return route

    def _action_route(self, parameter: Parameter) -> Route:
        address = parameter.address

        def route(arguments: Sequence[object]) -> list[Reply]:
            action = self.actions.get(parameter.name)
            if action is None:
                return [(ERROR, (f"{address} is not available in this session",))]
            if len(arguments) > 1:
                return _too_many(address, arguments)
            try:
                if _released(parameter, arguments):
                    return _NOTHING
                text = action(_action_argument(parameter, arguments))
            except ValueError as error:
                return [(ERROR, (str(error),))]
            return [(address, (text,))] if text else _NOTHING

        return route

    def _family_route(self, address: str) -> Route | None:
        """Numbered parameters (latent/scale/17) are not in the table of routes: there are hundreds."""
        head, _, number = address.rpartition("/")
        family = _FAMILIES.get(head)
        if family is None or not number.isdecimal() or not int(number) < self.latent_channels:
            return None
        parameter = Parameter(
            f"{family.name}/{int(number)}", "float", family.low, family.high, "", family.default, "linear", 0.0,
            family.description, None,
        )  # fmt: skip
        return self._value_route(parameter)

    def _status_route(self, status: Status) -> Route:
        def route(arguments: Sequence[object]) -> list[Reply]:
            if arguments:
                return [(ERROR, (f"{status.address} can only be read; send it without arguments",))]
            return [(status.address, (self.status_value(status),))]

        return route


def _released(parameter: Parameter, arguments: Sequence[object]) -> bool:
    """A button sends 1 when pressed and 0 when let go; only the press counts."""
    plain = parameter.argument in ("", "text?") and bool(arguments) and not isinstance(arguments[0], str)
    return plain and _number(parameter.address, arguments[0]) <= 0


def _action_argument(parameter: Parameter, arguments: Sequence[object]) -> str | bool | None:
    """What the action gets: its text, a switch's on or off, or None."""
    value = arguments[0] if arguments else None
    if isinstance(value, str) and parameter.argument:
        return value
    if parameter.argument == "text":
        came = "nothing" if value is None else type(value).__name__ + " " + quoted(value)
        raise BadValue(f"{parameter.address} takes a name, but {came} came")
    if parameter.argument == "switch":
        if value is None:
            raise BadValue(f"{parameter.address} takes 0, 1 or a name, but nothing came")
        return _number(parameter.address, value) > 0
    return None


def _too_many(address: str, arguments: Sequence[object]) -> list[Reply]:
    return [(ERROR, (f"{address} takes one argument, but {len(arguments)} came; nothing was set",))]


def _number(address: str, value: object) -> float:
    if not isinstance(value, (int, float)):
        raise BadValue(f"{address} takes a number, but {type(value).__name__} {quoted(value)} came")
    number = float(value)
    if not math.isfinite(number):
        raise BadValue(f"{address} takes a finite number, but {number} came; nothing was set")
    return number


def _index(parameter: Parameter, text: str) -> float:
    if parameter.kind != "choice":
        raise BadValue(f"{parameter.address} takes a number, but the string {quoted(text)} came")
    if text in parameter.choices:
        return float(parameter.choices.index(text))
    near = difflib.get_close_matches(text[:_SHOWN], parameter.choices, 1)
    hint = f"; did you mean {near[0]}?" if near else ""
    known = ", ".join(parameter.choices)
    raise BadValue(f"{parameter.address} knows {known}, but {quoted(text)} came{hint}")
