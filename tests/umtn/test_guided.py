"""Guided WaveNets: what they are told comes out of oscillators, streamed as at once, and they learn to follow it."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.umtn import tinydata
from umtn.__main__ import main
from umtn.data.dataset import Dataset
from umtn.data.guides import guide_of, make_guides, with_phases_of
from umtn.errors import UserError
from umtn.model import checkpoint
from umtn.model.companding import Emphasis, leaning, mulaw_decode, mulaw_encode
from umtn.model.decoders.guided import DRIVE, GuidedDecoder
from umtn.model.decoders.wavenet import WaveNetDecoder
from umtn.model.presets import preset
from umtn.model.translator import Translator
from umtn.training.batches import BatchSource
from umtn.training.decoder_losses import own_past
from umtn.training.train import train

pytestmark = pytest.mark.filterwarnings("ignore:.*:DeprecationWarning", "ignore:.*:FutureWarning")


@pytest.fixture
def decoder() -> GuidedDecoder:
    torch.manual_seed(2)
    made = Translator(preset("tiny-wavenet-live")).decoder("strings").eval()
    assert isinstance(made, GuidedDecoder)
    return made


def test_emphasis_is_undone_a_hop_at_a_time() -> None:
    emphasis, x = Emphasis(32, 0.85), torch.randn(2, 32 * 5)
    lifted, heard, again, last = [], torch.zeros(2, 1), [], torch.zeros(2, 1)
    for piece in x.split(64, dim=1):
        e, heard = emphasis.lift(piece, heard)
        y, last = emphasis.settle(e, last)
        lifted.append(e)
        again.append(y)
    assert (torch.cat(again, dim=1) - x).abs().max() < 1e-5
    whole, _ = emphasis.lift(x, torch.zeros(2, 1))
    assert torch.equal(torch.cat(lifted, dim=1), whole)
    assert whole[0, 7] == x[0, 7] - 0.85 * x[0, 6]
    with pytest.raises(ValueError, match="0 to below 1"):
        Emphasis(32, 1.0)


def test_a_guided_wavenet_draws_what_it_was_trained_to(decoder: GuidedDecoder) -> None:
    net = decoder.wavenet
    latent, guide = torch.randn(2, net.latent_channels, 3), torch.randint(0, 32, (2, 3 * net.hop))
    state, drawn, logits = net.init_state(2), [], []
    condition = net.condition(latent)
    for n in range(guide.shape[1]):
        y, state = net.sample_step(
            condition[:, :, n // net.hop], torch.rand(2), torch.ones(1), state, guide[:, n]
        )
        drawn.append(y)
    classes = torch.stack(drawn, dim=1)
    logits = net.logits(latent, classes, guide_BN=guide)
    other = net.logits(latent, classes, guide_BN=guide.roll(1, dims=1))
    uniform = torch.full((2,), 0.5)
    fresh, now = net.init_state(2), []
    for n in range(40):  # its own past forced: as the parallel pass sees it
        y, after = net.sample_step(
            condition[:, :, n // net.hop], uniform, torch.full((1,), 1e-4), fresh, guide[:, n]
        )
        now.append(y)
        after[0] = (net.leaned[guide[:, n], classes[:, n]].long() - 16).unsqueeze(1)
        fresh = after
    best = logits[:, 1:, :40].argmax(dim=1) + 1
    assert (torch.stack(now, dim=1) == best).float().mean() > 0.97
    assert (logits - other).abs().max() > 0.01


@pytest.mark.parametrize("pieces", [(1, 1, 1, 1), (3, 1)])
def test_streamed_is_offline_and_scripted_is_eager(decoder: GuidedDecoder, pieces: tuple[int, ...]) -> None:
    hop = decoder.hop
    latent = torch.randn(1, decoder.latent_channels, 4)
    noise, warm = torch.rand(1, 1, 4 * hop), torch.ones(1)
    scripted = torch.jit.script(decoder)
    with torch.no_grad():
        whole, _ = decoder.decode_step(latent, noise, warm, decoder.init_state(1))
        assert len(decoder.init_state(1)) == len(decoder.state_names())
        for module in (decoder, scripted):
            state, out, at = module.init_state(1), [], 0
            for n in pieces:
                y, state = module.decode_step(
                    latent[:, :, at : at + n], noise[:, :, at * hop : (at + n) * hop], warm, state
                )
                out.append(y)
                at += n
            # a last bit of the tones may move a class by one, and the past with it; not so early
            assert (torch.cat(out, dim=2) - whole).abs().max() < 1e-4


def test_the_guide_is_the_tones_alone(decoder: GuidedDecoder) -> None:
    """With a net that repeats its guide's class, out come the oscillators, in steps of mu-law."""
    net = decoder.wavenet
    said: list[torch.Tensor] = []

    def repeat(latent, noise, temperature, state, guide):  # type: ignore[no-untyped-def]
        said.append(guide)
        return mulaw_decode(guide, 32).unsqueeze(1), state

    net.say = repeat  # type: ignore[method-assign]
    latent = torch.randn(1, decoder.latent_channels, 12)
    with torch.no_grad():
        decoder.guide.level.bias += 3.0  # type: ignore[operator]
        out, _ = decoder.decode_step(
            latent, torch.rand(1, 1, 12 * decoder.hop), torch.ones(1), decoder.init_state(1)
        )
        amplitude, semitones, _, _ = decoder.guide.controls(latent, decoder.guide.init_state(1))
        bank = decoder.guide.oscillators
        tones, _ = bank.run(amplitude, semitones, bank.init_state(1))
    lifted, _ = decoder.emphasis.lift(tones[:, 0], torch.zeros(1, 1))
    assert tones.abs().max() > 0.01 and len(torch.unique(said[0])) > 5
    drawn = mulaw_decode(said[0], 32) / DRIVE
    step = (lifted.abs() * 0.3 + 0.01).clamp(max=1)  # 32 classes are coarse
    assert ((drawn - lifted.clamp(-0.5, 0.5)).abs() < step).all()
    assert torch.isfinite(out).all()


