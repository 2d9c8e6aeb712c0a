"""The streaming contract on every encoder, decoder and part of one."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from tests.contract import check_contract
from umtn.model.companding import mulaw_decode, mulaw_encode
from umtn.model.config import PitchLatent
from umtn.model.decoders.base import fold_noise, unfold_noise
from umtn.model.decoders.noise import NoiseBank
from umtn.model.decoders.oscillators import OscillatorBank
from umtn.model.decoders.wavenet import draw
from umtn.model.pitch_encoder import opened
from umtn.model.presets import preset
from umtn.model.semitone_spectrum import CausalSpectrum
from umtn.model.translator import Translator


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(1)


def decoder_input(translator: Translator, domain: str, frames: int) -> Tensor:
    """Random latent frames and folded noise."""
    decoder = translator.decoder(domain)
    z = 2 * torch.randn(2, decoder.latent_channels, frames)
    return torch.cat([z, fold_noise(torch.rand(2, 1, frames * decoder.hop), decoder.hop)], dim=1)


def test_spectrum() -> None:
    check_contract(CausalSpectrum(8000, 64, 48, 512), 0.1 * torch.randn(2, 1, 64 * 16))


@pytest.mark.parametrize("name", ["tiny-live", "tiny-wavenet-plain"])
def test_encoder(name: str) -> None:
    translator = Translator(preset(name)).eval()
    check_contract(translator.encoder, 0.1 * torch.randn(2, 1, translator.config.hop * 20))  # type: ignore[arg-type]


def test_causal_wave_encoder() -> None:
    config = replace(preset("tiny-paper"), encoder=replace(preset("tiny-paper").encoder, causal=True))
    check_contract(Translator(config).eval().encoder, 0.1 * torch.randn(2, 1, config.hop * 20))  # type: ignore[arg-type]


def test_silent_pitches_say_nothing_to_a_sample_loop() -> None:
    """Whatever the ear thinks of a pitch that does not sound is shut by its activation."""
    z = torch.zeros(1, 3 * 24 + 4, 2)
    z[:, :24] = -30
    z[:, 5] = 30
    z[:, 24:72] = torch.randn(1, 48, 2)
    told = opened(z, 24, 3)[0, :72].reshape(3, 24, 2)
    assert told[:, torch.arange(24) != 5].abs().max() < 1e-9
    assert torch.allclose(told[0, 5], torch.ones(2)) and told[1:, 5].abs().min() > 0


def test_live_decoder() -> None:
    translator = Translator(preset("tiny-live")).eval()
    check_contract(translator.decoder("strings"), decoder_input(translator, "strings", 12))


def test_oscillators() -> None:
    bank = OscillatorBank(8000, 64, 48, 24, 6, 4, (0.0, 5.0), 1e-4)
    x = torch.cat([0.1 * torch.rand(2, 6, 24, 10), 0.1 * torch.randn(2, 1, 24, 10)], dim=1)
    check_contract(bank, x)


def test_noise() -> None:
    check_contract(NoiseBank(8000, 64, 6), torch.cat([torch.rand(2, 6, 10), torch.rand(2, 64, 10)], dim=1))


@pytest.mark.slow
def test_wavenet_decoder() -> None:
    """The contract holds for the sample loop too; a short hop keeps the check short."""
    config = replace(preset("tiny-wavenet-plain"), hop=8)
    translator = Translator(config).eval()
    check_contract(translator.decoder("piano"), decoder_input(translator, "piano", 10))


def test_wavenet_streams_sample_for_sample() -> None:
    """With the same noise the streamed audio is equal, not merely close."""
    translator = Translator(preset("tiny-wavenet-plain")).eval()
    decoder = translator.decoder("piano")
    x = decoder_input(translator, "piano", 6)
    with torch.no_grad():
        whole = decoder(x)
        for pieces in ([1], [2], [5, 1]):
            state, start, parts, turn = decoder.init_state(2), 0, [], 0
            while start < 6:
                stop = min(6, start + pieces[turn % len(pieces)])
                part, state = decoder.step(x[:, :, start:stop], state)
                parts.append(part)
                start, turn = stop, turn + 1
            assert torch.equal(torch.cat(parts, dim=2), whole)


def test_wavenet_teacher_forced_logits_draw_the_same_samples() -> None:
    decoder = Translator(preset("tiny-wavenet-plain")).eval().decoder("piano")
    z, noise = torch.randn(1, 6, 4), torch.rand(1, 1, 4 * 80)
    with torch.no_grad():
        condition, state = decoder.condition(z), decoder.init_state(1)
        classes = []
        for n in range(320):
            c, state = decoder.sample_step(condition[:, :, n // 80], noise[:, 0, n], torch.ones(1), state)
            classes.append(c)
        drawn = torch.stack(classes, dim=1)
        logits = decoder.logits(z, drawn)
        again = torch.stack([draw(logits[:, :, n], noise[:, 0, n], torch.ones(1)) for n in range(320)], dim=1)
    assert torch.equal(again, drawn)


def test_wavenet_history_is_measured() -> None:
    """Which past classes reach a logit: exactly `history` of them, as declared."""
    decoder = Translator(preset("tiny-wavenet-plain")).eval().decoder("piano")
    classes, z = torch.randint(32, (1, 160)), torch.zeros(1, 6, 2)
    base = decoder.logits(z, classes)[0, :, 100]
    reached = []
    for n in range(100):
        changed = classes.clone()
        changed[0, n] = (changed[0, n] + 7) % 32
        if not torch.equal(decoder.logits(z, changed)[0, :, 100], base):
            reached.append(n)
    assert 100 - min(reached) == decoder.history
    assert max(reached) == 99


def test_paper_sizes() -> None:
    """Figures of Mor et al. 2018: receptive field 4,093 samples + 1, encoder look-ahead 3,069 a side."""
    translator = Translator(preset("paper"))
    assert translator.decoder("piano").history == 4 * 1023 + 1
    assert translator.encoder.look_ahead == 3 * 1023
    assert not translator.encoder.streaming
    assert sum(p.numel() for p in translator.encoder.parameters()) == pytest.approx(1.98e6, rel=0.01)


def test_paper_encoder_sees_both_sides() -> None:
    encoder = Translator(preset("tiny-paper")).encoder.eval()
    x = 0.1 * torch.randn(1, 1, 800)
    changed = x.clone()
    changed[:, :, 410:] = 0.3
    with torch.no_grad():
        difference = (encoder(x) - encoder(changed)).abs().amax(dim=(0, 1))
    assert difference[4] > 0  # frame 4 ends at 400: it hears what comes after


def test_mulaw_silence_and_round_trip() -> None:
    assert mulaw_decode(mulaw_encode(torch.zeros(3))).tolist() == [0, 0, 0]
    classes = torch.arange(1, 256)
    assert torch.equal(mulaw_encode(mulaw_decode(classes)), classes)
    x = torch.linspace(-1, 1, 1001)
    assert torch.allclose(mulaw_decode(mulaw_encode(-x)), -mulaw_decode(mulaw_encode(x)))
    assert (mulaw_decode(mulaw_encode(x)) - x).abs().max() < 0.03


def test_noise_folds_and_unfolds() -> None:
    noise = torch.rand(2, 1, 30)
    assert torch.equal(unfold_noise(fold_noise(noise, 6)), noise)


def test_layout_counts_channels() -> None:
    assert PitchLatent(48, 24, 1, 4).channels == 3 * 24 + 4
