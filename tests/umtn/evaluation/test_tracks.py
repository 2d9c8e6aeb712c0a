"""Pitch tracks of synthetic voices, and the figures read off them."""

from __future__ import annotations

import numpy as np
import pytest

from umtn.data.score import Curve, Note, Score
from umtn.evaluation import pitch_tracking
from umtn.evaluation.classifiers import RATE
from umtn.evaluation.pitch_tracking import pitch_track

SECONDS = 6.0
PITCHES = (60, 64, 67, 62, 72, 65)
NOTES = tuple(Note(float(i), i + 0.9, p, 90) for i, p in enumerate(PITCHES))
PLAIN = Score(SECONDS, NOTES)
SWING_S = np.arange(0, SECONDS, 0.01)
VIBRATO = Score(SECONDS, NOTES, Curve(tuple((t, 40 * np.sin(2 * np.pi * 5.5 * t)) for t in SWING_S)))


def sung(score: Score, cents: float = 0.0, swing: float = 1.0, late_s: float = 0.0) -> np.ndarray:
    """A voice of eight partials; `swing` scales the bend, `late_s` delays all."""
    t = np.arange(round(SECONDS * RATE)) / RATE - late_s
    audio = np.zeros(len(t))
    for note in score.notes:
        hz = 440 * 2 ** ((note.pitch - 69 + (swing * score.bend.at(t) + cents) / 100) / 12)
        phase = 2 * np.pi * np.cumsum(hz) / RATE
        shape = np.clip(np.minimum((t - note.start_s) / 0.01, (note.end_s - t) / 0.01), 0, 1)
        audio += 0.1 * shape * sum(np.sin(h * phase) / h for h in range(1, 9))
    return audio.astype(np.float32)


def voice(score: Score) -> pitch_tracking.Voice:
    return pitch_tracking.Voice(score, 0.0, round(SECONDS * 100))


@pytest.mark.parametrize(("cents", "low", "high"), [(0, 0.95, 1.0), (30, 0.93, 1.0), (80, 0.0, 0.05)])
def test_raw_pitch_accuracy_allows_50_cents(cents: float, low: float, high: float) -> None:
    found = pitch_tracking.raw_pitch_accuracy(voice(PLAIN), pitch_track(sung(PLAIN, cents)))
    assert low <= found <= high


def test_chords_are_no_voice() -> None:
    chord = Score(SECONDS, tuple(Note(0.0, 5.0, p, 90) for p in (60, 64, 67)))
    assert np.isnan(pitch_tracking.raw_pitch_accuracy(voice(chord), pitch_track(sung(chord))))


@pytest.mark.parametrize("late_s", [0.0, 0.1])
def test_the_same_tune_correlates_though_late_and_transposed(late_s: float) -> None:
    asked = voice(PLAIN)
    a, b = (asked.of(pitch_track(x)) for x in (sung(PLAIN), sung(PLAIN, 1200, late_s=late_s)))
    assert pitch_tracking.ncc(a, b) > 0.97
    assert pitch_tracking.dtw_correlation(a, b) > 0.97


def test_another_tune_does_not_correlate() -> None:
    other = Score(SECONDS, tuple(n._replace(pitch=132 - n.pitch) for n in NOTES))
    asked = voice(PLAIN)
    a, b = (asked.of(pitch_track(x)) for x in (sung(PLAIN), sung(other)))
    assert pitch_tracking.ncc(a, b) < 0.3
    assert pitch_tracking.dtw_correlation(a, b) < 0.6


def test_warping_repairs_what_a_shift_cannot() -> None:
    rng = np.random.default_rng(0)
    tune = np.repeat(rng.integers(50, 70, 20), 30).astype(float)
    at = np.arange(len(tune)) + 8 * np.sin(np.arange(len(tune)) / 40)
    bent = tune[np.clip(at.round().astype(int), 0, len(tune) - 1)]
    assert pitch_tracking.dtw_correlation(tune, bent) > 0.99 > pitch_tracking.ncc(tune, bent)


def test_the_path_is_the_cheapest_of_all() -> None:
    """Against the plain recursion, on sequences short enough for it."""
    rng = np.random.default_rng(1)
    for _ in range(20):
        x, y = rng.standard_normal((2, 9))
        total = np.full((10, 10), np.inf)
        total[0, 0] = 0
        for i in range(1, 10):
            for j in range(max(1, i - 3), min(9, i + 3) + 1):
                before = min(total[i - 1, j], total[i, j - 1], total[i - 1, j - 1])
                total[i, j] = abs(x[i - 1] - y[j - 1]) + before
        i, j = pitch_tracking._warp(x, y, 3)
        assert (i[0], j[0]) == (0, 0) and (i[-1], j[-1]) == (8, 8)
        assert np.all(np.diff(i) + np.diff(j) >= 1) and max(np.diff(i).max(), np.diff(j).max()) == 1
        assert np.abs(x[i] - y[j]).sum() == pytest.approx(total[9, 9])


@pytest.mark.parametrize("swing", [1.0, 0.5, 0.0])
@pytest.mark.parametrize("late_s", [0.0, 0.03])
def test_vibrato_is_kept_by_the_share_that_was_sung(swing: float, late_s: float) -> None:
    found = pitch_tracking.vibrato_kept(voice(VIBRATO), pitch_track(sung(VIBRATO, 0.0, swing, late_s)))
    assert found == pytest.approx(swing, abs=0.12)


def test_without_vibrato_there_is_none_to_keep() -> None:
    assert np.isnan(pitch_tracking.vibrato_kept(voice(PLAIN), pitch_track(sung(PLAIN))))
