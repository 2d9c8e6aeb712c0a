"""The compiled kernel through ctypes, which lets go of the interpreter's lock during every call."""

from __future__ import annotations

import ctypes
import functools
import platform
from collections.abc import Callable
from ctypes import POINTER, c_int32, c_int64, c_void_p

import numpy as np

from realtime.engines.live_cpu import build
from realtime.engines.live_cpu.packing import (
    DecoderShape,
    DecoderTensors,
    EncoderShape,
    EncoderTensors,
    MouthShape,
    MouthTensors,
    pack_decoder,
    pack_encoder,
    pack_mouth,
)
from realtime.engines.live_cpu.weights import DecoderWeights, EncoderWeights, MouthWeights
from realtime.errors import UserError
from realtime.native.build import opened
from realtime.native.handle import Handle

__all__ = ["ISAS", "NativePart", "supported"]

ABI = 2
ISAS = ("plain", "avx2", "avx512", "neon")
_FASTEST_FIRST = ("avx512", "avx2", "neon", "plain")


@functools.cache
def _library() -> ctypes.CDLL:
    path = build.library()
    native = opened(path, "the native kernel of `live` models")
    native.live_encoder.argtypes = [POINTER(EncoderShape), POINTER(EncoderTensors), c_int32]
    native.live_decoder.argtypes = [POINTER(DecoderShape), POINTER(DecoderTensors), c_int32]
    native.live_mouth.argtypes = [POINTER(MouthShape), POINTER(MouthTensors), c_int32]
    for make in (native.live_encoder, native.live_decoder, native.live_mouth):
        make.restype = c_void_p
    for function, arguments in {
        "live_free": [c_void_p],
        "live_reset": [c_void_p],
        "live_run": [c_void_p, c_int32, c_void_p, c_void_p, c_void_p],
    }.items():
        getattr(native, function).argtypes = arguments
        getattr(native, function).restype = None
    native.live_state.argtypes, native.live_state.restype = [c_void_p], c_void_p
    for count in (native.live_bytes, native.live_state_bytes):
        count.argtypes, count.restype = [c_void_p], c_int64
    if native.live_abi() != ABI:
        raise build.CompilerError(f"{path} is of another version; delete it, and it is compiled again")
    return native


def supported() -> tuple[str, ...]:
    """The instruction sets that this CPU and this build have, the fastest first."""
    native = _library()
    return tuple(isa for isa in _FASTEST_FIRST if native.live_supports(ISAS.index(isa)))


class _Memory:
    """A part's state as numpy sees it; the array keeps this, and this the part."""

    def __init__(self, part: NativePart, address: int, size: int) -> None:
        self.part = part
        self.__array_interface__ = {
            "data": (address, False),
            "shape": (size,),
            "typestr": "|u1",
            "version": 3,
        }


class NativePart:
    """An encoder, a decoder or a mouth with its state. `isa`: one of ISAS, or None for the fastest."""

    def __init__(
        self, weights: EncoderWeights | DecoderWeights | MouthWeights, isa: str | None = None
    ) -> None:
        here = supported()
        if isa is not None and isa not in here:
            raise UserError(
                f"{isa} is not to be had on this CPU ({platform.machine()}) or in this build of the kernel; "
                f"it has {', '.join(here)}"
            )
        self.isa = isa or here[0]
        self._native = _library()
        handle = self._make(weights, ISAS.index(self.isa))
        if not handle:
            raise UserError("there is not enough memory for the model")
        self._handle = Handle(handle, self._native.live_free)

    def _make(self, weights: EncoderWeights | DecoderWeights | MouthWeights, isa: int) -> int | None:
        """What is packed lives until the kernel has copied it."""
        if isinstance(weights, EncoderWeights):
            *encoder, _kept = pack_encoder(weights)
            return self._native.live_encoder(*encoder, isa)  # type: ignore[no-any-return]
        if isinstance(weights, DecoderWeights):
            *decoder, _kept = pack_decoder(weights)
            return self._native.live_decoder(*decoder, isa)  # type: ignore[no-any-return]
        *mouth, _kept = pack_mouth(weights)
        return self._native.live_mouth(*mouth, isa)  # type: ignore[no-any-return]

    @property
    def bytes(self) -> int:
        """Size of weights, tables and state."""
        return int(self._native.live_bytes(self._handle))

    def state(self) -> np.ndarray:
        """All that it remembers, as bytes to copy away and back: in place, and good for as long as it is held."""
        size = self._native.live_state_bytes(self._handle)
        return np.asarray(_Memory(self, self._native.live_state(self._handle), size))

    def reset(self) -> None:
        self._native.live_reset(self._handle)

    def bind(
        self, given: np.ndarray, noise: np.ndarray | None, out: np.ndarray, frames: int
    ) -> Callable[[], None]:
        """A step of `frames` hops on arrays that stay where they are: as `live_run`, which believes their sizes."""
        arrays = tuple(array for array in (given, noise, out) if array is not None)
        for array in arrays:
            if array.dtype != np.float32 or not array.flags.c_contiguous:
                raise ValueError(f"contiguous float32 was wanted, not {array.dtype} {array.shape}")
        addresses = (given.ctypes.data, None if noise is None else noise.ctypes.data, out.ctypes.data)
        # the part and the arrays live as long as the call does
        return functools.partial(_run, self, arrays, frames, *addresses)

    def close(self) -> None:
        self._handle.close()


def _run(part: NativePart, arrays: tuple[np.ndarray, ...], frames: int, *addresses: int | None) -> None:
    part._native.live_run(part._handle, frames, *addresses)
