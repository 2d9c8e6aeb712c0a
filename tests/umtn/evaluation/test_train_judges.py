"""The judges' lessons: what they are shown is what the score says, and what comes of it is a judge's file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.umtn import tinydata
from umtn.__main__ import main
from umtn.data.dataset import Dataset
from umtn.evaluation import classifiers, train_classifiers
from umtn.evaluation.classifiers import ASSETS, HOP, RATE, PitchJudge

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return Dataset.open(tinydata.make(tmp_path_factory.mktemp("data"), RATE))


def _cents_beside(audio: np.ndarray, pitch: int) -> float:
    """How far the loudest partial of 0.2 s lies beside a pitch, from the phase's advance over 100 samples."""
    n = 20 * HOP
    window = np.hanning(n)
    first, second = (np.fft.rfft(audio[at : at + n] * window) for at in (0, 100))
    peak = int(np.argmax(np.abs(first)))
    turn = np.angle(second[peak] / first[peak]) / (2 * np.pi)
    cycles = round(peak * 100 / n - turn) + turn
    return float(1200 * np.log2(cycles * RATE / 100 / 440) - 100 * (pitch - 69))


@pytest.mark.parametrize("cents", [0.0, 40.0])
def test_a_clip_out_of_tune_keeps_its_notes_in_time(data: Dataset, cents: float) -> None:
    rng, beside = np.random.default_rng(1), []
    tracks = {"strings": [t for t in data.tracks("train") if t.domain == "strings"]}  # sines
    for _ in range(30):
        audio, active, onset = train_classifiers._pitch_example(data, tracks, rng, cents)
        assert audio.shape == (72_000,) and active.shape == onset.shape == (classifiers.PITCHES, 300)
        level = np.sqrt(np.mean(audio.reshape(-1, HOP) ** 2, axis=1))
        held = active.any(axis=0)
        inside = np.convolve(held, np.ones(5), "same") == 5
        outside = np.convolve(held, np.ones(5), "same") == 0
        if inside.any() and outside.any():
            assert np.median(level[inside]) > 2 * np.median(level[outside])
        assert (active[onset > 0] > 0).mean() > 0.9 or not onset.any()
        for row in np.flatnonzero(active.any(axis=1)):
            alone = active[row] * (active.sum(axis=0) == 1)
            runs = np.convolve(alone, np.ones(24), "valid") == 24
            if runs.any():
                at = (int(np.argmax(runs)) + 2) * HOP
                beside.append(_cents_beside(audio[at : at + 20 * HOP + 100], row + classifiers.LOWEST))
    assert len(beside) > 10
    assert max(np.abs(beside)) < cents + 8  # of a transient beside it, and noise
    assert (np.std(beside) > 12) == (cents > 0)


def test_a_pitch_judge_learns_and_is_written(data: Dataset, tmp_path: Path) -> None:
    own = (ASSETS / classifiers.PITCH_ASSET).read_bytes()
    words = ["train-judge", "--data", str(data.root), "--judge", "pitch", "--minutes", "0.1"]
    assert main([*words, "--out", str(tmp_path)]) == 0
    judge = PitchJudge.load(tmp_path / classifiers.PITCH_ASSET)
    assert 0.1 <= judge.active_above <= 0.85
    said = judge.transcribe(np.zeros(RATE, np.float32))
    assert said.active.shape == (classifiers.PITCHES, 100) and np.isfinite(said.active).all()
    assert (ASSETS / classifiers.PITCH_ASSET).read_bytes() == own


def test_slips_get_a_sentence(data: Dataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train-judge", "--data", str(data.root), "--minutes", "0"]) == 2
    assert "--minutes is 0; it should be above 0" in capsys.readouterr().err
    slow = tinydata.make(tmp_path / "8k")
    assert main(["train-judge", "--data", str(slow), "--out", str(tmp_path)]) == 2
    assert "the judges learn from paired data at 24000 Hz" in capsys.readouterr().err
