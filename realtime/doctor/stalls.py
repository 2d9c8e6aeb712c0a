"""Was it us or the machine? A witness on each processor that does nothing but wake up every millisecond.

A virtual machine, or a laptop that saves power, stops for milliseconds now and then, and no program on it can
play meanwhile. The witness has a higher priority than everything else in the measurement and computes nothing:
when it wakes late, the machine was not there.

Threading model: one process for each processor, which sleeps; results come through a pipe at the end.
"""

from __future__ import annotations

import bisect
import gc
import multiprocessing
import os
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import numpy as np

from realtime.audio.stream import SLOW_US

__all__ = ["StallWatch", "blame", "without_stalls"]

PERIOD_S = 0.001
STALL_S = 0.001  # later than this is a stall: it may cost a block
GAP_S = 0.0002  # later than this is a gap: it may cost a callback that is counted in microseconds
AFTER_BLOCKS = 2  # a stall makes the model late for these
PRIORITY = 90


def _watch(cpu: int, stop: Any, results: Any) -> None:
    gc.disable()
    with suppress(OSError, AttributeError):
        os.sched_setaffinity(0, [cpu])
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(PRIORITY))
    gaps: list[tuple[float, float]] = []
    last = time.perf_counter()
    while not stop.is_set():
        for _ in range(500):
            time.sleep(PERIOD_S)
            now = time.perf_counter()
            if now - last > PERIOD_S + GAP_S:
                gaps.append((last, now))
            last = now
        last = time.perf_counter()
    results.send(gaps)


class StallWatch:
    """A context; afterwards `gaps`: (start, end) in time.perf_counter()'s seconds, of any processor."""

    def __init__(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._stop = context.Event()
        self._others = []
        self.gaps: list[tuple[float, float]] = []
        cpus = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else [0]
        for cpu in cpus:
            ours, theirs = context.Pipe()
            other = context.Process(target=_watch, args=(cpu, self._stop, theirs), daemon=True)
            self._others.append((other, ours))

    def __enter__(self) -> StallWatch:
        for other, _ in self._others:
            other.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for other, ours in self._others:
            if ours.poll(10):
                self.gaps += ours.recv()
            other.join(10)
        self.gaps.sort()

    @property
    def stalls(self) -> list[tuple[float, float]]:
        """The gaps that are long enough to cost a block."""
        return [(start, end) for start, end in self.gaps if end - start > PERIOD_S + STALL_S]


def blame(xruns: Sequence[float], stalls: Sequence[tuple[float, float]], block_s: float) -> dict[str, Any]:
    """How many xruns (times) had a stall close by: up to 16 blocks before (a lost block is noticed late), 4 after.

    `stall_windows_cover` is the share of the time that lies so close to a stall: what chance alone would give.
    """
    before, after = 16 * block_s, 4 * block_s
    ends = [end for _, end in stalls]
    beside = 0
    for time_s in xruns:
        i = bisect.bisect_left(ends, time_s - before)
        beside += i < len(stalls) and stalls[i][0] <= time_s + after
    covered, until = 0.0, -float("inf")
    for start, end in stalls:
        low, high = max(start - after, until), end + before
        covered += max(0.0, high - low)
        until = max(until, high)
    span = (stalls[-1][1] - stalls[0][0]) if len(stalls) > 1 else 1.0
    return {
        "machine_stalls": len(stalls),
        "machine_stall_longest_ms": round(1000 * max((end - start for start, end in stalls), default=0.0), 2),
        "xruns_beside_a_stall": beside,
        "xruns_without_a_stall": len(xruns) - beside,
        "stall_windows_cover": round(covered / max(span, 1e-9), 4),
    }


def without_stalls(
    slow: Sequence[tuple[float, float, bool]],
    blocks: int,
    gaps: Sequence[tuple[float, float]],
    block_s: float,
) -> dict[str, Any]:
    """p99.9 of the callbacks that no gap of the machine touched, nor a stall that made the model late; and of
    those among them that found the model's block ready.

    slow: (end, microseconds, waited for the model) of all callbacks above SLOW_US, of `blocks`.
    """
    spans = [(a, b + (AFTER_BLOCKS * block_s if b - a > PERIOD_S + STALL_S else 0.0)) for a, b in gaps]
    ends = np.maximum.accumulate([b for _, b in spans]) if spans else np.zeros(0)

    def touched(begin: float, end: float) -> bool:
        i = int(np.searchsorted(ends, begin))
        return i < len(spans) and spans[i][0] <= end

    ours = [(us, waited) for end, us, waited in slow if not touched(end - us / 1e6, end)]
    span_s = spans[-1][1] - spans[0][0] if len(spans) > 1 else 1.0
    return {
        "callbacks_slow": len(slow),
        "callbacks_slow_beside_a_gap": len(slow) - len(ours),
        "callback_p999_us_without_gaps": _p999([us for us, _ in ours], blocks),
        "callback_p999_us_without_gaps_and_waits": _p999([us for us, waited in ours if not waited], blocks),
        "machine_gaps_cover": round(sum(b - a for a, b in spans) / max(span_s, 1e-9), 4),
    }


def _p999(slow_us: list[float], blocks: int) -> float | str:
    above = int(0.001 * blocks)
    return round(sorted(slow_us, reverse=True)[above], 1) if above < len(slow_us) else f"below {SLOW_US}"
