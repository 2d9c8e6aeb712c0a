"""The compiled kernel through ctypes, which lets go of the interpreter's lock during every call."""

from __future__ import annotations

import ctypes
import functools
import os
import platform
from collections.abc import Callable
from ctypes import POINTER, c_float, c_int32, c_int64, c_void_p

import numpy as np
from numpy.typing import NDArray

from realtime.engines.wavenet.sample_loop import BEYOND, Piece, SampleLoop
from realtime.engines.wavenet.weights import Calibration, Steps, WavenetWeights, mulaw_table
from realtime.shared.saved_classes import saved
from umtn.errors import UserError
from umtn.native.build import WAVENET, CompilerError, Handle, opened

__all__ = ["CompilerError", "ISAS", "NativeLoop", "PRECISIONS", "library", "supported"]


# Compiles the native kernel of WaveNet decoders; see `umtn.native.build`.


library = WAVENET.library


ABI = 4
PRECISIONS = ("fp32", "bf16", "int8")
ISAS = ("plain", "avx2", "avxvnni", "avx512", "neon")
_FASTEST_FIRST = ("avx512", "avxvnni", "avx2", "neon", "plain")
_NEEDS = {
    "avx2": "AVX2 and FMA",
    "avxvnni": "AVX-VNNI",
    "avx512": "AVX-512 (F, BW, DQ, VL) with VNNI",
    "neon": "the Arm dot product instructions",
}
_floats = POINTER(c_float)


class _Shape(ctypes.Structure):
    _fields_ = [
        *(
            (n, c_int32)
            for n in ("layers", "residual", "skip", "classes", "latent", "hop", "streams", "guided")
        ),
        ("dilations", POINTER(c_int32)),
    ]


class _Weights(ctypes.Structure):
    _fields_ = [
        *(
            (n, c_void_p)
            for n in ("embed", "condition", "condition_bias", "dilated", "output", "output_bias")
        ),
        *((n, c_void_p) for n in ("head", "head_bias", "classify", "classify_bias", "audio", "leaned")),
    ]


class _Steps(ctypes.Structure):
    _fields_ = [(n, c_void_p) for n in ("input", "gated", "head", "classify")]


@functools.cache
def _library() -> ctypes.CDLL:
    path = library()
    native = opened(path, "the native WaveNet kernel")
    native.wn_create.restype = c_void_p
    native.wn_create.argtypes = [POINTER(_Shape), POINTER(_Weights), POINTER(_Steps), c_int32, c_int32]
    for function, arguments in {
        "wn_free": [c_void_p],
        "wn_reset": [c_void_p, c_int32],
        "wn_condition": [c_void_p, c_int32, c_void_p, c_int64],
        "wn_run": [c_void_p, c_int32, *[c_void_p] * 7],
        "wn_decode": [c_void_p, c_int32, *[c_void_p] * 5],
        "wn_record": [c_void_p, c_void_p],
        "wn_save": [c_void_p, c_void_p],
    }.items():
        getattr(native, function).argtypes = arguments
        getattr(native, function).restype = None
    for count in (native.wn_bytes, native.wn_stalls, native.wn_shared, native.wn_state_bytes):
        count.argtypes, count.restype = [c_void_p], c_int64
    native.wn_pair.argtypes, native.wn_pair.restype = [c_void_p, c_int32], c_int32
    native.wn_load.argtypes, native.wn_load.restype = [c_void_p, c_void_p], c_int32
    if native.wn_abi() != ABI:
        raise CompilerError(f"{path} is of another version; delete it, and it is compiled again")
    return native


def supported(precision: str) -> tuple[str, ...]:
    """The instruction sets that can run this precision here, the fastest first."""
    p, native = PRECISIONS.index(precision), _library()
    return tuple(isa for isa in _FASTEST_FIRST if native.wn_supports(ISAS.index(isa), p))


def pick_isa(precision: str, isa: str | None) -> str:
    """The asked instruction set, or the fastest; UserError where this CPU or build has it not."""
    here = supported(precision)
    if isa is None:
        if not here:
            raise UserError(f"{precision} needs instructions that this CPU has not; use fp32 or int8")
        return here[0]
    if isa not in ISAS:
        raise UserError(f"unknown instruction set {isa!r}; known are {', '.join(ISAS)}")
    if isa not in here:
        needs = "AVX-512 with BF16" if precision == "bf16" else _NEEDS.get(isa, isa)
        can = f"{precision} can run here with {', '.join(here)}" if here else "use fp32 or int8"
        raise UserError(
            f"{precision} by {isa} needs {needs}, which this CPU ({platform.machine()}) or this build of the "
            f"kernel has not; {can}"
        )
    return isa


