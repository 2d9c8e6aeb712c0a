"""Note figures: frame by frame (mir_eval.multipitch), onsets and notes (mir_eval.transcription), octaves."""

from __future__ import annotations

import mir_eval
import numpy as np
from numpy.typing import NDArray

from umtn.data.score import Score, rasterize
from umtn.evaluation.classifiers import FRAME_S, LOWEST, PITCHES, Transcript

__all__ = [
    "find_notes",
    "frame_f1",
    "note_figures",
    "octave_errors",
    "passages",
    "reference_notes",
    "reference_rolls",
    "reference_times",
    "register",
    "still_ringing",
]


# What a score asks for, in the judges' terms: rolls of sounding semitones, frequencies, notes, passages.


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


Floats = NDArray[np.float64]
PEAK_FRAMES = 3  # an onset is the highest of so many frames to either side
ONSET_S = 0.05
RELEASE_S = 0.5  # how long a note may ring on after its end without counting as a wrong note
OCTAVES = (0, -12, 12)


def _hz(rows: NDArray[np.intp]) -> Floats:
    return np.asarray(440 * 2 ** ((rows + LOWEST - 69) / 12), np.float64)


def reference_hz(score: Score, times_s: Floats) -> list[Floats]:
    """Frequencies that the score asks for at each time, bend included."""
    notes, cents = score.table, score.bend.at(times_s)
    found = []
    for time, bend in zip(times_s, cents, strict=True):
        pitches = notes[(notes[:, 0] <= time) & (notes[:, 1] > time), 2]
        found.append(440 * 2 ** ((pitches + bend / 100 - 69) / 12))
    return found


def frame_f1(reference: list[Floats], found: list[Floats], times_s: Floats) -> float:
    """F1 of frame-level multi-pitch, half a semitone wide (mir_eval.multipitch); NaN without a reference."""
    if not any(len(r) for r in reference):
        return float("nan")
    if not any(len(f) for f in found):
        return 0.0
    precision, recall = mir_eval.multipitch.metrics(times_s, reference, times_s, found, window=0.5)[:2]
    return float(2 * precision * recall / max(precision + recall, 1e-9))


def octave_errors(wanted_PT: NDArray[np.bool_], found_PT: NDArray[np.bool_]) -> float:
    """Share of reported frame pitches that the score lacks, but has one or two octaves away."""
    near = np.zeros_like(wanted_PT)
    for shift in (12, 24):
        near[shift:] |= wanted_PT[:-shift]
        near[:-shift] |= wanted_PT[shift:]
    wrong = found_PT & ~wanted_PT & near
    return float(wrong.sum() / max(1, found_PT.sum()))


def find_notes(transcript: Transcript) -> tuple[Floats, Floats]:
    """Notes of a transcript, one for each peak of an onset row: intervals [N, 2] in s, frequencies [N]."""
    onset, width = transcript.onset, 2 * PEAK_FRAMES + 1
    padded = np.pad(onset, ((0, 0), (PEAK_FRAMES, PEAK_FRAMES)))
    highest = np.lib.stride_tricks.sliding_window_view(padded, width, axis=1).max(axis=2)
    rows, begins = np.nonzero((onset == highest) & (onset > transcript.onset_above))
    intervals = []
    for row, begin in zip(rows, begins, strict=True):
        silent = np.flatnonzero(transcript.active[row, begin + 2 :] < transcript.active_above)
        length = 2 + (int(silent[0]) if len(silent) else onset.shape[1] - begin)
        intervals.append((begin * FRAME_S, (begin + max(length, 3)) * FRAME_S))
    order = np.argsort(begins, kind="stable")
    return np.array(intervals, np.float64).reshape(-1, 2)[order], _hz(rows[order])


def _onset_scores(reference: tuple[Floats, Floats], found: tuple[Floats, Floats]) -> dict[str, float]:
    if not len(reference[0]):
        return {"onset_f1": float("nan"), "note_f1": float("nan")}
    if not len(found[0]):
        return {"onset_f1": 0.0, "note_f1": 0.0}
    onset = mir_eval.transcription.onset_precision_recall_f1(reference[0], found[0], ONSET_S)[2]
    note = mir_eval.transcription.precision_recall_f1_overlap(
        *reference, *found, onset_tolerance=ONSET_S, offset_ratio=None
    )[2]
    return {"onset_f1": float(onset), "note_f1": float(note)}


def still_ringing(wanted_PT: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Where a note of the roll has ended at most RELEASE_S ago: it may sound, but it need not."""
    frames = round(RELEASE_S / FRAME_S)
    held = np.pad(wanted_PT, ((0, 0), (frames, 0)))
    recent = np.lib.stride_tricks.sliding_window_view(held, frames + 1, axis=1).any(axis=2)
    return np.asarray(recent & ~wanted_PT)


def register(score: Score, start_s: float, transcript: Transcript) -> int:
    """Semitones (0, -12, 12) by which a program sounds beside the written pitch: organs play in 16 foot or 4."""
    return max(OCTAVES, key=lambda s: note_figures(score.transposed(s), start_s, transcript)["pitch_f1"])


def note_figures(score: Score, start_s: float, transcript: Transcript) -> dict[str, float]:
    """F1 over all frames, over one-voice and several-voice passages, onset and note F1, octave errors.

    A pitch that the score has just left (see `still_ringing`) counts neither for nor against.
    """
    frames = transcript.active.shape[1]
    times = reference_times(start_s, frames)
    wanted = reference_rolls(score, start_s, frames, LOWEST, PITCHES)[0] > 0
    sounding = (transcript.active > transcript.active_above) & ~still_ringing(wanted)
    found = [_hz(np.flatnonzero(column)) for column in sounding.T]
    reference = reference_hz(score, times)
    one, several = passages(score, times)
    figures = {}
    for name, mask in (
        ("pitch_f1", np.ones(frames, bool)),
        ("pitch_f1_one", one),
        ("pitch_f1_several", several),
    ):
        at = np.flatnonzero(mask)
        figures[name] = frame_f1([reference[i] for i in at], [found[i] for i in at], times[at])
    figures["octave_errors"] = octave_errors(wanted, sounding)
    return figures | _onset_scores(
        reference_notes(score, start_s, start_s + frames * FRAME_S), find_notes(transcript)
    )
