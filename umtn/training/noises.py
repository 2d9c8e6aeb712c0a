"""What a microphone hears beside the music: the room's noise, hum, knocks, breath. None of it may be played.

As in `augment.py`: audio is [B, N], a torch.Generator on the same device draws clip by clip. Where a noise comes with
notes, begins [B, T] is above 0 in the frames in which one begins. Levels are against the clip's own.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from umtn.training.augment import log_uniform, uniform

__all__ = ["add_breaths", "add_knocks", "add_noise"]

QUIETEST_DBFS = -50  # the level against which a silent clip's noises are measured
KNOCK_S, BREATH_S = 0.4, 0.5
HUM_PARTIALS = 20


def add_noise(audio_BN: Tensor, generator: torch.Generator, rate: int) -> Tensor:
    """Noise between white and brown, 15 to 60 dB below each clip's level, and mains hum for one in three, 20 to 60."""
    b, n = audio_BN.shape
    white, f = _white(b, n, rate, generator)
    noise = _unit(
        torch.fft.irfft(white * (f.clamp(min=40) / 1000) ** -uniform(0, 1, b, generator)[:, None], n)
    )
    level = _level(audio_BN)
    gain = level * 10 ** (-uniform(15, 60, b, generator) / 20)
    hums = level * 10 ** (-uniform(20, 60, b, generator) / 20) * _some(0.35, b, generator)
    return audio_BN + gain[:, None] * noise + hums[:, None] * _hum(b, n, rate, generator)


def add_knocks(audio_BN: Tensor, begins_BT: Tensor, generator: torch.Generator, rate: int) -> Tensor:
    """Low knocks in a third of the clips, 24 dB below to 6 above their level: a body at its notes, a hand, a foot.

    A guitar's body answers every pluck with its own pitch (90 to 130 Hz); an ear that never met one hears notes there.
    """
    b, n = audio_BN.shape
    t = torch.arange(int(KNOCK_S * rate), device=audio_BN.device) / rate
    low = log_uniform(50, 180, b, generator)
    second = uniform(1.5, 2.4, b, generator), uniform(0, 0.7, b, generator)
    knock = torch.zeros(b, len(t), device=audio_BN.device)
    for ratio, loud in ((torch.ones_like(low), torch.ones_like(low)), second):
        fall_s = log_uniform(0.05, KNOCK_S, b, generator)  # by 60 dB
        mode = torch.sin(2 * math.pi * (low * ratio)[:, None] * t) * torch.exp(-6.9 * t / fall_s[:, None])
        knock = knock + loud[:, None] * mode
    knocks = _convolved(_strokes(begins_BT, n, 1.0, generator, rate), knock)
    gain = _level(audio_BN) * 10 ** (uniform(-24, 6, b, generator) / 20) * _some(1 / 3, b, generator)
    return audio_BN + gain[:, None] * knocks


def add_breaths(audio_BN: Tensor, begins_BT: Tensor, generator: torch.Generator, rate: int) -> Tensor:
    """Bursts of noise in a third of the clips, 36 dB below to 3 above their level: breath, consonants, picks, keys.

    Between one and four octaves wide about 0.3 to 6 kHz, there in 1 to 60 ms and gone in 20 to 300.
    """
    b, n = audio_BN.shape
    white, f = _white(b, n, rate, generator)
    centre = uniform(math.log2(300), math.log2(6000), b, generator)[:, None]
    octaves = uniform(0.5, 2, b, generator)[:, None]  # to either side
    noise = _unit(torch.fft.irfft(white * torch.exp(-0.5 * ((torch.log2(f) - centre) / octaves) ** 2), n))
    t = torch.arange(int(BREATH_S * rate), device=audio_BN.device) / rate
    rise_s = log_uniform(0.001, 0.06, b, generator)[:, None]
    fall_s = log_uniform(0.02, 0.3, b, generator)[:, None]
    shape = (t / rise_s).clamp(max=1) * torch.exp(-4.6 * (t - rise_s).clamp(min=0) / fall_s)
    bursts = noise * _convolved(_strokes(begins_BT, n, 1.5, generator, rate), shape)
    gain = _level(audio_BN) * 10 ** (uniform(-36, 3, b, generator) / 20) * _some(1 / 3, b, generator)
    return audio_BN + gain[:, None] * bursts


def _white(count: int, n: int, rate: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """The spectrum of white noise [count, n], and the frequencies of its lines in Hz."""
    spectrum = torch.fft.rfft(torch.randn(count, n, generator=generator, device=generator.device))
    return spectrum, torch.arange(spectrum.shape[1], device=generator.device).clamp(min=1) / n * rate


def _hum(count: int, n: int, rate: int, generator: torch.Generator) -> Tensor:
    """Mains of 50 or 60 Hz with partials that fall by 2 to 12 dB an octave, level 1, [count, n]."""
    device = generator.device
    mains = torch.where(uniform(0, 1, count, generator) < 0.5, 50.0, 60.0)[:, None]
    partial = torch.arange(1, HUM_PARTIALS + 1, device=device)
    line = (partial * mains * n / rate).round().long().clamp(max=n // 2)
    phase = 2 * math.pi * torch.rand(count, HUM_PARTIALS, generator=generator, device=device)
    loud = torch.rand(count, HUM_PARTIALS, generator=generator, device=device)
    loud = loud * partial ** -uniform(0.3, 2, count, generator)[:, None]
    spectrum = torch.zeros(count, n // 2 + 1, dtype=torch.complex64, device=device)
    return _unit(torch.fft.irfft(spectrum.scatter(1, line, torch.polar(loud, phase)), n))


def _strokes(begins_BT: Tensor, n: int, a_second: float, generator: torch.Generator, rate: int) -> Tensor:
    """Single samples between .5 and 1 where something strikes, [B, N]: in half of the clips with the notes, else by
    chance `a_second` times a second."""
    b, frames = begins_BT.shape
    hop = n // frames
    chance, loud = (torch.rand(b, frames, generator=generator, device=begins_BT.device) for _ in range(2))
    struck = torch.where(_some(0.5, b, generator)[:, None] > 0, begins_BT > 0, chance < a_second * hop / rate)
    strokes = F.pad((struck * (0.5 + 0.5 * loud)).unsqueeze(2), [0, hop - 1])
    return F.pad(strokes.reshape(b, frames * hop), [0, n - frames * hop])


def _convolved(audio_BN: Tensor, shape_BM: Tensor) -> Tensor:
    n = audio_BN.shape[1]
    length = 1 << (n + shape_BM.shape[1] - 1).bit_length()
    return torch.fft.irfft(torch.fft.rfft(audio_BN, length) * torch.fft.rfft(shape_BM, length), length)[:, :n]


def _some(share: float, count: int, generator: torch.Generator) -> Tensor:
    return (uniform(0, 1, count, generator) < share).float()


def _level(audio_BN: Tensor) -> Tensor:
    return audio_BN.square().mean(dim=1).sqrt().clamp(min=10 ** (QUIETEST_DBFS / 20))


def _unit(audio_BN: Tensor) -> Tensor:
    return audio_BN / audio_BN.square().mean(dim=1, keepdim=True).sqrt().clamp(min=1e-9)
