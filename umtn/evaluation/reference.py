"""What a score asks for, in the judges' terms: rolls of sounding semitones, frequencies, notes, passages."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from umtn.data.rasterize import rasterize
from umtn.data.score import Score
from umtn.evaluation.spectra import FRAME_S

__all__ = ["passages", "reference_notes", "reference_rolls", "reference_times"]

Roll = NDArray[np.float32]
PASSAGE_GAP_S = 0.2


def reference_times(start_s: float, frames: int) -> NDArray[np.float64]:
    """Time of the middle of each frame, in the score's seconds."""
    return np.asarray(start_s + np.arange(frames) * FRAME_S, np.float64)


def reference_rolls(
    score: Score, start_s: float, frames: int, lowest: int, pitches: int, highest: int = 127
) -> tuple[Roll, Roll]:
    """(active, onset) [P, T] at the semitone that sounds, bend included; frame t is at start_s + t * 10 ms.

    Notes above `highest` are left out (the instrument does not play them).
    """
    active, onset, _, _ = rasterize(score, start_s - FRAME_S / 2, frames, FRAME_S, lowest, pitches)
    mute = max(0, highest - lowest + 1)
    active[mute:] = onset[mute:] = 0
    bend = np.round(score.bend.at(reference_times(start_s, frames)) / 100).astype(int)
    for shift in set(bend.tolist()) - {0}:
        at = bend == shift
        for roll in (active, onset):
            moved = np.zeros_like(roll[:, at])
            if shift > 0:
                moved[shift:] = roll[:-shift, at]
            else:
                moved[:shift] = roll[-shift:, at]
            roll[:, at] = moved
    return active, onset


def reference_notes(
    score: Score, start_s: float, end_s: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Notes that begin within start_s .. end_s: intervals [N, 2] from start_s, and frequencies in Hz [N]."""
    notes = score.table
    notes = notes[(notes[:, 0] >= start_s) & (notes[:, 0] < end_s)]
    cents = score.bend.at(np.minimum(notes[:, 0] + 0.1, notes[:, 1]))
    return notes[:, :2] - start_s, 440 * 2 ** ((notes[:, 2] + cents / 100 - 69) / 12)


def passages(score: Score, times_s: NDArray[np.float64]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which of `times_s` lie in one-voice passages and which in passages of several voices.

    Passages are parted by rests of 0.2 s; notes that overlap by less than 50 ms are legato, not two voices.
    """
    one, several = np.zeros(len(times_s), bool), np.zeros(len(times_s), bool)
    notes = score.table
    if not len(notes):
        return one, several
    reach = np.maximum.accumulate(notes[:, 1])
    breaks = np.flatnonzero(notes[1:, 0] > reach[:-1] + PASSAGE_GAP_S) + 1
    for part in np.split(notes, breaks):
        inside = (times_s >= part[0, 0]) & (times_s < part[:, 1].max())
        overlap = len(part) > 1 and bool(np.any(np.maximum.accumulate(part[:-1, 1]) - 0.05 > part[1:, 0]))
        (several if overlap else one)[inside] = True
    return one, several
