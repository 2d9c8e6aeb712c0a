"""Computing one block ahead: the same sound one block later, and a late model costs a gap, never more latency."""

from __future__ import annotations

import os
import sys
import threading
import time

import numpy as np
import pytest

from realtime.audio.ahead import FADE, QUIET, Ahead

RATE_HZ = 48000
BLOCK = 256


def _ramp(blocks: int, block: int = BLOCK) -> np.ndarray:
    return np.arange(1, blocks * block + 1, dtype=np.float32)


def _play(ahead: Ahead, x: np.ndarray, lengths: list[int]) -> np.ndarray:
    out, at = [], 0
    for n in lengths:
        out.append(_block(ahead, x[at : at + n]))
        at += n
    return np.concatenate(out)


def _block(ahead: Ahead, x: np.ndarray) -> np.ndarray:
    """One callback with a stereo output; both channels are the same."""
    channels = np.full((len(x), 2), np.nan, np.float32)
    ahead.block(x, len(x), channels)
    np.testing.assert_array_equal(channels[:, 0], channels[:, 1])
    return channels[:, 0].copy()


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


@pytest.mark.parametrize("block", [64, BLOCK, QUIET, 3 * QUIET + 1])
def test_one_block_later_and_nothing_else(ahead: Ahead, block: int) -> None:
    x = _ramp(20, block)
    y = _play(ahead, x, [block] * 20)
    ahead.stop()
    assert ahead.slack == block
    assert ahead.late == 0
    np.testing.assert_array_equal(y[block:], 2 * x[:-block])
    assert not y[:block].any()


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
        _block(ahead, ones)
        time.sleep(0.05)
    gate.clear()
    _block(ahead, ones)  # its predecessor was made in time, it will not be
    gaps = [_block(ahead, ones) for _ in range(3)]
    assert ahead.late == 3
    gate.set()
    time.sleep(0.2)
    first = _block(ahead, 5 * ones)
    time.sleep(0.2)
    second = _block(ahead, ones)
    ahead.stop()
    assert ahead.late == 3
    heard = np.concatenate([*gaps, first])
    assert np.abs(np.diff(heard)).max() < 2.0 / FADE  # a fall and a rise, no click
    assert not gaps[1].any()
    np.testing.assert_array_equal(first[FADE:], 1.0)
    np.testing.assert_array_equal(second, 5.0)  # still exactly one block later


class _Device:
    """Output of one channel that takes its time: did the model get its next block meanwhile?"""

    shape = (BLOCK, 1)

    def __init__(self, given: list[float]) -> None:
        self._given = given
        self.given_before = -1

    def __setitem__(self, where: object, y: np.ndarray) -> None:
        time.sleep(0.1)
        self.given_before = len(self._given)


def test_the_model_is_woken_after_the_sound_is_with_the_device(gate: threading.Event) -> None:
    """Woken before, it took the interpreter from the callback. Where it is late it must get its work at once."""
    given: list[float] = []

    def same(x: np.ndarray | None, n: int) -> np.ndarray:
        assert x is not None
        given.append(float(x[0]))
        gate.wait(5)
        return x

    ahead = Ahead(same, RATE_HZ, 4096, capture=True)
    ahead.start()
    device = _Device(given)
    for block in range(3):
        ahead.block(np.full(BLOCK, block, np.float32), BLOCK, device)
        assert device.given_before == block
        time.sleep(0.05)
    assert ahead.waits == 0
    gate.clear()
    ahead.block(np.zeros(BLOCK, np.float32), BLOCK, None)
    threading.Timer(0.001, gate.set).start()
    ahead.block(np.zeros(BLOCK, np.float32), BLOCK, device)
    ahead.stop()
    assert (device.given_before, ahead.waits) == (5, 1)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such priorities")
def test_the_model_yields_to_the_callback() -> None:
    priorities: dict[str, int] = {}

    def note(x: np.ndarray | None, n: int) -> np.ndarray:
        priorities["model"] = os.sched_getparam(0).sched_priority
        return np.zeros(n, np.float32)

    def main_thread() -> None:
        try:
            os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(5))
        except OSError:
            return
        ahead = Ahead(note, RATE_HZ, 4096, capture=False)
        ahead.start()
        ahead.block(None, BLOCK, None)
        ahead.stop()
        priorities["caller"] = os.sched_getparam(0).sched_priority

    thread = threading.Thread(target=main_thread)
    thread.start()
    thread.join()
    if "caller" not in priorities:
        pytest.skip("no real-time rights here")
    assert priorities == {"model": 4, "caller": 5}
