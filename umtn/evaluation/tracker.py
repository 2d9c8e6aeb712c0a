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

from umtn.evaluation.spectra import HOP, RATE

__all__ = ["Track", "pitch_track"]

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
