"""The compiled kernel through ctypes, which lets go of the interpreter's lock during every call."""

from __future__ import annotations

import ctypes
import functools
import platform
from collections.abc import Callable
from ctypes import POINTER, c_double, c_float, c_int32, c_int64, c_void_p
from typing import Any

import numpy as np
from numpy.typing import NDArray

from realtime.engines.live.weights import BINS, ConditionerWeights, DecoderWeights, EncoderWeights
from umtn.errors import UserError
from umtn.native.build import LIVE, CompilerError, Handle, opened

__all__ = [
    "CompilerError",
    "DecoderShape",
    "DecoderTensors",
    "EncoderShape",
    "EncoderTensors",
    "ISAS",
    "ConditionerShape",
    "ConditionerTensors",
    "NativePart",
    "absence",
    "library",
    "pack_decoder",
    "pack_encoder",
    "pack_conditioner",
    "ready",
    "supported",
]


# Weights in the order in which the kernel reads them (see native/live.h), as ctypes structures.
#
# Time taps come oldest first, as in PyTorch; a convolution's inputs are ordered [time][pitch tap][channel].


ROWS, PANEL, LANES = 4, 32, 16
OUTSIDE = -0.84  # what the encoder takes for the spectrum beyond its ends: -80 dBFS
BEND, STEPS = 0.6, 64  # semitones at most either way, in steps of 1/64: see umtn.model.decoders
_floats, _doubles, _ints = POINTER(c_float), POINTER(c_double), POINTER(c_int32)


class Matrix(ctypes.Structure):
    _fields_ = [("inputs", c_int32), ("outputs", c_int32), ("weights", c_void_p), ("bias", c_void_p)]


class Source(ctypes.Structure):
    _fields_ = [("span", c_int32), ("blocks", c_int32), ("basis", Matrix)]


class Bins(ctypes.Structure):
    _fields_ = [("source", c_int32), ("kernel", Matrix)]


class EncoderShape(ctypes.Structure):
    """The sizes of an encoder, as the kernel reads them."""

    _fields_ = [
        *((n, c_int32) for n in ("hop", "longest", "pitches", "semitones", "channels", "per_pitch", "room")),
        *((n, c_int32) for n in ("sources", "fine", "quick", "harmonics", "layers")),
        ("outside", c_float),
        ("shifts", c_void_p),
        ("dilations", c_void_p),
        ("source", POINTER(Source)),
        ("bins", POINTER(Bins)),
    ]


class Layer(ctypes.Structure):
    _fields_ = [(n, Matrix) for n in ("time", "octave", "first", "second")]


class EncoderTensors(ctypes.Structure):
    """An encoder's weights, packed."""

    _fields_ = [("entry", Matrix), ("head", Matrix), ("room", Matrix * 3), ("layers", POINTER(Layer))]


class DecoderShape(ctypes.Structure):
    """The sizes of a decoder, as the kernel reads them."""

    _fields_ = [
        *((n, c_int32) for n in ("hop", "pitches", "per_pitch", "room", "place", "hidden", "features")),
        *((n, c_int32) for n in ("partials", "bands", "taps", "voices", "sounding", "unison")),
        ("silent", c_float),
        ("bend_steps", c_int32),
    ]


class DecoderTensors(ctypes.Structure):
    """A decoder's weights and tables, packed."""

    _fields_ = [
        *((n, Matrix) for n in ("room", "gates", "remembered", "candidate")),
        ("shape", Matrix * 2),
        *((n, Matrix) for n in ("timbre", "keys")),
        ("hiss", Matrix * 3),
        *((n, c_void_p) for n in ("place", "table", "audible", "strings", "filters", "fade")),
        *((n, c_void_p) for n in ("f0", "multiples", "offsets", "bends", "heard")),
    ]


class ConditionerShape(ctypes.Structure):
    """The sizes of a mouth, as the kernel reads them."""

    _fields_ = [
        *((n, c_int32) for n in ("pitches", "per_pitch", "room", "layers")),
        ("dilations", c_void_p),
    ]


class ConditionerTensors(ctypes.Structure):
    """A mouth's weights, packed; one `time` and one `point` a layer."""

    _fields_ = [
        *((n, Matrix) for n in ("entry", "leave")),
        *((n, POINTER(Matrix)) for n in ("time", "point")),
    ]


Floats = NDArray[np.float32]


class _Kept(list[Any]):
    """Arrays that structures point to; they must live until the kernel has copied them."""

    def address(self, array: np.ndarray, dtype: type = np.float32) -> int:
        self.append(np.ascontiguousarray(array, dtype))
        return int(self[-1].ctypes.data)

    def matrix(self, weight: np.ndarray, bias: np.ndarray | None, width: int) -> Matrix:
        """weight [outputs, inputs] -> [outputs / width][inputs][width], filled up by zeros."""
        outputs, inputs = weight.shape
        packed = _filled(weight, width).reshape(-1, width, inputs).transpose(0, 2, 1)
        told = None if bias is None else self.address(_filled(bias, width))
        return Matrix(inputs, outputs, self.address(packed), told)

    def rows(self, weight: np.ndarray, bias: np.ndarray) -> Matrix:
        return self.matrix(weight, bias, ROWS)

    def panels(self, weight: np.ndarray, bias: np.ndarray | None = None) -> Matrix:
        return self.matrix(weight, bias, PANEL)


