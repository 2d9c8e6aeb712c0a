"""Small stateful pieces of the signal path; all mono float32, in place or into given buffers.

None of them allocates more than a view per call: scratch memory is made once, for pieces of up to `CHUNK`.
"""

from __future__ import annotations

import math

import numpy as np

__all__ = ["CHUNK", "DcBlocker", "DelayLine", "Meter", "Ramp", "SoftLimiter", "db_to_gain", "gain_to_db"]

CHUNK = 1024  # samples that one call may bring
FLOOR_DB = -120.0


def db_to_gain(db: float) -> float:
    """Decibels of amplitude to a factor."""
    return 10.0 ** (db / 20.0)


def gain_to_db(gain: float) -> float:
    """A factor to decibels, not below -120."""
    return max(FLOOR_DB, 20.0 * math.log10(gain)) if gain > 1e-6 else FLOOR_DB


class Ramp:
    """A control value that moves in a straight line to its target in `ms`: no step, so no click."""

    def __init__(self, value: float, rate_hz: int, ms: float = 20.0) -> None:
        self.value = self.target = float(value)
        self._steps = max(1.0, rate_hz * ms / 1000.0)
        self._slope = 0.0
        self._count = np.arange(1, CHUNK + 1, dtype=np.float32)
        self.curve = np.empty(CHUNK, np.float32)

    def aim(self, target: float) -> None:
        """Set where to go; a new target starts a new line from here."""
        if target != self.target:
            self.target = float(target)
            self._slope = (self.target - self.value) / self._steps

    def start_from(self, value: float) -> None:
        """Be there at once; the next aim starts a line from here."""
        self.value = self.target = float(value)

    @property
    def settled(self) -> bool:
        return self.value == self.target

    def next(self, n: int) -> np.ndarray:
        """The next `n` values (a view that the next call overwrites)."""
        curve = self.curve[:n]
        if self.settled:
            curve[:] = self.value
            return curve
        np.multiply(self._count[:n], self._slope, out=curve)
        curve += self.value
        if self._slope > 0:
            np.minimum(curve, self.target, out=curve)
        else:
            np.maximum(curve, self.target, out=curve)
        reached = n >= abs((self.target - self.value) / self._slope) if self._slope else True
        self.value = self.target if reached else float(curve[-1])
        return curve


class DcBlocker:
    """y[n] = x[n] - x[n-1] + r y[n-1], -3 dB at `corner_hz`, without a Python loop.

    r^n varies little over one piece: hence the closed form y[n] = r^n (r y[-1] + sum d[i] r^-i) in float64.
    """

    def __init__(self, rate_hz: int, corner_hz: float = 8.0) -> None:
        self._r = math.exp(-2 * math.pi * corner_hz / rate_hz)
        self._rise = self._r ** np.arange(CHUNK, dtype=np.float64)
        self._fall = 1.0 / self._rise
        self._work = np.empty(CHUNK, np.float64)
        self.reset()

    def reset(self) -> None:
        self._x = self._y = 0.0

    def process(self, x: np.ndarray) -> None:
        """In place."""
        n = len(x)
        work = self._work[:n]
        work[1:] = x[1:]
        work[1:] -= x[:-1]
        work[0] = float(x[0]) - self._x + self._r * self._y
        self._x = float(x[-1])
        work *= self._fall[:n]
        np.cumsum(work, out=work)
        work *= self._rise[:n]
        x[:] = work
        self._y = float(work[-1])


class DelayLine:
    """Whole-sample delay that may grow while it runs."""

    def __init__(self, delay: int, max_delay: int) -> None:
        self.delay = delay
        self._history = np.zeros(max(1, max_delay) + CHUNK, np.float32)

    def reset(self) -> None:
        self._history[:] = 0.0

    def process(self, x: np.ndarray, out: np.ndarray) -> None:
        """out[n] = x[n - delay]; at most CHUNK samples."""
        n, history = len(x), self._history
        history[:-n] = history[n:]
        history[-n:] = x
        end = len(history) - self.delay
        out[:] = history[end - n : end]


class SoftLimiter:
    """Memoryless: exactly transparent below `knee_db`, above it bent so that nothing passes `ceiling_db`."""

    def __init__(self, knee_db: float = -3.0, ceiling_db: float = -1.0) -> None:
        self.knee, self.ceiling = db_to_gain(knee_db), db_to_gain(ceiling_db)
        self._over = np.empty(CHUNK, np.float32)
        self._clipped = np.empty(CHUNK, np.float32)

    def process(self, x: np.ndarray) -> None:
        """In place; slope 1 at the knee, so the curve has no corner."""
        if max(float(x.max()), -float(x.min())) <= self.knee:
            return
        span = self.ceiling - self.knee
        over, clipped = self._over[: len(x)], self._clipped[: len(x)]
        np.clip(x, -self.knee, self.knee, out=clipped)
        np.subtract(x, clipped, out=over)
        over *= 1.0 / span
        np.tanh(over, out=over)
        over *= span
        np.add(clipped, over, out=x)


class Meter:
    """Peak level in dB of full scale; rises at once, falls by 20 dB in `fall_ms`."""

    def __init__(self, rate_hz: int, fall_ms: float = 300.0) -> None:
        self._per_sample = 20.0 / (rate_hz * fall_ms / 1000.0)
        self.level_db = FLOOR_DB

    def process(self, x: np.ndarray) -> None:
        peak = gain_to_db(max(float(x.max()), -float(x.min())))
        self.level_db = max(peak, self.level_db - self._per_sample * len(x))
