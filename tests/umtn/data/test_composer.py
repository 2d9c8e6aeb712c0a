"""The composer: seeded, within its ranges, no unison held twice, everything the training needs in it."""

import json
from collections import Counter
from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest

from umtn.data.compose import HIGHEST, KINDS, LOWEST, Key, Phrase, compose, random_key
from umtn.data.score import BEND_RANGE_CENTS, Note, Score, without_unisons
from umtn.errors import UserError


@pytest.fixture(scope="module")
def score() -> Score:
    return compose(5, 600.0)


def test_same_seed_same_score() -> None:
    assert compose(3, 20.0) == compose(3, 20.0)
    assert compose(3, 20.0).notes != compose(4, 20.0).notes


def test_notes_stay_within_their_ranges(score: Score) -> None:
    starts, ends, pitches, velocities = score.table.T
    assert pitches.min() >= LOWEST and pitches.max() <= HIGHEST
    assert velocities.min() >= 30 and velocities.max() <= 125
    assert starts.min() >= 0 and ends.max() <= score.duration_s - 1.0
    assert (ends - starts).min() > 0.02 and 2.5 < (ends - starts).max() <= 4.8


def test_a_pitch_never_sounds_twice_at_once(score: Score) -> None:
    """MIDI cannot say which of two equal notes a note-off ends: the render would differ from the score."""
    by_pitch: dict[int, list[Note]] = {}
    for note in sorted(score.notes):
        by_pitch.setdefault(note.pitch, []).append(note)
    assert all(a.end_s < b.start_s for notes in by_pitch.values() for a, b in pairwise(notes))


def test_every_pitch_and_polyphony_occurs(score: Score) -> None:
    assert len(Counter(n.pitch for n in score.notes)) >= 60  # of 66
    times = np.arange(0, score.duration_s, 0.02)
    voices = ((score.table[:, :1] <= times) & (score.table[:, 1:2] > times)).sum(axis=0)
    shares = np.bincount(voices, minlength=6) / len(times)
    assert 0.1 < shares[0] < 0.35 and shares[1] > 0.2 and shares[2] > 0.05 and shares[4] > 0.05


def test_curves_move_and_stay_within_what_midi_can_say(score: Score) -> None:
    for curve, low, high in ((score.bend, -BEND_RANGE_CENTS, BEND_RANGE_CENTS), (score.expression, 30, 127)):
        times, values = curve.arrays
        assert np.all(np.diff(times) > 0)
        assert low <= values.min() < values.max() <= high
    times = np.arange(0, score.duration_s, 0.02)
    assert 0.2 < np.mean(np.abs(score.bend.at(times)) > 3) < 0.6
    assert score.bend.at(np.array([0.0]))[0] == 0.0


@pytest.mark.parametrize("kind", KINDS, ids=lambda k: k.__name__)
def test_every_kind_of_phrase_is_playable_at_any_seed(
    kind: Callable[[np.random.Generator, Key], Phrase],
) -> None:
    for seed in range(25):
        rng = np.random.default_rng(seed)
        phrase = kind(rng, random_key(rng))
        assert phrase and min(n.start_s for n in phrase) == pytest.approx(0, abs=0.7)
        assert all(n.end_s > n.start_s for n in phrase)


def test_without_unisons_cuts_the_elder_and_drops_the_double() -> None:
    a, b, double = Note(0, 1, 60, 80), Note(0.5, 1.5, 60, 80), Note(0, 0.9, 60, 70)
    assert without_unisons([b, a]) == [a._replace(end_s=0.48), b]
    assert len(without_unisons([a, double])) == 1


def test_score_survives_json_and_refuses_something_else() -> None:
    score = compose(1, 15.0)
    again = Score.from_json(score.to_json())
    np.testing.assert_allclose(again.table, score.table, atol=6e-5)
    assert Score.from_json(again.to_json()) == again
    with pytest.raises(UserError, match="not a score"):
        Score.from_json(json.dumps({"duration_s": 1}))
