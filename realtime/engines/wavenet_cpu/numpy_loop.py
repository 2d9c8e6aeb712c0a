"""The sample loop in plain numpy: slow, short, and what the fast ones are tested against."""

from __future__ import annotations

import numpy as np

from realtime.engines.wavenet_cpu.loops import ArrayLoop, Piece
from realtime.engines.wavenet_cpu.weights import WavenetWeights, mulaw_table

__all__ = ["NumpyLoop", "clean_latent"]


def clean_latent(latent: np.ndarray) -> np.ndarray:
    """What is not a number would stay in the rings for ever; -> finite float32, at most 1e6."""
    return np.nan_to_num(latent, nan=0.0, posinf=1e6, neginf=-1e6).clip(-1e6, 1e6).astype(np.float32)


class NumpyLoop(ArrayLoop):
    """See `SampleLoop`."""

    name, precision = "numpy", "fp32"

    def __init__(self, weights: WavenetWeights, streams: int = 1) -> None:
        super().__init__(weights, streams)
        self._audio = mulaw_table(weights.classes)
        rows = weights.arrays["condition.weight"].shape[0]
        self._condition = np.tile(weights.arrays["condition.bias"], (streams, 1)).reshape(streams, rows)
        self._rings = [np.zeros((streams, d, weights.residual), np.float32) for d in weights.dilations]
        self._last = np.zeros(streams, np.int64)
        self._time = np.zeros(1, np.int64)
        self.reset()

    def reset(self, stream: int | None = None) -> None:
        chosen = slice(None) if stream is None else stream
        self._last[chosen] = self.weights.classes // 2
        for ring in self._rings:
            ring[chosen] = 0.0

    def _remembered(self) -> list[np.ndarray]:
        return [self._last, self._time, self._condition, *self._rings]

    def _sound(self) -> bool:
        return bool(((self._last >= 0) & (self._last < self.weights.classes)).all())

    def _fold(self, stream: int, latent: np.ndarray) -> None:
        a = self.weights.arrays
        folded = a["condition.weight"][:, :, 0] @ clean_latent(latent) + a["condition.bias"]
        self._condition[stream] = folded

    def _run(self, piece: Piece) -> None:
        for i in range(piece.noise.shape[1]):
            y = self._logits(None if piece.guide is None else piece.guide[:, i])
            drawn = _draw(y, piece.noise[:, i], piece.temperature)
            piece.audio[:, i] = self._audio[drawn]
            if piece.classes is not None:
                piece.classes[:, i] = drawn
            if piece.logits is not None:
                piece.logits[:, i] = y
            a, leaned = self.weights.classes, self.weights.leaned
            kept = drawn if piece.forced is None else piece.forced[:, i].clip(0, a - 1)
            if leaned is not None and piece.guide is not None:
                kept = leaned[piece.guide[:, i].clip(0, a - 1), kept]
            self._last[:] = kept
            self._time[0] += 1

    def _logits(self, guide: np.ndarray | None) -> np.ndarray:
        """[B, A] of the next sample, given its guide's classes [B]; the rings take this sample's signals."""
        w, a = self.weights, self.weights.arrays
        r, s = w.residual, w.skip
        h = a["embed.weight"][self._last]
        if guide is not None:
            h = h + a["embed.weight"][w.classes + guide.clip(0, w.classes - 1)]
        total = np.zeros((self.streams, s), np.float32)
        for i, ring in enumerate(self._rings):
            slot = int(self._time[0]) % w.dilations[i]
            taps = a[f"dilated.{i}.weight"]
            y = ring[:, slot] @ taps[:, :, 0].T + h @ taps[:, :, 1].T
            y += self._condition[:, 2 * r * i : 2 * r * (i + 1)]
            ring[:, slot] = h
            z = np.tanh(y[:, r:]) * (0.5 + 0.5 * np.tanh(0.5 * y[:, :r]))
            out = z @ a[f"output.{i}.weight"][:, :, 0].T + a[f"output.{i}.bias"]
            total += out[:, :s]
            if out.shape[1] > s:
                h = h + out[:, s:]
        y = np.maximum(total, 0) @ a["head.weight"][:, :, 0].T + a["head.bias"]
        y += self._condition[:, 2 * r * w.layers :]
        return np.asarray(np.maximum(y, 0) @ a["classify.weight"][:, :, 0].T + a["classify.bias"])


def _draw(logits: np.ndarray, uniform: np.ndarray, temperature: np.ndarray) -> np.ndarray:
    """Inverse-CDF, as `umtn.decoders.wavenet.draw`."""
    sharp = logits / np.maximum(temperature, 1e-3)[:, None]
    p = np.exp(sharp - sharp.max(axis=1, keepdims=True))
    passed = np.cumsum(p, axis=1) <= uniform[:, None] * p.sum(axis=1, keepdims=True)
    return np.asarray(passed.sum(axis=1).clip(1, logits.shape[1] - 1))
