"""The noise gate: silence into the model while the player pauses, and then true silence out of it.

Sample-exact and independent of how the samples come in pieces; mono float32, in place, no allocation beyond views.
"""

from __future__ import annotations

import numpy as np

from realtime.audio.dsp import CHUNK, db_to_gain

__all__ = ["OFF_DB", "Gate", "Hush"]

OFF_DB = -100.0
HYSTERESIS_DB = 6.0
HOLD_MS = 80.0
ATTACK_MS, RELEASE_MS = 2.0, 40.0
QUIET = 1e-3  # -60 dB: what a decoder still says below that is noise, not a note's end
LONGEST_S = 4.0  # nothing rings on for longer than that
FADE_MS, WAKE_MS = 250.0, 3.0
SURE_MS = 50.0


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
