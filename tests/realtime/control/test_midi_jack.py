"""MIDI for real: python-rtmidi over JACK, from a device of our own on a private `jackd -d dummy`."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from realtime.control.midi.ports import MidiPorts
from realtime.control.midi.receiver import Midi
from realtime.control.namespace import Namespace
from realtime.shared.memory import SharedState
from tests.realtime.control.oscclient import eventually
from umtn.errors import UserError

mido = pytest.importorskip("mido")
rtmidi = pytest.importorskip("rtmidi")

pytestmark = [
    pytest.mark.jackd,
    pytest.mark.skipif(
        rtmidi.API_UNIX_JACK not in rtmidi.get_compiled_api(), reason="JACK in python-rtmidi is missing"
    ),
]


@pytest.fixture
def server() -> Iterator[None]:
    pytest.importorskip("jack")
    from benchmarks.jack import jack_server

    before = mido.backend
    mido.set_backend("mido.backends.rtmidi/UNIX_JACK")
    with jack_server(256):
        yield
    mido.set_backend(before)


def plug_in(name: str) -> rtmidi.MidiOut:
    device = rtmidi.MidiOut(name=name, rtapi=rtmidi.API_UNIX_JACK)
    device.open_virtual_port("knobs")
    return device


def unplug(device: rtmidi.MidiOut) -> None:
    device.close_port()
    device.delete()


def test_a_device_over_jack(server: None, namespace: Namespace, shared: SharedState, tmp_path: Path) -> None:
    device, other = plug_in("nanoKONTROL"), plug_in("Launchpad")
    midi = Midi(namespace, "kontrol", tmp_path / "midi.toml")
    try:
        midi.start()
        assert midi.port == "nanoKONTROL:knobs"
        midi.learn("mix")
        device.send_message([0xB0, 21, 127])
        assert eventually(lambda: midi.mapping() == [("mix", "controller 21, channel 1")])
        other.send_message([0xB0, 21, 3])
        device.send_message([0xB0, 21, 100])
        assert eventually(lambda: abs(shared.get("mix") - 100 / 127) < 1e-9)

        before, began = midi.received, time.monotonic()
        for i in range(2000):  # a thousand a second
            device.send_message([0xB0, 21, i % 128])
            time.sleep(max(began + (i + 1) / 1000 - time.monotonic(), 0))
        assert eventually(lambda: midi.received - before == 2000 and not midi._queue)
        assert eventually(lambda: abs(shared.get("mix") - (1999 % 128) / 127) < 1e-9)
        assert midi.dropped == 0

        unplug(device)
        assert eventually(lambda: not midi.connected)
        device = plug_in("nanoKONTROL")
        assert eventually(lambda: midi.connected)
        device.send_message([0xB0, 21, (1999 % 128) - 5])
        assert eventually(lambda: abs(shared.get("mix") - (1999 % 128 - 5) / 127) < 1e-9)
    finally:
        midi.stop()
        unplug(device)
        unplug(other)


def test_the_servers_cycle_never_waits_for_python(server: None) -> None:
    """RtMidi calls back from JACK's own thread. That waited for this interpreter, and everybody for that."""
    device = plug_in("nanoKONTROL")
    ports, heard = MidiPorts(), []
    port = ports.open("nanoKONTROL:knobs", lambda m: heard.append((threading.current_thread().name, m.value)))
    device.send_message([0xB0, 21, 64])
    assert eventually(lambda: heard == [("midi-poll", 64)])
    port.close()
    device.send_message([0xB0, 21, 65])
    time.sleep(0.05)
    assert len(heard) == 1
    with pytest.raises(OSError, match="unknown port 'Launchpad:pads'"):
        ports.open("Launchpad:pads", heard.append)
    ports.close()
    unplug(device)


def test_several_and_none(server: None, namespace: Namespace, tmp_path: Path) -> None:
    devices = [plug_in("pad-a"), plug_in("pad-b")]
    for part, expected in (("pad", "several MIDI inputs match 'pad': pad-a:knobs; pad-b:knobs"),
                           ("korg", "there are: pad-a:knobs; pad-b:knobs")):  # fmt: skip
        midi = Midi(namespace, part, tmp_path / "midi.toml")
        with pytest.raises(UserError, match=expected):
            midi.start()
        midi.stop()
    for device in devices:
        unplug(device)
