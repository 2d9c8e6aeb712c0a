"""The adversary and the spectral loss on audio: who learns from what, and that it helps."""

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
from umtn.model.config import AdversaryConfig, Config
from umtn.model.presets import preset
from umtn.offline import open_player
from umtn.training.adversarial import Adversary
from umtn.training.batches import BatchSource
from umtn.training.scheduled_sampling import doubted_sound
from umtn.training.spectral_loss import MultiResolutionLoss
from umtn.training.train import Trainer, train

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:.*:DeprecationWarning", "ignore:.*:FutureWarning"),
]
SMALL = AdversaryConfig(periods=(2, 3), windows=(128,), channels=4)


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


def tone(hz: float, n: int = 4000) -> torch.Tensor:
    return 0.1 * torch.sin(2 * torch.pi * hz / 8000 * torch.arange(n))[None]


def test_the_spectral_loss_is_deaf_to_phase_and_hears_pitch_and_level() -> None:
    loss, even = MultiResolutionLoss(8000), torch.ones(1, 50)
    wanted = tone(440)
    assert float(loss(wanted, wanted, even)) < 1e-3
    turned = float(loss(-wanted, wanted, even))
    assert turned < 1e-3
    softer, soft, lower = (float(loss(x, wanted, even)) for x in (0.4 * wanted, 0.7 * wanted, tone(415.3)))
    assert 0.5 < soft < softer and lower > 0.3


def test_frames_without_weight_do_not_count() -> None:
    loss, weight = MultiResolutionLoss(8000), torch.ones(1, 50)
    weight[:, :25] = 0
    wanted, given = tone(440), tone(440)
    given[:, :1500] = 0.3 * torch.randn(1500)
    assert float(loss(given, wanted, torch.ones(1, 50))) > 0.3
    assert float(loss(given, wanted, weight)) < 0.02


def test_neither_side_learns_from_the_others_loss() -> None:
    adversary = Adversary(SMALL, 2)
    given = (0.1 * torch.randn(4, 2000)).requires_grad_()
    for_decoders, for_judges = adversary(given, tone(440, 2000).expand(4, -1), torch.tensor([0, 1, 0, 1]))
    judges = list(adversary.parameters())
    assert all(
        g is None for g in torch.autograd.grad(for_decoders, judges, retain_graph=True, allow_unused=True)
    )
    (missing,) = torch.autograd.grad(for_judges, [given], retain_graph=True, allow_unused=True)
    assert missing is None
    assert all(
        float(g.abs().sum()) > 0 for g in torch.autograd.grad(for_decoders, [given], retain_graph=True)
    )
    assert all(float(g.abs().sum()) > 0 for g in torch.autograd.grad(for_judges, judges))


def test_judges_learn_each_domain_by_itself() -> None:
    """What is right for one domain is wrong for the other: told apart only by the domain's own output."""
    adversary = Adversary(replace(SMALL, channels=8), 2)
    optimiser = torch.optim.Adam(adversary.parameters(), 5e-3)
    pure, rough = tone(440, 2000), 0.1 * torch.sign(tone(440, 2000))
    for _ in range(40):
        wanted, given = torch.cat([pure, rough]), torch.cat([rough, pure])
        _, loss = adversary(given, wanted, torch.tensor([0, 1]))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert float(loss.detach()) < 0.2  # 0.5 is what judges say who cannot tell


def test_the_adversary_teaches_a_phase_that_the_spectrum_leaves_open() -> None:
    """A waveform learned from nothing but the judges comes nearer to the recordings'."""
    adversary = Adversary(replace(SMALL, channels=8, weight=1.0, feature_weight=1.0), 1)
    given = (0.02 * torch.randn(1, 1200)).requires_grad_()
    wanted, domain = tone(440, 1200), torch.zeros(1, dtype=torch.long)
    forger, judges = torch.optim.Adam([given], 3e-3), torch.optim.Adam(adversary.parameters(), 1e-3)
    far = float((given - wanted).detach().square().mean())
    for _ in range(60):
        for_decoders, for_judges = adversary(given, wanted, domain)
        forger.zero_grad()
        judges.zero_grad()
        (for_decoders + for_judges).backward()
        forger.step()
        judges.step()
    assert float((given - wanted).detach().square().mean()) < 0.7 * far


def test_doubt_leaves_no_past_to_be_trusted() -> None:
    past, own = torch.ones(64, 1, 100), -torch.ones(64, 1, 100)
    heard = doubted_sound(past, own, torch.Generator().manual_seed(0))
    middle = heard.median(dim=2).values[:, 0]
    assert (middle > 0.5).any() and (middle < -0.5).any()
    assert (heard[:, 0, 0] == 0).any() and not (heard[:, 0, -1] == 0).all()
    assert heard.std(dim=2).min() < 0.05 < heard.std(dim=2).max()


@pytest.mark.parametrize("name", ["tiny-live", "tiny-live-conv", "tiny-live-conv-past"])
def test_rivals_learn_behind_a_frozen_encoder(name: str, data: Dataset, live: Path, tmp_path: Path) -> None:
    trainer = Trainer(tiny(name), data, tmp_path / "c", minutes=10, encoder=live)
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


def test_the_adversary_joins_when_its_share_of_the_minutes_has_come(data: Dataset, tmp_path: Path) -> None:
    config = tiny("tiny-live-conv")
    assert config.adversary is not None
    config = replace(config, adversary=replace(config.adversary, joins=0.5))
    trainer = Trainer(config, data, tmp_path / "c", minutes=10)
    batches, generator = iter(BatchSource(data, config, "train", 0)), torch.Generator().manual_seed(0)
    first = [p.clone() for p in trainer.adversary.parameters()]  # type: ignore[union-attr]
    assert trainer.step(next(batches), generator)["judges"] == 0
    assert all(map(torch.equal, first, trainer.adversary.parameters()))  # type: ignore[union-attr]
    trainer.progress.minutes = 6
    assert trainer.step(next(batches), generator)["judges"] > 0
    assert not any(map(torch.equal, first, trainer.adversary.parameters()))  # type: ignore[union-attr]


def test_resumed_judges_know_what_they_knew(data: Dataset, live: Path, tmp_path: Path) -> None:
    out, config = tmp_path / "c", tiny("tiny-live-conv-past")
    begun = train(config, data, out, minutes=5, resume=False, steps=3, encoder=live)
    again = train(config, data, out, minutes=5, resume=True, steps=0)
    assert again.progress.step == 3 and again.config.training.frozen_ear
    for ours, theirs in ((again.adversary, begun.adversary), (again.translator, begun.translator)):
        pairs = zip(ours.state_dict().values(), theirs.state_dict().values(), strict=True)  # type: ignore[union-attr]
        assert all(torch.equal(a, b) for a, b in pairs)
    assert again.critic.state_dict()["state"].keys() == begun.critic.state_dict()["state"].keys()
    on_stage = open_player(out).play(
        0.1 * np.random.default_rng(0).standard_normal(2000).astype(np.float32), ("piano",)
    )
    assert on_stage["piano"].shape == (2000,) and np.isfinite(on_stage["piano"]).all()


def test_other_data_than_a_pitch_encoder_are_refused(data: Dataset, live: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="'tiny-paper' has none"):
        train(tiny("tiny-paper"), data, tmp_path / "a", minutes=5, resume=False, steps=1, encoder=live)
