"""What every sample loop offers, whoever computes it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np

from realtime.engines.wavenet_cpu.weights import Calibration, WavenetWeights
from realtime.errors import UserError

__all__ = ["LOOPS", "SampleLoop", "make_loop"]

LOOPS = ("native", "numba", "numpy")


class SampleLoop(Protocol):
    """One decoder with the state of `streams` streams, which advance in lock step.

    condition: one latent frame [D] for one stream; it holds until the next. run: noise [B, N] uniform in
    [0, 1) and temperature [B] -> audio [B, N]; `forced` [B, N] int32 takes the place of what was drawn;
    classes [B, N] int32 and logits [B, N, A] are filled where given. decode: latent [B, D, T], noise
    [B, T * hop] -> audio; bind: the same on arrays that stay where they are, as a call without arguments.
    reset: one stream, or with None all. stay_off: keep the calling thread off the second core, where one is used.
    """

    name: str
    precision: str
    weights: WavenetWeights
    streams: int

    def condition(self, stream: int, latent: np.ndarray) -> None: ...

    def run(
        self,
        noise: np.ndarray,
        temperature: np.ndarray,
        audio: np.ndarray,
        forced: np.ndarray | None = None,
        classes: np.ndarray | None = None,
        logits: np.ndarray | None = None,
    ) -> None: ...

    def decode(
        self, latent: np.ndarray, noise: np.ndarray, temperature: np.ndarray, audio: np.ndarray
    ) -> None: ...

    def bind(
        self, latent: np.ndarray, noise: np.ndarray, temperature: np.ndarray, audio: np.ndarray
    ) -> Callable[[], None]: ...

    def stay_off(self) -> None: ...

    def reset(self, stream: int | None = None) -> None: ...


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
