"""The closed-form spectrum the live decoder is trained on equals the spectrum of what it really plays."""

import pytest
import torch

from umtn.model.config import PitchLatent
from umtn.model.decoders.harmonic import LiveDecoder
from umtn.training.spectral_loss import BankSpectrumLoss

RATE, HOP, FRAMES = 24000, 128, 120


@pytest.fixture
def decoder() -> LiveDecoder:
    torch.manual_seed(3)
    return LiveDecoder(RATE, HOP, PitchLatent(), 8, 12, 24, 10, (0.0,), 3e-4)


def play(decoder: LiveDecoder, amplitude, semitones, gains):  # type: ignore[no-untyped-def]
    tones, _ = decoder.oscillators.run(amplitude, semitones, decoder.oscillators.init_state(1))
    noise = torch.rand(1, 1, FRAMES * HOP)
    breath, _ = decoder.noise.run(gains, noise, decoder.noise.init_state(1))
    return (tones + breath)[:, 0]


def controls(pitch: int | None, hiss: float, bend: float = 0.0):  # type: ignore[no-untyped-def]
    amplitude, semitones = torch.zeros(1, 76, 12, FRAMES), torch.full((1, 76, FRAMES), bend)
    if pitch is not None:
        amplitude[0, pitch - 28] = 0.2 / torch.arange(1, 13)[:, None]
    return amplitude, semitones, torch.full((1, 24, FRAMES), hiss)


@pytest.mark.parametrize("pitch, bend", [(45, 0.0), (69, 0.0), (69, 0.37), (84, -0.2)])
def test_lines_stand_where_the_oscillators_play(decoder: LiveDecoder, pitch: int, bend: float) -> None:
    loss = BankSpectrumLoss(RATE)
    amplitude, semitones, gains = controls(pitch, 0.0, bend)
    audio = play(decoder, amplitude, semitones, gains)
    real = loss.power(audio, 2048, 512, loss.window)[0, 12]
    bank = decoder.oscillators
    cycles = (bank.f0[:, None] * bank.multiples[:, :, 0]).float() * 2 ** (bend / 12)
    lines = (amplitude * bank.audible[:, :, None])[0, :, :, 60].square().reshape(1, 1, -1)
    given = loss._lines(cycles.reshape(1, 1, -1), lines, 2048)[0, 0]
    peaks = given > 1e-4
    assert peaks.sum() > 6
    error_db = 10 * torch.log10(given[peaks] / real[peaks])
    # a quarter bin of rounding costs a few dB on the slope of a line, nothing on its top
    assert error_db.abs().median() < 1.0
    assert error_db.abs().max() < 5.0


def test_noise_power_is_what_the_bank_plays(decoder: LiveDecoder) -> None:
    loss = BankSpectrumLoss(RATE)
    audio = play(decoder, *controls(None, 0.05))
    real = loss.power(audio, 2048, 512, loss.window)[0, 4:-4].mean(dim=0)
    given = (loss._noise_shapes(decoder, 2048) * 0.05).sum(dim=0).square()
    bands = real[8:1000].reshape(-1, 31).mean(dim=1) / given[8:1000].reshape(-1, 31).mean(dim=1)
    assert (10 * torch.log10(bands)).abs().max() < 1.5


def test_loss_is_small_for_its_own_sound_and_large_for_another(decoder: LiveDecoder) -> None:
    loss = BankSpectrumLoss(RATE)
    wanted = controls(60, 0.002)
    audio = play(decoder, *wanted)
    weight = torch.ones(1, FRAMES)
    weight[:, :20] = 0
    weight[:, -10:] = 0
    own = loss(decoder, *wanted, audio, weight)
    other = loss(decoder, *controls(61, 0.002), audio, weight)
    louder = loss(decoder, *controls(60, 0.02), audio, weight)
    assert own < 1.6  # the noise's own scatter: two terms of about 0.6 nats
    assert other > own + 0.3
    assert louder > own + 0.5


