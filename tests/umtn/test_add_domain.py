"""A domain of one's own: learned from plain recordings, added to a bundle whose other parts stay to the bit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
import soundfile
import torch

from export.bundle.bundle import Bundle, write_bundle
from export.freeze import freeze
from umtn.__main__ import main
from umtn.model.presets import preset
from umtn.model.translator import Translator, build_decoder
from umtn.offline import BundlePlayer
from umtn.training.single_decoder import EncodedClip, _read, learn, reconstruction_loss
from umtn.training.spectral_loss import BankSpectrumLoss

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("bundle") / "tiny.umtn"
    manifest, files = freeze(Translator(preset("tiny-live")), "tiny")
    write_bundle(path, manifest, files)
    return path


@pytest.fixture
def recordings(tmp_path: Path) -> Path:
    """24 s of a sawtooth that plays a scale."""
    rate, folder = 22050, tmp_path / "recordings"
    folder.mkdir()
    t = np.arange(rate) / rate
    for i in range(3):
        tones = [110 * 2 ** ((p + i) / 12) for p in (0, 2, 4, 5, 7, 9, 11, 12)]
        audio = np.concatenate([0.2 * (2 * (f * t % 1) - 1) * np.minimum(1, 8 * (1 - t)) for f in tones])
        soundfile.write(folder / f"take{i}.wav", audio, rate)
    return folder


def test_the_domain_is_added_and_nothing_else_changes(
    bundle: Path, recordings: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "mine.umtn"
    assert main(["add-domain", "My Saw", str(recordings), "--to", str(bundle), "-o", str(out),
                 "--minutes", "0.03"]) == 0  # fmt: skip
    before, after = Bundle.open(bundle), Bundle.open(out)
    assert [d.id for d in after.manifest.domains] == [*(d.id for d in before.manifest.domains), "my-saw"]
    for path in before.manifest.graphs:
        assert before.read(path) == after.read(path)
    assert "my-saw" in capsys.readouterr().out
    stored = safetensors.numpy.load(after.read("weights/my-saw.safetensors"))
    assert stored.keys() == safetensors.numpy.load(after.read("weights/strings.safetensors")).keys()
    player = BundlePlayer(out)
    made = player.play(np.zeros(player.sample_rate, np.float32), ("my-saw",))["my-saw"]
    assert np.isfinite(made).all()


@pytest.mark.parametrize("seconds", [[30], [30, 20], [5] * 12])
def test_about_a_tenth_is_held_out_however_few_the_files(seconds: list[int], tmp_path: Path) -> None:
    rate = 8000
    for i, s in enumerate(seconds):
        soundfile.write(tmp_path / f"{i}.wav", 0.1 * np.sin(np.arange(s * rate) * (0.1 + 0.01 * i)), rate)
    train, valid = _read(tmp_path, rate, seed=0)
    held_out = sum(map(len, valid)) / (rate * sum(seconds))
    assert 0.08 <= held_out <= 0.12
    assert sum(map(len, train)) + sum(map(len, valid)) == rate * sum(seconds)


def test_learning_brings_the_recording_nearer() -> None:
    config = preset("tiny-live")
    torch.manual_seed(1)
    translator = Translator(config)
    rate, hop = config.sample_rate, config.hop
    t = np.arange(3 * rate // hop * hop) / rate
    audio = (0.3 * np.sin(2 * np.pi * 220 * t)).astype(np.float32)
    with torch.no_grad():
        latent = translator.encoder(torch.from_numpy(audio)[None, None])[0].numpy()
    decoder = build_decoder(config, "mine")
    spectral = BankSpectrumLoss(rate)
    z, x = torch.from_numpy(latent)[None], torch.from_numpy(audio)[None]
    losses = [float(reconstruction_loss(decoder, spectral, z, x).detach())]  # type: ignore[arg-type]
    assert learn(decoder, [EncodedClip(audio, latent)], rate, 10.0, max_steps=25) == 25  # type: ignore[arg-type]
    losses.append(float(reconstruction_loss(decoder, spectral, z, x).detach()))  # type: ignore[arg-type]
    assert losses[1] < 0.8 * losses[0]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["strings", "RECORDINGS", "--to", "BUNDLE"], "already"),
        (["new", "NOTHING", "--to", "BUNDLE"], "holds no recording"),
        (["new", "RECORDINGS", "--to", "NOTHING/none.umtn"], "no such file"),
        (["new", "SHORT", "--to", "BUNDLE"], "at least 20 s"),
        (["new", "SILENT", "--to", "BUNDLE"], "silent"),
        (["new", "RECORDINGS", "--to", "BUNDLE", "--minutes", "0"], "--minutes"),
        (["!!", "RECORDINGS", "--to", "BUNDLE"], "no name"),
    ],
)
def test_bad_input_is_one_sentence_and_the_bundle_stays(
    bundle: Path, recordings: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    arguments: list[str], sentence: str,
) -> None:  # fmt: skip
    before = bundle.read_bytes()
    places = {"RECORDINGS": recordings, "BUNDLE": bundle, "NOTHING": tmp_path / "nothing",
              "SHORT": tmp_path / "short.wav", "SILENT": tmp_path / "silent.wav"}  # fmt: skip
    places["NOTHING"].mkdir()
    soundfile.write(places["SHORT"], 0.1 * np.ones(22050), 22050)
    soundfile.write(places["SILENT"], np.zeros(22050 * 30), 22050)
    words = []
    for word in arguments:
        key = next((k for k in places if word == k or word.startswith(k + "/")), "")
        words.append(word.replace(key, str(places[key])) if key else word)
    assert main(["add-domain", *words]) == 2
    error = capsys.readouterr().err
    assert sentence in error and error.count("\n") == 1
    assert bundle.read_bytes() == before
