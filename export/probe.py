"""The bundle's self-test: a short made-up tune, and what PyTorch answers to it block by block."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping

import numpy as np
import torch

from export.bundle import BundleError
from export.steppers import module_stepper, stream
from umtn.decoders.base import Decoder
from umtn.decoders.wavenet import WaveNetDecoder
from umtn.streaming import StreamingModule

__all__ = ["make_probe", "pack", "probe_blocks", "test_signal", "untied_noise"]

SECONDS = 0.5
SAMPLED_SECONDS = 0.06  # autoregressive decoders are slow here, and every sample is a test of its own
TIE = 2e-6  # how far a uniform number must stay from the border between two classes
MOST_DRAWS = 2000


def test_signal(samples: int, rate: int, seed: int = 0) -> np.ndarray:
    """Plucked harmonic notes over faint noise, float32 [samples], peak below 0.6."""
    random = np.random.default_rng(seed)
    audio = 0.003 * random.standard_normal(samples)
    length = rate // 8
    for start in range(0, samples, length):
        time = np.arange(min(length, samples - start)) / rate
        f0_hz = 110.0 * 2 ** (random.integers(0, 36) / 12)
        partials = np.arange(1, max(2, min(12, int(0.45 * rate / f0_hz))))
        tone = (np.sin(2 * np.pi * f0_hz * partials[:, None] * time) / partials[:, None] ** 1.5).sum(0)
        audio[start : start + length] += 0.3 * tone * np.exp(-6 * time) * np.minimum(1, time / 0.004)
    return audio.clip(-0.6, 0.6).astype(np.float32)


test_signal.__test__ = False  # type: ignore[attr-defined]  # its name looks like a test to pytest


def probe_blocks(decoders: Mapping[str, Decoder], block: int, rate: int) -> int:
    """How many blocks the probe lasts."""
    sampled = any(isinstance(decoder, WaveNetDecoder) for decoder in decoders.values())
    return max(4, math.ceil((SAMPLED_SECONDS if sampled else SECONDS) * rate / block))


def make_probe(
    encoder: StreamingModule, decoders: Mapping[str, Decoder], rate: int, seed: int = 0
) -> tuple[int, dict[str, np.ndarray]]:
    """Blocks, and the arrays of probe.npz: audio, latent, noise where a decoder wants it, audio.<domain>."""
    blocks = probe_blocks(decoders, encoder.block, rate)
    audio = test_signal(blocks * encoder.block, rate, seed)
    latent = stream(module_stepper(encoder), [audio[None, None]], blocks)
    arrays = {"audio": audio, "latent": latent[0]}
    sampled = {id: d for id, d in decoders.items() if isinstance(d, WaveNetDecoder)}
    if any(decoder.needs_noise for decoder in decoders.values()):
        arrays["noise"] = untied_noise(sampled, latent, len(audio), blocks, seed)
    for id, decoder in decoders.items():
        ports = [latent] + ([arrays["noise"][None, None]] if decoder.needs_noise else [])
        arrays[f"audio.{id}"] = stream(module_stepper(decoder), ports, blocks)[0, 0]
    return blocks, arrays


@torch.no_grad()
def untied_noise(
    sampled: Mapping[str, WaveNetDecoder],
    latent_1DT: np.ndarray,
    samples: int,
    blocks: int,
    seed: int,
) -> np.ndarray:
    """Uniform noise [samples] under which no decoder's draw hangs on the last bits of a sum.

    A sampled decoder that draws another class once runs elsewhere from then on, so that one rounding
    difference between two engines would look like a fault. Three streams per decoder are drawn with the
    noise, a little more and a little less; where they part, the noise from there on is drawn anew.
    """
    random = np.random.default_rng(seed)
    noise = random.random(samples, dtype=np.float32)
    if not sampled:
        return noise
    states = {id: decoder.init_state(3) for id, decoder in sampled.items()}
    frames, size = latent_1DT.shape[2] // blocks, samples // blocks
    nudges = torch.tensor([0.0, TIE, -TIE])[:, None, None]
    for block in range(blocks):
        latent = torch.from_numpy(latent_1DT[:, :, block * frames : (block + 1) * frames]).expand(3, -1, -1)
        row = noise[block * size : (block + 1) * size]
        for _ in range(MOST_DRAWS):
            rows = (torch.from_numpy(row) + nudges).clamp(0, 1 - 2**-24)
            results = {
                id: d.decode_step(latent, rows, torch.ones(1), states[id]) for id, d in sampled.items()
            }
            parted = torch.stack([(audio != audio[:1]).any(0)[0] for audio, _ in results.values()]).any(0)
            if not parted.any():
                break
            first = int(parted.nonzero()[0])
            row[first:] = random.random(size - first, dtype=np.float32)
        else:
            raise BundleError(
                f"no noise without a tie was found in {MOST_DRAWS} draws; are the weights sane?"
            )
        states = {id: state for id, (_, state) in results.items()}
    return noise


def pack(arrays: Mapping[str, np.ndarray]) -> bytes:
    """The file probe.npz."""
    buffer = io.BytesIO()
    np.savez(
        buffer,
        allow_pickle=False,
        **{name: np.ascontiguousarray(a, np.float32) for name, a in arrays.items()},
    )
    return buffer.getvalue()
