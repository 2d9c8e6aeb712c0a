"""How late a model is, measured by running it: what the host adds (one block) is not in these figures.

    input    ...settled... | block k  p ---|   from sample p on the input is another
    output   ...settled... | block k    f  |   f: the first output sample that differs
    latency = f - p: 0 for a model that hands its input through; the later of p = first and p = last sample.

A sampled decoder turns a faint change into another sample only now and then. Of it f is the first sample whose
chances differ, the samples before it being the same: the earliest that any stream could answer.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from export.bundle.bundle import BundleError
from export.probe import test_signal
from umtn.model.decoders.base import Decoder, SampledDecoder
from umtn.model.streaming import State, StreamingModule

__all__ = ["measure_latency", "measure_onset_ms"]

NO_ANSWER = "a decoder's output does not change with the input at all; was the model trained?"
SETTLE_SECONDS = 0.5
LONGEST_SECONDS = 1.0
SAMPLED_SECONDS = 0.25  # before and after the change: all layers' signals of all samples lie in memory


class _Chain:
    """Encoder and decoder, streamed block by block."""

    def __init__(self, encoder: StreamingModule, decoder: Decoder) -> None:
        self.encoder, self.decoder = encoder, decoder

    def init_state(self, streams: int) -> tuple[State, State]:
        return self.encoder.init_state(streams), self.decoder.init_state(streams)

    def step(
        self, audio_B1N: Tensor, noise_B1N: Tensor, state: tuple[State, State]
    ) -> tuple[Tensor, tuple[State, State]]:
        latent, heard = self.encoder.step(audio_B1N, state[0])
        audio, said = self.decoder.decode_step(latent, noise_B1N, torch.ones(1), state[1])
        return audio, (heard, said)


@torch.no_grad()
def measure_latency(encoder: StreamingModule, decoder: Decoder, rate: int) -> int:
    """Samples at `rate` by which the model lags its input, beyond the block that a host gathers.

    This is the *earliest* reaction, however faint; `measure_onset_ms` tells when a note is well heard.
    """

    def find(place: int) -> int:
        if (sampled := decoder.sampled) is not None:
            return _first_other_chance(encoder, sampled, rate, place)
        return _first_reaction(encoder, decoder, rate, place)

    return max(0, *(find(place) - place for place in (0, encoder.block - 1)))


def _inputs(rate: int, block: int, before: int, after: int, place: int) -> tuple[Tensor, Tensor]:
    """Two signals [N] of so many blocks, which part at sample `place` of block `before`."""
    samples = (before + after) * block
    audio = torch.from_numpy(test_signal(samples, rate))
    changed = torch.from_numpy(test_signal(samples, rate, seed=1)) + 0.3
    changed[: before * block + place] = audio[: before * block + place]
    return audio, changed


def _first_reaction(encoder: StreamingModule, decoder: Decoder, rate: int, place: int) -> int:
    """The first output sample that differs when the input does from `place` on, both counted in block k."""
    block = encoder.block
    settle = max(2, math.ceil(SETTLE_SECONDS * rate / block))
    longest = math.ceil(LONGEST_SECONDS * rate / block)
    audio, changed = _inputs(rate, block, settle, longest, place)
    chain = _Chain(encoder, decoder)
    plain = other = chain.init_state(1)
    random = torch.Generator().manual_seed(0)
    for k in range(settle + longest):
        noise = torch.rand(1, 1, block, generator=random)
        here = slice(k * block, (k + 1) * block)
        wanted, plain = chain.step(audio[None, None, here], noise, plain)
        if k < settle:
            other = plain
            continue
        got, other = chain.step(changed[None, None, here], noise, other)
        differs = (got != wanted)[0, 0].nonzero()
        if len(differs):
            return (k - settle) * block + int(differs[0])
    raise BundleError(NO_ANSWER)


def _first_other_chance(encoder: StreamingModule, decoder: SampledDecoder, rate: int, place: int) -> int:
    """The same of a sampled decoder that is given its past (teacher forcing), for all samples at once."""
    settle = max(2, math.ceil(SAMPLED_SECONDS * rate / encoder.block))
    heard = _inputs(rate, encoder.block, settle, settle, place)
    past = decoder.sound_classes(heard[0][None])
    hears = (decoder.hears(encoder.step(x[None, None], encoder.init_state(1))[0]) for x in heard)
    plain, other = (decoder.net.logits(z, past, guide_BN=guide) for z, _, guide in hears)
    differs = (plain != other)[0].any(0).nonzero()
    if not len(differs):
        raise BundleError(NO_ANSWER)
    return int(differs[0]) - settle * encoder.block


@torch.no_grad()
def measure_onset_ms(encoder: StreamingModule, decoder: Decoder, rate: int) -> float | None:
    """Median ms until a note that starts from silence sounds at half its level; None if it never does.

    Five harmonic tones, held for 0.6 s; the level is the RMS over 5 ms, its reference that of the last half.
    """
    times = []
    for f0_hz in (147.0, 220.0, 330.0, 494.0, 740.0):
        before, after = (math.ceil(s * rate / encoder.block) * encoder.block for s in (0.3, 0.6))
        time = torch.arange(after) / rate
        tone = sum(torch.sin(2 * math.pi * f0_hz * h * time) / h for h in (1, 2, 3, 4))
        audio = torch.cat([torch.zeros(before), 0.15 * torch.as_tensor(tone)])
        noise = torch.rand(1, 1, len(audio), generator=torch.Generator().manual_seed(0))
        latent, _ = encoder.step(audio[None, None], encoder.init_state(1))
        heard, _ = decoder.decode_step(latent, noise, torch.ones(1), decoder.init_state(1))
        window = max(1, rate // 200)
        power = np.convolve(heard[0, 0, before:].square().numpy(), np.ones(window) / window)[:after]
        level = math.sqrt(power[after // 2 :].mean())
        loud = np.flatnonzero(np.sqrt(power) >= 0.5 * level)
        if level > 1e-4 and len(loud):
            times.append(1000.0 * loud[0] / rate)
    return float(np.median(times)) if len(times) >= 3 else None