def test_its_own_past_is_what_it_draws(decoder: GuidedDecoder) -> None:
    net = decoder.wavenet
    told, guide = torch.randn(2, net.latent_channels, 2), torch.randint(0, 32, (2, 2 * net.hop))
    found = own_past(net, told, guide, torch.Generator().manual_seed(3))
    if found is None:
        pytest.skip("no compiler for the native sample loop")
    assert (found[:, 0] == 16).all()  # silence
    noise = torch.rand(2, 2 * net.hop, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        audio, _ = net.say(told[:1], noise[:1, None], torch.ones(1), net.init_state(1), guide[:1])
    drawn = net.before(mulaw_encode(audio[:, 0], 32))
    assert (
        found[:1, :24] == drawn[:, :24]
    ).float().mean() > 0.9  # 16-bit products: one draw moved moves the rest
    again = own_past(net, told, guide.roll(1, dims=1), torch.Generator().manual_seed(3))
    assert again is not None and not torch.equal(found, again)


def test_a_guide_gets_the_phases_of_the_truth() -> None:
    t = np.arange(24000) / 24000
    truth = np.sin(2 * math.pi * 440 * t + 1.0).astype(np.float32)
    tones = (0.5 * np.sin(2 * math.pi * 440 * t)).astype(np.float32)
    turned = with_phases_of(tones, truth)
    middle = slice(4000, 20000)
    assert np.abs(turned[middle] - 0.5 * truth[middle]).max() < 0.02
    assert np.abs(tones[middle] - 0.5 * truth[middle]).max() > 0.3


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return Dataset.open(tinydata.make(tmp_path_factory.mktemp("data")))


@pytest.fixture(scope="module")
def live(data: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tinydata.live(data, tmp_path_factory.mktemp("live") / "c", steps=3)


@pytest.mark.slow
def test_they_learn_behind_a_live_model(data: Dataset, live: Path, tmp_path: Path) -> None:
    config = replace(preset("tiny-wavenet-live"), domains=tinydata.DOMAINS)
    with pytest.raises(UserError, match="no guide for 'strings'.*umtn guide"):
        BatchSource(data, config, "train", 0)
    asked: list[str] = []

    def play(audio, domain):  # type: ignore[no-untyped-def]
        asked.append(domain)
        return audio[: len(audio) // 64 * 64]

    made = list(make_guides(data, play, tinydata.DOMAINS, lag=128))
    assert {t.domain for t in made} == set(tinydata.DOMAINS) and len(asked) == len(made)
    assert list(make_guides(data, play, tinydata.DOMAINS, lag=128)) == made and len(asked) == len(
        made
    )  # all there
    assert guide_of(data, made[0]).dtype == np.int16
    out = tmp_path / "guided"
    trainer = train(config, data, out, minutes=5, resume=False, steps=40, encoder=live)
    curve = trainer.progress.curve
    assert curve[-1]["loss"] < curve[0]["loss"] - 0.1
    loaded, given = checkpoint.load(out), checkpoint.load(live)
    first, second = (loaded.decoder(d) for d in tinydata.DOMAINS)
    assert isinstance(first, GuidedDecoder) and isinstance(second, GuidedDecoder)
    for domain, decoder in zip(tinydata.DOMAINS, (first, second), strict=True):
        theirs = given.decoder(domain).state_dict()
        assert all(torch.equal(w, theirs[n]) for n, w in decoder.guide.state_dict().items())
    assert torch.equal(first.wavenet.embed.weight, second.wavenet.embed.weight)  # trained as one
    assert not torch.equal(first.wavenet.condition.bias, second.wavenet.condition.bias)  # type: ignore[arg-type]
    assert first.wavenet.embed.weight[32:].abs().sum() > 0
    again = train(config, data, out, minutes=5, resume=True, steps=2, own_decoders=True)
    nets = [d.wavenet for d in again.translator.decoders.values()]  # type: ignore[union-attr]
    assert isinstance(nets[0], WaveNetDecoder) and nets[0].embed is not nets[1].embed


def test_a_finished_model_takes_a_newer_ear_and_keeps_its_own_words(
    live: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Ear and guides are the newer model's, all else is what it was; nothing is overwritten."""
    config = replace(preset("tiny-wavenet-live"), domains=tinydata.DOMAINS)
    old, out = tmp_path / "old", tmp_path / "new"
    checkpoint.save(old, config, Translator(config).state_dict(), {}, checkpoint.Progress(step=7))
    command = ["take-ear", str(old), "--encoder", str(live), "--out", str(out)]
    assert main(command) == 0
    before, after, given = (checkpoint.load(folder).state_dict() for folder in (old, out, live))
    for name, value in after.items():
        if name.startswith("encoder."):
            assert torch.equal(value, given[name])
        elif ".guide." in name:
            assert torch.equal(value, given[name.replace(".guide.", ".")])
        else:
            assert torch.allclose(value.float(), before[name].float(), atol=1e-3)
    assert checkpoint.read_config(out)[1].step == 7
    assert main(command) == 2 and "already holds a checkpoint" in capsys.readouterr().err


def test_other_models_have_no_guides(data: Dataset, live: Path, tmp_path: Path) -> None:
    config = replace(preset("tiny-wavenet-live"), domains=("strings",))
    other = tmp_path / "other"  # the same encoder, and decoders that are guided themselves
    checkpoint.save(other, config, Translator(config).state_dict(), {}, checkpoint.Progress())
    with pytest.raises(UserError, match="has no decoders of the kind that guides"):
        train(config, data, tmp_path / "a", minutes=5, resume=False, steps=0, encoder=other)


def test_the_past_leans_on_the_guide() -> None:
    sound, table = mulaw_decode(torch.arange(32), 32), leaning(32, 0.25)
    wanted = 0.25 * sound[:, None] + 0.75 * sound[None, :]
    nearest = (wanted[..., None] - sound[1:]).abs().amin(dim=2)
    assert torch.allclose((wanted - sound[table.long()]).abs(), nearest, atol=1e-7)
    assert table.min() >= 1 and table[16, 16] == 16  # silence leaning on silence is silence
    assert (leaning(32, 0.0)[5, 1:] == torch.arange(1, 32)).all() and (leaning(32, 1.0)[5] == 5).all()
    torch.manual_seed(0)
    net = WaveNetDecoder(4, 8, 1, 3, 8, 8, 32, lean=1.0).eval()
    latent, guide = torch.randn(1, 4, 6), torch.randint(1, 32, (1, 48))
    one, two = (net.logits(latent, torch.randint(1, 32, (1, 48)), guide_BN=guide) for _ in range(2))
    assert torch.equal(one, two)  # wholly leaning it does not hear itself at all
