"""Which knob, key or pedal moves which parameter, as a text that a hand may edit."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NoReturn, Protocol

from realtime.control.config_files import key_lines, quote, read_toml
from realtime.control.namespace import VALUES, Reply, find_parameter, nearest
from realtime.shared.parameters import PREFIX, Parameter
from umtn.errors import UserError

if TYPE_CHECKING:
    from realtime.control.namespace import Namespace

__all__ = [
    "Binding",
    "Meaning",
    "Say",
    "Source",
    "Target",
    "make_target",
    "mapping_toml",
    "meaning",
    "read_mapping",
    "row_length",
]


Kind = Literal["control", "note", "bend"]
_MOST = {"control": 119, "note": 127}  # controllers 120 to 127 are commands, not knobs
_KEYS = ("parameter", "control", "note", "bend", "channel", "fine", "toggle")
_NOTES = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")
_HEAD = """\
# Which MIDI controller moves which parameter. Any editor may change it while the program does not run.
#   parameter = "mix"      or one value of a choice, "to/piano", or one preset, "preset/load/Intro"
#   control = 0 to 119, or note = 0 to 127 (for "to" and "preset/load": the first of a row), or bend = true
#   channel = 1 to 16      leave it out for any channel
#   fine = true            the controller sends 14 bits: its low ones as number + 32
#   toggle = true / false  a button that changes state at each press / that acts while it is held
"""


@dataclass(frozen=True)
class Source:
    """One control of the device. channel: 1 to 16, 0 for any. fine: its low 7 bits come as number + 32."""

    kind: Kind
    number: int = 0
    channel: int = 0
    fine: bool = False

    def __str__(self) -> str:
        where = f", channel {self.channel}" if self.channel else ""
        if self.kind == "note":
            return f"note {_NOTES[self.number % 12]}{self.number // 12 - 1} ({self.number}){where}"
        if self.kind == "bend":
            return f"pitch bend{where}"
        return f"controller {self.number}{' (14 bit)' if self.fine else ''}{where}"


@dataclass(frozen=True)
class Binding:
    """`parameter` (or one of its values, `to/piano`) follows `source`. toggle: None leaves it to the source."""

    parameter: str
    source: Source
    toggle: bool | None = None


def mapping_toml(bindings: Sequence[Binding]) -> str:
    """The whole mapping as a file."""
    return _HEAD + "".join(f"\n[[map]]\n{_entry(b)}" for b in bindings)


def _entry(b: Binding) -> str:
    source = b.source
    lines = [f"parameter = {quote(b.parameter)}"]
    lines.append("bend = true" if source.kind == "bend" else f"{source.kind} = {source.number}")
    lines += [f"channel = {source.channel}"] if source.channel else []
    lines += ["fine = true"] if source.fine else []
    lines += [f"toggle = {str(b.toggle).lower()}"] if b.toggle is not None else []
    return "\n".join(lines) + "\n"


def read_mapping(path: Path) -> list[Binding]:
    """What the file says; nothing if there is none. UserError names the line of the first slip."""
    if not os.path.exists(path):
        return []
    content, text = read_toml(path)
    unknown = [key for key in content if key != "map"]
    entries = content.get("map", [])
    if unknown or not isinstance(entries, list) or not all(isinstance(e, dict) for e in entries):
        raise UserError(f"{path.name}: only entries [[map]] are wanted{_with(unknown)}")
    return [_Entry(path, text, i, entry).binding() for i, entry in enumerate(entries)]


def _with(unknown: list[str]) -> str:
    return f", but {unknown[0][:60]!r} came" if unknown else ""


class _Entry:
    """One [[map]] of the file."""

    def __init__(self, path: Path, text: str, index: int, content: dict[str, Any]) -> None:
        self._path, self._text, self._index, self._content = path, text, index, content

    def binding(self) -> Binding:
        """The entry, judged."""
        for key in self._content:
            if key not in _KEYS:
                self._refuse(key, f"{key[:60]!r} is none of {', '.join(_KEYS)}")
        name = self._content.get("parameter")
        if not isinstance(name, str) or not name:
            self._refuse("parameter", 'parameter = "mix", or another name, is wanted')
        toggle = self._switch("toggle") if "toggle" in self._content else None
        return Binding(name, self._source(), toggle)

    def _source(self) -> Source:
        given = [key for key in ("control", "note", "bend") if key in self._content]
        if len(given) != 1:
            self._refuse("parameter", "one of control, note and bend = true is wanted")
        channel = self._whole("channel", 1, 16) if "channel" in self._content else 0
        if given[0] == "bend":
            if not self._switch("bend"):
                self._refuse("bend", "bend = true is wanted, or a control or note")
            return Source("bend", 0, channel)
        kind: Kind = "control" if given[0] == "control" else "note"
        fine = "fine" in self._content and self._switch("fine")
        if fine and kind != "control":
            self._refuse("fine", "fine belongs to a control")
        return Source(kind, self._whole(kind, 0, 31 if fine else _MOST[kind]), channel, fine)

    def _whole(self, key: str, low: int, high: int) -> int:
        value = self._content[key]
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            self._refuse(key, f"{key} takes {low} to {high}, but {repr(value)[:60]} came")
        return int(value)

    def _switch(self, key: str) -> bool:
        value = self._content[key]
        if not isinstance(value, bool):
            self._refuse(key, f"{key} takes true or false, but {repr(value)[:60]} came")
        return value

    def _refuse(self, key: str, reason: str) -> NoReturn:
        lines = key_lines(self._text)
        heads = [i for i, (_, name) in enumerate(lines) if name == "map"]
        line = 0
        if self._index < len(heads):
            start = heads[self._index]
            end = heads[self._index + 1] if self._index + 1 < len(heads) else len(lines)
            line = next((n for n, name in lines[start:end] if name == f"map/{key}"), lines[start][0])
        raise UserError(f"{self._path.name}{f', line {line}' if line else ''}: {reason}")


# What a controller does to its parameter: a knob with pick-up, a button, a row of keys.
#
# Threading model: all of it runs in the MIDI thread. Everything is set through `Namespace.answer`, as by OSC.


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
        if parameter.name in ("preset/save", "preset/delete", "model/load"):
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
