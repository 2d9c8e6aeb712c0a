"""What every sample loop offers, whoever computes it: the checks, and decoding by frames, are here."""

from __future__ import annotations

import functools
from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from realtime.engines.wavenet_cpu.weights import Calibration, WavenetWeights
from realtime.errors import UserError
from realtime.stateful import Kept, Stateful

__all__ = ["BEYOND", "LOOPS", "ArrayLoop", "LoopMemory", "Piece", "SampleLoop", "make_loop"]

LOOPS = ("native", "numba", "numpy")
BEYOND = "a class beyond the alphabet"  # of a state that cannot be: classes look up tables


class Piece(NamedTuple):
    """N samples of B streams, as `SampleLoop.run` takes them."""

    noise: np.ndarray
    temperature: np.ndarray
    audio: np.ndarray
    forced: np.ndarray | None = None
    classes: np.ndarray | None = None
    logits: np.ndarray | None = None
    guide: np.ndarray | None = None

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

    def condition(self, stream: int, latent: np.ndarray) -> None:
        _check("latent", latent, (self.weights.latent,))
        if not 0 <= stream < self.streams:
            raise ValueError(f"stream {stream} of {self.streams}")
        self._fold(stream, latent)

    def run(
        self,
        noise: np.ndarray,
        temperature: np.ndarray,
        audio: np.ndarray,
        forced: np.ndarray | None = None,
        classes: np.ndarray | None = None,
        logits: np.ndarray | None = None,
        guide: np.ndarray | None = None,
    ) -> None:
        piece = Piece(noise, temperature, audio, forced, classes, logits, guide)
        piece.check(self.streams, noise.shape[-1], self.weights)
        self._run(piece)

    def decode(
        self,
        latent: np.ndarray,
        noise: np.ndarray,
        temperature: np.ndarray,
        audio: np.ndarray,
        guide: np.ndarray | None = None,
    ) -> None:
        self.bind(latent, noise, temperature, audio, guide)()

    def bind(
        self,
        latent: np.ndarray,
        noise: np.ndarray,
        temperature: np.ndarray,
        audio: np.ndarray,
        guide: np.ndarray | None = None,
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
    def _fold(self, stream: int, latent: np.ndarray) -> None:
        """`condition`, checked."""

    @abstractmethod
    def _run(self, piece: Piece) -> None:
        """`run`, checked."""

    def _bind(self, latent: np.ndarray, piece: Piece) -> Callable[[], None]:
        """`bind`, checked."""
        return functools.partial(self._run_frames, latent, piece)

    def _run_frames(self, latent: np.ndarray, piece: Piece) -> None:
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

    def save_state(self, out: np.ndarray) -> None:
        at = 0
        for piece in self._remembered():
            out[at : at + piece.nbytes] = piece.reshape(-1).view(np.uint8)
            at += piece.nbytes

    def load_state(self, kept: np.ndarray) -> None:
        at = 0
        for piece in self._remembered():
            piece.reshape(-1).view(np.uint8)[:] = kept[at : at + piece.nbytes]
            at += piece.nbytes
        if not self._sound():
            self.reset()
            raise ValueError(BEYOND)


class LoopMemory:
    """What a loop's streams remember, together; see `realtime.engines.buffers.Remembers`."""

    def __init__(self, loop: SampleLoop) -> None:
        kept = Kept(loop)
        self.reset, self.keep, self.rest = loop.reset, kept.keep, kept.restore


def make_loop(
    weights: WavenetWeights,
    kind: str = "native",
    precision: str = "fp32",
    streams: int = 1,
    calibration: Calibration | None = None,
    cores: int = 1,
) -> SampleLoop:
    """A loop of that kind. UserError: unknown kind, or what it needs is missing here."""
    if kind == "native":
        from realtime.engines.wavenet_cpu.native_loop import NativeLoop

        return NativeLoop(weights, precision, streams, calibration=calibration, cores=cores)
    if kind not in LOOPS:
        raise UserError(f"unknown sample loop {kind!r}; known are {', '.join(LOOPS)}")
    if precision != "fp32":
        raise UserError(f"{precision} needs the native kernel; {kind} computes in fp32 only")
    if cores != 1:
        raise UserError(f"a second core needs the native kernel; {kind} has but one")
    if kind == "numba":
        from realtime.engines.wavenet_cpu.numba_loop import NumbaLoop

        return NumbaLoop(weights, streams)
    from realtime.engines.wavenet_cpu.numpy_loop import NumpyLoop

    return NumpyLoop(weights, streams)
