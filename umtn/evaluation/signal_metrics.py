"""Loudness and cleanliness of a signal: decibels, clicks, constant offset, lag, spectral distance."""

from __future__ import annotations

import math

import numpy as np
import scipy.signal
import torch
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter1d

from umtn.data.score import Score
from umtn.evaluation.classifiers import FLOOR_DB, LogMel

__all__ = [
    "advance",
    "air_db",
    "attack_s",
    "clicks_per_minute",
    "dbfs",
    "fresh_onsets_s",
    "lag_s",
    "logmel_distance_db",
    "loudness_correlation",
    "loudness_db",
    "spectral_distance",
    "tail_s",
]


Audio = NDArray[np.float32]
SILENT_DB = -120.0
AIR_HZ, FAINTEST_AIR_DB = 12_000, -110.0


def dbfs(audio: Audio) -> float:
    """RMS in dB of full scale; -120 for silence."""
    power = float(np.mean(audio.astype(np.float64) ** 2)) if len(audio) else 0.0
    return max(SILENT_DB, 10 * float(np.log10(power + 1e-30)))


def air_db(audio: Audio, rate: int) -> float:
    """Level above 12 kHz in dB of full scale, -110 at least; not a number at rates that carry none."""
    if rate < 3 * AIR_HZ:
        return float("nan")
    power = 0.0
    if len(audio):
        upper = np.fft.rfft(audio)[math.ceil(AIR_HZ * len(audio) / rate) :]
        power = 2 * float(np.sum(np.abs(upper) ** 2)) / len(audio) ** 2
    return 10 * math.log10(power + 10 ** (FAINTEST_AIR_DB / 10))


