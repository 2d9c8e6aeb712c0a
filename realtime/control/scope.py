"""A spectrogram of input and output, column by column, for pictures.

Threading model: used by one thread of the control process, and only while someone looks. It copies samples
out of the ring that the audio process writes; nothing here can hold the audio up.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from realtime.shared import SCOPE_FRAMES, SharedState

__all__ = ["BANDS", "COLUMNS_HZ", "FLOOR_DB", "Scope", "band_edges_hz", "band_matrix"]

BANDS = 96
COLUMNS_HZ = 25.0
FLOOR_DB = -96.0  # byte 0; byte 255 is a sine at full scale
LOW_HZ, HIGH_HZ = 45.0, 16000.0
WINDOW_S = 0.085  # long enough to part two low notes, short enough to see an attack
MAX_COLUMNS = 4  # at one call: who looks away for longer than that misses some
MIN_RATE_HZ = 1000.0


def band_edges_hz(rate_hz: float) -> npt.NDArray[np.float64]:
    """BANDS + 1 edges, evenly spaced on a logarithmic scale up to HIGH_HZ or half the rate."""
    return np.geomspace(LOW_HZ, min(HIGH_HZ, rate_hz / 2), BANDS + 1)


def band_matrix(rate_hz: float, window: int) -> npt.NDArray[np.float32]:
    """[BANDS, window / 2 + 1]: which share of each bin's power counts for each band.

    A bin is `rate / window` wide and spreads over the bands it covers; where bands are narrower than bins (the
    lowest octaves) they take the loudest bin they touch at full weight, so that a bass note is one bright line.
    """
    edges, spacing = band_edges_hz(rate_hz), rate_hz / window
    bins_hz = np.arange(window // 2 + 1) * spacing
    low, high = edges[:-1, None], edges[1:, None]
    middle, half = (low + high) / 2, np.maximum((high - low) / 2, spacing / 2)
    inside = np.clip((half + spacing / 2 - np.abs(bins_hz - middle)) / spacing, 0.0, 1.0)
    return np.asarray(inside, np.float32)


class Scope:
    """Call `columns()` COLUMNS_HZ times a second, or less often."""

    def __init__(self, shared: SharedState) -> None:
        self._shared = shared
        self._rate = 0.0
        self._next = 0  # where the coming column ends, in samples since the start

    def columns(self) -> list[bytes]:
        """The columns that are due, oldest first: BANDS bytes of input, then of output, low to high."""
        rate = self._shared.status_get("rate")
        if not math.isfinite(rate) or rate < MIN_RATE_HZ or not self._shared.scope.size:
            return []
        if rate != self._rate:
            self._prepare(rate)
        written = self._shared.scope_written
        if not self._next <= written + self._hop:  # a new audio process counts from its own start
            self._next = written
        self._next = max(self._next, written - (MAX_COLUMNS - 1) * self._hop)
        made = []
        while self._next <= written:
            made.append(self._column(self._next))
            self._next += self._hop
        return [column for column in made if column]

    def _prepare(self, rate: float) -> None:
        self._rate, self._hop = rate, max(round(rate / COLUMNS_HZ), 1)
        self._window = min(2 ** round(math.log2(rate * WINDOW_S)), SCOPE_FRAMES // 4)
        self._shape = np.hanning(self._window).astype(np.float32)
        self._shape *= 2 / self._shape.sum()  # a sine at full scale has power 1
        self._bands = band_matrix(rate, self._window)
        self._next = self._shared.scope_written

    def _column(self, end: int) -> bytes:
        """Of the window that ends at sample `end`; empty if audio wrote over it meanwhile."""
        at = np.arange(end - self._window, end) % SCOPE_FRAMES
        sound = self._shared.scope[:, at]
        if self._shared.scope_written - (end - self._window) > SCOPE_FRAMES:
            return b""
        np.nan_to_num(sound, copy=False, posinf=0.0, neginf=0.0)
        power = np.abs(np.fft.rfft(sound * self._shape)) ** 2
        level_db = 10 * np.log10(power @ self._bands.T + 1e-12)
        steps = np.clip(255 * (1 - level_db / FLOOR_DB), 0, 255)
        return bytes(steps.astype(np.uint8).tobytes())
