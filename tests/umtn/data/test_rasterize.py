"""Piano rolls against a score made by hand."""

import numpy as np

from umtn.data.compose import compose
from umtn.data.score import Curve, Note, Score, rasterize

SCORE = Score(
    duration_s=2.0,
    notes=(
        Note(0.10, 0.30, 60, 127),
        Note(0.30, 0.50, 60, 64),  # the same pitch at once again: its onset must be seen
        Note(0.125, 0.126, 62, 100),  # shorter than a frame
        Note(0.00, 1.00, 20, 100),  # below the rows
    ),
    bend=Curve(((0.0, 0.0), (1.0, 100.0))),
    expression=Curve(((0.0, 127.0), (0.4, 127.0), (0.41, 63.5))),
)


def test_rolls_of_a_small_score() -> None:
    active, onset, velocity, cents = rasterize(SCORE, 0.0, 60, 0.01, 58, 8)
    assert active.shape == onset.shape == velocity.shape == cents.shape == (8, 60)
    assert active.dtype == np.float32
    expected = np.zeros((8, 60))
    expected[2, 10:50] = 1
    expected[4, 12] = 1
    np.testing.assert_array_equal(active, expected)
    assert sorted(zip(*np.nonzero(onset), strict=True)) == [(2, 10), (2, 30), (4, 12)]
    np.testing.assert_allclose(velocity[2, [10, 29, 30, 45]], [1, 1, 64 / 127, 32 / 127], rtol=1e-5)
    np.testing.assert_allclose(cents[2, [10, 20]], [10.5, 20.5], rtol=1e-4)
    assert np.all(velocity[expected == 0] == 0) and np.all(cents[expected == 0] == 0)


def test_a_window_is_a_cut_of_the_whole() -> None:
    """Windows begin anywhere on the frame grid; a note already sounding has no onset in them."""
    score, frame = compose(2, 30.0), 128 / 24000
    whole = rasterize(score, 0.0, 5000, frame, 33, 66)
    for first in (0, 1, 777, 2500):
        window = rasterize(score, first * frame, 400, frame, 33, 66)
        for part, full in zip(window, whole, strict=True):
            np.testing.assert_allclose(part, full[:, first : first + 400], atol=1e-5)
    assert whole[1].sum() == sum(1 for n in score.notes if n.start_s < 5000 * frame)


def test_beyond_the_score_is_silence() -> None:
    assert all(roll.sum() == 0 for roll in rasterize(SCORE, 5.0, 10, 0.01, 0, 128))
    assert rasterize(SCORE, -0.05, 20, 0.01, 60, 1)[1][0].argmax() == 15