def clicks_per_minute(audio: Audio, rate: int) -> float:
    """Isolated jumps a minute: the second difference stands out 12-fold from its 40 ms, and is audible.

    The second difference lets a low note pass and shows a step or a spike in two or three samples; those count
    once in 5 ms. A train of more than four within 150 ms to either side is a tone's own edges (a low saw) and
    does not count. A hard attack may: compare with the true rendering's figure.
    """
    if len(audio) < rate // 10:
        return 0.0
    bend = np.diff(audio.astype(np.float64), 2)
    local, quiet = (
        np.sqrt(np.maximum(0, uniform_filter1d(x**2, rate // 25, mode="nearest")))
        for x in (bend, audio[1:-1].astype(np.float64))
    )
    jump = np.abs(bend)
    places = np.flatnonzero((jump > 12 * local) & (jump > 0.1 * quiet) & (jump > 1e-3))
    if not len(places):
        return 0.0
    events = places[np.diff(places, prepend=-rate) > rate // 200]
    near = np.searchsorted(events, events + 0.15 * rate) - np.searchsorted(events, events - 0.15 * rate)
    return float(np.sum(near <= 4)) * 60 * rate / len(audio)


def loudness_db(audio: Audio, rate: int, frames_a_second: int = 20) -> NDArray[np.float64]:
    """RMS of each frame in dBFS, never below -60."""
    n = rate // frames_a_second
    frames = audio[: len(audio) // n * n].reshape(-1, n).astype(np.float64)
    return np.maximum(-60.0, 10 * np.log10(np.mean(frames**2, axis=1) + 1e-12))


def loudness_correlation(audio: Audio, truth: Audio, rate: int) -> float:
    """Pearson's correlation of the two loudness curves in dB; NaN where one is constant."""
    a, b = loudness_db(audio, rate), loudness_db(truth, rate)
    n = min(len(a), len(b))
    if n < 2 or a[:n].std() == 0 or b[:n].std() == 0:
        return float("nan")
    return float(np.corrcoef(a[:n], b[:n])[0, 1])


def _attacks(audio: Audio, rate: int) -> NDArray[np.float64]:
    """How much louder each millisecond is than 10 ms before, summed over bands."""
    size, hop = 2 ** round(np.log2(rate / 94)), rate // 1000
    _, _, z = scipy.signal.stft(audio, rate, nperseg=size, noverlap=size - hop, boundary=None, padded=False)
    level = np.log(np.abs(z) ** 2 + 1e-9)
    rise = np.maximum(0, level[:, 10:] - level[:, :-10]).mean(axis=0)
    return np.asarray(rise - rise.mean(), np.float64)


def lag_s(audio: Audio, truth: Audio, rate: int, longest_s: float = 0.08) -> tuple[float, float]:
    """(lag, correlation): how long after those of `truth` the attacks of `audio` come, 0 .. 80 ms."""
    a, b = _attacks(audio, rate), _attacks(truth, rate)
    n = min(len(a), len(b))
    best = (0.0, -1.0)
    for shift in range(round(longest_s * 1000) + 1):
        x, y = a[shift:n], b[: n - shift]
        scale = float(np.sqrt(np.sum(x**2) * np.sum(y**2)))
        match = float(np.sum(x * y)) / scale if scale > 0 else 0.0
        if match > best[1] + 1e-9:
            best = (shift / 1000, match)
    return best


def advance(audio: Audio, lag_seconds: float, rate: int) -> Audio:
    """Audio with its first `lag_seconds` cut off and silence at its end: the same length, the lag removed."""
    n = round(lag_seconds * rate)
    return np.pad(audio[n:], (0, n)) if n else audio


def tail_s(audio: Audio, rate: int, quiet_dbfs: float = -60.0) -> float:
    """When the last 50 ms frame louder than `quiet_dbfs` ends, in seconds from the start; 0 if none is."""
    n = rate // 20
    frames = audio[: len(audio) // n * n].reshape(-1, n).astype(np.float64)
    loud = np.flatnonzero(10 * np.log10(np.mean(frames**2, axis=1) + 1e-30) > quiet_dbfs)
    return float((loud[-1] + 1) * n / rate) if len(loud) else 0.0


@torch.inference_mode()
def spectral_distance(audio: Audio, truth: Audio, sizes: tuple[int, ...] = (256, 512, 1024, 2048)) -> float:
    """Multi-resolution distance: |STFT| difference over |STFT| of the truth (Frobenius), mean over `sizes`.

    0 is equal, 1 is what silence scores (spectral convergence; Arik et al. 2018, "Fast spectrogram inversion").
    """
    a, b = (torch.from_numpy(np.ascontiguousarray(x)) for x in (audio, truth))
    found = []
    for size in sizes:
        x, y = (torch.stft(v, size, size // 4, window=torch.hann_window(size), return_complex=True).abs()
                for v in (a, b))  # fmt: skip
        found.append(float((x - y).norm() / y.norm().clamp(min=1e-9)))
    return float(np.mean(found))


@torch.inference_mode()
def logmel_distance_db(audio: Audio, truth: Audio, mel: LogMel) -> float:
    """Mean absolute difference of mel spectra in dB (floor -80 dBFS) where the truth sounds; 24 kHz."""
    a, b = (mel(torch.from_numpy(np.ascontiguousarray(x))[None])[0] for x in (audio, truth))
    sounding = b.amax(dim=0) > FLOOR_DB + 20
    if not bool(sounding.any()):
        return float("nan")
    return float((a - b).abs()[:, sounding].mean())


# How soon a note is there: from its start in the score to half of its power.


REST_S, TOGETHER_S, LONGEST_S = 0.15, 0.02, 0.2
POWER_S = 0.005
AUDIBLE = 1e-6  # -60 dBFS


def fresh_onsets_s(score: Score) -> NDArray[np.float64]:
    """Starts of notes and chords that come after a rest of 0.15 s and have 0.2 s to themselves."""
    notes = score.table
    if not len(notes):
        return np.zeros(0)
    reach = np.concatenate([[-np.inf], np.maximum.accumulate(notes[:-1, 1])])
    found = [
        float(start)
        for (start, end, *_), before in zip(notes, reach, strict=True)
        if start - before >= REST_S
        and end - start >= LONGEST_S
        and not np.any((notes[:, 0] > start + TOGETHER_S) & (notes[:, 0] < start + LONGEST_S))
    ]
    return np.array(found)


def attack_s(audio: NDArray[np.float32], score: Score, start_s: float, rate: int) -> float:
    """Median over fresh onsets of the time to half of the power that the note's first 0.2 s reach.

    Power is a mean over 5 ms, centred. NaN when no onset sounds. Audio [N] begins at `start_s` of the score.
    """
    power = uniform_filter1d(audio.astype(np.float64) ** 2, max(1, round(POWER_S * rate)), mode="constant")
    n, times = round(LONGEST_S * rate), []
    for onset in fresh_onsets_s(score) - start_s:
        first = round(onset * rate)
        part = power[first : first + n] if first >= 0 else power[:0]
        if len(part) == n and part.max() > AUDIBLE:
            times.append(int(np.argmax(part >= part.max() / 2)) / rate)
    return float(np.median(times)) if times else float("nan")
