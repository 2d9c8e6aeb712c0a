"""New decoders behind a trained encoder that stays as it is."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.umtn import tinydata
from umtn.data.dataset import Dataset
from umtn.errors import UserError
from umtn.model import checkpoint
from umtn.model.config import Config
from umtn.model.presets import preset
from umtn.offline import open_player
from umtn.training.batches import BatchSource
from umtn.training.train import Trainer, train

pytestmark = pytest.mark.filterwarnings("ignore:.*:DeprecationWarning", "ignore:.*:FutureWarning")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return Dataset.open(tinydata.make(tmp_path_factory.mktemp("data")))


@pytest.fixture(scope="module")
def live(data: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tinydata.live(data, tmp_path_factory.mktemp("live") / "c")


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


def tiny(name: str) -> Config:
    return replace(preset(name), domains=tinydata.DOMAINS)


def test_decoders_learn_behind_a_frozen_encoder(data: Dataset, live: Path, tmp_path: Path) -> None:
    trainer = Trainer(tiny("tiny-live"), data, tmp_path / "c", minutes=10, encoder=live)
    ear = {k: v.clone() for k, v in trainer.translator.encoder.state_dict().items()}
    given = checkpoint.load(live).encoder.state_dict()
    before = {k: v.clone() for k, v in trainer.translator.decoders.state_dict().items()}
    batches, generator = (
        iter(BatchSource(data, trainer.config, "train", 0)),
        torch.Generator().manual_seed(0),
    )
    losses = [trainer.step(next(batches), generator)["loss"] for _ in range(12)]
    assert np.mean(losses[-3:]) < np.mean(losses[:3]) - 0.05
    assert all(
        torch.equal(v, ear[k]) and torch.equal(v, given[k])
        for k, v in trainer.translator.encoder.state_dict().items()
    )
    still = [k for k, v in trainer.translator.decoders.named_parameters() if torch.equal(v, before[k])]
    assert not still


def test_a_resumed_run_keeps_its_encoder_frozen(data: Dataset, live: Path, tmp_path: Path) -> None:
    out, config = tmp_path / "c", tiny("tiny-live")
    begun = train(config, data, out, minutes=5, resume=False, steps=3, encoder=live)
    again = train(config, data, out, minutes=5, resume=True, steps=0)
    assert again.progress.step == 3 and again.config.training.frozen_ear
    ours, theirs = again.translator.state_dict(), begun.translator.state_dict()
    assert ours.keys() == theirs.keys() and all(torch.equal(v, theirs[k]) for k, v in ours.items())
    assert again.critic.state_dict()["state"].keys() == begun.critic.state_dict()["state"].keys()
    on_stage = open_player(out).play(
        0.1 * np.random.default_rng(0).standard_normal(2000).astype(np.float32), ("piano",)
    )
    assert on_stage["piano"].shape == (2000,) and np.isfinite(on_stage["piano"]).all()


def test_other_data_than_a_pitch_encoder_are_refused(data: Dataset, live: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="'tiny-paper' has none"):
        train(tiny("tiny-paper"), data, tmp_path / "a", minutes=5, resume=False, steps=1, encoder=live)
