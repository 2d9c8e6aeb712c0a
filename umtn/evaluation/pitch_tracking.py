"""Follows the pitch of one voice: SWIPE' and a path through what it finds.

Camacho and Harris 2008, "A sawtooth waveform inspired pitch estimator for speech and music": how much of the root of a
spectrum lies on a pitch's first and prime harmonics, and how much between them. Ours: the spectrum's lines are evenly
spaced (theirs by ERB), and the path, which theirs has not. It stands where YIN stood: on true renderings of the
training fonts its pitch is the score's in .83 of the frames, YIN's in .77; sections and choirs, whose players are not
in tune with each other, have no period for YIN to find.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import scipy.fft
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter1d

from umtn.data.score import Score
from umtn.evaluation.classifiers import FRAME_S, HOP, RATE
from umtn.evaluation.note_metrics import passages, reference_times

__all__ = ["Track", "Voice", "dtw_correlation", "ncc", "pitch_track", "raw_pitch_accuracy", "vibrato_kept"]


Floats = NDArray[np.float64]
LOWEST, HIGHEST, STEP = 28.0, 104.0, 0.125  # pitches in semitones
WINDOWS = (1024, 2048, 4096)  # samples
PERIODS = 8  # of a pitch in its ideal window
HARMONICS = (1, 2, 3, 5, 7, 11, 13)
HIGHEST_HZ = 5000.0
CANDIDATES = 10
JUMP = 0.5  # what an octave from one frame to the next must be worth; further away costs no more
VOICED, SILENT_RMS = 0.2, 1e-3
CHUNK = 500


@dataclass(frozen=True)
class Track:
    """The best guess of the pitch in each frame [T], and whether it is one (strong and audible)."""

    pitch: Floats
    voiced: NDArray[np.bool_]


def pitch_track(audio: NDArray[np.float32]) -> Track:
    """The track of audio [N] at 24 kHz in MIDI note numbers with fractions; frame t is centred on t * 10 ms."""
    frames = len(audio) * 100 // RATE
    if not frames:
        return Track(np.zeros(0), np.zeros(0, bool))
    audible = _level(audio, frames) > SILENT_RMS
    found = [_candidates(audio, i, min(CHUNK, frames - i)) for i in range(0, frames, CHUNK)]
    pitch, strength = (np.concatenate([f[i] for f in found]) for i in (0, 1))
    chosen = np.arange(frames), _path(pitch, strength, audible)
    return Track(pitch[chosen], (strength[chosen] > VOICED) & audible)


def _level(audio: NDArray[np.float32], frames: int) -> Floats:
    """RMS over 20 ms about each frame."""
    power = np.cumsum(np.pad(np.square(audio, dtype=np.float64), (HOP + 1, 2 * HOP)))
    at = np.arange(frames) * HOP
    return np.sqrt((power[at + 2 * HOP] - power[at]) / (2 * HOP))


def _candidates(audio: NDArray[np.float32], first: int, frames: int) -> tuple[Floats, Floats]:
    """(pitches, strengths) of the strongest peaks in frames first .. first + frames, [F, CANDIDATES]."""
    strength = np.zeros((frames, len(_pitches())), np.float32)
    for size in WINDOWS:
        start = first * HOP - size // 2
        wanted = np.arange(start, start + (frames - 1) * HOP + size)
        inside = (wanted >= 0) & (wanted < len(audio))
        part = np.where(inside, audio[np.clip(wanted, 0, len(audio) - 1)], 0).astype(np.float32)
        pieces = np.lib.stride_tricks.sliding_window_view(part, size)[::HOP]
        root = np.sqrt(np.abs(scipy.fft.rfft(pieces * np.hanning(size).astype(np.float32), axis=1)))
        root = root / np.maximum(np.linalg.norm(root, axis=1, keepdims=True), 1e-6)
        columns, kernel = _kernel(size)
        strength[:, columns] += root @ kernel
    middle = strength[:, 1:-1]
    peak = (middle >= strength[:, :-2]) & (middle > strength[:, 2:])
    at = np.argsort(np.where(peak, -middle, 9.0), axis=1)[:, :CANDIDATES] + 1
    rows = np.arange(frames)[:, None]
    left, top, right = (strength[rows, at + i].astype(np.float64) for i in (-1, 0, 1))
    bend = np.minimum(left - 2 * top + right, -1e-9)
    shift = np.clip(0.5 * (left - right) / bend, -0.5, 0.5)
    return _pitches()[at] + STEP * shift, np.where(peak[rows, at - 1], top, -9.0)


def _path(pitch_TK: Floats, strength_TK: Floats, audible_T: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Which candidate of each frame lies on the path of most strength and fewest leaps; after silence all are near."""
    frames, k = pitch_TK.shape
    back = np.zeros((frames, k), np.intp)
    total = strength_TK[0]
    for t in range(1, frames):
        leap = np.minimum(np.abs(pitch_TK[t][:, None] - pitch_TK[t - 1]) / 12, 1.0)
        reached = total - (JUMP * leap if audible_T[t] else 0.0 * leap)
        back[t] = reached.argmax(axis=1)
        total = reached[np.arange(k), back[t]] + strength_TK[t]
    chosen = np.zeros(frames, np.intp)
    chosen[-1] = total.argmax()
    for t in range(frames - 1, 0, -1):
        chosen[t - 1] = back[t, chosen[t]]
    return chosen


@cache
def _pitches() -> Floats:
    return np.arange(LOWEST, HIGHEST + STEP / 2, STEP)


@cache
def _kernel(size: int) -> tuple[slice, NDArray[np.float32]]:
    """What a window's spectrum is multiplied with for the pitches that listen to it: (which ones, [size/2 + 1, P])."""
    f0_hz = 440 * 2 ** ((_pitches() - 69) / 12)
    ideal = np.clip(np.log2(PERIODS * RATE / f0_hz), np.log2(WINDOWS[0]), np.log2(WINDOWS[-1]))
    share = np.clip(1 - np.abs(ideal - np.log2(size)), 0, 1)  # a pitch between two windows listens to both
    listens = np.flatnonzero(share)
    hz = np.arange(size // 2 + 1) * RATE / size
    ratio = hz[:, None] / f0_hz[listens]
    kernel, wave = np.zeros_like(ratio), np.cos(2 * np.pi * ratio)
    for h in HARMONICS:
        off, there = np.abs(ratio - h), h * f0_hz[listens] <= HIGHEST_HZ
        kernel = np.where((off < 0.25) & there, wave, kernel)
        kernel += np.where((off >= 0.25) & (off < 0.75) & there, 0.5 * wave, 0.0)
    kernel /= np.sqrt(np.maximum(hz, 1.0))[:, None]
    kernel[0] = 0
    kernel /= np.linalg.norm(np.maximum(kernel, 0), axis=0)
    return slice(int(listens[0]), int(listens[-1]) + 1), (kernel * share[listens]).astype(np.float32)


# Figures read off the pitch tracks of one voice, those of the paper among them.
#
# Frames are 10 ms; pitches are MIDI note numbers with fractions; NaN is no pitch.


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
