"""Computing behind the callback's back: the model runs in a thread of its own, some blocks ahead of its need.

A callback that computes must be done within its block, and a system that wakes it 4 ms late leaves 1.3 of
5.3 ms. Here it only hands its input over and takes the oldest block in hand. With one in hand the model has
nearly two blocks of time, for one block more latency; a machine that stands still for three needs three.

    given to the model   |-----------------------------|
    made by it           |----------------------|
    played               |---------|                     the rest up to "given" is `slack`, always

Threading model: the device's thread calls `block`; the thread "model", one real-time step below it, calls the
worker. Two single-producer, single-consumer rings carry the samples, a queue and a lock (C both) say that there
are some. Both threads want the interpreter: the callback takes and plays first and wakes the model last, and
nothing in it is large enough for NumPy to let the interpreter go (another thread would keep it for a switch
interval: 100 to 170 us measured).
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import SimpleQueue
from time import perf_counter

import numpy as np

from realtime.audio.block_processor import Xruns
from realtime.dsp.ring_buffer import Ring
from realtime.shared.scheduling import step_back

__all__ = ["BLOCKS_AHEAD", "Ahead", "spread"]

PATIENCE = 0.6  # of a block: how long a callback waits for a result before it plays without
BLOCKS_AHEAD = 1.0 + PATIENCE  # what a computation may take; more in hand are for the machine's stalls
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
    """`block(x, n, out)`: the worker's, `slack` samples later: `blocks` times the longest block so far.

    Blocks that were not ready in time are noted in `xruns`; `waits` counts those that had to be waited for;
    `waited`: whether the last one had to.
    """

    def __init__(
        self,
        make: Make,
        rate_hz: int,
        longest: int,
        capture: bool,
        blocks: int = 1,
        xruns: Xruns | None = None,
    ) -> None:
        self._make, self._rate, self._capture, self._blocks = make, rate_hz, capture, blocks
        room = (blocks + 3) * longest
        self._in, self._ready = Ring(room), Ring(room)
        self._todo: SimpleQueue[int] = SimpleQueue()
        self._news = threading.Lock()  # held until the model has made something
        self._news.acquire()
        self._x = np.zeros(longest, np.float32)
        self._out = np.zeros(longest, np.float32)
        self._fall = np.linspace(1.0, 0.0, FADE, dtype=np.float32)  # from 1 itself: a `Fade` is a bit off it
        self.xruns = Xruns() if xruns is None else xruns
        self.slack = self.waits = 0
        self.waited = False
        self._next = 0  # which of the model's samples is to be played next; below 0: silence before the first
        self._last = 0.0
        self._broken = False  # what was played last was a gap
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
        longer = max(0, self._blocks * n - self.slack)
        self.slack += longer
        self._next -= longer
        ready = self._has(n)
        self.waited = not ready
        if not ready:  # the model is at work and will not disturb; it must not run out of work while we wait
            self.waits += 1
            self._give(x, n)
        y = self._take(n, ready or self._await(n, due))
        if out is not None:
            spread(y, out)
        if ready:
            self._give(x, n)

    def _give(self, x: np.ndarray | None, n: int) -> None:
        if x is not None:
            for start in range(0, n, QUIET):
                self._in.write(x[start : start + QUIET])
        self._todo.put(n)

    @property
    def made(self) -> int:
        """Samples that the model has made. Those that found no room count: they are long past."""
        return self._ready.written + self._ready.lost

    def _has(self, n: int) -> bool:
        return self._next + n <= self.made

    def _await(self, n: int, due: float) -> bool:
        while not self._has(n):
            if not self._news.acquire(timeout=max(0.0, due - perf_counter())):
                return False
        return True

    def _take(self, n: int, ready: bool) -> np.ndarray:
        """The next `n` samples; late ones are dropped when they come, not played later."""
        y = self._out[:n]
        ahead = self._next - self._ready.taken - self._ready.lost  # below 0: the block has become longer
        self._ready.skip(max(0, ahead))
        self._next += n
        if not ready:
            self.xruns.note("late")
        gap = min(n, max(0, -ahead)) if ready else n
        if gap:
            self._gap(y[:gap])
        if gap < n:
            self._sound(y[gap:])
        self._last = float(y[-1])
        return y

    def _sound(self, out: np.ndarray) -> None:
        """As the model made it; after a gap it rises."""
        cut = self._broken and self._ready.taken > 0  # the very first samples were not
        for start in range(0, len(out), QUIET):
            self._ready.read(out[start : start + QUIET])
        if cut:
            out[:FADE] *= self._fall[::-1][: len(out)]
        self._broken = False

    def _gap(self, out: np.ndarray) -> None:
        """Fall from the last sample instead of breaking off."""
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
            if self._news.locked():  # nobody else releases it
                self._news.release()
