"""Computing blocks ahead: the same sound so many blocks later, and a late model costs a gap, never more latency."""

from __future__ import annotations

import os
import sys
import threading
import time
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from realtime.audio.block_processor import Xruns
from realtime.audio.devices import Device
from realtime.audio.render_ahead import FADE, QUIET, Ahead, Make
from realtime.audio.stream import CallbackStream

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


def _play_in_time(ahead: Ahead, x: np.ndarray) -> np.ndarray:
    """Blocks of BLOCK, each made before the next one comes."""
    out = []
    for start in range(0, len(x), BLOCK):
        made = ahead.made
        out.append(_block(ahead, x[start : start + BLOCK]))
        _await_made(ahead, made + BLOCK)
    return np.concatenate(out)


def _await_made(ahead: Ahead, samples: int) -> None:
    deadline = time.monotonic() + 20
    while ahead.made < samples:
        assert time.monotonic() < deadline, "the model does not come back"
        time.sleep(0.0005)


def _block(ahead: Ahead, x: np.ndarray) -> np.ndarray:
    """One callback with a stereo output; both channels are the same."""
    channels = np.full((len(x), 2), np.nan, np.float32)
    ahead.block(x, len(x), channels)
    np.testing.assert_array_equal(channels[:, 0], channels[:, 1])
    return channels[:, 0].copy()


def _same(x: np.ndarray | None, n: int) -> np.ndarray:
    assert x is not None
    return x


def _behind(gate: threading.Event) -> Make:
    """A model that stands still while its gate is closed."""

    def same(x: np.ndarray | None, n: int) -> np.ndarray:
        gate.wait(20)
        return _same(x, n)

    return same


@pytest.fixture
def gate() -> threading.Event:
    event = threading.Event()
    event.set()
    return event


@pytest.mark.parametrize("blocks", [1, 2, 8])
@pytest.mark.parametrize("block", [64, BLOCK, QUIET, 3 * QUIET + 1])
def test_so_many_blocks_later_and_nothing_else(block: int, blocks: int) -> None:
    ahead = Ahead(
        _same, RATE_HZ * 0.02, 4096, capture=True, blocks=blocks
    )  # slow clock: not late by accident
    ahead.start()
    x, later = _ramp(20, block), blocks * block
    y = _play(ahead, x, [block] * 20)
    ahead.stop()
    assert ahead.slack == later
    assert ahead.xruns.late == 0
    np.testing.assert_array_equal(y[later:], x[:-later])
    assert not y[:later].any()


@pytest.mark.parametrize("blocks", [1, 2, 8])
def test_a_longer_call_than_all_before_adds_latency_once(blocks: int) -> None:
    """All at once: the blocks in hand are short by then, and many short holes would be heard as many."""
    lengths = [64] * 10 + [300, 64, 300, 17, 1, 300] * 6
    x = _ramp(1, sum(lengths))
    ahead = Ahead(_same, RATE_HZ * 0.02, 4096, capture=True, blocks=blocks)
    ahead.start()
    y = _play(ahead, x, lengths)
    ahead.stop()
    late, later, grows = 64 * blocks, 300 * blocks, 640
    assert (ahead.slack, ahead.xruns.late) == (later, 0)
    np.testing.assert_array_equal(y[:grows], np.concatenate([np.zeros(late), x])[:grows])
    hole = grows + later - late
    assert not y[grows + FADE : hole].any()
    settled = hole + FADE
    np.testing.assert_array_equal(y[settled:], x[settled - later : -later])


STALLS = [(1, 1), (1, 3), (3, 2), (3, 3), (3, 5), (8, 8), (8, 9)]


@pytest.mark.parametrize(("blocks", "stalled"), STALLS)
def test_blocks_in_hand_are_played_while_the_model_stands_still(
    gate: threading.Event, blocks: int, stalled: int
) -> None:
    """Without a wait as long as there are some. Beyond that one gap, and the same number in hand afterwards."""

    ahead = Ahead(_behind(gate), RATE_HZ, 4096, capture=True, blocks=blocks)
    ahead.start()
    lead, quiet = 2 * blocks * BLOCK, stalled * BLOCK
    x = _ramp(1, 3 * lead + 2 * quiet)
    want = np.concatenate([np.zeros(blocks * BLOCK, np.float32), x])[: len(x)]
    fall = np.linspace(1.0, 0.0, FADE, dtype=np.float32)
    heard, at = [], 0
    for _ in range(2):
        heard.append(_play_in_time(ahead, x[at : at + lead]))
        at += lead
        gate.clear()
        heard.append(_play(ahead, x[at : at + quiet], [BLOCK] * stalled))
        gate.set()
        begin, at = at + blocks * BLOCK, at + quiet
        if begin < at:
            want[begin:at] = 0.0
            want[begin : begin + FADE] = fall * float(want[begin - 1])
            want[at : at + FADE] *= fall[::-1]
        _await_made(ahead, at)
    heard.append(_play_in_time(ahead, x[at:]))
    ahead.stop()
    np.testing.assert_array_equal(np.concatenate(heard), want)
    assert ahead.xruns.late == ahead.waits == 2 * max(0, stalled - blocks)


