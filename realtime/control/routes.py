"""What one address does: a route takes a message's arguments, acts, and returns the replies.

A route never raises on bad input, and nothing moves unless the whole message is right.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np

from realtime.control.values import BadValue, as_number, one_number, quoted
from realtime.shared.memory import SharedState
from realtime.shared.parameters import Family, Parameter, Status

__all__ = [
    "Action",
    "ERROR",
    "NORMALIZED",
    "NOTHING",
    "Reply",
    "Route",
    "Setter",
    "Space",
    "Value",
    "action_route",
    "event_route",
    "list_route",
    "normalized_route",
    "setter",
    "status_route",
    "value_route",
]

ERROR = "/error"
NORMALIZED = "/normalized"

Value = float | int | str
Reply = tuple[str, tuple[Value, ...]]
Route = Callable[[Sequence[object]], list[Reply]]
Setter = Callable[[float], list[Reply]]
NOTHING: list[Reply] = []
# argument: the text, a switch's on or off, None where none is needed. Returns what to answer ("" for nothing);
# ValueError says why not
Action = Callable[[str | bool | None], str]


class Space(Protocol):
    """What a route needs of the namespace that it belongs to."""

    shared: SharedState
    latent_channels: int
    actions: dict[str, Action]

    def set(self, parameter: Parameter, value: object) -> list[Reply]: ...
    def store(self, parameter: Parameter, number: float) -> list[Reply]: ...
    def value(self, parameter: Parameter) -> Value: ...
    def position(self, parameter: Parameter) -> float: ...
    def family(self, family: Family) -> tuple[float, ...]: ...
    def cells_of(self, family: Family) -> slice: ...
    def status_value(self, status: Status) -> Value: ...


def value_route(space: Space, parameter: Parameter) -> Route:
    """One argument sets, none asks."""

    def route(arguments: Sequence[object]) -> list[Reply]:
        if len(arguments) == 1:
            return space.set(parameter, arguments[0])
        if not arguments:
            return [(parameter.address, (space.value(parameter),))]
        return _too_many(parameter.address, arguments)

    return route


def setter(space: Space, parameter: Parameter) -> Setter:
    """The shortest way from a number to the shared memory, for messages that come by the thousand."""
    if parameter.kind != "float" or parameter.stored.startswith("blend/"):
        return lambda number: space.set(parameter, number)
    low, high, cell, shared = parameter.low, parameter.high, parameter.stored, space.shared

    def quick(number: float) -> list[Reply]:
        if low <= number <= high:  # False for NaN
            shared.set(cell, number)
            return NOTHING
        return space.set(parameter, number)

    return quick


def normalized_route(space: Space, parameter: Parameter) -> Route:
    """The same parameter as a dial from 0 to 1."""
    address = parameter.address + NORMALIZED

    def route(arguments: Sequence[object]) -> list[Reply]:
        if not arguments:
            return [(address, (space.position(parameter),))]
        try:
            position = one_number(address, arguments)
        except BadValue as error:
            return [(ERROR, (str(error),))]
        replies = space.store(parameter, parameter.denormalize(position))
        if replies or 0.0 <= position <= 1.0:
            return replies
        return [(ERROR, (f"{address} takes 0 to 1, but {position:g} came; it was clipped",))]

    return route


def event_route(space: Space, parameter: Parameter) -> Route:
    """A press is counted in the shared memory."""

    def route(arguments: Sequence[object]) -> list[Reply]:
        try:
            # A button sends 1 when pressed and 0 when let go; only the press counts.
            pressed = _bare(arguments) or one_number(parameter.address, arguments) > 0
        except BadValue as error:
            return [(ERROR, (str(error),))]
        if pressed:
            space.shared.set(parameter.stored, space.shared.get(parameter.stored) + 1)
        return NOTHING

    return route


def action_route(space: Space, parameter: Parameter) -> Route:
    """Something that the control process does; its answer, or why not, goes to the sender."""
    address = parameter.address

    def route(arguments: Sequence[object]) -> list[Reply]:
        action = space.actions.get(parameter.name)
        if action is None:
            return [(ERROR, (f"{address} is not available in this session",))]
        if len(arguments) > 1:
            return _too_many(address, arguments)
        try:
            if _released(parameter, arguments):
                return NOTHING
            text = action(_action_argument(parameter, arguments))
        except ValueError as error:
            return [(ERROR, (str(error),))]
        return [(address, (text,))] if text else NOTHING

    return route


def list_route(space: Space, family: Family) -> Route:
    """A list sets the channels from 0 on, all or none; without arguments all are told."""

    def route(arguments: Sequence[object]) -> list[Reply]:
        if not arguments:
            return [(family.address, space.family(family))]
        if len(arguments) > space.latent_channels:
            text = f"{family.address} takes up to {space.latent_channels} numbers, but {len(arguments)} came"
            return [(ERROR, (f"{text}; nothing was set",))]
        try:
            numbers = np.array([as_number(f"{family.address}/{i}", a) for i, a in enumerate(arguments)])
        except BadValue as error:
            return [(ERROR, (str(error),))]
        clipped = np.clip(numbers, family.low, family.high)
        space.shared.parameters[space.cells_of(family)][: len(clipped)] = clipped
        outside = int((clipped != numbers).sum())
        if not outside:
            return NOTHING
        text = (
            f"{family.address} takes {family.low:g} to {family.high:g}; {outside} of {len(numbers)} clipped"
        )
        return [(ERROR, (text,))]

    return route


def status_route(space: Space, status: Status) -> Route:
    """A figure that can only be asked for."""

    def route(arguments: Sequence[object]) -> list[Reply]:
        if arguments:
            return [(ERROR, (f"{status.address} can only be read; send it without arguments",))]
        return [(status.address, (space.status_value(status),))]

    return route


def _bare(arguments: Sequence[object]) -> bool:
    """Nothing, or OSC's nil: a bang."""
    return not arguments or (len(arguments) == 1 and arguments[0] is None)


def _too_many(address: str, arguments: Sequence[object]) -> list[Reply]:
    return [(ERROR, (f"{address} takes one argument, but {len(arguments)} came; nothing was set",))]


def _released(parameter: Parameter, arguments: Sequence[object]) -> bool:
    """A button sends 1 when pressed and 0 when let go; only the press counts."""
    plain = parameter.argument in ("", "text?") and not _bare(arguments) and not isinstance(arguments[0], str)
    return plain and as_number(parameter.address, arguments[0]) <= 0


def _action_argument(parameter: Parameter, arguments: Sequence[object]) -> str | bool | None:
    """What the action gets: its text, a switch's on or off, or None."""
    value = arguments[0] if arguments else None
    if isinstance(value, str) and parameter.argument:
        return value
    if parameter.argument == "text":
        if isinstance(value, int) or (isinstance(value, float) and value.is_integer()):
            return str(int(value))  # a place in the set list, from a controller that sends numbers only
        came = "nothing" if value is None else type(value).__name__ + " " + quoted(value)
        raise BadValue(f"{parameter.address} takes a name, but {came} came")
    if parameter.argument == "switch":
        if value is None:
            raise BadValue(f"{parameter.address} takes 0, 1 or a name, but nothing came")
        return as_number(parameter.address, value) > 0
    return None
