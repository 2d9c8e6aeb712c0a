"""A finished model gets new domains, learned from pairs; what it had before stays as it was, to the bit."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.umtn import tinydata
from umtn.__main__ import main
from umtn.data import instruments
from umtn.data.dataset import Dataset
from umtn.errors import UserError
from umtn.model import checkpoint
from umtn.model.config import DOMAINS, Config
from umtn.model.presets import PRESETS, preset
from umtn.model.translator import Translator
from umtn.training import objective
from umtn.training.batches import BatchSource
from umtn.training.fine_tuning import learning_on, widened
from umtn.training.single_decoder import nearest
from umtn.training.train import train

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return Dataset.open(tinydata.make(tmp_path_factory.mktemp("data")))


@pytest.fixture(scope="module")
def strings(data: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished model of one domain."""
    return tinydata.live(data, tmp_path_factory.mktemp("strings") / "c", 20, ("strings",))


def _more(strings: Path) -> Config:
    return widened(preset("tiny-live"), strings, ["piano"])


def test_only_the_new_decoder_learns(data: Dataset, strings: Path, tmp_path: Path) -> None:
    before, out = checkpoint.load(strings), tmp_path / "more"
    first = train(_more(strings), data, out, minutes=5, resume=False, steps=0, extended=strings)
    start = {name: w.clone() for name, w in first.translator.decoder("piano").state_dict().items()}
    train(_more(strings), data, out, minutes=5, resume=True, steps=20)
    trainer = train(preset("tiny-live"), data, out, minutes=5, resume=True, steps=20)  # told nothing again
    assert trainer.progress.step == 40 and trainer.config.domains == ("strings", "piano")
    assert float(trainer.players.state_dict()["state"][0]["step"]) == 40
    after = checkpoint.load(out)
    audio = 0.1 * torch.randn(1, 1, 64 * 40, generator=torch.Generator().manual_seed(0))
    noise = torch.rand(1, 1, 64 * 40, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        assert torch.equal(before.encoder(audio), after.encoder(audio))
        assert torch.equal(*(m.translate(audio, "strings", noise) for m in (before, after)))
    for model in (trainer.translator, after):  # the raw weights and their average
        learned = model.decoder("piano").state_dict()
        assert any(not torch.equal(learned[name], w) for name, w in start.items())
        assert torch.equal(
            next(model.confusion.parameters()), next(before.confusion.parameters())
        )  # nobody was confused
    assert trainer.progress.earlier[0]["step"] == 20  # the curve of the run before is kept
    assert [row["step"] for row in trainer.progress.earlier[0]["curve"]] == [20]
    assert [row["step"] for row in trainer.progress.curve] == [20, 40]


def test_a_decoder_learns_on_from_where_it_was(
    data: Dataset, strings: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    both, out = tmp_path / "both", tmp_path / "again"
    train(_more(strings), data, both, minutes=5, resume=False, steps=2, extended=strings)
    words = ["train", "--preset", "tiny-live", "--data", str(data.root), "--out", str(out), "--minutes", "5"]
    assert main([*words, "--extend", str(both), "--again", "piano", "--steps", "0"]) == 0
    before, begun = checkpoint.load(both), checkpoint.load(out)
    assert all(torch.equal(w, begun.state_dict()[name]) for name, w in before.state_dict().items())
    trainer = train(preset("tiny-live"), data, out, minutes=5, resume=True, steps=5)  # told nothing again
    assert trainer.config.training.learning == ("piano",)
    assert trainer.config.training.learning_rate < preset("tiny-live").training.learning_rate
    for name, w in trainer.translator.state_dict().items():
        assert torch.equal(w, before.state_dict()[name]) or name.startswith("decoders.piano"), name
    assert not torch.equal(trainer.translator.decoder("piano").table, before.decoder("piano").table)  # type: ignore[arg-type]
    with pytest.raises(UserError, match="has no domain 'winds' to learn on; it has strings, piano"):
        learning_on(preset("tiny-live"), both, ["winds"])
    capsys.readouterr()
    assert main([*words, "--extend", str(both), "--again", "piano", "--new-domains", "winds"]) == 2
    assert "are two runs" in capsys.readouterr().err


def test_a_whole_model_learns_on_gently(data: Dataset, tmp_path: Path) -> None:
    out, own = tmp_path / "whole", preset("tiny-live").training
    both = tinydata.live(data, tmp_path / "both", 2)
    words = ["train", "--preset", "tiny-live", "--data", str(data.root), "--out", str(out), "--minutes", "5"]
    assert main([*words, "--extend", str(both), "--whole", "--steps", "0"]) == 0
    before, begun = checkpoint.load(both), checkpoint.load(out)
    assert all(torch.equal(w, begun.state_dict()[name]) for name, w in before.state_dict().items())
    trainer = train(preset("tiny-live"), data, out, minutes=5, resume=True, steps=5)  # told nothing again
    settings = trainer.config.training
    assert settings.learning_rate < own.learning_rate and settings.share_paired < own.share_paired
    assert trainer.config.domains == tinydata.DOMAINS
    moved = [
        n for n, w in trainer.translator.state_dict().items() if not torch.equal(w, before.state_dict()[n])
    ]
    for part in ("encoder.", "decoders.strings.", "confusion."):
        assert any(name.startswith(part) for name in moved), part


def test_a_new_decoder_begins_as_the_nearest_and_learns(
    data: Dataset,
    strings: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(objective, "HUSH_SHARE", 0)  # one silent clip outweighs all others in so short a run
    out = tmp_path / "more"
    first = train(_more(strings), data, out, minutes=5, resume=False, steps=0, extended=strings)
    assert "'piano' begins with the decoder of 'strings'" in capsys.readouterr().out
    given, taken = (m.decoder("strings").state_dict() for m in (checkpoint.load(strings), first.translator))
    copied = first.translator.decoder("piano").state_dict()
    assert all(torch.equal(given[n], taken[n]) and torch.equal(given[n], copied[n]) for n in given)
    curve = train(_more(strings), data, out, minutes=5, resume=True, steps=120).progress.curve
    assert curve[-1]["piano"] < curve[0]["piano"] - 0.1


def test_the_nearest_decoder_is_the_one_that_made_the_sound() -> None:
    torch.manual_seed(0)
    translator = Translator(replace(preset("tiny-live"), domains=tinydata.DOMAINS)).eval()
    z = torch.randn(2, translator.config.latent_channels, 60)
    noise = torch.rand(2, 1, 60 * 64)
    with torch.no_grad():
        for domain, bias in zip(tinydata.DOMAINS, (-4.0, -1.0), strict=True):
            translator.decoder(domain).level.bias.fill_(bias)  # type: ignore[operator, union-attr]
        for domain in tinydata.DOMAINS:
            z_and_noise = torch.cat([z, noise.reshape(2, 60, 64).transpose(1, 2)], dim=1)
            audio = translator.decoder(domain)(z_and_noise)[:, 0]
            found, losses = nearest(translator, tinydata.DOMAINS, z, audio)
            assert found == domain and set(losses) == set(tinydata.DOMAINS)


def test_batches_ask_the_learning_domains_only(data: Dataset, strings: Path) -> None:
    source = BatchSource(data, _more(strings), "train", 0)
    for _, batch in zip(range(4), source, strict=False):
        assert batch.domains.tolist() == [1] and batch.targets.shape[1] == 1
        assert (batch.source_domain == -1).all()  # nobody learns to tell them apart


def test_slips_get_a_sentence(
    data: Dataset, strings: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for names in (["strings"], ["piano", "piano"]):
        with pytest.raises(UserError, match=f"'{names[-1]}' is no new domain"):
            widened(preset("tiny-live"), strings, names)
    with pytest.raises(UserError, match="wants --new-domains too"):
        widened(preset("tiny-live"), strings, [])
    with pytest.raises(UserError, match="no domain 'kazoo'; they hold strings, piano"):
        config = widened(preset("tiny-live"), strings, ["kazoo"])
        train(config, data, tmp_path / "a", minutes=5, resume=False, steps=0, extended=strings)
    wavenet = tmp_path / "wavenet"
    config = replace(preset("tiny-wavenet-plain"), domains=("strings",))
    train(config, data, wavenet, minutes=5, resume=False, steps=0)
    with pytest.raises(UserError, match="trained with 'tiny-wavenet-plain'"):
        widened(preset("tiny-live"), wavenet, ["piano"])
    command = ["train", "--preset", "tiny-live", "--data", str(data.root), "--out", str(tmp_path / "b")]
    assert main([*command, "--new-domains", "piano"]) == 2
    assert "--new-domains wants --extend too" in capsys.readouterr().err
    more = ["--steps", "1", "--minutes", "1", "--extend", str(strings), "--new-domains", "piano"]
    assert main([*command, *more]) == 0
    assert checkpoint.read_config(tmp_path / "b")[0].domains == ("strings", "piano")


def test_the_presets_know_the_instruments_that_are_domains() -> None:
    assert tuple(d.id for d in instruments.DOMAINS) == DOMAINS == PRESETS["live"].domains
    assert set(PRESETS["wavenet-live"].domains) < set(DOMAINS)