def _filled(array: np.ndarray, multiple: int, axis: int = 0) -> np.ndarray:
    """Zeros after the last, up to a multiple."""
    widths = [(0, 0)] * array.ndim
    widths[axis] = (0, -array.shape[axis] % multiple)
    return np.pad(array, widths)


def _flat(weight: np.ndarray) -> np.ndarray:
    """[outputs, channels, (pitch,) time] -> [outputs, time * pitch * channels]."""
    return weight.transpose(0, *range(weight.ndim - 1, 0, -1)).reshape(len(weight), -1)


def pack_encoder(w: EncoderWeights) -> tuple[EncoderShape, EncoderTensors, object]:
    """Shape, tensors, and what must be kept until the kernel has taken them."""
    kept, a = _Kept(), w.arrays

    def layer(at: str, kind: str) -> Matrix:
        pack = kept.rows if kind == "rows" else kept.panels
        return pack(_flat(a[f"{at}.weight"]), a[f"{at}.bias"])

    sources = (Source * max(1, len(w.blocks)))()
    for i, blocks in enumerate(w.blocks):
        basis = a[f"analysis.source.{i}"]
        sources[i] = Source(len(basis), blocks, kept.panels(basis.T))
    groups = (*w.fine, *w.quick)
    bins = (Bins * len(groups))()
    for i, source in enumerate(groups):
        kernel = _filled(a[f"analysis.bins.{i}"], BINS, axis=1)
        bins[i] = Bins(source, kept.panels(kernel.reshape(2 * BINS, -1)))
    layers = (Layer * max(1, len(w.dilations)))()
    for i in range(len(w.dilations)):
        at = f"body.layers.{2 + i}.inner.layers"
        octave = a[f"{at}.2.conv.weight"][:, 0, :, 0]
        layers[i] = Layer(
            layer(f"{at}.0.conv", "rows"),
            Matrix(octave.shape[1], len(octave), kept.address(octave), kept.address(a[f"{at}.2.conv.bias"])),
            layer(f"{at}.3.module", "rows"),
            layer(f"{at}.5.module", "rows"),
        )
    room = (Matrix * 3)(
        kept.panels(_room(w), a["room.layers.0.conv.bias"]),
        layer("room.layers.2.conv", "panels"),
        layer("room.layers.4.conv", "panels"),
    )
    tensors = EncoderTensors(layer("body.layers.0.conv", "rows"), layer("head", "rows"), room, layers)
    shape = EncoderShape(
        w.hop, w.longest, w.layout.pitches, w.semitones, w.channels, w.layout.per_pitch, w.layout.room,
        len(w.blocks), len(w.fine), len(w.quick), len(w.shifts), len(w.dilations), OUTSIDE,
        kept.address(np.array(w.shifts), np.int32), kept.address(np.array(w.dilations), np.int32),
        sources, bins,
    )  # fmt: skip
    return shape, tensors, (kept, sources, bins, layers)


def _room(w: EncoderWeights) -> np.ndarray:
    """What the room reads, [outputs, 16 * groups of bins]; a quick bin counts for the three it is held over."""
    weight = w.arrays["room.layers.0.conv.weight"][:, :, 0]
    fine, quick = np.split(weight.astype(np.float64), 2, axis=1)
    quick = quick.reshape(len(weight), w.semitones, 3).sum(axis=2)
    return np.concatenate([_filled(fine, BINS, axis=1), _filled(quick, BINS, axis=1)], axis=1)


