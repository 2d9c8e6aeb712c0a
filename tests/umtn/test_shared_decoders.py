"""WaveNet decoders begin as one behind a trained ear, then go on alone; nothing is lost on the way."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.umtn import tinydata
from umtn.data.dataset import Dataset
from umtn.errors import UserError
from umtn.model import checkpoint
from umtn.model.config import Config
from umtn.model.presets import preset
from umtn.training.train import train

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return Dataset.open(tinydata.make(tmp_path_factory.mktemp("data")))


def _live_like(hop: int = 64) -> Config:
    """A `live` model whose ear fits tiny-wavenet-plain."""
    ear = preset("tiny-wavenet-plain").ear
    assert ear is not None
    return replace(preset("tiny-live"), domains=tinydata.DOMAINS, hop=hop, encoder=ear)


def _wavenet() -> Config:
    return replace(preset("tiny-wavenet-plain"), domains=tinydata.DOMAINS, hop=64)


@pytest.fixture(scope="module")
def live(data: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("live") / "c"
    train(_live_like(), data, folder, minutes=5, resume=False, steps=1)
    return folder


def _same(a: torch.nn.Module, b: torch.nn.Module) -> bool:
    return all(
        torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True)
    )


def test_first_as_one_then_each_alone_behind_a_frozen_ear(data: Dataset, live: Path, tmp_path: Path) -> None:
    out = tmp_path / "wavenet"
    one = train(_wavenet(), data, out, minutes=5, resume=False, steps=3, encoder=live).translator
    ear = checkpoint.load(live).encoder
    assert _same(one.encoder.ear, ear)  # type: ignore[union-attr, arg-type]
    first, second = (one.decoders[d] for d in tinydata.DOMAINS[:2])
    assert _same(first.dilated, second.dilated) and _same(first.classify, second.classify)  # type: ignore[arg-type, union-attr]
    assert not torch.equal(first.condition.bias, second.condition.bias)  # type: ignore[union-attr, arg-type]
    stored = checkpoint.load(out)
    alone = train(_wavenet(), data, out, minutes=5, resume=True, steps=3, own_decoders=True)
    assert alone.progress.step == 6 and not alone.config.training.shared
    first, second = (alone.translator.decoders[d] for d in tinydata.DOMAINS[:2])
    assert not _same(first.dilated, second.dilated)  # type: ignore[arg-type]
    assert _same(alone.translator.encoder.ear, ear)  # type: ignore[union-attr, arg-type]
    own = alone.translator.decoders[tinydata.DOMAINS[1]].dilated
    later = train(_wavenet(), data, out, minutes=5, resume=True, steps=0)  # without being told again
    assert not later.config.training.shared
    assert _same(later.translator.decoders[tinydata.DOMAINS[1]].dilated, own)  # type: ignore[arg-type]
    assert not _same(alone.translator.encoder.mouth, stored.encoder.mouth)  # type: ignore[union-attr, arg-type]


def test_an_ear_of_another_kind_is_refused(data: Dataset, live: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="presets with a pitch encoder inside"):
        train(preset("tiny-paper"), data, tmp_path / "a", minutes=5, resume=False, steps=1, encoder=live)
    other = tmp_path / "other"
    train(_live_like(32), data, other, minutes=5, resume=False, steps=1)
    with pytest.raises(UserError, match="hears at 8000 Hz with a hop of 32, .* with 64"):
        train(_wavenet(), data, tmp_path / "b", minutes=5, resume=False, steps=1, encoder=other)
