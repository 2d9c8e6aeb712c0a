"""Computing one block ahead: the same sound one block later, and a late model costs a gap, never more latency."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest

from realtime.audio.ahead import FADE, Ahead

RATE_HZ = 48000
BLOCK = 256


def _ramp(blocks: int, block: int = BLOCK) -> np.ndarray:
    return np.arange(1, blocks * block + 1, dtype=np.float32)


def _play(ahead: Ahead, x: np.ndarray, lengths: list[int]) -> np.ndarray:
    out, at = [], 0
    for n in lengths:
        out.append(ahead.block(x[at : at + n], n).copy())
        at += n
    return np.concatenate(out)


@pytest.fixture
def gate() -> threading.Event:
    event = threading.Event()
    event.set()
    return event


@pytest.fixture
def ahead(gate: threading.Event) -> Ahead:
    def double(x: np.ndarray | None, n: int) -> np.ndarray:
        gate.wait(5)
        assert x is not None
        return x * 2

    model = Ahead(double, RATE_HZ * 0.02, 4096, capture=True)  # slow clock: no test is late by accident
    model.start()
    return model


def test_one_block_later_and_nothing_else(ahead: Ahead) -> None:
    x = _ramp(20)
    y = _play(ahead, x, [BLOCK] * 20)
    ahead.stop()
    assert ahead.slack == BLOCK
    assert ahead.late == 0
    np.testing.assert_array_equal(y[BLOCK:], 2 * x[:-BLOCK])
    assert not y[:BLOCK].any()


def test_a_longer_call_than_all_before_adds_latency_once(ahead: Ahead) -> None:
    lengths = [64, 64, 300, 64, 300, 17, 1, 300]
    x = _ramp(1, sum(lengths))
    y = _play(ahead, x, lengths)
    ahead.stop()
    assert (ahead.slack, ahead.late) == (300, 0)
    settled = sum(lengths[:3])
    np.testing.assert_array_equal(y[settled:], 2 * x[settled - 300 : -300])


def test_a_late_model_costs_a_faded_gap_and_no_latency(gate: threading.Event) -> None:
    def same(x: np.ndarray | None, n: int) -> np.ndarray:
        gate.wait(5)
        assert x is not None
        return x

    ahead = Ahead(same, RATE_HZ, 4096, capture=True)
    ahead.start()
    ones = np.ones(BLOCK, np.float32)
    for _ in range(3):
        ahead.block(ones, BLOCK)
        time.sleep(0.05)
    gate.clear()
    ahead.block(ones, BLOCK)  # its predecessor was made in time, it will not be
    gaps = [ahead.block(ones, BLOCK).copy() for _ in range(3)]
    assert ahead.late == 3
    gate.set()
    time.sleep(0.2)
    first = ahead.block(5 * ones, BLOCK).copy()
    time.sleep(0.2)
    second = ahead.block(ones, BLOCK).copy()
    ahead.stop()
    assert ahead.late == 3
    heard = np.concatenate([*gaps, first])
    assert np.abs(np.diff(heard)).max() < 2.0 / FADE  # a fall and a rise, no click
    assert not gaps[1].any()
    np.testing.assert_array_equal(first[FADE:], 1.0)
    np.testing.assert_array_equal(second, 5.0)  # still exactly one block later
