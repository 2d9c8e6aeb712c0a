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
from umtn.mulaw import mulaw_encode
from umtn.streaming import StreamingModule

__all__ = ["make_probe", "pack", "probe_blocks", "test_signal", "untied_noise"]

SECONDS = 0.5
SAMPLED_SECONDS = 0.06  # autoregressive decoders are slow here, and every sample is a test of its own
TIE = 2e-6  # how far a uniform number must stay from the border between two classes
MOST_DRAWS = 2000
PIECE = 32  # samples drawn between two looks for ties


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
    difference between two engines would look like a fault. So the noise is drawn anew wherever it falls beside a
    border: what is drawn piece by piece is then given to the parallel form, which knows every sample's borders.
    """
    random = np.random.default_rng(seed)
    noise = random.random(samples, dtype=np.float32)
    if not sampled:
        return noise
    frames, size = latent_1DT.shape[2] // blocks, samples // blocks
    hop = size // frames
    latent = torch.from_numpy(latent_1DT)
    voices = [_Voice(decoder, latent) for decoder in sampled.values()]
    for start in range(0, samples, piece := math.gcd(PIECE, hop)):
        row = noise[start : start + piece]
        for _ in range(MOST_DRAWS):
            tied = np.stack([voice.ties(start, row) for voice in voices]).any(0)
            if not tied.any():
                break
            first = int(tied.argmax())
            row[first:] = random.random(piece - first, dtype=np.float32)
        else:
            raise BundleError(
                f"no noise without a tie was found in {MOST_DRAWS} draws; are the weights sane?"
            )
        for voice in voices:
            voice.keep()
    return noise


class _Voice:
    """A sampled decoder that draws a piece as often as it must, and keeps the last."""

    def __init__(self, decoder: WaveNetDecoder, latent_1DT: torch.Tensor) -> None:
        self.decoder, self.latent = decoder, latent_1DT
        self.state = self.next = decoder.init_state(1)
        self.classes = self.drawn = torch.zeros(1, 0, dtype=torch.int64)

    def ties(self, start: int, row: np.ndarray) -> np.ndarray:
        """Of the samples from `start` on: whether the uniform number lies beside a border of its draw."""
        hop, uniform = self.decoder.hop, torch.from_numpy(row)
        frame = self.latent[:, :, start // hop : start // hop + 1]
        audio, self.next = self.decoder.decode_step(frame, uniform[None, None], torch.ones(1), self.state)
        self.drawn = torch.cat([self.classes, mulaw_encode(audio[0], self.decoder.classes)], dim=1)
        frames = math.ceil(self.drawn.shape[1] / hop)
        past = torch.nn.functional.pad(self.drawn, [0, frames * hop - self.drawn.shape[1]])
        logits = self.decoder.logits(self.latent[:, :, :frames], past)[0, :, start : start + len(row)].T
        borders = torch.cumsum(torch.softmax(logits, dim=1), dim=1)
        return ((borders - uniform[:, None]).abs() <= TIE).any(1).numpy()  # type: ignore[no-any-return]

    def keep(self) -> None:
        self.state, self.classes = self.next, self.drawn


def pack(arrays: Mapping[str, np.ndarray]) -> bytes:
    """The file probe.npz."""
    buffer = io.BytesIO()
    np.savez(
        buffer,
        allow_pickle=False,
        **{name: np.ascontiguousarray(a, np.float32) for name, a in arrays.items()},
    )
    return buffer.getvalue()
