"""How soon a note is there: from its start in the score to half of its power."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter1d

from umtn.data.score import Score

__all__ = ["attack_s", "fresh_onsets_s"]

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