@saved("native-loop")
class NativeLoop(SampleLoop):
    """See `SampleLoop`. `isa`: one of ISAS, or None for the fastest."""

    def __init__(
        self,
        weights: WavenetWeights,
        precision: str = "fp32",
        streams: int = 1,
        isa: str | None = None,
        calibration: Calibration | None = None,
        cores: int = 1,
    ) -> None:
        if precision not in PRECISIONS:
            raise UserError(f"unknown precision {precision!r}; known are {', '.join(PRECISIONS)}")
        self.isa = pick_isa(precision, isa)
        super().__init__(weights, streams)
        self.precision = precision
        self.name = f"native {self.isa}"
        self._native = _library()
        self._handle = self._create(calibration or weights.calibration)
        self.cores = cores
        if cores != 1:
            self._pair(cores)

    def _create(self, calibration: Calibration | None) -> Handle:
        w, a = self.weights, self.weights.arrays
        steps: Steps | None = None
        if self.precision == "int8":
            if calibration is None:
                raise UserError("int8 needs a calibration, and these weights have none; use fp32")
            steps = calibration.steps(w.layers, w.residual, w.skip)
        dilations = (c_int32 * w.layers)(*w.dilations)
        sizes = (w.layers, w.residual, w.skip, w.classes, w.latent, w.hop, self.streams, w.guided)
        shape = _Shape(*sizes, dilations)
        audio = mulaw_table(w.classes)

        def rows(key: str) -> ctypes.Array[c_void_p]:
            return (c_void_p * w.layers)(*(a[key.format(i)].ctypes.data for i in range(w.layers)))

        tables = [rows(kind) for kind in ("dilated.{}.weight", "output.{}.weight", "output.{}.bias")]
        plain = [a[k].ctypes.data for k in ("embed.weight", "condition.weight", "condition.bias")]
        head = [a[f"{k}.{p}"].ctypes.data for k in ("head", "classify") for p in ("weight", "bias")]
        given = _Weights(
            *plain, *(ctypes.addressof(t) for t in tables), *head, audio.ctypes.data, _address(w.leaned)
        )
        scale = None
        if steps is not None:
            scale = _Steps(*(getattr(steps, n).ctypes.data for n in ("input", "gated", "head", "classify")))
        handle = self._native.wn_create(
            shape, given, scale, ISAS.index(self.isa), PRECISIONS.index(self.precision)
        )
        if not handle:
            raise UserError(
                f"there is not enough memory for the decoder {w.name} with {self.streams} streams"
            )
        return Handle(handle, self._native.wn_free)

    def _pair(self, cores: int) -> None:
        """A helper thread on the last CPU that this process may use; the caller keeps off it with `stay_off`."""
        cpus = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
        many = len(cpus) or os.cpu_count() or 1
        if cores != 2 or many < 2:
            raise UserError(f"{cores} cores were asked for, but 1 or 2 of the {many} here can be used")
        self.helper_cpu = cpus[-1] if cpus else -1
        if not self._native.wn_pair(self._handle, self.helper_cpu):
            raise UserError("a second core cannot be used on this system; leave out --cores 2")

    def stay_off(self) -> None:
        """Keep the calling thread off the helper's CPU, where the system lets it choose."""
        if self.cores == 2 and self.helper_cpu >= 0:
            os.sched_setaffinity(0, os.sched_getaffinity(0) - {self.helper_cpu} or {self.helper_cpu})

    @property
    def stalls(self) -> int:
        """How often the second core was late, so that the first went on alone for a while."""
        return int(self._native.wn_stalls(self._handle))

    @property
    def shared(self) -> int:
        """How many samples both cores have made together."""
        return int(self._native.wn_shared(self._handle))

    @property
    def bytes(self) -> int:
        """Size of the packed weights and tables."""
        return int(self._native.wn_bytes(self._handle))

    @property
    def state_bytes(self) -> int:
        return int(self._native.wn_state_bytes(self._handle))

    def save_state(self, out: NDArray[np.uint8]) -> None:
        self._native.wn_save(self._handle, _address(out))

    def load_state(self, kept: NDArray[np.uint8]) -> None:
        if not self._native.wn_load(self._handle, _address(kept)):
            raise ValueError(BEYOND)

    def reset(self, stream: int | None = None) -> None:
        self._native.wn_reset(self._handle, -1 if stream is None else stream)

    def _fold(self, stream: int, latent: NDArray[np.float32]) -> None:
        self._native.wn_condition(self._handle, stream, latent.ctypes.data, latent.strides[0] // 4)

    def _run(self, piece: Piece) -> None:
        given = (piece.noise, piece.temperature, piece.forced, piece.guide)
        filled = (piece.audio, piece.classes, piece.logits)
        self._native.wn_run(self._handle, piece.noise.shape[1], *map(_address, (*given, *filled)))

    def _bind(self, latent: NDArray[np.float32], piece: Piece) -> Callable[[], None]:
        arrays = (latent, piece.noise, piece.temperature, piece.guide, piece.audio)
        # the loop and the arrays live as long as the call does
        return functools.partial(_decode, self, latent.shape[2], arrays, *map(_address, arrays))

    def record(self) -> np.ndarray:
        """fp32: from now on the largest magnitudes are gathered in the array returned (see `Calibration`)."""
        w = self.weights
        self._maxima = np.zeros(2 * w.layers * w.residual + 2 * w.skip, np.float32)
        self._native.wn_record(self._handle, self._maxima.ctypes.data)
        return self._maxima

    def close(self) -> None:
        self._handle.close()


def _decode(
    loop: NativeLoop, frames: int, arrays: tuple[np.ndarray | None, ...], *addresses: int | None
) -> None:
    loop._native.wn_decode(loop._handle, frames, *addresses)


def _address(array: np.ndarray | None) -> int | None:
    """Where its numbers lie, one after the other: that much the kernel believes."""
    if array is None:
        return None
    if not array.flags.c_contiguous:
        raise ValueError(f"a contiguous array was wanted, not one of {array.shape} with gaps")
    return array.ctypes.data
