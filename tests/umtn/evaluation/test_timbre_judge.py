"""The timbre judge's interface and its weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from umtn.data.instruments import DOMAINS, INSTRUMENTS
from umtn.errors import UserError
from umtn.evaluation.classifiers import ASSETS, CLASSES, OTHER, RATE, TimbreJudge, class_of


def test_instruments_that_a_domain_plays_are_that_domain() -> None:
    assert class_of("flute") == class_of("clarinet") == class_of("winds") == "winds"
    assert class_of("violin") == "violin"
    assert class_of("sine") == "sine"  # no program at all is not a subset of every domain
    assert {d.id for d in DOMAINS} <= set(CLASSES)
    assert not {i.id for i in INSTRUMENTS.values() if i.role == "evaluation"} & set(CLASSES)


def test_shares_are_probabilities_and_silence_is_nobodys() -> None:
    judge = TimbreJudge.load()
    audio = np.random.default_rng(0).standard_normal(2 * RATE).astype(np.float32) * 0.1
    audio[RATE:] = 0
    shares = judge.shares(audio)
    assert set(shares) == {d.id for d in DOMAINS} | {OTHER}
    total = np.sum(list(shares.values()), axis=0)
    assert total.shape == (7,)
    assert np.allclose(total, 1, atol=1e-5)
    assert shares[OTHER][-1] == 1.0


def test_loudness_does_not_change_the_verdict() -> None:
    judge = TimbreJudge.load()
    tone = torch.zeros(1, RATE // 2)
    for h in range(1, 12):
        tone += 0.2 / h * torch.sin(2 * torch.pi * 262 * h * torch.arange(RATE // 2) / RATE)
    with torch.inference_mode():
        loud, soft = (judge(tone * gain).softmax(1) for gain in (1.0, 0.1))
    assert torch.allclose(loud, soft, atol=1e-3)


def test_weights_are_small_and_say_how_they_were_made() -> None:
    files = sorted(ASSETS.glob("*.safetensors"))
    assert [f.name for f in files] == ["pitch_judge.safetensors", "timbre_judge.safetensors"]
    assert all(f.stat().st_size < 1_000_000 for f in files)


def test_foreign_weights_are_one_clear_sentence(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not hold this judge's weights"):
        TimbreJudge.load(ASSETS / "pitch_judge.safetensors")
    (tmp_path / "x").write_bytes(b"not weights")
    with pytest.raises(UserError, match="does not hold"):
        TimbreJudge.load(tmp_path / "x")
    with pytest.raises(UserError, match="missing"):
        TimbreJudge.load(tmp_path / "none")
