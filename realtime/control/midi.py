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
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from realtime.control.midi_input import MESSAGES, MidiInput
from realtime.control.midi_map import Binding, mapping_toml, read_mapping
from realtime.control.midi_ports import MidiPorts, find_port
from realtime.control.midi_targets import meaning
from realtime.control.namespace import ERROR, Reply
from realtime.control.store import config_folder, write_atomic
from realtime.errors import UserError
from realtime.parameters import PREFIX

if TYPE_CHECKING:
    from realtime.control.namespace import Namespace

__all__ = ["Midi", "default_mapping"]

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
