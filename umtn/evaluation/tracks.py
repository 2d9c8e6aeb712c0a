"""Pitch tracks of one voice, and the figures read off them, those of the paper among them.

The tracker is YIN (de Cheveigné and Kawahara 2002, "YIN, a fundamental frequency estimator for speech and
music", steps 1-5). Frames are 10 ms; pitches are MIDI note numbers with fractions; NaN is no pitch.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.fft
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter1d

from umtn.data.score import Score
from umtn.evaluation.reference import passages, reference_times
from umtn.evaluation.spectra import FRAME_S, HOP, RATE

__all__ = ["Track", "Voice", "dtw_correlation", "ncc", "pitch_track", "raw_pitch_accuracy", "vibrato_kept"]

Floats = NDArray[np.float64]
WINDOW, SHORTEST, LONGEST = 1024, 7, 768  # samples at 24 kHz: periods of 31 Hz to 3.4 kHz
COMMON = 128  # a period in the middle of the range: windows are centred for it
DIP, NEAR, VOICED_DIP = 0.15, 0.2, 0.4
SILENT_RMS = 1e-3
CHUNK = 500
FEWEST = 20  # frames below which no figure is given
VIBRATO_S, DRIFT_S, ATTACK_S, LEAST_CENTS = 0.4, 0.25, 0.1, 8.0


@dataclass(frozen=True)
class Track:
    """The best guess of the pitch in each frame [T], and whether it is one (periodic and audible)."""

    pitch: Floats
    voiced: NDArray[np.bool_]


def pitch_track(audio: NDArray[np.float32]) -> Track:
    """The track of audio [N] at 24 kHz; frame t is centred on t * 10 ms."""
    frames, half = len(audio) * 100 // RATE, WINDOW // 2 + COMMON // 2
    padded = np.pad(audio.astype(np.float64), (half, WINDOW + LONGEST - half + HOP))
    pieces = np.lib.stride_tricks.sliding_window_view(padded, WINDOW + LONGEST)[::HOP][:frames]
    found = [_yin(pieces[i : i + CHUNK]) for i in range(0, frames, CHUNK)]
    period, dip = (np.concatenate([f[i] for f in found]) if found else np.zeros(0) for i in (0, 1))
    loud = np.sqrt(np.mean(pieces[:, half - HOP : half + HOP] ** 2, axis=1)) > SILENT_RMS
    return Track(69 + 12 * np.log2(RATE / np.maximum(period, 1) / 440), (dip < VOICED_DIP) & loud)


def _yin(pieces: Floats) -> tuple[Floats, Floats]:
    """(period in samples, normalised difference there) of pieces [F, WINDOW + LONGEST].

    The shortest period whose dip is below DIP, or nearly the deepest: while the note before still rings, a
    common multiple of both periods is often the deepest.
    """
    size = scipy.fft.next_fast_len(pieces.shape[1] + WINDOW)
    spectrum = scipy.fft.rfft(pieces, size)
    head = scipy.fft.rfft(pieces[:, :WINDOW], size)
    product = scipy.fft.irfft(spectrum * head.conj(), size)[:, : LONGEST + 1]
    energy = np.cumsum(np.pad(pieces**2, ((0, 0), (1, 0))), axis=1)
    energy = energy[:, WINDOW : WINDOW + LONGEST + 1] - energy[:, : LONGEST + 1]
    difference = np.maximum(0, energy[:, :1] + energy - 2 * product)
    difference[:, 0] = 0
    mean = np.cumsum(difference, axis=1) / np.maximum(1, np.arange(LONGEST + 1))
    d = np.where(mean > 1e-12, difference / np.maximum(mean, 1e-12), 1.0)
    inner = d[:, SHORTEST:-1]
    lowest = (inner <= d[:, SHORTEST - 1 : -2]) & (inner < d[:, SHORTEST + 1 :])
    least = np.where(lowest, inner, 9.0).min(axis=1, keepdims=True)
    at = (lowest & (inner <= np.maximum(DIP, least + NEAR))).argmax(axis=1) + SHORTEST
    rows = np.arange(len(d))
    left, middle, right = (difference[rows, at + i] for i in (-1, 0, 1))
    bend = left - 2 * middle + right
    shift = np.where(bend > 1e-12, 0.5 * (left - right) / np.maximum(bend, 1e-12), 0.0)
    return at + np.clip(shift, -0.5, 0.5), d[rows, at]


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
