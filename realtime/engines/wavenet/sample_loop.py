"""What every sample loop offers, whoever computes it: the checks, and decoding by frames, are here."""

from __future__ import annotations

import functools
from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from realtime.engines.state import Kept, Stateful
from realtime.engines.wavenet.weights import WavenetWeights, mulaw_table
from realtime.shared.saved_classes import saved

__all__ = ["ArrayLoop", "BEYOND", "LoopMemory", "NumpyLoop", "Piece", "SampleLoop", "clean_latent"]


Floats = NDArray[np.float32]
Classes = NDArray[np.int32]

BEYOND = "a class beyond the alphabet"  # of a state that cannot be: classes look up tables


class Piece(NamedTuple):
    """N samples of B streams, as `SampleLoop.run` takes them."""

    noise: Floats
    temperature: Floats
    audio: Floats
    forced: Classes | None = None
    classes: Classes | None = None
    logits: Floats | None = None
    guide: Classes | None = None

    def check(self, streams: int, samples: int, weights: WavenetWeights) -> None:
        """Kernels believe every pointer. ValueError: another shape or type, a guide too few or too many."""
        rows = (streams, samples)
        if weights.guided != (self.guide is not None):
            raise ValueError(
                "this decoder is guided, and no guide came"
                if weights.guided
                else "a guide came, but this decoder has no embeddings for one: it is not guided"
            )
        _check("noise", self.noise, rows)
        _check("temperature", self.temperature, (streams,))
        _check("audio", self.audio, rows)
        _check("forced", self.forced, rows, np.int32)
        _check("classes", self.classes, rows, np.int32)
        _check("logits", self.logits, (*rows, weights.classes))
        _check("guide", self.guide, rows, np.int32)


def _check(
    name: str, array: np.ndarray | None, shape: tuple[int, ...], kind: type[np.generic] = np.float32
) -> None:
    if array is not None and (array.dtype != kind or array.shape != shape):
        raise ValueError(f"{name} {array.dtype} {array.shape}, {kind.__name__} {shape} was wanted")


class SampleLoop(Stateful):
    """One decoder with the state of `streams` streams, which advance in lock step.

    condition: one latent frame [D] for one stream; it holds until the next. run: noise [B, N] uniform in
    [0, 1) and temperature [B] -> audio [B, N]; `forced` [B, N] int32 takes the place of what was drawn;
    classes [B, N] int32 and logits [B, N, A] are filled where given; guide [B, N] int32: to a guided decoder,
    and only to one, the guide's class at each sample that is drawn. decode: latent [B, D, T], noise [B, T * hop]
    -> audio; bind: the same on arrays that stay where they are, as a call without arguments.
    reset: one stream, or with None all. stay_off: keep the calling thread off the second core, where one is used.
    ValueError: an array of another shape or type.
    """

    name: str
    precision: str

    def __init__(self, weights: WavenetWeights, streams: int) -> None:
        self.weights, self.streams = weights, streams

    def condition(self, stream: int, latent: Floats) -> None:
        _check("latent", latent, (self.weights.latent,))
        if not 0 <= stream < self.streams:
            raise ValueError(f"stream {stream} of {self.streams}")
        self._fold(stream, latent)

    def run(
        self,
        noise: Floats,
        temperature: Floats,
        audio: Floats,
        forced: Classes | None = None,
        classes: Classes | None = None,
        logits: Floats | None = None,
        guide: Classes | None = None,
    ) -> None:
        piece = Piece(noise, temperature, audio, forced, classes, logits, guide)
        piece.check(self.streams, noise.shape[-1], self.weights)
        self._run(piece)

    def decode(
        self,
        latent: Floats,
        noise: Floats,
        temperature: Floats,
        audio: Floats,
        guide: Classes | None = None,
    ) -> None:
        self.bind(latent, noise, temperature, audio, guide)()

    def bind(
        self,
        latent: Floats,
        noise: Floats,
        temperature: Floats,
        audio: Floats,
        guide: Classes | None = None,
    ) -> Callable[[], None]:
        frames, piece = latent.shape[-1], Piece(noise, temperature, audio, guide=guide)
        _check("latent", latent, (self.streams, self.weights.latent, frames))
        piece.check(self.streams, frames * self.weights.hop, self.weights)
        return self._bind(latent, piece)

    @property
    def state_layout(self) -> str:
        return f"{self.name} {self.precision}"

    @abstractmethod
    def reset(self, stream: int | None = None) -> None: ...

    def stay_off(self) -> None:  # not abstract: only the native loop has a second core
        """Nothing to keep off."""

    @abstractmethod
    def _fold(self, stream: int, latent: Floats) -> None:
        """`condition`, checked."""

    @abstractmethod
    def _run(self, piece: Piece) -> None:
        """`run`, checked."""

    def _bind(self, latent: Floats, piece: Piece) -> Callable[[], None]:
        """`bind`, checked."""
        return functools.partial(self._run_frames, latent, piece)

    def _run_frames(self, latent: Floats, piece: Piece) -> None:
        hop = self.weights.hop
        for frame in range(latent.shape[2]):
            for stream in range(self.streams):
                self._fold(stream, latent[stream, :, frame])
            at = slice(frame * hop, (frame + 1) * hop)
            guide = None if piece.guide is None else piece.guide[:, at]
            self._run(Piece(piece.noise[:, at], piece.temperature, piece.audio[:, at], guide=guide))


