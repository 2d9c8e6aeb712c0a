"""WaveNet decoders with random weights, and what PyTorch says of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from realtime.engines.wavenet.sample_loop import SampleLoop
from realtime.engines.wavenet.weights import WavenetWeights
from umtn.model.companding import mulaw_encode
from umtn.model.decoders.wavenet import WaveNetDecoder

__all__ = ["SIZES", "Heard", "Network", "hear", "random_network", "streams_of"]

# blocks, layers, R, S, A, D, hop: nothing a multiple of anything, and the presets' sizes cut short
SIZES = {
    "odd": (2, 5, 13, 21, 50, 7, 33),
    "one layer a block": (3, 1, 16, 16, 32, 5, 20),
    "single": (1, 1, 8, 24, 32, 4, 16),
    "live": (1, 10, 64, 128, 256, 64, 160),
    "wide": (1, 5, 96, 160, 256, 64, 160),
}


@dataclass(frozen=True)
class Network:
    decoder: WaveNetDecoder
    weights: WavenetWeights


@dataclass(frozen=True)
class Heard:
    """What PyTorch drew: latent [D, T], noise [N], classes [N], audio [N], logits [N, A]; told guide [N]."""

    latent: np.ndarray
    noise: np.ndarray
    classes: np.ndarray
    audio: np.ndarray
    logits: np.ndarray
    guide: np.ndarray | None = None


def random_network(size: str, seed: int, guided: bool = False) -> Network:
    blocks, layers, r, s, a, d, hop = SIZES[size]
    torch.manual_seed(seed)
    decoder = (
        WaveNetDecoder(d, hop, blocks, layers, r, s, a, 0.5 if guided else None).eval().requires_grad_(False)
    )
    for layer in decoder.dilated:
        layer.weight.mul_(1.7)  # so that signals do not die away on their way through the layers
    decoder.classify.weight.mul_(3)
    arrays = {name: value.numpy() for name, value in decoder.state_dict().items()}
    return Network(decoder, WavenetWeights.from_arrays(arrays, hop, blocks))


def hear(network: Network, frames: int, seed: int, temperature: float = 1.0) -> Heard:
    random = torch.Generator().manual_seed(seed)
    decoder = network.decoder
    latent = torch.randn(1, decoder.latent_channels, frames, generator=random)
    noise = torch.rand(1, 1, frames * decoder.hop, generator=random)
    guide = None
    if decoder.guided:
        guide = torch.randint(decoder.classes, (1, frames * decoder.hop), generator=random)
    audio, _ = decoder.say(latent, noise, torch.tensor([temperature]), decoder.init_state(1), guide)
    classes = mulaw_encode(audio[0], decoder.classes)
    logits = decoder.logits(latent, classes, guide_BN=guide)[0].T
    return Heard(
        latent[0].numpy(),
        noise[0, 0].numpy(),
        classes[0].int().numpy(),
        audio[0, 0].numpy(),
        logits.numpy(),
        None if guide is None else guide[0].int().numpy(),
    )


def streams_of(
    loop: SampleLoop, heard: list[Heard], pieces: tuple[int, ...], forced: bool
) -> list[np.ndarray]:
    """One `Heard` to a stream, in pieces of these lengths in turn, poisoned buffers: audio, classes, logits."""
    w, n, b = loop.weights, len(heard[0].noise), len(heard)
    audio = np.full((b, n), np.nan, np.float32)
    classes = np.full((b, n), -77, np.int32)
    logits = np.full((b, n, w.classes), np.nan, np.float32)
    at, turn = 0, 0
    while at < n:
        end = min(at + pieces[turn % len(pieces)], n, (at // w.hop + 1) * w.hop)
        turn += 1
        if at % w.hop == 0:
            for i, one in enumerate(heard):
                loop.condition(i, np.ascontiguousarray(one.latent[:, at // w.hop]))
        parts = [np.full_like(array[:, at:end], 99) for array in (audio, classes, logits)]
        loop.run(
            np.stack([one.noise[at:end] for one in heard]),
            np.ones(b, np.float32),
            parts[0],
            np.stack([one.classes[at:end] for one in heard]) if forced else None,
            parts[1],
            parts[2],
            np.stack([one.guide[at:end] for one in heard if one.guide is not None]) if w.guided else None,
        )
        audio[:, at:end], classes[:, at:end], logits[:, at:end] = parts
        at = end
    return [audio, classes, logits]
