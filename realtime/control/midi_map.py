"""Which knob, key or pedal moves which parameter, as a text that a hand may edit."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NoReturn

from realtime.control.store import key_lines, quote, read_toml
from realtime.errors import UserError

__all__ = ["Binding", "Source", "mapping_toml", "read_mapping"]

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
