"""The stage's measurement itself: a ledger that can find a loss, a click that is seen, and one short real run."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from realtime import bench_stage, bench_switches
from realtime import bench_stage_guests as guests
from realtime.bench_stage import FLOODED, Ledger, stage
from realtime.parameters import by_name
from realtime.shared import PARAMETER_INDEX, SharedState
from tests.realtime.fakebundle import write_fake_bundle


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
    assert report == {"sets_sent": 6, "sets_lost": 1, "sets_out_of_order": 1, "last_value_missing": ["mix"]}


def test_an_osc_head_and_a_number_are_a_message() -> None:
    import struct

    from realtime.control.packet import decode

    for name in FLOODED:
        (message,) = decode(guests.head(f"/umtn/{name}") + struct.pack(">f", 0.25))
        assert message.address == f"/umtn/{name}" and message.arguments == (0.25,)


def test_a_click_is_seen(tmp_path: Path, shared: SharedState) -> None:
    rig = bench_switches._Rig(write_fake_bundle(tmp_path / "fake.umtn"), "onnx", 256, shared, 0.5)
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


def test_every_kind_of_change_is_measured(tmp_path: Path) -> None:
    bundle = write_fake_bundle(tmp_path / "fake.umtn")
    figures = bench_switches.switches(bundle, seconds=1.2)
    assert list(figures) == ["domain switch", "blend", "preset recall", "freeze", "panic", "hot swap"]
    assert all(f["steady"] > 0 and f["changing"] > 0 and f["ratio"] > 0 for f in figures.values())
    assert figures["hot swap"]["swaps"] >= 1
    assert all(f["ratio"] < 1.5 for f in figures.values()), (
        figures
    )  # a click of full scale would be 5 and more


@pytest.mark.skipif(not (shutil.which("jackd") and shutil.which("jack_lsp")), reason="jackd is not installed")
def test_a_second_on_stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The true server, page and audio: all sets arrive in order, the page hears of it."""
    pytest.importorskip("jack")
    monkeypatch.setattr(bench_stage, "MARGIN_S", 4.0)
    monkeypatch.setattr(guests, "SETTLE_S", 1.0)
    bundle = write_fake_bundle(tmp_path / "fake.umtn")
    figures = stage(bundle, "onnx", 256, 1 / 60, rate=2000)
    flooded = figures["with"]
    assert 1000 < flooded["sets_sent"] <= 2000
    assert (
        flooded["sets_lost"] == 0 and flooded["sets_out_of_order"] == 0 and not flooded["last_value_missing"]
    )
    assert isinstance(flooded["page_messages"], int) and flooded["page_messages"] > 10
    assert figures["without"]["largest_jump"] > 0 and "sets_sent" not in figures["without"]
    assert figures["xruns_more_than_without"] == flooded["xruns"] - figures["without"]["xruns"]
