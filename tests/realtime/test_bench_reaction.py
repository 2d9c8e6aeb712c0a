"""The reaction's measurement: an onlooker that sees the first and the last changed sample, and one short real run."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks import reaction as bench_reaction
from benchmarks.reaction import LEVEL, PERIOD, Onlooker, reaction
from tests.realtime.fakebundle import write_fake_bundle


def _onlooker() -> Onlooker:
    onlooker = Onlooker.__new__(Onlooker)  # without its JACK clients
    onlooker._before = np.zeros(PERIOD, np.float32)
    onlooker.first, onlooker.last = None, 0
    return onlooker


@pytest.mark.parametrize("block", [64, 100, 5])
def test_it_sees_the_first_and_the_last_sample_that_changed(block: int) -> None:
    n = np.arange(4000)
    gain = np.clip(1 - (n - 1234) / 1000, 0.5, 1.0)
    tone = (gain * LEVEL * np.sin(2 * np.pi * (n + 0.5) / PERIOD)).astype(np.float32)
    onlooker = _onlooker()
    for start in range(0, len(tone), block):
        if start == 200 // block * block:
            onlooker.look_away()  # the tone's own beginning is a change
        onlooker.see(tone[start : start + block], 70_000 + start)
        if start + block <= 1234 and start > 200:
            assert onlooker.first is None
    assert onlooker.first is not None
    assert (
        0 <= onlooker.first - 71_234 <= 2 * PERIOD
    )  # a slow ramp leaves the tolerance within a period or two
    assert abs(onlooker.last - (71_234 + 500)) <= 2 * PERIOD


@pytest.mark.jackd
def test_a_set_is_heard_in_a_running_instrument(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_reaction, "SETS", 12)
    bundle = write_fake_bundle(tmp_path / "fake.umtn")
    figures = reaction(bundle, "auto", 256)
    assert figures["heard"] >= 6
    assert 0 < figures["begins_ms_median"] <= figures["begins_ms_max"] < figures["done_ms_max"]
    assert figures["smoothing_ms"] > 1


def test_a_bad_option_is_one_sentence_and_2() -> None:
    command = [sys.executable, "-m", "benchmarks", "--reaction", "--slack", "9"]
    done = subprocess.run(
        command, cwd=Path(__file__).parents[2], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "error: --slack: takes a whole number from 0 to 8, but 9 came\n"
