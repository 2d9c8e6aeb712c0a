"""A MIDI device of our own for bench_stage.py: knobs that never rest, and keys that choose the domain.

Threading model: `play` is the main of a process of its own. The program under test opens the device as it opens
any other, so what arrives has come through the machine's MIDI system.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from realtime.bench_stage_guests import CHANGE_EVERY_S
from realtime.control.midi_map import Binding, Source, mapping_toml
from realtime.parameters import by_name

__all__ = ["DEVICE", "KNOBS", "MOVED", "play", "position", "write_mapping"]

DEVICE = "umtn stage knobs"
HZ = 200.0  # knob messages a second
FIRST_CONTROL, FIRST_KEY = 20, 60
KEY_HELD_S = 0.2
# parameter -> steps of the dial that its knob goes, from where the parameter stands at the start, and back
KNOBS: dict[str, int] = {"temperature": -24, "input/gate_db": 25, "crossfade_ms": -7}
MOVED = (*KNOBS, "to")


def write_mapping(path: Path) -> None:
    """The program's MIDI mapping for this device."""
    knobs = [Binding(name, Source("control", FIRST_CONTROL + i)) for i, name in enumerate(KNOBS)]
    path.write_text(mapping_toml([*knobs, Binding("to", Source("note", FIRST_KEY))]))


def position(name: str, n: int) -> int:
    """Of a knob, 0 to 127, in its n-th message: up and down between its two ends."""
    parameter, span = by_name(name), KNOBS[name]
    turn = n % (2 * abs(span))
    way = min(turn, 2 * abs(span) - turn)
    return round(127 * parameter.normalize(parameter.default)) + (way if span > 0 else -way)


def _plug_in() -> Any:
    """On the system's own MIDI, or on the JACK server's where there is none (as the program itself chooses)."""
    import rtmidi

    try:
        device = rtmidi.MidiOut(name=DEVICE)
    except rtmidi.RtMidiError:
        device = rtmidi.MidiOut(name=DEVICE, rtapi=rtmidi.API_UNIX_JACK)
    device.open_virtual_port("out")
    return device


def play(domains: int, seconds: float, go: Any, results: Any) -> None:
    """Sends first "" or why there is no device, last parameter -> (how many messages, the value it must have)."""
    try:
        device = _plug_in()
    except Exception as error:  # no package, no MIDI system, no virtual ports: told by the other side
        results.send(f"{type(error).__name__}: {error}")
        return
    results.send("")
    go.wait()
    names = list(KNOBS)
    sent, turns, held = 0, 0, -1
    start = time.perf_counter()
    while (now := time.perf_counter() - start) < seconds:
        while sent < now * HZ:
            which, n = sent % len(names), sent // len(names)
            device.send_message([0xB0, FIRST_CONTROL + which, position(names[which], n)])
            sent += 1
        if now >= turns * CHANGE_EVERY_S:
            turns += 1
            held = FIRST_KEY + turns % domains
            device.send_message([0x90, held, 100])
        elif held >= 0 and now >= (turns - 1) * CHANGE_EVERY_S + KEY_HELD_S:
            device.send_message([0x80, held, 0])
            held = -1
        time.sleep(0.001)
    time.sleep(0.5)  # a port that closes takes what it still holds with it
    results.send(_told(names, sent, turns, domains))
    device.close_port()
    device.delete()


def _told(names: list[str], sent: int, turns: int, domains: int) -> dict[str, tuple[int, float]]:
    told = {"to": (turns, float(turns % domains))}
    for which, name in enumerate(names):
        count = len(range(which, sent, len(names)))
        told[name] = (count, by_name(name).denormalize(position(name, count - 1) / 127) if count else 0.0)
    return told
