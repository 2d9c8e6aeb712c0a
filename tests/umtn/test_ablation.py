"""Parts of the objective that are left out: nothing of them is left, and a resumed run remembers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.umtn import tinydata
from umtn.__main__ import main
from umtn.data.dataset import Dataset
from umtn.errors import UserError
from umtn.model import checkpoint
from umtn.model.presets import ABLATIONS, preset, without
from umtn.model.translator import Translator
from umtn.training.batches import BatchSource
from umtn.training.objective import Objective

pytestmark = pytest.mark.slow

TINY = replace(preset("tiny-live"), domains=tinydata.DOMAINS)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tinydata.make(tmp_path_factory.mktemp("data"), TINY.sample_rate)


def test_without_pairs_only_the_own_domain_is_known(data: Path) -> None:
    config = TINY
    for part, translated in (("confusion", True), ("pairs", False)):
        source = iter(BatchSource(Dataset.open(data), without(config, part), "train", 3))
        batches = [next(source) for _ in range(6)]
        assert any(bool((b.known.sum(dim=1) > 1).any()) for b in batches) == translated
        assert all(bool(b.known.any(dim=1).all()) for b in batches)
        if not translated:
            assert not any(bool(b.paired.any()) for b in batches)


def test_without_reconstruction_every_clip_is_a_translation(data: Path) -> None:
    config = without(TINY, "reconstruction")
    source = iter(BatchSource(Dataset.open(data), config, "train", 3))
    assert all(bool(next(source).paired.all()) for _ in range(6))


def test_without_augmentation_sources_only_change_in_level(data: Path) -> None:
    for part, plain in (("augmentation", True), ("confusion", False)):
        config = without(TINY, part)
        batch = next(iter(BatchSource(Dataset.open(data), config, "train", 3)))
        heard = Objective(Translator(config)).prepare(batch, torch.Generator().manual_seed(2))[0]
        likeness = torch.cosine_similarity(heard, batch.source, dim=1)
        audible = batch.source.square().mean(dim=1) > 1e-6
        assert bool((likeness[audible] > 0.9999).any()) == plain


def test_a_resumed_run_remembers_and_bad_names_get_a_sentence(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "c"
    run = [
        "train",
        "--preset",
        "tiny-live",
        "--data",
        str(data),
        "--out",
        str(out),
        "--minutes",
        "5",
        "--steps",
        "1",
    ]
    run += ["--domains", ",".join(tinydata.DOMAINS)]
    assert main([*run, "--without", "confusion, augmentation"]) == 0
    assert main([*run, "--resume"]) == 0
    config = checkpoint.read_config(out)[0]
    assert config.confusion.weight == 0 and not config.training.augment and config.training.pairs
    assert main([*run, "--without", "confuson"]) == 2
    assert "did you mean 'confusion'" in capsys.readouterr().err
    with pytest.raises(UserError, match="known are"):
        without(config, "everything")
    assert len({without(preset("live"), part) for part in ABLATIONS}) == len(ABLATIONS)
