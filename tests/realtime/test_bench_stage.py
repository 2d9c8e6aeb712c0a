"""The stage's measurement itself: a ledger that can find a loss, a click that is seen, and one short real run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from benchmarks import stage as bench_stage
from benchmarks import stage_clients as guests
from benchmarks import stage_clients as midi
from benchmarks import switches
from benchmarks.stage import Ledger, stage
from benchmarks.stage_clients import FLOODED
from realtime.audio.stream import SLOW_US
from realtime.control.midi.mapping import PICK_UP
from realtime.doctor.stalls import without_stalls
from realtime.shared.memory import PARAMETER_INDEX, SharedState
from realtime.shared.parameters import by_name
from tests.realtime.fakebundle import write_fake_bundle
from umtn.errors import UserError


@pytest.fixture
def shared() -> Iterator[SharedState]:
    state = SharedState.create()
    yield state
    state.unlink()
    state.close()


def test_the_flooded_values_are_allowed_and_rise_as_floats_of_32_bits() -> None:
    for name, (low, high) in FLOODED.items():
        assert name in PARAMETER_INDEX
        if "latent" not in name:
            assert by_name(name).low <= low < high <= by_name(name).high
        values = np.array(guests.rising(low, high, 150_000))
        assert (np.diff(values) > 0).all() and np.array_equal(values, values.astype(np.float32))


def test_a_lost_a_late_and_a_missing_last_set_are_found(shared: SharedState) -> None:
    ledger = Ledger(("mix", "temperature"))
    with ledger.watching():
        shared.set("mix", 0.9)  # before the count begins
        ledger.armed = True
        for value in (0.1, 0.2, 0.4, 0.3):
            shared.set("mix", value)
        shared.set("temperature", 0.5)
        shared.set("bypass", 1.0)
    shared.set("mix", 0.7)  # afterwards nobody watches
    assert shared.get("mix") == 0.7 and shared.get("bypass") == 1.0
    report = ledger.against({"mix": (5, 0.5), "temperature": (1, 0.5)})
    assert report == {"sent": 6, "lost": 1, "last_value_missing": ["mix"]}
    assert ledger.disorder == 1


def test_every_knob_is_picked_up_at_once_and_turns_without_jumps() -> None:
    assert not set(midi.MOVED) & set(FLOODED)  # or one's sets would hide the other's losses
    for name, span in midi.KNOBS.items():
        parameter = by_name(name)
        places = [midi.position(name, n) for n in range(4 * abs(span))]
        assert min(places) >= 0 and max(places) <= 127 and max(places) - min(places) == abs(span)
        assert abs(places[0] / 127 - parameter.normalize(parameter.default)) <= PICK_UP
        assert set(np.abs(np.diff(places))) == {1}


def test_without_midi_there_is_a_sentence_and_no_measurement(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rtmidi = pytest.importorskip("rtmidi")

    def none(*_: object, **__: object) -> None:
        raise rtmidi.RtMidiError("no MIDI here")

    told: list[str] = []
    monkeypatch.setattr(rtmidi, "MidiOut", none)
    midi.play(2, 1.0, None, SimpleNamespace(send=told.append))
    assert told == ["RtMidiError: no MIDI here"]
    monkeypatch.setattr(guests.Clients, "start", lambda *_: None)
    monkeypatch.setattr(guests.Clients, "hear", lambda *_: told[0])
    stretch = bench_stage._Stretch(write_fake_bundle(tmp_path / "fake.umtn"), "onnx", 256, 1.0, 2000)
    with pytest.raises(UserError, match="MIDI device of its own.*no MIDI here.*umtn-live\\[midi\\]"):
        stretch._with_midi(bench_stage.Wanted(), tmp_path / "midi.toml")


def test_what_the_machine_did_is_taken_out_of_the_callbacks_time() -> None:
    block_s = 256 / 48000
    gaps = [(1.0, 1.0015), (2.0, 2.004)]  # a gap that delays only what it touches, and a stall
    times = [(0.9, 150.0), (1.001, 900.0), (1.003, 300.0), (2.004 + block_s, 3000.0), (2.1, 200.0)]
    slow = [(end, us, us == 200.0) for end, us in times]
    figures = without_stalls(slow, 2000, gaps, block_s)
    assert figures["callbacks_slow"] == 5 and figures["callbacks_slow_beside_a_gap"] == 2
    assert figures["callback_p999_us_without_gaps"] == 150.0  # of 2000 two are above it: 300 and 200
    assert without_stalls(slow, 1000, gaps, block_s)["callback_p999_us_without_gaps"] == 200.0
    assert without_stalls(slow, 1000, gaps, block_s)["callback_p999_us_without_gaps_and_waits"] == 150.0
    assert without_stalls(slow, 10**6, gaps, block_s)["callback_p999_us_without_gaps"] == f"below {SLOW_US}"
    assert without_stalls([], 10, [], block_s)["machine_gaps_cover"] == 0.0


def test_an_osc_head_and_a_number_are_a_message() -> None:
    import struct

    from realtime.control.osc.packet import decode

    for name in FLOODED:
        (message,) = decode(guests.head(f"/umtn/{name}") + struct.pack(">f", 0.25))
        assert message.address == f"/umtn/{name}" and message.arguments == (0.25,)


def test_a_click_is_seen(tmp_path: Path, shared: SharedState) -> None:
    rig = switches._Rig(write_fake_bundle(tmp_path / "fake.umtn"), "onnx", 256, shared, 0.5)
    rig.set({})
    steady = rig.run()
    honest = rig.worker.block

    def clicking(x: np.ndarray | None, n: int) -> np.ndarray:
        out = honest(x, n)
        if rig.worker.blocks % 64 == 0:
            out[0] += 0.5  # on the border of two blocks, where it is overlooked most easily
        return out

    rig.worker.block = clicking  # type: ignore[method-assign]
    assert rig.run() > steady + 0.3


@pytest.mark.slow
def test_every_kind_of_change_is_measured(tmp_path: Path) -> None:
    bundle = write_fake_bundle(tmp_path / "fake.umtn")
    figures = switches.switches(bundle, seconds=1.2)
    assert list(figures) == ["domain switch", "blend", "preset recall", "freeze", "panic", "hot swap"]
    assert all(f["steady"] > 0 and f["changing"] > 0 and f["ratio"] > 0 for f in figures.values())
    assert figures["hot swap"]["swaps"] >= 1
    assert all(f["ratio"] < 1.5 for f in figures.values()), (
        figures
    )  # a click of full scale would be 5 and more


@pytest.mark.jackd
def test_a_second_on_stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The true server, page, MIDI and audio: all sets arrive in order, the page hears of it."""
    pytest.importorskip("jack")
    pytest.importorskip("rtmidi")
    monkeypatch.setattr(bench_stage, "MARGIN_S", 4.0)
    monkeypatch.setattr(guests, "SETTLE_S", 1.0)
    bundle = write_fake_bundle(tmp_path / "fake.umtn")
    figures = stage(bundle, "onnx", 256, 1 / 60, rate=2000)
    flooded = figures["with"]
    assert 1000 < flooded["sets_sent"] <= 2000
    assert flooded["sets_lost"] == 0 and flooded["sets_out_of_order"] == 0
    assert flooded["sets_last_value_missing"] == []
    assert flooded["midi_sets_sent"] > 150 and flooded["midi_keys_sent"] >= 1
    assert flooded["midi_sets_lost"] == 0 and flooded["midi_sets_last_value_missing"] == []
    assert flooded["midi_messages_received"] >= flooded["midi_sets_sent"]
    assert isinstance(flooded["page_messages"], int) and flooded["page_messages"] > 10
    assert figures["without"]["largest_jump"] > 0 and "sets_sent" not in figures["without"]
    assert figures["xruns_more_than_without"] == flooded["xruns"] - figures["without"]["xruns"]
