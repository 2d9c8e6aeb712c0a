"""The bundle's self-test: a short made-up tune, and what PyTorch answers to it block by block."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping

import numpy as np
import torch

from export.bundle import BundleError
from export.guidance import Sampled, told
from export.steppers import module_stepper, stream
from umtn.decoders.base import Decoder
from umtn.decoders.guided import GuidedDecoder, net_of
from umtn.mulaw import mulaw_encode
from umtn.streaming import StreamingModule

__all__ = ["make_probe", "pack", "probe_blocks", "test_signal", "untied_noise"]

SECONDS = 0.5
SAMPLED_SECONDS = 0.06  # autoregressive decoders are slow here, and every sample is a test of its own
TIE = 2e-6  # how far a uniform number must stay from the border between two classes
MOST_DRAWS = 2000
HOPELESS = 16  # draws at one sample, all of them another along another guide
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
    sampled = any(isinstance(decoder, Sampled) for decoder in decoders.values())
    return max(4, math.ceil((SAMPLED_SECONDS if sampled else SECONDS) * rate / block))


def make_probe(
    encoder: StreamingModule, decoders: Mapping[str, Decoder], rate: int, seed: int = 0
) -> tuple[int, dict[str, np.ndarray]]:
    """Blocks, and the arrays of probe.npz: audio, latent, noise where a decoder wants it, audio.<domain>.

    Of guided decoders, whose sample loops are also checked and timed alone: told.<domain> [D, T], their net's latent,
    guide.<domain> and drawn.<domain> [N], the classes that it is given and those that it draws, and agreed.<domain>
    [1]: for how many samples every engine draws the same, however it rounds the guide's tones (see `untied_noise`).
    """
    blocks = probe_blocks(decoders, encoder.block, rate)
    audio = test_signal(blocks * encoder.block, rate, seed)
    latent = stream(module_stepper(encoder), [audio[None, None]], blocks)
    arrays = {"audio": audio, "latent": latent[0]}
    sampled = {id: d for id, d in decoders.items() if isinstance(d, Sampled)}
    if any(decoder.needs_noise for decoder in decoders.values()):
        arrays["noise"], agreed = untied_noise(sampled, latent, len(audio), blocks, seed)
    for id, decoder in decoders.items():
        ports = [latent] + ([arrays["noise"][None, None]] if decoder.needs_noise else [])
        arrays[f"audio.{id}"] = stream(module_stepper(decoder), ports, blocks)[0, 0]
        if isinstance(decoder, GuidedDecoder):
            arrays |= _of_loop(id, decoder, latent, arrays["noise"])
            arrays[f"agreed.{id}"] = np.array([agreed[id]], np.int32)
    return blocks, arrays


@torch.no_grad()
def _of_loop(
    id: str, decoder: GuidedDecoder, latent_1DT: np.ndarray, noise: np.ndarray
) -> dict[str, np.ndarray]:
    net, heard = decoder.wavenet, told(decoder, torch.from_numpy(latent_1DT))
    assert heard.guide is not None
    uniform = torch.from_numpy(noise)[None, None]
    sound, _ = net.say(heard.latent, uniform, torch.ones(1), net.init_state(1), heard.guide)
    return {
        f"told.{id}": heard.latent[0].numpy(),
        f"guide.{id}": heard.guide[0].numpy().astype(np.int32),
        f"drawn.{id}": mulaw_encode(sound[0, 0], net.classes).numpy().astype(np.int32),
    }


@torch.no_grad()
def untied_noise(
    sampled: Mapping[str, Sampled],
    latent_1DT: np.ndarray,
    samples: int,
    blocks: int,
    seed: int,
) -> tuple[np.ndarray, dict[str, int]]:
    """Uniform noise [samples] under which no decoder's draw hangs on the last bits of a sum, or of a guide's tones.

    A sampled decoder that draws another class once runs elsewhere from then on, so that one rounding
    difference between two engines would look like a fault. So the noise is drawn anew wherever it falls beside a
    border: what is drawn piece by piece is then given to the parallel form, which knows every sample's borders.

    A guide's tone beside a border may move a well-trained net to another class whatever the noise: from there on two
    right engines may part. -> also how many samples each decoder draws before that.
    """
    random = np.random.default_rng(seed)
    noise = random.random(samples, dtype=np.float32)
    agreed = dict.fromkeys(sampled, samples)
    if not sampled:
        return noise, agreed
    frames, size = latent_1DT.shape[2] // blocks, samples // blocks
    hop = size // frames
    latent = torch.from_numpy(latent_1DT)
    voices = {id: _Voice(decoder, latent) for id, decoder in sampled.items()}
    for start in range(0, samples, piece := math.gcd(PIECE, hop)):
        row = noise[start : start + piece]
        tries = np.zeros(piece, int)
        for _ in range(MOST_DRAWS):
            ties = {id: voice.ties(start, row) for id, voice in voices.items()}
            tied = np.stack(list(ties.values())).any(0)
            if not tied.any():
                break
            first = int(tied.argmax())
            tries[first] += 1
            if tries[first] >= HOPELESS:
                for id, voice in voices.items():
                    if ties[id][first] and voice.parts:
                        agreed[id] = start + first
                        voice.follow_one()
            row[first:] = random.random(piece - first, dtype=np.float32)
        else:
            raise BundleError(
                f"no noise without a tie was found in {MOST_DRAWS} draws; are the weights sane?"
            )
        for voice in voices.values():
            voice.keep()
    return noise, agreed


class _Voice:
    """A sampled decoder that draws a piece as often as it must, and keeps the last; a guided one along each of its
    likely guides at once, which must not matter."""

    def __init__(self, decoder: Sampled, latent_1DT: torch.Tensor) -> None:
        heard = told(decoder, latent_1DT)
        self.net, self.guides = net_of(decoder), None if heard.likely is None else heard.likely[:, 0]
        self.streams = 1 if self.guides is None else len(self.guides)
        self.latent = heard.latent.expand(self.streams, -1, -1)
        self.state = self.next = self.net.init_state(self.streams)
        self.classes = self.drawn = torch.zeros(1, 0, dtype=torch.int64)
        self.parts = False  # the last ties were other guides' draws

    def ties(self, start: int, row: np.ndarray) -> np.ndarray:
        """Of the samples from `start` on: whether the uniform number lies beside a border of its draw, or draws
        another class along another guide."""
        net, uniform, here = self.net, torch.from_numpy(row), slice(start, start + len(row))
        frame = self.latent[:, :, start // net.hop : start // net.hop + 1]
        guides = None if self.guides is None else self.guides[:, here]
        noise = uniform.expand(self.streams, 1, -1)
        audio, self.next = net.say(frame, noise, torch.ones(1), self.state, guides)
        drawn = mulaw_encode(audio[:, 0], net.classes)
        other = (drawn != drawn[:1]).any(0)
        self.parts = bool(other.any())
        if self.parts:
            return other.numpy()  # type: ignore[no-any-return]
        self.drawn = torch.cat([self.classes, drawn[:1]], dim=1)
        frames = math.ceil(self.drawn.shape[1] / net.hop)
        past = torch.nn.functional.pad(self.drawn, [0, frames * net.hop - self.drawn.shape[1]])
        guide = None if self.guides is None else self.guides[:1, : past.shape[1]]
        logits = net.logits(self.latent[:1, :, :frames], past, guide_BN=guide)[0, :, here].T
        borders = torch.cumsum(torch.softmax(logits, dim=1), dim=1)
        return ((borders - uniform[:, None]).abs() <= TIE).any(1).numpy()  # type: ignore[no-any-return]

    def follow_one(self) -> None:
        """From here on along its own guide alone."""
        assert self.guides is not None
        self.streams, self.guides, self.latent = 1, self.guides[:1], self.latent[:1]
        self.state = [value[:1] for value in self.state]

    def keep(self) -> None:
        self.state, self.classes = self.next, self.drawn


def pack(arrays: Mapping[str, np.ndarray]) -> bytes:
    """The file probe.npz: classes int32, everything else float32."""
    buffer = io.BytesIO()
    np.savez(
        buffer,
        allow_pickle=False,
        **{
            n: np.ascontiguousarray(a, np.int32 if a.dtype == np.int32 else np.float32)
            for n, a in arrays.items()
        },
    )
    return buffer.getvalue()
