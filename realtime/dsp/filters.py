"""Small stateful pieces of the signal path; all mono float32, in place or into given buffers.

None of them allocates more than a view per call: scratch memory is made once, for pieces of up to `CHUNK`.
"""

from __future__ import annotations

import math

import numpy as np

from realtime.shared.saved_classes import saved

__all__ = [
    "CHUNK",
    "DcBlocker",
    "DelayLine",
    "Gate",
    "Hush",
    "Meter",
    "OFF_DB",
    "Ramp",
    "SoftLimiter",
    "db_to_gain",
    "gain_to_db",
]


CHUNK = 1024  # samples that one call may bring
FLOOR_DB = -120.0


def db_to_gain(db: float) -> float:
    """Decibels of amplitude to a factor."""
    gain: float = 10.0 ** (db / 20.0)
    return gain


def gain_to_db(gain: float) -> float:
    """A factor to decibels, not below -120."""
    return max(FLOOR_DB, 20.0 * math.log10(gain)) if gain > 1e-6 else FLOOR_DB


@saved("ramp")
class Ramp:
    """A control value that moves in a straight line to its target in `ms`: no step, so no click."""

    def __init__(self, value: float, rate_hz: int, ms: float) -> None:
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


@saved("dc-blocker")
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


@saved("delay-line")
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


@saved("soft-limiter")
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


@saved("meter")
class Meter:
    """Peak level in dB of full scale; rises at once, falls by 20 dB in `fall_ms`."""

    def __init__(self, rate_hz: int, fall_ms: float = 300.0) -> None:
        self._per_sample = 20.0 / (rate_hz * fall_ms / 1000.0)
        self.level_db = FLOOR_DB

    def process(self, x: np.ndarray) -> None:
        peak = gain_to_db(max(float(x.max()), -float(x.min())))
        self.level_db = max(peak, self.level_db - self._per_sample * len(x))


# The noise gate: silence into the model while the player pauses, and then true silence out of it.
#
# Sample-exact and independent of how the samples come in pieces; mono float32, in place, no allocation beyond views.


OFF_DB = -100.0
HYSTERESIS_DB = 6.0
HOLD_MS = 80.0
ATTACK_MS, RELEASE_MS = 2.0, 40.0
QUIET = 1e-3  # -60 dB: what a decoder still says below that is noise, not a note's end
LONGEST_S = 4.0  # nothing rings on for longer than that
FADE_MS, WAKE_MS = 250.0, 3.0
SURE_MS = 50.0


@saved("gate-gain")
class _Slide:
    """A gain that goes up to 1 and down to 0 in straight lines."""

    def __init__(self, rate_hz: int, up_ms: float, down_ms: float, longest: int) -> None:
        self.gain = 1.0
        self._up, self._down = 1000 / (rate_hz * up_ms), -1000 / (rate_hz * down_ms)
        self._count = np.arange(1, longest + 1, dtype=np.float32)
        self._curve = np.empty(longest, np.float32)

    def process(self, x: np.ndarray, up: bool) -> None:
        """In place; untouched at 1."""
        if not len(x) or (up and self.gain == 1.0):
            return
        if not up and self.gain == 0.0:
            x[:] = 0.0
            return
        curve = self._curve[: len(x)]
        np.multiply(self._count[: len(x)], self._up if up else self._down, out=curve)
        curve += self.gain
        np.clip(curve, 0.0, 1.0, out=curve)
        x *= curve
        self.gain = float(curve[-1])


@saved("gate")
class Gate:
    """Closes when no sample reached `threshold_db` for `HOLD_MS`, opens at once at 6 dB more; -100 = off."""

    def __init__(self, rate_hz: int) -> None:
        self.open = True
        self._db, self._close_at, self._open_at = OFF_DB, 0.0, 0.0
        self._hold = round(rate_hz * HOLD_MS / 1000)
        self._slide = _Slide(rate_hz, ATTACK_MS, RELEASE_MS, CHUNK)
        self._quiet = 0  # samples since one was loud
        self._level = np.empty(CHUNK, np.float32)
        self._loud = np.empty(CHUNK, np.bool_)

    def aim(self, threshold_db: float) -> None:
        """Set the level; -100 and below opens for good."""
        if threshold_db != self._db:
            self._db = threshold_db
            off = threshold_db <= OFF_DB
            self._close_at = 0.0 if off else db_to_gain(threshold_db)
            self._open_at = 0.0 if off else db_to_gain(threshold_db + HYSTERESIS_DB)

    def reset(self) -> None:
        """Forget when it was loud; the gate stays as it is."""
        self._quiet = 0

    def process(self, x: np.ndarray) -> None:
        """At most CHUNK samples, in place; untouched while the gate is wide open."""
        if self._close_at == 0.0 and self._slide.gain == 1.0:
            self.open, self._quiet = True, 0
            return
        level, at = self._level[: len(x)], 0
        np.abs(x, out=level)
        while at < len(x):
            turn = (self._stay_open if self.open else self._stay_closed)(level, at)
            self._slide.process(x[at:turn], self.open)
            if turn < len(x):
                self.open, self._quiet = not self.open, 0
            at = turn

    def _stay_open(self, level: np.ndarray, at: int) -> int:
        """First sample that is no longer open, or the end."""
        n = len(level) - at
        loud = self._loud[:n]
        np.greater_equal(level[at:], self._close_at, out=loud)
        first = int(loud.argmax())
        if not loud[first]:
            first = n
        if self._quiet + first > self._hold:
            return at + self._hold - self._quiet
        self._quiet = self._quiet + n if first == n else int(loud[::-1].argmax())
        return len(level)

    def _stay_closed(self, level: np.ndarray, at: int) -> int:
        """First sample that is loud enough, or the end."""
        loud = self._loud[: len(level) - at]
        np.greater_equal(level[at:], self._open_at, out=loud)
        first = int(loud.argmax())
        return at + first if loud[first] else len(level)


@saved("output-gate")
class Hush:
    """Takes the last trace of noise out of decoders that have fallen silent behind a closed gate."""

    def __init__(self, rate_hz: int, block: int) -> None:
        self._slide = _Slide(rate_hz, WAKE_MS, FADE_MS, block)
        self._longest, self._sure = round(rate_hz * LONGEST_S), round(rate_hz * SURE_MS / 1000)
        self._closed = self._quiet = 0  # samples since the gate closed; since the output was loud

    def process(self, x: np.ndarray, closed: bool) -> None:
        """At most `block` samples, in place."""
        if not closed:
            self._closed = self._quiet = 0
            self._slide.process(x, True)
            return
        self._closed += len(x)
        if self._quiet < self._sure:  # once sure it stays so until the gate opens
            silent = float(x.max()) < QUIET and float(x.min()) > -QUIET
            self._quiet = self._quiet + len(x) if silent else 0
        self._slide.process(x, self._quiet < self._sure and self._closed < self._longest)
