"""Figures read off the pitch tracks of one voice, those of the paper among them.

Frames are 10 ms; pitches are MIDI note numbers with fractions; NaN is no pitch.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter1d

from umtn.data.score import Score
from umtn.evaluation.reference import passages, reference_times
from umtn.evaluation.spectra import FRAME_S
from umtn.evaluation.tracker import Track

__all__ = ["Voice", "dtw_correlation", "ncc", "raw_pitch_accuracy", "vibrato_kept"]

Floats = NDArray[np.float64]
FEWEST = 20  # frames below which no figure is given
VIBRATO_S, DRIFT_S, ATTACK_S, LEAST_CENTS = 0.4, 0.25, 0.1, 8.0


class Voice:
    """What a score asks of one voice: pitch without and cents of bend, in each frame of one-voice passages."""

    def __init__(self, score: Score, start_s: float, frames: int) -> None:
        times = reference_times(start_s, frames)
        self.one, _ = passages(score, times)
        self.notes = score.table.copy()
        self.notes[:, :2] -= start_s
        self.cents = score.bend.at(times)
        self.pitch = np.full(frames, np.nan)
        for start, end, pitch, _ in self.notes:  # a later note takes over: legato
            self.pitch[max(0, round(start / FRAME_S)) : max(0, round(end / FRAME_S))] = pitch
        self.pitch[~self.one] = np.nan

    def of(self, track: Track) -> Floats:
        """The track where this voice may sound, NaN elsewhere."""
        return np.where(track.voiced & self.one, track.pitch, np.nan)


def raw_pitch_accuracy(voice: Voice, track: Track) -> float:
    """Share of the frames with a note whose pitch is within 50 cents of the score's, bend included."""
    wanted = voice.pitch + voice.cents / 100
    at = np.isfinite(wanted)
    return float(np.mean(np.abs(track.pitch[at] - wanted[at]) <= 0.5)) if at.sum() >= FEWEST else float("nan")


def _correlation(a: Floats, b: Floats) -> float:
    if len(a) < FEWEST or a.std() < 1e-9 or b.std() < 1e-9:
        return float("nan")
    return float(np.corrcoef(a, b)[0, 1])


def ncc(a: Floats, b: Floats, furthest: int = 25) -> float:
    """Correlation of two pitch tracks [T] in semitones, means removed, at the best shift up to 0.25 s.

    After Mor et al. 2018, "A universal music translation network" (arXiv 1805.07848), which compares the pitch
    tracks of input and output so; tracker, unit and the removal of the mean are ours.
    """
    best = float("nan")
    for shift in range(-furthest, furthest + 1):
        x, y = (a[shift:], b[: len(b) - shift]) if shift >= 0 else (a[:shift], b[-shift:])
        both = np.isfinite(x) & np.isfinite(y)
        best = float(np.fmax(best, _correlation(x[both], y[both])))
    return best


def dtw_correlation(a: Floats, b: Floats, band: int = 25) -> float:
    """Correlation of two pitch tracks after dynamic time warping by `band` steps (0.5 s) at the most."""
    both = np.isfinite(a) & np.isfinite(b)
    x, y = a[both][::2], b[both][::2]
    if len(x) < FEWEST:
        return float("nan")
    x, y = x - np.median(x), y - np.median(y)  # an octave away is no other tune: so says the correlation too
    i, j = _warp(x, y, band)
    return _correlation(x[i], y[j])


def _warp(x: Floats, y: Floats, band: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """The cheapest monotonous path through |x_i - y_j| with |i - j| <= band, for sequences of one length.

    A row of the cumulative cost is m_j + ... + c_j minimised over where it was entered: a running minimum.
    """
    n, width = len(x), 2 * band + 1
    total = np.full((n + 1, width + 2), np.inf)  # column k is j = i + k - band - 1
    total[0, band + 1] = 0
    padded = np.pad(y, band, constant_values=np.inf)
    for i in range(n):
        cost = np.abs(x[i] - padded[i : i + width])
        entered = np.minimum(total[i, 1:-1], total[i, 2:])
        reach = np.cumsum(np.where(np.isfinite(cost), cost, 0.0))
        row = reach + np.minimum.accumulate(entered - np.concatenate([[0.0], reach[:-1]]))
        total[i + 1, 1:-1] = np.where(np.isfinite(cost), row, np.inf)
    path, i, k = [], n, band + 1
    while i > 0:
        path.append((i - 1, i - 1 + k - band - 1))
        steps = (total[i - 1, k], total[i - 1, k + 1], total[i, k - 1])
        if path[-1] == (0, 0):
            break
        best = int(np.argmin(steps))
        i, k = ((i - 1, k), (i - 1, k + 1), (i, k - 1))[best]
    rows, columns = zip(*path[::-1], strict=True)
    return np.array(rows), np.array(columns)


def vibrato_kept(voice: Voice, track: Track, latest: int = 10) -> float:
    """How much of the score's vibrato the track shows: its share that moves with the bend, 1 for all of it.

    Over notes of 0.4 s and more whose bend swings by 8 cents RMS; a lag up to 100 ms is allowed for.
    """
    pairs = []
    width = round(DRIFT_S / FRAME_S)
    for start, end, pitch, _ in voice.notes:
        a, b = (round(s / FRAME_S) for s in (start + ATTACK_S, end))
        if end - start < VIBRATO_S or a < 0 or b + latest > len(voice.pitch) or not voice.one[a:b].all():
            continue
        wanted = voice.cents[a:b] - uniform_filter1d(voice.cents[a:b], width)
        if np.sqrt(np.mean(wanted**2)) >= LEAST_CENTS:
            cents = np.clip(100 * (track.pitch[a : b + latest] - pitch), -150, 150)
            pairs.append((wanted, cents - uniform_filter1d(cents, width)))
    power = sum(float(w @ w) for w, _ in pairs)
    if not pairs:
        return float("nan")
    return max(sum(float(w @ c[s : s + len(w)]) for w, c in pairs) for s in range(latest + 1)) / power