class ArrayLoop(SampleLoop):
    """A loop that remembers in numpy's arrays, which stay the same ones."""

    @abstractmethod
    def _remembered(self) -> Sequence[np.ndarray]:
        """All of them, always in the same order."""

    @abstractmethod
    def _sound(self) -> bool:
        """Whether every class that is remembered is one."""

    @property
    def state_bytes(self) -> int:
        return sum(piece.nbytes for piece in self._remembered())

    def save_state(self, out: NDArray[np.uint8]) -> None:
        at = 0
        for piece in self._remembered():
            out[at : at + piece.nbytes] = piece.reshape(-1).view(np.uint8)
            at += piece.nbytes

    def load_state(self, kept: NDArray[np.uint8]) -> None:
        at = 0
        for piece in self._remembered():
            piece.reshape(-1).view(np.uint8)[:] = kept[at : at + piece.nbytes]
            at += piece.nbytes
        if not self._sound():
            self.reset()
            raise ValueError(BEYOND)


@saved("loop-memory")
class LoopMemory:
    """What a loop's streams remember, together; see `realtime.engines.engine.Remembers`."""

    def __init__(self, loop: SampleLoop) -> None:
        kept = Kept(loop)
        self.reset, self.keep, self.rest = loop.reset, kept.keep, kept.restore


# The sample loop in plain numpy: slow, short, and what the fast ones are tested against.


def clean_latent(latent: Floats) -> Floats:
    """What is not a number would stay in the rings for ever; -> finite float32, at most 1e6."""
    finite: Floats = np.nan_to_num(latent, nan=0.0, posinf=1e6, neginf=-1e6)
    return finite.clip(-1e6, 1e6).astype(np.float32)


@saved("numpy-loop")
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

    def _fold(self, stream: int, latent: Floats) -> None:
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

    def _logits(self, guide: Classes | None) -> np.ndarray:
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


def _draw(logits: Floats, uniform: Floats, temperature: Floats) -> np.ndarray:
    """Inverse-CDF, as `umtn.model.decoders.wavenet.draw`."""
    sharp = logits / np.maximum(temperature, 1e-3)[:, None]
    p = np.exp(sharp - sharp.max(axis=1, keepdims=True))
    passed = np.cumsum(p, axis=1) <= uniform[:, None] * p.sum(axis=1, keepdims=True)
    return np.asarray(passed.sum(axis=1).clip(1, logits.shape[1] - 1))
