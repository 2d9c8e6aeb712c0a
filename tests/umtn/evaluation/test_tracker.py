"""The pitch tracker: tones, noise, an ensemble out of tune with itself, a note over another's release."""

from __future__ import annotations

import numpy as np
import pytest

from umtn.evaluation.classifiers import RATE
from umtn.evaluation.pitch_tracking import pitch_track


def tone(pitch: float, seconds: float = 2.0) -> np.ndarray:
    """Eight partials that fall as 1 / h."""
    phase = 2 * np.pi * 440 * 2 ** ((pitch - 69) / 12) * np.arange(round(seconds * RATE)) / RATE
    return (0.1 * sum(np.sin(h * phase + h) / h for h in range(1, 9))).astype(np.float32)


@pytest.mark.parametrize("pitch", [33, 45, 60, 76, 93])
def test_a_tone_is_found_within_a_few_cents_while_it_sounds(pitch: int) -> None:
    found = pitch_track(np.concatenate([tone(pitch), np.zeros(RATE, np.float32)]))
    assert len(found.pitch) == 300
    assert found.voiced[20:180].all() and not found.voiced[220:].any()
    assert np.abs(found.pitch[20:180] - pitch).max() < 0.1


def test_noise_and_silence_have_no_pitch() -> None:
    noise = np.random.default_rng(0).standard_normal(2 * RATE).astype(np.float32) * 0.1
    assert pitch_track(noise).voiced.mean() < 0.05
    assert not pitch_track(np.zeros(RATE, np.float32)).voiced.any()
    assert len(pitch_track(np.zeros(0, np.float32)).pitch) == 0


def test_players_who_are_not_in_tune_have_one_pitch() -> None:
    """A section of five within 15 cents: no period, and yet a pitch."""
    section = sum(tone(60 + cents / 100) for cents in (-15, -8, 1, 7, 15))
    found = pitch_track(section)
    assert (np.abs(found.pitch[20:180] - 60) < 0.3).mean() > 0.98


def test_a_note_is_followed_over_the_release_of_another() -> None:
    """The one before rings on, 12 dB below and falling."""
    ringing = 0.25 * tone(67, 3.0) * np.exp(-2 * np.arange(3 * RATE) / RATE).astype(np.float32)
    ringing[2 * RATE :] = 0
    found = pitch_track(tone(60, 3.0) + ringing)
    assert (np.abs(found.pitch[20:280] - 60) < 0.3).mean() > 0.98


def test_pieces_do_not_show() -> None:
    """A track of 12 s is that of its parts, away from their ends: frames do not depend on where counting begins."""
    rng = np.random.default_rng(1)
    tune = np.concatenate([tone(p, 0.75) for p in rng.integers(45, 85, 16)])
    whole, half = pitch_track(tune), pitch_track(tune[6 * RATE :])
    assert np.abs(whole.pitch[650:1150] - half.pitch[50:550]).max() < 0.01
