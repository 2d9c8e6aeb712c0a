"""From MIDI messages to targets: 14-bit pairs put together, keys and rows, program changes, learning.

Threading model: `handle` is called by the MIDI thread alone; `bindings` is replaced as a whole, by any thread.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from realtime.control.midi_map import Binding, Source
from realtime.control.midi_targets import Meaning, Say, Target, make_target, meaning, row_length
from realtime.errors import UserError
from realtime.parameters import PREFIX

if TYPE_CHECKING:
    from realtime.control.namespace import Namespace

__all__ = ["MESSAGES", "MidiInput"]

MESSAGES = ("control_change", "note_on", "note_off", "pitchwheel", "program_change")
FINE_PAIR_S = 0.05  # the two halves of a 14-bit value come one after the other
JITTER = 2  # steps that a fader may move by itself
_LAST_KNOB = 119
_NO_KNOBS = range(98, 102)  # addresses of (non-)registered parameters


class MidiInput:
    """Acts on the messages of one port. learned: called with a new binding."""

    def __init__(self, namespace: Namespace, say: Say, learned: Callable[[Binding], None]) -> None:
        self._namespace, self._say, self._learned = namespace, say, learned
        self.learning: str | None = None
        self._bindings: tuple[Binding, ...] = ()
        self._targets: dict[tuple[str, int], list[tuple[int, int, bool, Target]]] = {}
        self._made: dict[Binding, Target] = {}
        self._parameters: object = None  # of the bundle that the targets were made for
        self._made_from: object = None
        self._values: dict[tuple[int, int], int] = {}  # (channel, controller) -> last 7 bits
        self._coarse: dict[tuple[int, int], int] = {}
        self._fresh: tuple[Binding, float] | None = None  # just learned: its other half may follow

    @property
    def bindings(self) -> tuple[Binding, ...]:
        """What is mapped."""
        return self._bindings

    @bindings.setter
    def bindings(self, bindings: Sequence[Binding]) -> None:
        self._bindings = tuple(bindings)

    def handle(self, message: Any) -> None:
        """Act on one message of mido's."""
        kind = message.type
        if kind not in MESSAGES:
            return
        bindings = self._bindings
        if self._made_from is not bindings or self._parameters is not self._namespace.parameters:
            self._make_targets()
            self._made_from = bindings
        channel = message.channel + 1
        if kind == "control_change":
            self._control(channel, message.control, message.value)
        elif kind == "pitchwheel":
            self._bend(channel, (message.pitch + 8192) / 16383)
        elif kind == "program_change":
            self._say(self._namespace.answer(f"{PREFIX}preset/load", [str(message.program + 1)]))
        else:
            self._note(channel, message.note, kind == "note_on" and message.velocity > 0)

    def _make_targets(self) -> None:
        """Targets of all bindings; those that stay keep what they know of their knob."""
        parameters = self._namespace.parameters
        kept = self._made if parameters is self._parameters else {}
        made: dict[Binding, Target] = {}
        places: dict[tuple[str, int], list[tuple[int, int, bool, Target]]] = {}
        for b in self._bindings:
            target = kept.get(b) or self._new_target(b)
            if target is None:
                continue
            made[b] = target
            keys = row_length(meaning(self._namespace, b.parameter)) if b.source.kind == "note" else 1
            for step in range(keys):
                place = places.setdefault((b.source.kind, b.source.number + step), [])
                place.append((b.source.channel, step, b.source.fine, target))
        self._targets, self._made, self._parameters = places, made, parameters

    def _new_target(self, b: Binding) -> Target | None:
        target = make_target(self._namespace, b, self._say)
        value = self._values.get((b.source.channel, b.source.number))
        if target is not None and value is not None and b.source.kind == "control":
            low = self._values.get((b.source.channel, b.source.number + 32), 0)
            target.stands((value * 128 + low) / 16383 if b.source.fine else value / 127)
        return target

    def _at(self, kind: str, number: int, channel: int) -> list[tuple[int, bool, Target]]:
        found = self._targets.get((kind, number), ())
        return [(step, fine, target) for where, step, fine, target in found if where in (0, channel)]

    def _control(self, channel: int, number: int, value: int) -> None:
        if number > _LAST_KNOB:
            return
        before = self._values.get((channel, number))
        self._values[(channel, number)] = value
        if self._fresh is not None and self._other_half(channel, number):
            return
        if self.learning is not None and number not in _NO_KNOBS:
            if before is None or abs(value - before) > JITTER or value in (0, 127):
                self._learn(Source("control", number, channel))
            return
        for _, fine, target in self._at("control", number, channel):
            target.turn(self._coarse_position(channel, number, value, before) if fine else value / 127)
        if 32 <= number < 64:
            coarse = self._values.get((channel, number - 32), 0)
            for _, fine, target in self._at("control", number - 32, channel):
                if fine:
                    target.turn((coarse * 128 + value) / 16383)

    def _coarse_position(self, channel: int, number: int, value: int, before: int | None) -> float:
        """Where a 14-bit knob is while its low bits are still to come: on the side that it comes from."""
        if before is None or value == before:
            low = self._values.get((channel, number + 32), 0)
        else:
            low = 0 if value > before else 127
        return (value * 128 + low) / 16383

    def _bend(self, channel: int, position: float) -> None:
        if self.learning is not None:
            self._learn(Source("bend", 0, channel))
            return
        for _, _, target in self._at("bend", 0, channel):
            target.turn(position)

    def _note(self, channel: int, number: int, pressed: bool) -> None:
        if self.learning is not None:
            if pressed:
                self._learn(Source("note", number, channel))
            return
        for step, _, target in self._at("note", number, channel):
            target.press(pressed, step)

    def _learn(self, source: Source) -> None:
        """Bind what is to be learned to this, if it is of use for it."""
        name = self.learning
        try:
            m = meaning(self._namespace, name or "")
        except UserError:  # another bundle has come meanwhile
            self.learning = None
            return
        if not _suits(m, source):
            return
        self.learning = None
        binding = Binding(str(name), source)
        self._fresh = (binding, time.monotonic())
        self._learned(binding)

    def _other_half(self, channel: int, number: int) -> bool:
        """Whether this is the second half of the 14-bit knob that was learned just now; then it counts as one."""
        assert self._fresh is not None
        binding, when = self._fresh
        source = binding.source
        if time.monotonic() - when > FINE_PAIR_S or source.kind != "control" or source.channel != channel:
            self._fresh = None
            return False
        if number == source.number:
            return False
        self._fresh = None
        if source.number < 32 and number == source.number + 32:
            self._learned(Binding(binding.parameter, Source("control", source.number, channel, True)))
        elif number < 32 and source.number == number + 32:  # low bits first: only the high ones are of use
            self._learned(Binding(binding.parameter, Source("control", number, channel)))
        else:
            return False
        return True


def _suits(m: Meaning, source: Source) -> bool:
    """A key cannot turn a dial, and the pitch wheel is no button."""
    dial = m.parameter.kind == "float" or (m.parameter.kind == "choice" and not m.value)
    if source.kind == "note":
        return m.parameter.kind != "float"
    row = m.parameter.argument == "text" and not m.value
    return dial if source.kind == "bend" else not row
