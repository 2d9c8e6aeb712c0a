"""Computing behind the callback's back: the model runs in a thread of its own, one block ahead of its need.

A callback that computes must be done within its block, and a system that wakes it 4 ms late leaves 1.3 of
5.3 ms. Here it only hands its input over and takes the block that was made meanwhile: the model has nearly two
blocks, for one block more latency.

Threading model: the device's thread calls `block`; the thread "model", one real-time step below it, calls the
worker. Two single-producer, single-consumer rings carry the samples, two queues (C, without a Python lock) say
that there are some. Both threads want the interpreter: the callback takes and plays first and wakes the model
last, and nothing in it is large enough for NumPy to let the interpreter go (another thread would keep it for
a switch interval: 100 to 170 us measured).
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import Empty, SimpleQueue
from time import perf_counter

import numpy as np

from realtime.audio.background import step_back
from realtime.audio.ring import Ring

__all__ = ["BLOCKS_AHEAD", "Ahead", "spread"]

PATIENCE = 0.6  # of a block: how long a callback waits for a result before it plays without
BLOCKS_AHEAD = 1.0 + PATIENCE  # what a computation may take
FADE = 64  # samples, into and out of a gap
QUIET = 500  # elements: for more than these NumPy lets go of the interpreter while it copies
Make = Callable[[np.ndarray | None, int], np.ndarray]


def spread(y: np.ndarray, channels: np.ndarray) -> None:
    """The same sound [n] into every one of `channels` [n, c]."""
    for start in range(0, len(y), QUIET):
        piece = y[start : start + QUIET]
        for channel in range(channels.shape[1]):
            channels[start : start + QUIET, channel] = piece


class Ahead:
    """`block(x, n, out)`: the worker's, `slack` samples (the longest block so far) later.

    `late` counts the blocks that were not ready in time, `waits` those that had to be waited for;
    `waited`: whether the last one had to.
    """

    def __init__(self, make: Make, rate_hz: int, longest: int, capture: bool) -> None:
        self._make, self._rate, self._capture = make, rate_hz, capture
        self._in, self._ready = Ring(4 * longest), Ring(4 * longest)
        self._todo: SimpleQueue[int] = SimpleQueue()
        self._done: SimpleQueue[None] = SimpleQueue()
        self._x = np.zeros(longest, np.float32)
        self._out = np.zeros(longest, np.float32)
        self._fall = np.linspace(1.0, 0.0, FADE, dtype=np.float32)
        self.slack = self.late = self.waits = 0
        self.waited = False
        self._owed = -1  # results that the callback went without; there is none before the first
        self._surplus = 0  # their samples: to be thrown away when they come
        self._last = 0.0
        self._broken = False  # the block before this one was a gap
        self._thread = threading.Thread(target=self._run, name="model", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """After the device's thread has ended; what is queued is still computed."""
        self._todo.put(0)
        if self._thread.is_alive():
            self._thread.join(5.0)

    def block(self, x: np.ndarray | None, n: int, out: np.ndarray | None) -> None:
        """Hand over `n` samples, take `n` older ones into every channel of `out` [n, channels]."""
        due = perf_counter() + PATIENCE * n / self._rate
        ready = self._done.qsize() > self._owed
        self.waited = not ready
        if not ready:  # the model is at work and will not disturb; it must not run out of work while we wait
            self.waits += 1
            self._give(x, n)
        y = self._take(n, due)
        if out is not None:
            spread(y, out)
        if ready:
            self._give(x, n)

    def _give(self, x: np.ndarray | None, n: int) -> None:
        if x is not None:
            for start in range(0, n, QUIET):
                self._in.write(x[start : start + QUIET])
        self._todo.put(n)

    def _take(self, n: int, due: float) -> np.ndarray:
        y = self._out[:n]
        if self._collect(self._owed + 1, due):
            self._surplus -= self._ready.skip(self._surplus)
            for start in range(0, n, QUIET):  # a call longer than all before finds too little: zeros
                self._ready.read(y[start : start + QUIET])
            self.slack = max(self.slack, n)  # and more slack
            if self._broken:
                y[:FADE] *= self._fall[::-1][:n]
            self._broken = False
        else:
            self._gap(y)
        self._last = float(y[-1])
        return y

    def _collect(self, results: int, due: float) -> bool:
        """Wait for that many results until `due`; what is still missing is owed."""
        for got in range(results):
            try:
                self._done.get(timeout=max(0.0, due - perf_counter()))
            except Empty:
                self._owed = results - got
                return False
        self._owed = 0
        return True

    def _gap(self, out: np.ndarray) -> None:
        """Fall from the last sample instead of breaking off; the late result will be dropped, not played later."""
        self.late += 1
        self._surplus += len(out)
        out[:] = 0.0
        if not self._broken:
            n = min(FADE, len(out))
            np.multiply(self._fall[:n], self._last, out=out[:n])
        self._broken = True

    def _run(self) -> None:
        step_back()
        x = self._x
        while n := self._todo.get():
            if self._capture:
                self._in.read(x[:n])
            self._ready.write(self._make(x[:n] if self._capture else None, n))
            self._done.put(None)
