"""What one address does: a route takes a message's arguments, acts, and returns the replies.

A route never raises on bad input, and nothing moves unless the whole message is right.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from realtime.control.values import BadValue, as_number, one_number, quoted
from realtime.parameters import Family, Parameter, Status

if TYPE_CHECKING:
    from realtime.control.namespace import Namespace

__all__ = ["ERROR", "NORMALIZED", "NOTHING", "Reply", "Route", "Setter", "Value"]

ERROR = "/error"
NORMALIZED = "/normalized"

Value = float | int | str
Reply = tuple[str, tuple[Value, ...]]
Route = Callable[[Sequence[object]], list[Reply]]
Setter = Callable[[float], list[Reply]]
NOTHING: list[Reply] = []


def value_route(space: Namespace, parameter: Parameter) -> Route:
    """One argument sets, none asks."""

    def route(arguments: Sequence[object]) -> list[Reply]:
        if len(arguments) == 1:
            return space.set(parameter, arguments[0])
        if not arguments:
            return [(parameter.address, (space.value(parameter),))]
        return _too_many(parameter.address, arguments)

    return route


def setter(space: Namespace, parameter: Parameter) -> Setter:
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


def normalized_route(space: Namespace, parameter: Parameter) -> Route:
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


def event_route(space: Namespace, parameter: Parameter) -> Route:
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


def action_route(space: Namespace, parameter: Parameter) -> Route:
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


def list_route(space: Namespace, family: Family) -> Route:
    """A list sets the channels from 0 on, all or none; without arguments all are told."""

    def route(arguments: Sequence[object]) -> list[Reply]:
        if not arguments:
            return [(family.address, space.family(family))]
        if len(arguments) > space.latent_channels:
            text = f"{family.address} takes up to {space.latent_channels} numbers, but {len(arguments)} came"
            return [(ERROR, (f"{text}; nothing was set",))]
        if not all(isinstance(a, (int, float)) and math.isfinite(a) for a in arguments):
            return [(ERROR, (_first_bad(family, arguments),))]
        numbers = np.array(arguments, np.float64)
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


def _first_bad(family: Family, arguments: Sequence[object]) -> str:
    """Which number of a list is none."""
    try:
        for i, argument in enumerate(arguments):
            as_number(f"{family.address}/{i}", argument)
    except BadValue as error:
        return str(error)
    return f"{family.address} takes numbers; nothing was set"


def status_route(space: Namespace, status: Status) -> Route:
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
