"""What a controller does to its parameter: a knob with pick-up, a button, a row of keys.

Threading model: all of it runs in the MIDI thread. Everything is set through `Namespace.answer`, as by OSC.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from realtime.control.lookup import VALUES, find_parameter, nearest
from realtime.control.midi_map import Binding
from realtime.control.namespace import Reply
from realtime.errors import UserError
from realtime.parameters import PREFIX, Parameter

if TYPE_CHECKING:
    from realtime.control.namespace import Namespace

__all__ = ["Meaning", "Say", "Target", "make_target", "meaning", "row_length"]

PICK_UP = 1.5 / 127  # of the dial: so near counts as reached
MOST_IN_A_ROW = 128
Say = Callable[[list[Reply]], None]


class Target(Protocol):
    """What a binding does. position: 0..1 of a knob; pressed: of a key or pad; step: which key of a row."""

    def turn(self, position: float) -> None: ...

    def stands(self, position: float) -> None: ...

    def press(self, pressed: bool, step: int) -> None: ...


@dataclass(frozen=True)
class Meaning:
    """What a target's name stands for: a parameter, or one value of it."""

    parameter: Parameter
    value: str = ""


def meaning(namespace: Namespace, name: str) -> Meaning:
    """`mix`, `/umtn/mix`, `to/piano`, `preset/load/Intro`, `latent/scale/3`; UserError for anything else."""
    name = name.removeprefix(PREFIX).strip("/")
    parameter = find_parameter(namespace, name)
    if parameter is not None:
        if parameter.name in ("preset/save", "model/load"):
            raise UserError(f"{parameter.name} needs a name; map {parameter.name}/NAME")
        return Meaning(parameter)
    for candidate in namespace.parameters:
        head = candidate.name + "/"
        takes_value = candidate.kind == "choice" or candidate.argument in ("text", "text?")
        if takes_value and name.startswith(head) and name != head:
            value = name.removeprefix(head)
            if candidate.kind == "choice" and value not in candidate.choices:
                raise UserError(
                    f"{candidate.name} knows {', '.join(candidate.choices)}, but {value[:60]!r} came"
                )
            return Meaning(candidate, value)
    raise UserError(f"there is no parameter {name[:60]!r}{nearest(namespace, name)}")


def row_length(m: Meaning) -> int:
    """How many keys in a row belong to it: one for each domain, or preset; 1 for all else."""
    if m.value:
        return 1
    if m.parameter.kind == "choice":
        return max(len(m.parameter.choices), 1)
    return MOST_IN_A_ROW if m.parameter.argument == "text" else 1


def make_target(namespace: Namespace, binding: Binding, say: Say) -> Target | None:
    """The target of a binding, or None if this bundle has none of that name."""
    try:
        m = meaning(namespace, binding.parameter)
    except UserError:
        return None
    if m.parameter.kind in VALUES and not m.value and m.parameter.kind != "bool":
        return _Knob(namespace, m.parameter, say)
    toggle = binding.toggle if binding.toggle is not None else binding.source.kind == "note"
    return _Button(namespace, m, toggle, say)


class _Knob:
    """A dial with soft take-over: it moves its parameter once it has come to where the parameter stands."""

    def __init__(self, namespace: Namespace, parameter: Parameter, say: Say) -> None:
        self._namespace, self._parameter, self._say = namespace, parameter, say
        self._position: float | None = None
        self._written: float | None = None

    def stands(self, position: float) -> None:
        """Where the knob is known to be; nothing moves."""
        self._position = position

    def turn(self, position: float) -> None:
        """Follow, or wait to be picked up."""
        p, shared = self._parameter, self._namespace.shared
        now = shared.get(p.stored)
        before, self._position = self._position, position
        if now != self._written and not self._reached(p.normalize(now), before, position):
            return
        value = p.denormalize(position)
        if p.kind != "choice" or value != now:  # choosing a domain again would end a blend
            self._say(self._namespace.answer(p.address, [value]))
        self._written = shared.get(p.stored)

    def _reached(self, here: float, before: float | None, position: float) -> bool:
        steps = self._parameter.high - self._parameter.low
        near = max(PICK_UP, 0.5 / steps) if self._parameter.kind == "choice" and steps > 0 else PICK_UP
        if before is None:
            return abs(position - here) <= near
        crossed = (before - here) * (position - here) <= 0
        return crossed or min(abs(position - here), abs(before - here)) <= near

    def press(self, pressed: bool, step: int) -> None:
        """A row of keys chooses; a single key turns no dial."""
        if pressed and self._parameter.kind == "choice":
            self._say(self._namespace.answer(self._parameter.address, [float(step)]))


class _Button:
    """Switches, fires an event, or does an action. A knob or pedal is pressed in its upper half."""

    def __init__(self, namespace: Namespace, m: Meaning, toggle: bool, say: Say) -> None:
        self._namespace, self._meaning, self._toggle, self._say = namespace, m, toggle, say
        self._down = False

    def stands(self, position: float) -> None:
        """Where the controller is known to be; a button held while it is learnt is down already."""
        self._down = position >= 0.5

    def turn(self, position: float) -> None:
        """A controller as a button."""
        pressed = position >= 0.5
        if pressed != self._down:
            self.press(pressed, 0)
        self._down = pressed

    def press(self, pressed: bool, step: int) -> None:
        """The button goes down or up."""
        argument = self._argument(pressed, step)
        if argument is not None:
            self._say(self._namespace.answer(self._meaning.parameter.address, [argument]))

    def _argument(self, pressed: bool, step: int) -> float | str | None:
        """What to send; None for nothing."""
        p, value = self._meaning.parameter, self._meaning.value
        if p.kind == "bool" and not self._toggle:
            return float(pressed)
        if not pressed:
            return None
        if p.kind == "bool":
            return float(self._namespace.shared.get(p.stored) < 0.5)
        if p.argument == "switch":
            return float(not self._namespace.shared.status_get("recording") > 0)
        return value or (str(step + 1) if p.argument == "text" else 1.0)
