"""A finished model at twice its rate: the same below its old Nyquist, and what is above is learned."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr
import torch

from export.__main__ import main as export
from export.bundle.bundle import Bundle
from realtime.engines import load_engine
from tests.umtn import tinydata
from umtn.__main__ import main
from umtn.data.dataset import Dataset
from umtn.errors import UserError
from umtn.model import checkpoint
from umtn.model.config import Config
from umtn.model.decoders.harmonic import LiveDecoder
from umtn.model.decoders.noise import band_edges_hz, band_filters, mel_of
from umtn.model.presets import preset
from umtn.model.translator import Translator
from umtn.training.band_extension import at_rate, free_upper_band
from umtn.training.batches import BatchSource
from umtn.training.single_decoder import reconstruction_loss
from umtn.training.spectral_loss import BankSpectrumLoss
from umtn.training.train import train

pytestmark = pytest.mark.slow

RATE, TWICE = 8000, 16000


@pytest.fixture(scope="module")
def lower(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished model."""
    folder = tmp_path_factory.mktemp("lower")
    return tinydata.live(Dataset.open(tinydata.make(folder / "data", RATE)), folder / "c", 60)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Pairs at twice the rate."""
    return Dataset.open(tinydata.make(tmp_path_factory.mktemp("data"), TWICE))


def config(lower: Path) -> Config:
    return at_rate(preset("tiny-live"), lower, TWICE)


@pytest.fixture(scope="module")
def taken(lower: Path, data: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model at twice its rate, before it learns."""
    out = tmp_path_factory.mktemp("taken") / "c"
    train(config(lower), data, out, minutes=5, resume=False, steps=0, extended=lower)
    return out


def _latents(given: Translator, ours: Translator) -> tuple[torch.Tensor, torch.Tensor]:
    rng = np.random.default_rng(0)
    t = np.arange(2 * RATE) / RATE
    low = sum(0.1 * np.sin(2 * np.pi * f * t) * (t > at) for f, at in ((220, 0.2), (330, 0.7), (392, 1.1)))
    low = np.asarray(low + 1e-3 * rng.standard_normal(len(t)), np.float32)
    high = soxr.resample(low, RATE, TWICE, "VHQ")
    with torch.no_grad():
        return given.encoder(torch.from_numpy(low)[None, None]), ours.encoder(
            torch.from_numpy(high)[None, None]
        )


def test_the_encoder_hears_the_same(lower: Path, taken: Path) -> None:
    given, ours = checkpoint.load(lower), checkpoint.load(taken)
    before, after = _latents(given, ours)
    assert before.shape == after.shape
    assert (before - after).abs().mean() < 0.02 * before.abs().mean()


@pytest.mark.parametrize("domain", tinydata.DOMAINS)
def test_below_the_old_nyquist_it_sounds_the_same(lower: Path, taken: Path, domain: str) -> None:
    """As loud in every third of an octave; what is random differs."""
    given, ours = checkpoint.load(lower), checkpoint.load(taken)
    z = _latents(given, ours)[0]
    sounds = []
    for model, rate in ((given, RATE), (ours, TWICE)):
        decoder = model.decoder(domain)
        noise = torch.rand(1, 1, z.shape[2] * model.config.hop, generator=torch.Generator().manual_seed(1))
        with torch.no_grad():
            y = decoder.decode_step(z, noise, torch.ones(1), decoder.init_state(1))[0][0, 0].numpy()
        power = np.abs(np.fft.rfft(y)) ** 2 / len(y) / rate
        hz = np.fft.rfftfreq(len(y), 1 / rate)
        centres = 100 * 2 ** (np.arange(0, 15) / 3)
        sounds.append(
            10 * np.log10([power[(hz >= 0.89 * c) & (hz < 1.12 * c)].mean() + 1e-14 for c in centres])
        )
    assert np.abs(sounds[0] - sounds[1]).max() < 3.0
    assert np.abs(sounds[0] - sounds[1]).mean() < 1.0


def test_only_the_upper_band_learns(lower: Path, data: Dataset, taken: Path, tmp_path: Path) -> None:
    out, start = tmp_path / "c", checkpoint.load(taken).state_dict()
    train(config(lower), data, out, minutes=5, resume=False, steps=3, extended=lower)
    trainer = train(preset("tiny-live"), data, out, minutes=5, resume=True, steps=3)  # told nothing again
    assert trainer.config.training.lower_rate == RATE and trainer.config.sample_rate == TWICE
    known = preset("tiny-live").decoder.bands  # type: ignore[union-attr]
    for name, after in trainer.translator.state_dict().items():
        moved = after != start[name]
        if ".hiss.layers.4." in name:
            assert not moved[:known].any(), name
            # the strings are sines: what has nothing to say above may stay where it is
            assert moved[known:].any() or ".piano." not in name, name
        else:
            assert not moved.any(), name


