"""Training really learns, stops anywhere without loss, and goes on where it stopped."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from tests.umtn import tinydata
from umtn.__main__ import main
from umtn.data.dataset import Dataset
from umtn.errors import UserError
from umtn.model import checkpoint
from umtn.model.config import Config
from umtn.model.presets import preset
from umtn.model.translator import Translator
from umtn.training.batches import BatchSource
from umtn.training.ema import Average
from umtn.training.train import Trainer, train

pytestmark = pytest.mark.filterwarnings("ignore:.*:DeprecationWarning", "ignore:.*:FutureWarning")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tinydata.make(tmp_path_factory.mktemp("data"))


def tiny(name: str) -> Config:
    return replace(preset(name), domains=tinydata.DOMAINS)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["tiny-live", "tiny-wavenet-plain", "tiny-paper"])
def test_every_preset_learns(name: str, data: Path, tmp_path: Path) -> None:
    trainer = Trainer(tiny(name), Dataset.open(data), tmp_path / "c", minutes=10)
    batches = iter(BatchSource(Dataset.open(data), trainer.config, "train", 0))
    generator = torch.Generator().manual_seed(0)
    losses = [trainer.step(next(batches), generator)["loss"] for _ in range(25)]
    assert np.mean(losses[-5:]) < np.mean(losses[:5]) - 0.05


def test_confusion_loss_reaches_encoder_but_not_classifier_and_back(data: Path, tmp_path: Path) -> None:
    """The paper's two steps: C learns on a detached latent; what confuses it moves the encoder only."""
    trainer = Trainer(tiny("tiny-live"), Dataset.open(data), tmp_path / "c", minutes=1)
    objective, translator = trainer.objective.module, trainer.translator
    z = translator.encoder(0.1 * torch.randn(4, 1, 8000 // 64 * 64))
    confused, classifier, _ = objective._confusion(z, torch.tensor([0, 1, 0, -1]))
    encoder, critic = list(translator.encoder.parameters()), list(translator.confusion.parameters())
    reached = torch.autograd.grad(classifier, encoder, retain_graph=True, allow_unused=True)
    assert all(g is None for g in reached)
    assert any(
        g is not None and g.abs().sum() > 0
        for g in torch.autograd.grad(confused, encoder, retain_graph=True, allow_unused=True)
    )
    assert all(g is None for g in torch.autograd.grad(confused, critic, allow_unused=True))


@pytest.mark.slow
def test_resume_continues_the_same_curve(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "c"
    train(tiny("tiny-live"), Dataset.open(data), out, minutes=5, resume=False, steps=40)
    first = checkpoint.read_config(out)[1]
    trainer = train(tiny("tiny-live"), Dataset.open(data), out, minutes=5, resume=True, steps=20)
    curve = trainer.progress.curve
    assert [row["step"] for row in curve] == [20, 40, 60]
    assert curve[2]["minutes"] > first.minutes > 0
    assert curve[2]["loss"] < curve[0]["loss"]
    moments = trainer.players.state_dict()["state"][0]
    assert float(moments["step"]) == 60  # Adam was not started anew


@pytest.mark.slow
def test_kill_9_at_any_moment_leaves_a_checkpoint_that_loads(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "c"
    code = (
        "import sys; sys.path.insert(0, '.')\n"
        "from tests.umtn.test_training import tiny\nfrom umtn.training.train import Trainer\n"
        "from umtn.data.dataset import Dataset\nfrom pathlib import Path\n"
        f"t = Trainer(tiny('tiny-live'), Dataset.open({str(data)!r}), Path({str(out)!r}), 5)\n"
        "while True: t.progress.step += 1; t.save()\n"
    )
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    for pause in (0.05, 0.13, 0.31):
        child = subprocess.Popen([sys.executable, "-c", code], env=environment)
        deadline = time.monotonic() + 60
        before = checkpoint.read_config(out)[1].step if out.exists() else 0
        while time.monotonic() < deadline:
            if (out / "checkpoint.json").exists() and checkpoint.read_config(out)[1].step != before:
                break
            time.sleep(0.01)
        time.sleep(pause)
        child.send_signal(signal.SIGKILL if hasattr(signal, "SIGKILL") else signal.SIGTERM)
        child.wait()
        checkpoint.load(out)
        checkpoint.load_training(out)


def test_bad_checkpoints_get_a_sentence(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "c"
    train(tiny("tiny-live"), Dataset.open(data), out, minutes=5, resume=False, steps=1)
    with pytest.raises(UserError, match="--resume"):
        train(tiny("tiny-live"), Dataset.open(data), out, minutes=5, resume=False)
    with pytest.raises(UserError, match="preset 'tiny-live', not 'tiny-wavenet-plain'"):
        train(tiny("tiny-wavenet-plain"), Dataset.open(data), out, minutes=5, resume=True)
    with pytest.raises(UserError, match="no checkpoint"):
        train(tiny("tiny-live"), Dataset.open(data), tmp_path / "none", minutes=5, resume=True)
    weights = next(out.glob("weights-*"))
    weights.write_bytes(weights.read_bytes()[:-4])
    with pytest.raises(UserError, match="damaged"):
        checkpoint.load(out)
    record = json.loads((out / "checkpoint.json").read_text())
    record["config"]["hopp"] = record["config"].pop("hop")
    (out / "checkpoint.json").write_text(json.dumps(record))
    with pytest.raises(UserError, match="'hopp'; did you mean 'hop'"):
        checkpoint.load(out)
    (out / "checkpoint.json").write_text("{")
    with pytest.raises(UserError, match="not a checkpoint"):
        checkpoint.load(out)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_a_weight_that_is_not_finite_is_named(tmp_path: Path, bad: float) -> None:
    config = preset("tiny-live")
    weights = Translator(config).state_dict()
    name = sorted(n for n, value in weights.items() if value.is_floating_point())[-1]
    weights[name].view(-1)[-1] = bad
    checkpoint.save(tmp_path / "c", config, weights, {}, checkpoint.Progress())
    with pytest.raises(UserError, match=f"weight '{name}' is not finite"):
        checkpoint.load(tmp_path / "c")


def test_weights_that_decoders_share_are_stored_once(data: Path, tmp_path: Path) -> None:
    sizes = {}
    for shared in (True, False):
        out = tmp_path / str(shared)
        config = tiny("tiny-wavenet-plain")
        config = replace(config, training=replace(config.training, shared=shared))
        trained = train(config, Dataset.open(data), out, minutes=5, resume=False, steps=1).translator
        sizes[shared] = next(out.glob("weights-*")).stat().st_size
        loaded = checkpoint.load(out)
        assert loaded.state_dict().keys() == trained.state_dict().keys()
        first, second = (loaded.decoders[name].embed.weight for name in config.domains[:2])
        assert torch.equal(first, second) == shared
        assert first.data_ptr() != second.data_ptr()
    parts = dict(trained.decoders[config.domains[0]].named_parameters())
    once = sum(2 * p.numel() for name, p in parts.items() if name != "condition.bias")  # in 16 bits
    assert sizes[False] - sizes[True] > (len(config.domains) - 1) * once


def test_full_disk_keeps_the_checkpoint_before(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "c"
    trainer = train(tiny("tiny-live"), Dataset.open(data), out, minutes=5, resume=False, steps=1)

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint, "save_file", full)
    trainer.progress.step += 1
    with pytest.raises(UserError, match="No space left.*--resume"):
        trainer.save()
    checkpoint.load(out)


def test_wrong_data_get_a_sentence(data: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="8000 Hz.*24000 Hz"):
        BatchSource(Dataset.open(data), preset("live"), "train", 0)
    with pytest.raises(UserError, match="no domain 'winds'"):
        BatchSource(Dataset.open(data), preset("tiny-live"), "train", 0)


def test_batches_are_paired_and_in_time(data: Path) -> None:
    """Source and target are the same bars: where the score is silent, so are both; the target lags as declared."""
    config = tiny("tiny-live")
    batch = next(iter(BatchSource(Dataset.open(data), config, "train", 0)))
    assert batch.targets.shape == (4, 2, 8000 // 64 * 64)
    # what is asked for a translation is asked for every domain's, all else for its own
    assert torch.equal(batch.known.all(dim=1), batch.paired) and batch.known.any(dim=1).all()
    asked = batch.known[:, 1]
    assert asked.sum() > 1
    for source, target, active in zip(batch.source[asked], batch.targets[asked, 1], batch.active[asked]):
        loud_in = source.reshape(-1, 64).abs().amax(dim=1) > 0
        loud_out = target.reshape(-1, 64).abs().amax(dim=1) > 0
        assert (loud_in[:-2] == loud_out[2:]).float().mean() > 0.95
        sounding = active.amax(dim=0) > 0  # of the octaves that the tiny latent has
        assert loud_in[sounding].float().mean() > 0.9 or sounding.sum() == 0


def test_average_warms_up_and_follows() -> None:
    layer = torch.nn.Linear(1, 1, bias=False)
    average = Average(layer, 0.9999)
    with torch.no_grad():
        layer.weight.fill_(5.0)
    for _ in range(50):
        average.update(layer)
    assert float(average.weights["weight"]) == pytest.approx(5.0, abs=0.3)


def test_translate_from_the_command_line(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, wav = tmp_path / "c", tmp_path / "in.wav"
    train(tiny("tiny-live"), Dataset.open(data), out, minutes=5, resume=False, steps=2)
    soundfile.write(wav, 0.1 * np.sin(np.arange(44100) * 0.05).repeat(2).reshape(-1, 2), 44100)
    command = ["translate", str(wav), "--checkpoint", str(out), "-o", str(tmp_path / "out.wav"), "--to"]
    assert main([*command, "strings"]) == 0
    audio, rate = soundfile.read(tmp_path / "out.wav")
    assert rate == 8000 and len(audio) == 8000 and np.isfinite(audio).all()
    assert main([*command, "kazoo"]) == 2
    assert "no domain 'kazoo'; it knows strings, piano" in capsys.readouterr().err
