"""What int8 needs to know of a decoder's signals, and what it costs in nats."""

from __future__ import annotations

import dataclasses

import numpy as np

from realtime.engines.wavenet_cpu.loops import SampleLoop
from realtime.engines.wavenet_cpu.native_loop import NativeLoop
from realtime.engines.wavenet_cpu.weights import Calibration, WavenetWeights

__all__ = ["calibrate", "divergence", "play"]

TURNS = 3  # a short probe, drawn with other noise each time, visits more of what the decoder can say
SHORT = 1.25  # and what it did not visit may still be louder


def calibrate(
    weights: WavenetWeights, latent: np.ndarray, seed: int = 0, guide: np.ndarray | None = None
) -> Calibration:
    """The largest magnitudes while the decoder plays latent [D, T], widened as befits a short sample.

    guide [T * hop]: what a guided decoder is told.
    """
    random = np.random.default_rng(seed)
    loop = NativeLoop(weights, "fp32")
    maxima = loop.record()
    for _ in range(TURNS):
        loop.reset()
        noise = random.random(latent.shape[1] * weights.hop, dtype=np.float32)
        play(loop, latent, noise, guide=guide)
    found = Calibration.from_flat(maxima, weights.layers, weights.residual, weights.skip)
    return Calibration(*(SHORT * getattr(found, field.name) for field in dataclasses.fields(found)))


def play(
    loop: SampleLoop,
    latent: np.ndarray,
    noise: np.ndarray,
    forced: np.ndarray | None = None,
    guide: np.ndarray | None = None,
    temperature: float = 1.0,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Latent [D, T] and noise [T * hop] through a loop of one stream: audio [N], classes [N], logits [N, A].

    forced, guide [N]: as in `SampleLoop`.
    """
    w, n = loop.weights, latent.shape[1] * loop.weights.hop
    audio, classes = np.zeros((1, n), np.float32), np.zeros((1, n), np.int32)
    logits = np.zeros((1, n, w.classes), np.float32)
    warmth = np.full(1, temperature, np.float32)
    for frame in range(latent.shape[1]):
        piece = slice(frame * w.hop, (frame + 1) * w.hop)
        loop.condition(0, np.ascontiguousarray(latent[:, frame]))
        loop.run(
            noise[None, piece],
            warmth,
            audio[:, piece],
            None if forced is None else forced[None, piece],
            classes[:, piece],
            logits[:, piece],
            None if guide is None else guide[None, piece],
        )
    return audio[0], classes[0], logits[0]


def divergence(
    reference: SampleLoop,
    other: SampleLoop,
    latent: np.ndarray,
    noise: np.ndarray,
    guide: np.ndarray | None = None,
    temperature: float = 1.0,
) -> float:
    """Mean Kullback-Leibler divergence of the other's next-sample distributions from the reference's, in nats.

    Both hear the reference's samples, drawn at the temperature (and a guide, where they are guided), so that each is a
    comparison of its own; the distributions themselves are those of temperature 1.
    """
    reference.reset()
    other.reset()
    _, classes, wanted = play(reference, latent, noise, None, guide, temperature)
    _, _, got = play(other, latent, noise, classes, guide)
    reference.reset()
    other.reset()
    p, q = _log_softmax(wanted), _log_softmax(got)
    return float((np.exp(p) * (p - q)).sum(axis=1).mean())


def _log_softmax(logits: np.ndarray) -> np.ndarray:
    y = logits.astype(np.float64)
    y -= y.max(axis=1, keepdims=True)
    return np.asarray(y - np.log(np.exp(y).sum(axis=1, keepdims=True)))
