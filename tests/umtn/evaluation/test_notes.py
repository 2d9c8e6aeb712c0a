"""Note figures on transcripts whose score is known."""

from __future__ import annotations

import numpy as np
import pytest

from umtn.data.score import Curve, Note, Score
from umtn.evaluation.classifiers import LOWEST, PITCHES, RATE, PitchJudge, Transcript
from umtn.evaluation.note_metrics import note_figures, passages, reference_rolls, register

MELODY = Score(4.0, tuple(Note(0.5 * i, 0.5 * i + 0.45, 60 + 2 * i, 90) for i in range(7)))
CHORDS = Score(4.0, tuple(Note(t, t + 0.9, p, 90) for t in (0.0, 1.0, 2.0) for p in (60, 64, 67)))


def perfect(score: Score, shift: int = 0, frames: int = 400) -> Transcript:
    active, onset = reference_rolls(score, 0.0, frames, LOWEST, PITCHES)
    return Transcript(np.roll(active, shift, 0), np.roll(onset, shift, 0), 0.5, 0.5)


@pytest.mark.parametrize("score", [MELODY, CHORDS])
def test_a_perfect_transcript_scores_one(score: Score) -> None:
    figures = note_figures(score, 0.0, perfect(score))
    assert figures["pitch_f1"] > 0.99
    assert figures["onset_f1"] == figures["note_f1"] == 1.0
    assert figures["octave_errors"] == 0.0


def test_an_octave_too_high_is_an_octave_error_and_no_note_is_right() -> None:
    figures = note_figures(MELODY, 0.0, perfect(MELODY, 12))
    assert figures["pitch_f1"] == 0.0
    assert figures["octave_errors"] == 1.0
    assert figures["onset_f1"] == 1.0
    assert figures["note_f1"] == 0.0


def test_silence_scores_nothing() -> None:
    empty = np.zeros((PITCHES, 400), np.float32)
    figures = note_figures(MELODY, 0.0, Transcript(empty, empty, 0.5, 0.5))
    assert figures["pitch_f1"] == figures["onset_f1"] == figures["note_f1"] == 0.0


def test_a_missing_voice_of_three_costs_the_recall_it_should() -> None:
    whole = perfect(CHORDS)
    active = whole.active.copy()
    active[67 - LOWEST] = 0
    figures = note_figures(CHORDS, 0.0, Transcript(active, whole.onset, 0.5, 0.5))
    assert figures["pitch_f1"] == pytest.approx(
        2 * (2 / 3) / (1 + 2 / 3), abs=0.01
    )  # precision 1, recall 2/3


def test_onsets_60_ms_late_are_wrong_and_40_ms_late_are_right() -> None:
    whole = perfect(MELODY)
    for frames, wanted in ((4, 1.0), (6, 0.0)):
        late = Transcript(whole.active, np.roll(whole.onset, frames, 1), 0.5, 0.5)
        assert note_figures(MELODY, 0.0, late)["onset_f1"] == wanted


def test_a_bend_of_a_semitone_moves_the_reference() -> None:
    bent = Score(4.0, (Note(0.0, 2.0, 60, 90),), Curve(((0.0, 100.0), (4.0, 100.0))))
    active, onset = reference_rolls(bent, 0.0, 400, LOWEST, PITCHES)
    assert np.flatnonzero(active.any(axis=1)).tolist() == [61 - LOWEST]
    assert np.argwhere(onset).tolist() == [[61 - LOWEST, 0]]
    assert note_figures(bent, 0.0, perfect(bent))["pitch_f1"] > 0.99


def test_passages_of_one_voice_and_of_several_are_told_apart() -> None:
    later = tuple(n._replace(start_s=n.start_s + 10, end_s=n.end_s + 10) for n in CHORDS.notes)
    score = Score(20.0, MELODY.notes + later)
    one, several = passages(score, np.array([1.1, 3.7, 10.5, 15.0]))
    assert one.tolist() == [True, False, False, False]
    assert several.tolist() == [False, False, True, False]


def test_legato_is_one_voice() -> None:
    legato = Score(2.0, (Note(0.0, 1.02, 60, 90), Note(1.0, 2.0, 62, 90)))
    one, several = passages(legato, np.array([0.5, 1.5]))
    assert one.all() and not several.any()


@pytest.mark.parametrize(
    ("partials", "falling", "f1"),
    [
        (12, 1.0, 0.93),
        (19, 0.7, 0.93),
        (6, 2.0, 0.9),
        (
            6,
            1.0,
            0.68,
        ),  # its weakness: loud to the sixth and nothing above, it may as well be a tone and its octave
    ],
)
def test_the_judge_hears_synthetic_tones_it_never_trained_on(
    partials: int, falling: float, f1: float
) -> None:
    t = np.arange(4 * RATE) / RATE
    audio = np.zeros(len(t), np.float32)
    for note in MELODY.notes:
        hz = 440 * 2 ** ((note.pitch - 69) / 12)
        tone = sum(np.sin(2 * np.pi * hz * h * t) / h**falling for h in range(1, partials + 1))
        shape = np.clip(np.minimum((t - note.start_s) / 0.01, (note.end_s - t) / 0.03), 0, 1)
        audio += (0.1 * shape * tone).astype(np.float32)
    figures = note_figures(MELODY, 0.0, PitchJudge.load().transcribe(audio))
    assert figures["pitch_f1"] > f1
    assert figures["onset_f1"] > 0.7
    transposed = Score(4.0, tuple(n._replace(pitch=n.pitch + 3) for n in MELODY.notes))
    assert note_figures(transposed, 0.0, PitchJudge.load().transcribe(audio))["pitch_f1"] < 0.2


def test_long_audio_is_transcribed_in_pieces_without_a_seam() -> None:
    t = np.arange(45 * RATE) / RATE
    audio = (0.2 * np.sign(np.sin(2 * np.pi * 220 * t))).astype(np.float32)
    found = PitchJudge.load().transcribe(audio)
    assert found.active.shape == (PITCHES, 4500)
    inside = found.active[57 - LOWEST, 100:-100]
    assert inside.min() > found.active_above


def test_a_release_counts_neither_for_nor_against_and_longer_ringing_does() -> None:
    score = Score(4.0, (Note(0.5, 1.0, 60, 90), Note(1.2, 1.8, 64, 90)))
    whole = perfect(score)
    for tail_s, wanted in ((0.3, 1.0), (0.5, 1.0), (1.5, 0.8)):
        ringing = whole.active.copy()
        ringing[60 - 28, 100 : 100 + round(100 * tail_s)] = 1
        figures = note_figures(score, 0.0, Transcript(ringing, whole.onset, 0.5, 0.5))
        assert figures["pitch_f1"] <= wanted
        assert figures["pitch_f1"] > wanted - 0.15
    other = whole.active.copy()
    other[61 - 28, 100:130] = 1  # a wrong note stays one
    assert note_figures(score, 0.0, Transcript(other, whole.onset, 0.5, 0.5))["pitch_f1"] < 0.95


def test_the_register_is_found_and_only_octaves_count() -> None:
    for shift in (-12, 0, 12):
        assert register(MELODY, 0.0, perfect(MELODY.transposed(shift))) == shift
    assert register(MELODY, 0.0, perfect(MELODY.transposed(3))) == 0