def test_only_partials_that_would_have_folded_back_learn(tmp_path: Path) -> None:
    live = replace(preset("live"), domains=("strings",))
    checkpoint.save(tmp_path / "c", live, Translator(live).state_dict(), {}, checkpoint.Progress())
    ours = Translator(at_rate(preset("live"), tmp_path / "c", 48000))
    free_upper_band(ours, 24000)
    decoder = ours.decoder("strings")
    assert isinstance(decoder, LiveDecoder)
    decoder.table.sum().backward()
    bank = decoder.oscillators
    hz = (bank.f0[:, None] * bank.multiples[:, :, 0] * 48000).numpy()
    learns = decoder.table.grad.numpy() != 0  # type: ignore[union-attr]
    assert learns[hz > 12000].all() and not learns[hz < 11000].any()
    assert hz.shape == (76, 40) and 0.2 < learns.mean() < 0.6


def test_what_learns_brings_it_nearer(lower: Path, data: Dataset, taken: Path) -> None:
    """A small step down the slope of a few bars, by what is free alone, makes their distance smaller."""
    model, spectral = checkpoint.load(taken), BankSpectrumLoss(TWICE)
    free_upper_band(model, RATE)
    decoder = model.decoder("piano")
    assert isinstance(decoder, LiveDecoder)
    wanted = next(iter(BatchSource(data, config(lower), "train", 5))).targets[:, 1]
    with torch.no_grad():
        z = model.encoder(wanted.unsqueeze(1))
    before = reconstruction_loss(decoder, spectral, z, wanted)
    before.backward()
    free = [p for p in decoder.parameters() if p.grad is not None and p.grad.any()]
    slope = torch.cat([p.grad.flatten() for p in free]).norm()  # type: ignore[union-attr]
    with torch.no_grad():
        for p in free:
            p -= 0.01 * p.grad / slope  # type: ignore[operator]
    assert slope > 1e-4 and len(free) == 2
    assert reconstruction_loss(decoder, spectral, z, wanted) < before - 0.002 * slope


def test_it_is_exported_and_played_and_gets_a_domain(taken: Path, tmp_path: Path) -> None:
    """By both engines, which must agree with the probe."""
    file, more = tmp_path / "b.umtn", tmp_path / "more.umtn"
    assert export([str(taken), "-o", str(file)]) == 0
    t = np.arange(24 * 22050) / 22050
    soundfile.write(tmp_path / "saw.wav", 0.2 * (220 * t % 1) * np.exp(-2 * (t % 1)), 22050)
    words = ["add-domain", "saw", str(tmp_path / "saw.wav"), "--to", str(file), "-o", str(more)]
    assert main([*words, "--minutes", "0.03", "--start", str(taken)]) == 0
    for path, count in ((file, 2), (more, 3)):
        bundle = Bundle.open(path)
        assert (bundle.manifest.sample_rate, len(bundle.manifest.domains)) == (TWICE, count)
        for name in ("onnx", "live-cpu"):
            assert load_engine(bundle, name).manifest.hop == 128


def test_old_bands_stay_where_they_were() -> None:
    step = mel_of(12000) / 25
    old, new = band_edges_hz(24, 24000), band_edges_hz(29, 48000, step)
    assert new[:26] == pytest.approx(old) and old[-1] == pytest.approx(12000) and new[-1] < 24000
    ours, theirs = band_filters(24, 127, 24000), band_filters(29, 255, 48000, step)
    for low, high in zip(ours[:24], theirs, strict=False):
        at = np.linspace(0, 11500, 50)
        spectra = [
            np.abs(np.exp(-2j * np.pi * at[:, None] / rate * np.arange(len(h))) @ h.numpy())
            for h, rate in ((low, 24000), (high, 48000))
        ]
        assert np.abs(spectra[0] - spectra[1]).max() < 0.02


def test_slips_get_a_sentence(
    lower: Path, data: Dataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(UserError, match="and the model plays at 8000 Hz; it can be taken to 16000"):
        at_rate(preset("tiny-live"), lower, 12000)
    with pytest.raises(UserError, match="8000 Hz was asked for"):
        at_rate(preset("tiny-live"), lower, 8000)
    words = ["train", "--preset", "tiny-live", "--data", str(data.root), "--out", str(tmp_path / "c")]
    assert main([*words, "--rate", "16000"]) == 2
    assert "--rate wants --extend too" in capsys.readouterr().err
    assert main([*words, "--rate", "16000", "--extend", str(lower), "--again", "piano"]) == 2
    assert "--again and --rate are two runs" in capsys.readouterr().err
    assert main([*words, "--rate", "32000", "--extend", str(lower)]) == 2
    assert "render or prepare them with --rate 32000" in capsys.readouterr().err
