"""A finished model's ear learns on alone: it hears notes better, and says all else as before."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.umtn import tinydata
from umtn.__main__ import main
from umtn.data.dataset import Dataset
from umtn.errors import UserError
from umtn.model import checkpoint
from umtn.model.config import Config, PitchLatent
from umtn.model.presets import preset
from umtn.model.translator import Translator
from umtn.training.batches import BatchSource
from umtn.training.fine_tuning import encoder_alone
from umtn.training.objective import Objective, strayed
from umtn.training.train import Trainer, train

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return Dataset.open(tinydata.make(tmp_path_factory.mktemp("data")))


@pytest.fixture(scope="module")
def finished(data: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tinydata.live(data, tmp_path_factory.mktemp("live") / "c", 20)


def _on(finished: Path) -> Config:
    return encoder_alone(preset("tiny-live"), finished)


def _wrong(model: Translator, config: Config, data: Dataset) -> tuple[float, torch.Tensor]:
    """What an ear is trained on, over clips and noises never trained on; and what it says of the clips."""
    objective, generator = Objective(model), torch.Generator().manual_seed(0)
    objective.remember_encoder()  # no decoder is asked
    losses, said = [], []
    for _, batch in zip(range(8), BatchSource(data, config, "valid", 3), strict=False):
        with torch.no_grad():
            said.append(model.encoder(batch.source.unsqueeze(1)))
            losses.append(objective(batch, generator)[2]["pitch"])
    return sum(losses) / len(losses), torch.cat(said)


def test_notes_are_heard_better_and_all_else_stays(data: Dataset, finished: Path, tmp_path: Path) -> None:
    out = tmp_path / "on"
    train(_on(finished), data, out, minutes=5, resume=False, whole=200, extended=finished)
    before, after = checkpoint.load(finished), checkpoint.load(out)
    for name, weight in after.state_dict().items():
        moved = not torch.equal(weight, before.state_dict()[name])
        assert not moved or name.startswith("encoder."), name
    (worse, old), (better, new) = (_wrong(model, before.config, data) for model in (before, after))
    assert better < 0.85 * worse
    layout = before.config.ear.layout  # type: ignore[union-attr]
    nowhere = torch.zeros(len(old), layout.pitches, old.shape[2])
    assert strayed(layout, new, old, nowhere) < 0.5  # of a standard deviation, added for notes and room
    assert checkpoint.read_config(out)[1].earlier[0]["step"] == 20


def test_a_resumed_ear_is_kept_to_what_it_first_said(data: Dataset, finished: Path, tmp_path: Path) -> None:
    out, ear = tmp_path / "on", checkpoint.load(finished).encoder.state_dict()
    train(_on(finished), data, out, minutes=5, resume=False, steps=4, extended=finished)
    trainer = train(preset("tiny-live"), data, out, minutes=5, resume=True, steps=4)  # told nothing again
    assert trainer.progress.step == 8 and trainer.config.training.ear_alone
    assert trainer.config.training.learning_rate < preset("tiny-live").training.learning_rate
    assert trainer.memory is not None
    assert all(torch.equal(trainer.memory.state_dict()[name], w) for name, w in ear.items())
    again = Trainer(trainer.config, data, out, 5.0)
    again.resume()
    assert again.memory is not None
    assert all(torch.equal(again.memory.state_dict()[name], w) for name, w in ear.items())


def test_strayed_counts_standard_deviations_and_leaves_notes_to_the_score() -> None:
    layout = PitchLatent(48, 24, 1, 4)
    before = torch.randn(2, layout.channels, 50, generator=torch.Generator().manual_seed(0))
    active = torch.zeros(2, 24, 50)
    after = before.clone()
    after[:, : 2 * 24] += 3.0  # activations and cents
    assert strayed(layout, after, before, active) == 0
    after = before + 1.0
    assert strayed(layout, after, before, active) == pytest.approx(
        2.0, rel=0.1
    )  # the pitches' and the room's
    after = before.clone()
    after[:, 2 * 24 : 2 * 24 + 12] += 1.0  # half of the pitches: where they sound it counts ten times
    silent = strayed(layout, after, before, active)
    active[:, :12] = 1
    assert silent == pytest.approx(0.5, rel=0.1) and strayed(layout, after, before, active) > 1.7 * silent


def test_slips_get_a_sentence(
    data: Dataset, finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [
        "train",
        "--preset",
        "tiny-live",
        "--data",
        str(data.root),
        "--out",
        str(tmp_path / "c"),
        "--ear",
    ]
    assert main(words) == 2
    assert "--ear wants --extend too" in capsys.readouterr().err
    assert main([*words, "--extend", str(finished), "--again", "piano"]) == 2
    assert "--again and --ear are two runs" in capsys.readouterr().err
    paper = preset("tiny-paper")
    checkpoint.save(tmp_path / "paper", paper, Translator(paper).state_dict(), {}, checkpoint.Progress())
    with pytest.raises(UserError, match="pitch encoder .preset 'live'.; .* was trained with 'tiny-paper'"):
        encoder_alone(preset("tiny-live"), tmp_path / "paper")
