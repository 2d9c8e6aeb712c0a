"""What a microphone, a room and a player do to a sound; all on the training device, batched, clip by clip.

Every function takes audio [B, N] and a torch.Generator on the same device.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = [
    "add_breaths",
    "add_knocks",
    "add_noise",
    "colour",
    "frame_level",
    "local_pitch_shift",
    "log_uniform",
    "swell",
    "swing_level",
    "uniform",
]


def uniform(low: float, high: float, count: int, generator: torch.Generator) -> Tensor:
    """`count` uniform numbers on the generator's device."""
    u = torch.rand(count, generator=generator, device=generator.device)
    return low + (high - low) * u


def log_uniform(low: float, high: float, count: int, generator: torch.Generator) -> Tensor:
    """`count` numbers above 0 whose logarithms are uniform."""
    return torch.exp(uniform(math.log(low), math.log(high), count, generator))


def colour(audio_BN: Tensor, generator: torch.Generator, rate: int) -> Tensor:
    """A random tone control (+-6 dB, smooth over octaves) for every clip, a room or a hall for a third of them."""
    b, n = audio_BN.shape
    device = audio_BN.device
    room = _rooms(b, rate, generator)
    length = 1 << (n + room.shape[1] - 1).bit_length()
    f = torch.linspace(0, rate / 2, length // 2 + 1, device=device).clamp(min=30)
    place = (torch.log2(f / 30) / math.log2(rate / 2 / 30) * 6).clamp(0, 6 - 1e-4)
    knots = 12 * torch.rand(b, 8, generator=generator, device=device) - 6
    left = place.long()
    part = place - left
    gain_db = knots[:, left] * (1 - part) + knots[:, left + 1] * part
    response = torch.fft.rfft(audio_BN, length) * 10 ** (gain_db / 20)
    response = response * torch.fft.rfft(room, length)
    return torch.fft.irfft(response, length)[:, :n]


def swing_level(audio_BN: Tensor, generator: torch.Generator, rate: int) -> Tensor:
    """The level of half of the clips swings by 1 to 10 dB from top to bottom, 3 to 8 times a second.

    Flutes, singers and bows do so within one note, with every vibrato: an ear that never met it hears new notes.
    """
    b, n = audio_BN.shape
    swing_db = uniform(1, 10, b, generator) * (uniform(0, 1, b, generator) < 0.5)
    hz, phase = log_uniform(3, 8, b, generator), uniform(0, 2 * math.pi, b, generator)
    t = torch.arange(n, device=audio_BN.device) / rate
    swings = torch.sin(2 * math.pi * hz[:, None] * t + phase[:, None])
    return audio_BN * 10 ** (0.5 * swing_db[:, None] * (swings - 1) / 20)


def swell(audio_BN: Tensor, begins_BT: Tensor, generator: torch.Generator, rate: int) -> Tensor:
    """In a quarter of the clips each note begins 3 to 15 dB softer and is all there after 50 to 300 ms, as bows do.

    begins [B, T] is above 0 in the frames in which a note begins. What a player's bow or bellows do within a note is
    not what a hammer does: without such clips the piano swells with every violin.
    """
    b, n = audio_BN.shape
    frames = begins_BT.shape[1]
    softer_db = uniform(3, 15, b, generator) * (uniform(0, 1, b, generator) < 0.25)
    rise = log_uniform(0.05, 0.3, b, generator) * rate
    t = torch.arange(n, device=audio_BN.device)
    frame = (t // (n // frames)).clamp(max=frames - 1)
    at = torch.arange(frames, device=audio_BN.device)
    last = torch.where(begins_BT > 0, at, -n).cummax(dim=1).values  # the frame in which the latest note began
    age = t - (n // frames) * last[:, frame]
    soft_db = -softer_db[:, None] * (1 - age / rise[:, None]).clamp(min=0)
    edge = rate // 200  # 5 ms to either side: no click where the next note begins
    soft_db = F.avg_pool1d(F.pad(soft_db[:, None], [edge, edge], mode="replicate"), 2 * edge + 1, stride=1)[
        :, 0
    ]
    return audio_BN * 10 ** (soft_db / 20)


def _rooms(count: int, rate: int, generator: torch.Generator) -> Tensor:
    """Impulse responses of 0.75 s: the direct sound, and for one in three a tail that falls by 60 dB in 0.14 to 2 s."""
    n = 3 * rate // 4
    decay_s = log_uniform(0.02, 0.3, count, generator)
    t = torch.arange(n, device=generator.device) / rate
    tail = torch.randn(count, n, generator=generator, device=generator.device) * torch.exp(
        -t / decay_s[:, None]
    )
    tail = tail / tail.square().sum(dim=1, keepdim=True).sqrt()
    wet = uniform(0.05, 0.5, count, generator) * (uniform(0, 1, count, generator) < 0.33)
    tail = tail * wet[:, None]
    tail[:, 0] += 1
    return tail


def local_pitch_shift(
    audio_BN: Tensor, generator: torch.Generator, rate: int, semitones: float = 0.5
) -> Tensor:
    """One span of 0.25-0.5 s per clip shifted by up to +-`semitones`, cross-faded in and out.

    The shift is granular: two overlapping Hann grains of 40 ms run through the span at the new rate, so the
    span keeps its length (Mor et al. 2018, section 3.1; the published code splices without a cross-fade).
    """
    b, n = audio_BN.shape
    device = audio_BN.device
    span = min(int(rate * float(uniform(0.25, 0.5, 1, generator))), n // 2)
    start = (uniform(0, 1, b, generator) * (n - span)).long()
    ratio = 2 ** (uniform(-semitones, semitones, b, generator) / 12)
    index = start[:, None] + torch.arange(span, device=device)
    shifted = _grains(audio_BN, start, ratio, span, int(0.04 * rate))
    edge = min(int(0.02 * rate), span // 4)
    fade = torch.ones(span, device=device)
    ramp = torch.sin(0.5 * math.pi * (torch.arange(edge, device=device) + 0.5) / edge).square()
    fade[:edge], fade[span - edge :] = ramp, ramp.flip(0)
    kept = torch.gather(audio_BN, 1, index)
    return audio_BN.scatter(1, index, kept + fade * (shifted - kept))


def _grains(audio_BN: Tensor, start_B: Tensor, ratio_B: Tensor, span: int, grain: int) -> Tensor:
    """The span read by two grain trains half a grain apart, each grain at speed `ratio`."""
    n = audio_BN.shape[1]
    t = torch.arange(span, device=audio_BN.device)
    total = torch.zeros(audio_BN.shape[0], span, device=audio_BN.device)
    for shift in (0, grain // 2):
        inside = (t + shift) % grain
        origin = (t - inside).float()  # where this grain began, in span time
        position = start_B[:, None] + origin + (inside - grain / 2) * ratio_B[:, None] + grain / 2
        position = position.clamp(0, n - 1)
        left = position.long().clamp(max=n - 2)  # float32 cannot tell n - 1.001 from n - 1 in a long clip
        part = position - left
        read = torch.gather(audio_BN, 1, left) * (1 - part) + torch.gather(audio_BN, 1, left + 1) * part
        total = total + read * torch.sin(math.pi * (inside + 0.5) / grain).square()
    return total


def frame_level(audio_BN: Tensor, hop: int, frames: int) -> Tensor:
    """RMS over the last four hops of each frame, [B, N / hop]."""
    power = F.avg_pool1d(audio_BN.square().unsqueeze(1), hop)[:, :, :frames]
    return F.avg_pool1d(F.pad(power, [3, 0]), 4, stride=1)[:, 0].sqrt()


# What a microphone hears beside the music: the room's noise, hum, knocks, breath. None of it may be played.
#
# As in `augment.py`: audio is [B, N], a torch.Generator on the same device draws clip by clip. Where a noise comes
# with
# notes, begins [B, T] is above 0 in the frames in which one begins. Levels are against the clip's own.


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
