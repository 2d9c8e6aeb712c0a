"""MIDI inputs of this machine: listed, found by a part of their name, opened.

Threading model: one thread asks and opens (CoreMIDI tells of new devices only to the thread that asked first);
messages arrive on a thread of the system's, or over JACK on one of ours that polls: JACK's own is part of the
server's cycle, and every other client would wait with it until this process's interpreter is free (8 xruns a
second under a flood of OSC).
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Sequence
from typing import Any

from umtn.errors import UserError

__all__ = ["MidiPorts", "find_port", "stem"]

INSTALL = 'MIDI needs two packages: pip install "umtn-live[midi]" (or: pip install mido python-rtmidi)'
_RTMIDI = "mido.backends.rtmidi"
_JACK = "UNIX_JACK"
POLL_S = 0.002
POLLED = 8192  # messages that may wait for the next poll
_NUMBER = re.compile(r"\s+\d+(:\d+)?$")  # ALSA's and Windows' own numbering, other after each plugging in


def stem(name: str) -> str:
    """A port's name without the number that the system has given it."""
    return _NUMBER.sub("", name)


def find_port(part: str, names: Sequence[str], before: str = "") -> str:
    """The one port whose name contains `part`; UserError lists the candidates.

    before: the port that was open until it went away; it is taken again though others match too.
    """
    wanted = part.strip().casefold()
    for test in (
        lambda name: name.casefold() == wanted,
        lambda name: stem(name).casefold() == wanted,
        lambda name: bool(before) and name == before,
        lambda name: bool(before) and stem(name) == stem(before),
        lambda name: wanted in name.casefold(),
    ):
        found = [name for name in dict.fromkeys(names) if test(name)]
        if len(found) == 1:
            return found[0]
    listed = "".join(f"; {name}" for name in dict.fromkeys(names)).removeprefix("; ")
    if not names:
        raise UserError(f"no MIDI input {part!r}: this machine has none; is the controller plugged in?")
    several = [name for name in dict.fromkeys(names) if wanted in name.casefold()]
    if several and wanted:
        raise UserError(f"several MIDI inputs match {part!r}: {'; '.join(several)}; give more of the name")
    raise UserError(f"no MIDI input matches {part!r}; there are: {listed}")


class MidiPorts:
    """The machine's inputs, through mido; on Linux the JACK server's where there is no ALSA sequencer."""

    def __init__(self) -> None:
        try:
            import mido

            self._backend: Any = mido.backend
            self._lister: Any = self._make_lister()
        except ImportError as error:
            raise UserError(INSTALL) from error

    def _make_lister(self) -> Any:
        """One that stays open: a new one each second would be a new client of the sound server each second."""
        if self._backend.name != _RTMIDI:
            return None
        import mido
        import rtmidi

        wanted = getattr(rtmidi, f"API_{self._backend.api}", rtmidi.API_UNSPECIFIED)
        try:
            return rtmidi.MidiIn(name="umtn-midi", rtapi=wanted)
        except rtmidi.RtMidiError as error:
            if wanted != rtmidi.API_UNSPECIFIED or rtmidi.API_UNIX_JACK not in rtmidi.get_compiled_api():
                raise UserError(f"this machine's MIDI system does not answer ({error})") from error
        try:
            lister = rtmidi.MidiIn(name="umtn-midi", rtapi=rtmidi.API_UNIX_JACK)
        except rtmidi.RtMidiError as error:
            raise UserError(
                "there is no MIDI system here: neither the ALSA sequencer (modprobe snd-seq) nor a JACK server"
            ) from error
        self._backend = mido.Backend(f"{_RTMIDI}/{_JACK}")
        return lister

    def names(self) -> list[str]:
        """Every input that is plugged in now."""
        if self._lister is not None:
            return [str(name) for name in self._lister.get_ports()]
        return [str(name) for name in self._backend.get_input_names()]

    def open(self, name: str, receive: Callable[[Any], None]) -> Any:
        """Open one; `receive` gets each mido message on another thread. `.close()` ends it. OSError."""
        if self._backend.name == _RTMIDI and self._backend.api == _JACK:
            return _Polled(name, receive)
        return self._backend.open_input(name, callback=receive)

    def close(self) -> None:
        """Leave the MIDI system."""
        if self._lister is not None:
            self._lister.delete()
            self._lister = None


class _Polled:
    """An input over JACK whose messages wait in a queue of C++ until they are fetched."""

    def __init__(self, name: str, receive: Callable[[Any], None]) -> None:
        import rtmidi

        self._port = rtmidi.MidiIn(rtapi=rtmidi.API_UNIX_JACK, queue_size_limit=POLLED)
        names = self._port.get_ports()
        if name not in names:
            self._port.delete()
            raise OSError(f"unknown port {name!r}")
        self._port.open_port(names.index(name))
        self._receive, self._closing = receive, threading.Event()
        self._thread = threading.Thread(target=self._poll, name="midi-poll", daemon=True)
        self._thread.start()

    def _poll(self) -> None:
        import mido

        while not self._closing.wait(POLL_S):
            while fetched := self._port.get_message():
                try:
                    self._receive(mido.Message.from_bytes(fetched[0]))
                except ValueError:  # no message that MIDI knows
                    continue

    def close(self) -> None:
        """No message comes afterwards."""
        self._closing.set()
        self._thread.join()
        self._port.close_port()
        self._port.delete()
