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

__all__ = ["Witness", "blame"]

PERIOD_S = 0.001
STALL_S = 0.001  # later than this is a stall
PRIORITY = 90


def _watch(cpu: int, stop: Any, results: Any) -> None:
    gc.disable()
    with suppress(OSError, AttributeError):
        os.sched_setaffinity(0, [cpu])
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(PRIORITY))
    stalls: list[tuple[float, float]] = []
    last = time.perf_counter()
    while not stop.is_set():
        for _ in range(500):
            time.sleep(PERIOD_S)
            now = time.perf_counter()
            if now - last > PERIOD_S + STALL_S:
                stalls.append((last, now))
            last = now
        last = time.perf_counter()
    results.send(stalls)


class Witness:
    """A context; afterwards `stalls`: (start, end) in time.perf_counter()'s seconds, of any processor."""

    def __init__(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._stop = context.Event()
        self._others = []
        self.stalls: list[tuple[float, float]] = []
        cpus = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else [0]
        for cpu in cpus:
            ours, theirs = context.Pipe()
            other = context.Process(target=_watch, args=(cpu, self._stop, theirs), daemon=True)
            self._others.append((other, ours))

    def __enter__(self) -> Witness:
        for other, _ in self._others:
            other.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for other, ours in self._others:
            if ours.poll(10):
                self.stalls += ours.recv()
            other.join(10)
        self.stalls.sort()


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