def pack_decoder(w: DecoderWeights) -> tuple[DecoderShape, DecoderTensors, object]:
    """Shape, tensors, and what must be kept until the kernel has taken them."""
    kept, a, h = _Kept(), w.arrays, w.hidden
    ih, hh = a["memory.gru.weight_ih_l0"], a["memory.gru.weight_hh_l0"]
    bias_ih, bias_hh = a["memory.gru.bias_ih_l0"], a["memory.gru.bias_hh_l0"]

    def rows(at: str) -> Matrix:
        return kept.rows(_flat(a[f"{at}.weight"]), a[f"{at}.bias"])

    def panels(at: str) -> Matrix:
        return kept.panels(_flat(a[f"{at}.weight"]), a[f"{at}.bias"])

    gates = np.concatenate([ih[: 2 * h], hh[: 2 * h]], axis=1)
    level = _flat(a["level.weight"]), a["level.bias"]  # one more for all partials alike
    timbre = kept.rows(_flat(a["timbre.weight"]) + level[0], a["timbre.bias"] + level[1])
    taps = a["noise.filters"].shape[2]
    k = np.arange(1, w.hop + 1) / w.hop
    bend = int(BEND * STEPS) + 1
    heard = a["oscillators.audible"] > 0
    tensors = DecoderTensors(
        panels("room_in"),
        kept.rows(gates, (bias_ih + bias_hh)[: 2 * h]),
        kept.rows(hh[2 * h :], bias_hh[2 * h :]),
        kept.rows(ih[2 * h :], bias_ih[2 * h :]),
        (Matrix * 2)(rows("shape.0"), rows("shape.2")),
        timbre,
        rows("keys"),
        (Matrix * 3)(*(panels(f"hiss.layers.{i}.conv") for i in (0, 2, 4))),
        kept.address(_filled(a["place"], LANES, axis=1)),
        kept.address(_pitch_rows(np.float32(w.stride) * a["table"])),
        kept.address(_pitch_rows(a["oscillators.audible"])),
        kept.address(a["oscillators.weights"]),
        kept.address(_filled(a["noise.filters"][:, 0], LANES, axis=1)),
        kept.address(np.stack([1 - k, k])),
        *(kept.address(w.doubles[key], np.float64) for key in ("f0", "multiples", "offsets")),
        kept.address(np.exp2(np.arange(-bend, bend + 1) / (STEPS * 12)), np.float64),
        kept.address((heard * np.arange(1, w.partials + 1)).max(axis=1), np.int32),
    )
    shape = DecoderShape(
        w.hop, w.layout.pitches, w.layout.per_pitch, w.layout.room, len(a["place"]), h, len(a["shape.0.bias"]),
        w.partials, w.bands, taps, w.voices, w.sounding, w.unison, w.silent, bend,
    )  # fmt: skip
    return shape, tensors, kept


def pack_conditioner(w: ConditionerWeights) -> tuple[ConditionerShape, ConditionerTensors, object]:
    """Shape, tensors, and what must be kept until the kernel has taken them."""
    kept, a, n = _Kept(), w.arrays, len(w.dilations)

    def panels(at: str) -> Matrix:
        return kept.panels(_flat(a[f"{at}.weight"]), a[f"{at}.bias"])

    over_time, point = ((Matrix * max(1, n))(*(panels(names[i]) for names in w.layer_names)) for i in (0, 1))
    tensors = ConditionerTensors(panels("mouth.layers.0.conv"), panels(w.last_name), over_time, point)
    dilations = kept.address(np.array(w.dilations), np.int32)
    shape = ConditionerShape(w.layout.pitches, w.layout.per_pitch, w.layout.room, n, dilations)
    return shape, tensors, (kept, over_time, point)


def _pitch_rows(table: np.ndarray) -> np.ndarray:
    """[P, H] -> [H, P], both filled up."""
    return _filled(_filled(table.T, LANES, axis=1), ROWS)


# Compiles the native kernel of `live` models; see `umtn.native.build`.


library, ready, absence = LIVE.library, LIVE.ready, LIVE.absence


ABI = 2
ISAS = ("plain", "avx2", "avx512", "neon")
_FASTEST_FIRST = ("avx512", "avx2", "neon", "plain")


@functools.cache
def _library() -> ctypes.CDLL:
    path = library()
    native = opened(path, "the native kernel of `live` models")
    native.live_encoder.argtypes = [POINTER(EncoderShape), POINTER(EncoderTensors), c_int32]
    native.live_decoder.argtypes = [POINTER(DecoderShape), POINTER(DecoderTensors), c_int32]
    native.live_mouth.argtypes = [POINTER(ConditionerShape), POINTER(ConditionerTensors), c_int32]
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
        raise CompilerError(f"{path} is of another version; delete it, and it is compiled again")
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
        self, weights: EncoderWeights | DecoderWeights | ConditionerWeights, isa: str | None = None
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

    def _make(self, weights: EncoderWeights | DecoderWeights | ConditionerWeights, isa: int) -> int | None:
        """What is packed lives until the kernel has copied it."""
        handle: int | None
        if isinstance(weights, EncoderWeights):
            *encoder, _kept = pack_encoder(weights)
            handle = self._native.live_encoder(*encoder, isa)
        elif isinstance(weights, DecoderWeights):
            *decoder, _kept = pack_decoder(weights)
            handle = self._native.live_decoder(*decoder, isa)
        else:
            *mouth, _kept = pack_conditioner(weights)
            handle = self._native.live_mouth(*mouth, isa)
        return handle

    @property
    def bytes(self) -> int:
        """Size of weights, tables and state."""
        return int(self._native.live_bytes(self._handle))

    def state(self) -> NDArray[np.uint8]:
        """All that it remembers, as bytes to copy away and back: in place, and good for as long as it is held."""
        size = self._native.live_state_bytes(self._handle)
        return np.asarray(_Memory(self, self._native.live_state(self._handle), size))

    def reset(self) -> None:
        self._native.live_reset(self._handle)

    def bind(self, given: Floats, noise: Floats | None, out: Floats, frames: int) -> Callable[[], None]:
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


def _run(part: NativePart, arrays: tuple[Floats, ...], frames: int, *addresses: int | None) -> None:
    part._native.live_run(part._handle, frames, *addresses)
