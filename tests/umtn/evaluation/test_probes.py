"""Latents that tell everything or nothing, attacks and distances of known size, a noisy room."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.umtn import tinydata
from umtn.data.dataset import Dataset
from umtn.data.score import Note, Score
from umtn.errors import UserError
from umtn.evaluation import signal_metrics
from umtn.evaluation.material import Material, base_of, in_a_room
from umtn.evaluation.robustness import domain_accuracy, frechet, pitch_f1
from umtn.evaluation.signal_metrics import attack_s, fresh_onsets_s

RATE = 24_000
RNG = np.random.default_rng(0)
SOUNDING = np.ones(1000, bool)
LEARNING = np.arange(1000) // 100 % 2 == 0


def test_a_latent_that_names_its_domain_is_found_out_and_one_that_does_not_is_not() -> None:
    hidden = [RNG.standard_normal((1000, 10)) for _ in range(4)]
    told = [np.column_stack([z, np.full(1000, i == 2) + 0.1 * z[:, 0]]) for i, z in enumerate(hidden)]
    assert domain_accuracy(hidden, SOUNDING, LEARNING) == pytest.approx(0.25, abs=0.06)
    assert domain_accuracy(told, SOUNDING, LEARNING) > 0.45  # one domain of four is told from the rest
    apart = [z + 20 * np.eye(4, 10)[i] for i, z in enumerate(hidden)]
    assert domain_accuracy(apart, SOUNDING, LEARNING) > 0.99


def test_silence_cannot_be_probed() -> None:
    assert np.isnan(domain_accuracy([np.zeros((1000, 3))] * 2, ~SOUNDING, LEARNING))


def test_pitches_are_read_off_a_latent_that_holds_them() -> None:
    roll = RNG.random((1000, 12)) < 0.2
    mixed = roll @ RNG.standard_normal((12, 30)) + 0.1 * RNG.standard_normal((1000, 30))
    assert pitch_f1([mixed, mixed + 0.05], roll, LEARNING) > 0.98
    assert (
        pitch_f1([RNG.standard_normal((1000, 30))], roll, LEARNING) < 0.45
    )  # to call all sounding gives 0.33


def test_frechet_distance_of_two_normal_clouds() -> None:
    a, b = (RNG.standard_normal((20_000, 3)).astype(np.float32) for _ in range(2))
    assert frechet(a, b) == pytest.approx(0, abs=0.01)
    assert frechet(a, b + 2) == pytest.approx(3 * 4, rel=0.02)  # means apart
    assert frechet(a, 3 * b) == pytest.approx(3 * (3 - 1) ** 2, rel=0.05)  # spreads apart
    assert np.isnan(frechet(a[:20], b))


def swelling(score: Score, rise_s: float) -> np.ndarray:
    t = np.arange(round(score.duration_s * RATE)) / RATE
    audio = np.zeros(len(t))
    for note in score.notes:
        shape = np.clip((t - note.start_s) / rise_s, 0, 1) * (t < note.end_s) * (t >= note.start_s)
        audio += 0.3 * shape * np.sin(2 * np.pi * 1000 * t)
    return audio.astype(np.float32)


@pytest.mark.parametrize("rise_ms", [1, 30, 100])
def test_attacks_take_until_half_of_the_power(rise_ms: float) -> None:
    score = Score(3.0, tuple(Note(s, s + 0.5, 60, 90) for s in (0.3, 1.1, 2.1)))
    found = 1000 * attack_s(swelling(score, rise_ms / 1000), score, 0.0, RATE)
    assert found == pytest.approx(rise_ms / np.sqrt(2), abs=2.0)  # half of the power is 0.71 of the amplitude


def test_only_notes_after_a_rest_and_on_their_own_are_timed() -> None:
    legato = [Note(1.0, 1.5, 60, 90), Note(1.5, 2.0, 62, 90)]
    chord = [Note(3.0, 3.5, 60, 90), Note(3.01, 3.5, 64, 90)]
    fast = [Note(5.0, 5.1, 60, 90), Note(5.1, 5.2, 62, 90)]
    assert fresh_onsets_s(Score(8.0, (*legato, *chord, *fast))).tolist() == [1.0, 3.0]
    assert np.isnan(attack_s(np.zeros(RATE, np.float32), Score(1.0, ()), 0.0, RATE))


def test_a_room_is_20_db_below_and_the_same_each_time() -> None:
    audio = (0.2 * np.sin(np.arange(5 * RATE) / 10)).astype(np.float32)
    noisy = in_a_room(audio)
    assert signal_metrics.dbfs(audio) - signal_metrics.dbfs(noisy - audio) == pytest.approx(20, abs=0.1)
    assert np.array_equal(noisy, in_a_room(audio))
    low, high = (
        np.abs(np.fft.rfft(noisy - audio)[a * 5 : b * 5]).mean() for a, b in ((50, 100), (5000, 9000))
    )
    assert low > 5 * high
    assert not in_a_room(np.zeros(1000, np.float32)).any()


def test_rooms_are_sources_by_name_and_by_default(tmp_path: Path) -> None:
    data = Dataset.open(tinydata.make(tmp_path))
    assert list(Material.choose(data, 0.0, 4.0).sources) == ["strings", "piano", "saw", "saw+room"]
    named = Material.choose(data, 0.0, 4.0, ("piano+room", "saw"))
    assert list(named.sources) == ["piano+room", "saw"]
    assert base_of("piano+room") == "piano"
    with pytest.raises(UserError, match=r"no instrument 'kazoo\+room'"):
        Material.choose(data, 0.0, 4.0, ("kazoo+room",))
