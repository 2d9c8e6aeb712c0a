"""The sample loop compiled by numba, fp32: for machines without a C++ compiler. numba is imported only here."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from realtime.engines.wavenet.sample_loop import ArrayLoop, Piece, clean_latent
from realtime.engines.wavenet.weights import WavenetWeights, mulaw_table
from realtime.shared.saved_classes import saved
from umtn.errors import UserError

__all__ = ["NumbaLoop"]


@saved("numba-loop")
class NumbaLoop(ArrayLoop):
    """See `SampleLoop`. Compiled once per user (numba's cache), then loaded in a fraction of a second."""

    name, precision = "numba", "fp32"

    def __init__(self, weights: WavenetWeights, streams: int = 1) -> None:
        try:
            from realtime.engines.wavenet import numba_kernel
        except ImportError:
            from umtn.missing import pip_install

            raise UserError(
                "the WaveNet decoder needs a C++ compiler or the package numba, and has neither; python -m "
                f"umtn.native after installing one (Debian: g++), or {pip_install('native')}"
            ) from None
        self._kernel = numba_kernel
        super().__init__(weights, streams)
        self._audio = mulaw_table(weights.classes)
        self._arrays = _pack(weights)
        rows = weights.layers * 2 * weights.residual + weights.skip
        self._condition = np.zeros((streams, rows), np.float32)
        self._states = [_State(weights) for _ in range(streams)]
        self._scratch = _scratch(weights)
        self.reset()
        quiet = np.full(weights.latent, 0.0, np.float32)
        for stream in range(streams):
            self.condition(stream, quiet)
        nothing = np.zeros((streams, 0), np.float32)
        guide = np.zeros((streams, 0), np.int32) if weights.guided else None
        # compiles now, not in the first block
        self.run(nothing, np.ones(streams, np.float32), nothing, guide=guide)

    def reset(self, stream: int | None = None) -> None:
        for i, state in enumerate(self._states):
            if stream is None or i == stream:
                state.ring.fill(0)
                state.taps.fill(0)
                none = self.weights.classes
                state.last[:] = (none // 2, none, 0, none)[: len(state.last)]

    def _remembered(self) -> list[np.ndarray]:
        return [self._condition, *(piece for s in self._states for piece in (s.last, s.ring, s.taps))]

    def _sound(self) -> bool:
        a = self.weights.classes
        beyond = (a, a + 1, np.inf, a + 1)  # there may be none before
        return all(0 <= c < end for s in self._states for c, end in zip(s.last, beyond))

    def _fold(self, stream: int, latent: NDArray[np.float32]) -> None:
        self._kernel.fold(
            self._arrays.condition, self._arrays.bias, clean_latent(latent), self._condition[stream]
        )

    def _run(self, piece: Piece) -> None:
        none, none2 = np.zeros(0, np.int32), np.zeros((0, 0), np.float32)
        for i, state in enumerate(self._states):
            self._kernel.run(
                self._arrays.all,
                self._audio,
                (state.ring, state.taps, state.last),
                self._scratch,
                self._condition[i],
                piece.noise[i],
                piece.temperature[i],
                none if piece.forced is None else piece.forced[i],
                none if piece.guide is None else piece.guide[i],
                piece.audio[i],
                none if piece.classes is None else piece.classes[i],
                none2 if piece.logits is None else piece.logits[i],
            )


class _State:
    """One stream: rings and ready taps of all layers, one after the other; last class, the one before, time, and
    of a guided decoder the guide's class before."""

    def __init__(self, weights: WavenetWeights) -> None:
        r = weights.residual
        self.ring = np.zeros((sum(weights.dilations), r), np.float32)
        self.taps = np.zeros((sum(min(d, 8) for d in weights.dilations), 2 * r), np.float32)
        self.last = np.zeros(4 if weights.guided else 3, np.int64)


class _pack:
    """Weights as the kernel walks through them: a row of each matrix holds one input's share of all outputs."""

    def __init__(self, w: WavenetWeights) -> None:
        # numba compiles anew for each kind of array: what a bundle holds is read-only, what PyTorch holds is not
        a = {name: np.array(array, order="C") for name, array in w.arrays.items()}
        r, s, n = w.residual, w.skip, w.layers
        embed = a["embed.weight"]
        dilated = [a[f"dilated.{i}.weight"] for i in range(n)]
        past = np.stack([np.ascontiguousarray(m[:, :, 0].T) for m in dilated])
        now = np.stack([np.ascontiguousarray(m[:, :, 1].T) for m in dilated])
        leaned = np.zeros((0, 0), np.int32) if w.leaned is None else np.array(w.leaned, order="C")
        tables = (
            *_first(embed[: w.classes], past[0], now[0]),
            *_first(embed[w.classes :], past[0], now[0]),
            leaned,
        )
        outputs, biases = np.zeros((n, r, r + s), np.float32), np.zeros((n, r + s), np.float32)
        for i in range(n):
            rows = a[f"output.{i}.weight"][:, :, 0].T
            outputs[i, :, r:], biases[i, r:] = rows[:, :s], a[f"output.{i}.bias"][:s]
            if rows.shape[1] > s:
                outputs[i, :, :r], biases[i, :r] = rows[:, s:], a[f"output.{i}.bias"][s:]
        head = np.ascontiguousarray(a["head.weight"][:, :, 0].T)
        classify = np.ascontiguousarray(a["classify.weight"][:, :, 0].T)
        dilations = np.array(w.dilations, np.int64)
        self.condition = np.ascontiguousarray(a["condition.weight"][:, :, 0].T)
        self.bias = a["condition.bias"]
        self.all: tuple[Any, ...] = (
            *tables, past, now, outputs, biases, head, a["head.bias"], classify, a["classify.bias"],
            dilations,
        )  # fmt: skip


def _first(embed: np.ndarray, past: np.ndarray, now: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The first layer's input is one of the embeddings, so tables take the place of its products; likewise the guide's.

    -> the embeddings, the past's table, whose last row is for none yet, and the present's.
    """
    none = np.zeros((1, past.shape[1]), np.float32)
    return embed, np.concatenate([embed @ past, none]), embed @ now


def _scratch(w: WavenetWeights) -> tuple[np.ndarray, ...]:
    sizes = (w.residual, 2 * w.residual, w.residual, w.residual + w.skip, w.skip, w.skip, w.classes)
    return tuple(np.zeros(size, np.float32) for size in sizes)
