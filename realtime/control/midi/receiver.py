"""MIDI in: a controller's knobs, keys and pedals as hands on the parameters.

Threading model: the system's MIDI thread puts messages into a queue of bounded length (where it is full, the
oldest are dropped: the last position counts); one thread acts on them, looks once a second whether the port is
still there, opens it again when it comes back, and writes the mapping. `learn`, `forget` ... may be called from
any thread.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from realtime.control.config_files import config_folder, write_atomic
from realtime.control.midi.mapping import (
    Binding,
    Meaning,
    Say,
    Source,
    Target,
    make_target,
    mapping_toml,
    meaning,
    read_mapping,
    row_length,
)
from realtime.control.midi.ports import MidiPorts, find_port
from realtime.control.namespace import ERROR, Reply
from realtime.shared.parameters import PREFIX
from umtn.errors import UserError

if TYPE_CHECKING:
    from realtime.control.namespace import Namespace

__all__ = ["MESSAGES", "Midi", "MidiInput", "default_mapping"]


# From MIDI messages to targets: 14-bit pairs put together, keys and rows, program changes, learning.
#
# Threading model: `handle` is called by the MIDI thread alone; `bindings` is replaced as a whole, by any thread.


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


LOOK_S = 1.0
QUEUE = 8192
START_S = 10.0

_log = logging.getLogger("realtime.midi")


def default_mapping() -> Path:
    """Where the mapping lies unless one says otherwise."""
    return config_folder() / "midi.toml"


class Midi:
    """One MIDI input on the session's parameters, with its mapping. UserError: package, mapping or port wrong."""

    def __init__(self, namespace: Namespace, port_name: str, mapping_path: Path | None = None) -> None:
        self._namespace, self._wanted = namespace, port_name
        self._path = mapping_path or default_mapping()
        self._input = MidiInput(namespace, self._say, self._bind)
        self._input.bindings = read_mapping(self._path)
        self._lock = threading.Lock()
        self._queue: deque[Any] = deque(maxlen=QUEUE)
        self._wake, self._stopping, self._opened = threading.Event(), threading.Event(), threading.Event()
        self._ports: MidiPorts | None = None
        self._open: Any = None
        self._failure: UserError | None = None
        self._unsaved = False
        self._said_s = 0.0
        self.port = ""  # full name of the port, also while it is away
        self.received = self.dropped = 0
        self._thread = threading.Thread(target=self._run, name="midi", daemon=True)
        for name, route in (("learn", self._learn_route), ("forget", self._forget_route)):
            namespace.add(f"{PREFIX}midi/{name}", route, "s", f"MIDI: {name} the controller of a parameter")
        namespace.add(f"{PREFIX}midi/cancel", self._cancel_route, "I", "MIDI: stop learning")

    @property
    def connected(self) -> bool:
        """Whether the port is there now."""
        return self._open is not None

    @property
    def learning(self) -> str:
        """Parameter that waits for a controller to be moved, or ""."""
        return self._input.learning or ""

    def start(self) -> None:
        """Open the port; UserError if there is no such port, or several."""
        self._thread.start()
        if not self._opened.wait(START_S):
            raise UserError("this machine's MIDI system does not answer; start without --midi")
        if self._failure is not None:
            raise self._failure

    def stop(self) -> None:
        """Close the port and keep the mapping; may be called twice, or without `start`."""
        self._stopping.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(3.0)

    def learn(self, parameter: str) -> None:
        """The next controller that moves is bound to it, instead of the one before; UserError if it cannot be."""
        meaning(self._namespace, parameter)
        self._input.learning = parameter.removeprefix(PREFIX).strip("/")

    def cancel(self) -> None:
        """Learn nothing after all."""
        self._input.learning = None

    def forget(self, parameter: str) -> int:
        """Take its bindings away; how many there were."""
        name = parameter.removeprefix(PREFIX).strip("/")
        with self._lock:
            kept = [b for b in self._input.bindings if b.parameter != name]
            gone = len(self._input.bindings) - len(kept)
            if gone:
                self._replace(kept)
        return gone

    def mapping(self) -> list[tuple[str, str]]:
        """Parameter and controller ("controller 21, channel 1") of every binding."""
        return [(b.parameter, str(b.source)) for b in self._input.bindings]

    def _bind(self, binding: Binding) -> None:
        with self._lock:
            self._replace([b for b in self._input.bindings if b.parameter != binding.parameter] + [binding])
        _log.warning("MIDI: %s moves %s", binding.source, binding.parameter)

    def _replace(self, bindings: Sequence[Binding]) -> None:
        self._input.bindings = tuple(bindings)
        self._unsaved = True
        self._wake.set()

    def _run(self) -> None:
        try:
            self._ports = MidiPorts()
            self._connect(self._ports, find_port(self._wanted, self._ports.names()))
        except UserError as error:
            self._failure = error
        except Exception as error:
            self._failure = UserError(f"the MIDI input {self._wanted!r} cannot be opened ({error})")
        self._opened.set()
        if self._failure is None:
            self._listen()
        self._leave()

    def _listen(self) -> None:
        look_s = time.monotonic() + LOOK_S
        while not self._stopping.is_set():
            self._wake.wait(max(look_s - time.monotonic(), 0.0))
            self._wake.clear()
            self._work()
            if time.monotonic() >= look_s:
                look_s = time.monotonic() + LOOK_S
                with suppress(Exception):  # a MIDI system that stumbles is asked again in a second
                    self._look()
        self._work()

    def _work(self) -> None:
        while self._queue:
            message = self._queue.popleft()
            try:
                self._input.handle(message)
            except Exception as error:
                self._complain(f"a MIDI message failed ({type(error).__name__}: {error})")
        if self._unsaved:
            self._save()

    def _look(self) -> None:
        """Is the port still there, or there again?"""
        assert self._ports is not None
        names = self._ports.names()
        if self._open is not None and self.port not in names:
            self._close_port()
            _log.warning("the MIDI input %s is gone; it is looked for every second", self.port)
        elif self._open is None:
            with suppress(UserError, OSError):
                self._connect(self._ports, find_port(self._wanted, names, self.port))
                _log.warning("the MIDI input %s is back", self.port)

    def _connect(self, ports: MidiPorts, name: str) -> None:
        self._open = ports.open(name, self._receive)
        self.port = name

    def _receive(self, message: Any) -> None:
        """The system's thread: note and return."""
        if message.type in MESSAGES:
            self.received += 1
            self.dropped += len(self._queue) == QUEUE
            self._queue.append(message)
            self._wake.set()

    def _close_port(self) -> None:
        port, self._open = self._open, None
        with suppress(Exception):
            port.close()

    def _leave(self) -> None:
        if self._open is not None:
            self._close_port()
        if self._ports is not None:
            with suppress(Exception):
                self._ports.close()

    def _save(self) -> None:
        with self._lock:
            self._unsaved = False
            text = mapping_toml(self._input.bindings)
        try:
            write_atomic(self._path, text)
        except UserError as error:
            self._complain(str(error))

    def _say(self, replies: list[Reply]) -> None:
        for address, arguments in replies:
            if address == ERROR:
                self._complain(f"MIDI: {arguments[0]}")

    def _complain(self, sentence: str) -> None:
        """At most one a second: a knob sends a hundred messages."""
        if time.monotonic() - self._said_s >= 1.0:
            self._said_s = time.monotonic()
            _log.warning("%s", sentence)

    def _learn_route(self, arguments: Sequence[object]) -> list[Reply]:
        address = f"{PREFIX}midi/learn"
        if not arguments:
            return [(address, (self.learning,))]
        try:
            self.learn(_name(address, arguments))
        except UserError as error:
            return [(ERROR, (str(error),))]
        return [(address, (self.learning,))]

    def _forget_route(self, arguments: Sequence[object]) -> list[Reply]:
        address = f"{PREFIX}midi/forget"
        try:
            name = _name(address, arguments)
        except UserError as error:
            return [(ERROR, (str(error),))]
        if not self.forget(name):
            return [(ERROR, (f"{name[:60]!r} has no MIDI controller",))]
        return [(address, (name,))]

    def _cancel_route(self, arguments: Sequence[object]) -> list[Reply]:
        self.cancel()
        return [(f"{PREFIX}midi/cancel", ())]


def _name(address: str, arguments: Sequence[object]) -> str:
    if len(arguments) != 1 or not isinstance(arguments[0], str):
        raise UserError(f"{address} takes the name of one parameter, such as mix")
    return arguments[0]