def test_a_stall_that_fills_the_rings_shifts_nothing(gate: threading.Event) -> None:
    """Samples that found no room would be missed from then on: every later block would wait for them in vain."""
    ahead = Ahead(
        _behind(gate), 1000 * RATE_HZ, BLOCK, capture=True, blocks=2
    )  # quick clock: it hardly waits
    ahead.start()
    x = _ramp(60)
    gate.clear()
    _play(ahead, x, [BLOCK] * 40)
    gaps = ahead.xruns.late
    gate.set()
    _await_made(ahead, 40 * BLOCK)
    y = _play_in_time(ahead, x[40 * BLOCK :])
    ahead.stop()
    assert (gaps, ahead.xruns.late) == (38, 38)
    np.testing.assert_array_equal(y[2 * BLOCK :], x[40 * BLOCK : -2 * BLOCK])


def test_every_late_block_is_in_the_one_count(gate: threading.Event) -> None:
    """Whether the model was late, the device flagged the block or its clock went on without us."""
    callbacks: list[Any] = []

    def opened(callback: Any, **_: Any) -> Any:
        callbacks.append(callback)
        return SimpleNamespace(active=True, start=lambda: None, stop=lambda: None, close=lambda: None)

    worker: Any = SimpleNamespace(
        block=_behind(gate), blocks=1000, judges_time=True, realtime_priority=False, xruns=Xruns()
    )
    device, channels = Device(0, "x, ALSA", 2, RATE_HZ), np.zeros((BLOCK, 2), np.float32)

    def call(at: int, flagged: bool = False) -> None:
        clock = SimpleNamespace(inputBufferAdcTime=at * BLOCK / RATE_HZ)
        callbacks[0](channels, channels.copy(), BLOCK, clock, flagged)

    stream = CallbackStream(
        SimpleNamespace(Stream=opened), worker, RATE_HZ, BLOCK, 1, device, device, 2, slack=1
    )
    stream.start()
    gate.clear()
    for at in range(3):  # the first one is in hand
        call(at)
    gate.set()
    time.sleep(0.1)
    for at in range(3, 40):
        call(at, flagged=at == 20)
        time.sleep(BLOCK / RATE_HZ)
    counted = worker.xruns.late
    for at in range(43, 80):  # three were never seen
        call(at)
        time.sleep(BLOCK / RATE_HZ)
    stream.stop()
    said = worker.xruns.figures()
    assert counted >= 2 and said["flagged"] == 1 and said["skipped"] == 3
    assert said["xruns"] == said["late"] + 4 and not worker.judges_time
    assert len(said["xrun_times"]) == said["late"] + 2


def test_a_late_model_costs_a_faded_gap_and_no_latency(gate: threading.Event) -> None:
    ahead = Ahead(_behind(gate), RATE_HZ, 4096, capture=True)
    ahead.start()
    ones = np.ones(BLOCK, np.float32)
    _play_in_time(ahead, np.ones(3 * BLOCK, np.float32))
    gate.clear()
    _block(ahead, ones)  # its predecessor was made in time, it will not be
    gaps = [_block(ahead, ones) for _ in range(3)]
    assert ahead.xruns.late == 3
    gate.set()
    _await_made(ahead, 7 * BLOCK)
    first = _play_in_time(ahead, 5 * ones)
    second = _block(ahead, ones)
    ahead.stop()
    assert ahead.xruns.late == 3
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


def test_the_model_is_woken_after_the_sound_is_with_the_device() -> None:
    """Woken before, it took the interpreter from the callback. Where it is late it must get its work at once."""
    given: list[float] = []
    in_time = True

    def same(x: np.ndarray | None, n: int) -> np.ndarray:
        assert x is not None
        given.append(float(x[0]))
        while not in_time and not ahead.waits:
            time.sleep(0.001)
        return x

    ahead = Ahead(same, RATE_HZ * 0.02, 4096, capture=True)  # slow clock: patient
    ahead.start()
    device = _Device(given)
    for block in range(3):
        ahead.block(np.full(BLOCK, block, np.float32), BLOCK, device)
        assert device.given_before == block
        _await_made(ahead, (block + 1) * BLOCK)
    assert ahead.waits == 0
    in_time = False
    ahead.block(np.zeros(BLOCK, np.float32), BLOCK, None)
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