def test_gradients_reach_amplitudes_and_noise(decoder: LiveDecoder) -> None:
    amplitude, semitones, gains = (t.requires_grad_() for t in controls(60, 0.01))
    audio = play(decoder, *controls(64, 0.01)).detach()
    loss = BankSpectrumLoss(RATE)(decoder, amplitude, semitones, gains, audio, torch.ones(1, FRAMES))
    loss.backward()
    assert amplitude.grad is not None and amplitude.grad[0, 32].abs().sum() > 0
    assert gains.grad is not None and gains.grad.abs().sum() > 0


def test_a_voice_left_out_of_a_chord_is_missed_where_the_score_has_it(decoder: LiveDecoder) -> None:
    loss, weight, held = BankSpectrumLoss(RATE), torch.ones(1, FRAMES), torch.zeros(1, 76, FRAMES)
    weight[:, :20] = weight[:, -10:] = 0
    chord, gains = torch.zeros(1, 76, 12, FRAMES), torch.zeros(1, 24, FRAMES)
    for pitch in (48, 55, 64):
        chord[0, pitch - 28] = 0.2 / torch.arange(1, 13)[:, None]
        held[0, pitch - 28] = 1
    straight = torch.zeros(1, 76, FRAMES)
    audio = play(decoder, chord, straight, gains)
    without = chord.clone()
    without[0, 55 - 28] = 0

    def distance(amplitude, score):  # type: ignore[no-untyped-def]
        return float(loss(decoder, amplitude, straight, gains, audio, weight, None, score))

    note = distance(chord, held) - distance(chord, None)
    assert note < 0.7  # lines are placed to a quarter of a bin
    missed = distance(without, held) - distance(without, None)
    assert missed > note + 1.5
    held[0, 55 - 28] = 0  # what the score has not is not asked for
    assert distance(without, held) - distance(without, None) < missed - 1.0


def test_a_late_attack_is_better_than_a_hedged_or_an_early_one(decoder: LiveDecoder) -> None:
    """A note that is asked for at frame 60: struck then, struck later, faded in, struck too soon."""
    loss = BankSpectrumLoss(RATE)
    decay = torch.exp(-torch.arange(FRAMES) / 15.0)

    def struck(at: int) -> torch.Tensor:
        amplitude = controls(69, 0.0)[0] * 1e-4
        amplitude[..., at:] = controls(69, 0.0)[0][..., at:] * decay[: FRAMES - at]
        return amplitude

    hedged = struck(60)
    hedged[..., 52:68] *= torch.linspace(0, 1, 16)
    silent = controls(None, 1e-4)[1:]
    target = play(decoder, struck(60), *silent)

    def quick(amplitude: torch.Tensor) -> float:
        heard = amplitude * decoder.oscillators.audible[:, :, None]
        cycles = (decoder.oscillators.f0[:, None, None] * decoder.oscillators.multiples).float()
        return float(loss._attack(decoder, heard, silent[1], target, torch.ones(1, FRAMES), cycles))

    on_time, late, much_later, faded, early = (
        quick(x) for x in (struck(60), struck(64), struck(75), hedged, struck(53))
    )
    assert on_time < late < min(faded, early, much_later)
    assert late - on_time < 0.5 * (faded - on_time)


def test_what_is_on_time_is_read_on_time(decoder: LiveDecoder) -> None:
    loss = BankSpectrumLoss(RATE)
    wanted = torch.rand(2, FRAMES, 16) + 0.1
    read, late = loss._read_late(wanted * 1.01, wanted)
    assert torch.equal(read, wanted) and not late.any()
    read, late = loss._read_late(wanted.roll(3, dims=1), wanted)
    assert (late[:, 20:-20] == 3).all() and torch.equal(read[:, 20:-20], wanted.roll(3, dims=1)[:, 20:-20])
