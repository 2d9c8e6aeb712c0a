"""A WaveNet decoder's weights as numpy arrays, under PyTorch's names, and what int8 needs to know of its signals.

Legend: L layer, R residual, S skip, A classes, D latent.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from export.bundle.safetensors import checked_floats, read_safetensors, told_about, whole_number
from realtime.shared.saved_classes import saved
from umtn.errors import UserError

__all__ = ["Calibration", "Steps", "WavenetWeights", "mulaw_table"]

MOST_HOP = 1 << 20  # as a bundle's block
LOUDEST = 1e18  # whose square float32 can still hold
MARGIN = 1.1  # live playing may be somewhat louder than what was calibrated on


def mulaw_table(classes: int) -> NDArray[np.float32]:
    """The audio value of each class, [A]: the same arithmetic as `umtn.model.companding.mulaw_decode`."""
    half, mu = classes // 2, np.float32(classes - 1)
    y = (np.arange(classes, dtype=np.float32) - half) / np.float32(half - 1)
    wide = np.exp(np.abs(y) * np.float32(math.log1p(mu))) - np.float32(1)
    audio: NDArray[np.float32] = (np.sign(y) * wide / mu).astype(np.float32)
    return audio


@dataclass(frozen=True)
class Steps:
    """int8: what one step of each activation is worth; input and gated [L, R], head and classify [S]."""

    input: np.ndarray
    gated: np.ndarray
    head: np.ndarray
    classify: np.ndarray


@saved("calibration")
@dataclass(frozen=True)
class Calibration:
    """Largest magnitudes seen on real data, per channel; shapes as in `Steps`. One number a layer does as well.

    In a bundle's weights: `calibration.input`, `.gated`, `.head`, `.classify`.
    """

    input: np.ndarray
    gated: np.ndarray
    head: np.ndarray
    classify: np.ndarray

    @classmethod
    def from_flat(cls, maxima: np.ndarray, layers: int, residual: int, skip: int) -> Calibration:
        """From the order in which the kernel gathers them."""
        n = layers * residual
        return cls(
            maxima[:n].reshape(layers, residual),
            maxima[n : 2 * n].reshape(layers, residual),
            maxima[2 * n : 2 * n + skip],
            maxima[2 * n + skip :],
        )

    def steps(self, layers: int, residual: int, skip: int) -> Steps:
        """Signed activations have 127 steps on each side, rectified ones 254."""
        return Steps(
            _steps(self.input, (layers, residual), 127),
            _steps(self.gated, (layers, residual), 127),
            _steps(self.head, (skip,), 254),
            _steps(self.classify, (skip,), 254),
        )


def _steps(maxima: np.ndarray, shape: tuple[int, ...], levels: int) -> np.ndarray:
    """Between one scale for the whole layer (coarse for quiet channels) and one for each channel (which only
    moves the coarseness into the weights): the geometric mean of both. Xiao et al. 2023 (SmoothQuant), eq. 4."""
    with np.errstate(over="ignore"):
        given = np.asarray(maxima, np.float32)
    if given.ndim < len(shape):
        given = given[..., None]
    try:
        each = np.broadcast_to(given, shape) * MARGIN
    except ValueError:
        raise UserError(
            f"the calibration has shape {list(np.shape(maxima))}, but {list(shape)} was wanted; "
            "it belongs to another decoder"
        ) from None
    if not (np.abs(each) <= LOUDEST).all():  # also NaN
        raise UserError("the calibration for int8 is not finite; export the bundle again, or use fp32")
    layer = np.maximum(each.max(axis=-1, keepdims=True), 1e-6)
    return np.ascontiguousarray(np.sqrt(np.maximum(each, 1e-3 * layer) * layer) / levels, np.float32)


@saved("wavenet-weights")
@dataclass(frozen=True)
class WavenetWeights:
    """One decoder, checked. Arrays are float32 and contiguous; `arrays` holds them under PyTorch's names."""

    arrays: dict[str, np.ndarray]
    dilations: tuple[int, ...]
    residual: int
    skip: int
    classes: int
    latent: int
    hop: int
    calibration: Calibration | None = None
    leaned: np.ndarray | None = None  # guided: [A, A] int32, the class kept of [the guide's, the one drawn]

    @property
    def layers(self) -> int:
        return len(self.dilations)

    @property
    def guided(self) -> bool:
        """Whether its first layer is also told the class of a guide at each sample: embed has 2A rows, theirs last."""
        return bool(self.arrays["embed.weight"].shape[0] == 2 * self.classes)

    @property
    def name(self) -> str:
        """As the tables call it: "4x10 R128 S128"."""
        per_block = self.dilations.index(max(self.dilations)) + 1
        return f"{self.layers // per_block}x{per_block} R{self.residual} S{self.skip}"

    @classmethod
    def from_arrays(
        cls, arrays: Mapping[str, np.ndarray], hop: int, blocks: int, name: str = "the decoder"
    ) -> WavenetWeights:
        """From a state_dict's arrays; UserError names the one that is missing or has another shape."""
        layers = sum(key.startswith("dilated.") and key.endswith(".weight") for key in arrays)
        embed, head = arrays.get("embed.weight"), arrays.get("head.weight")
        condition, classify = arrays.get("condition.weight"), arrays.get("classify.weight")
        if (
            layers < 1
            or embed is None
            or head is None
            or condition is None
            or classify is None
            or embed.ndim != 2
            or not all(array.ndim == 3 and array.size for array in (head, condition, classify))
        ):
            raise UserError(f"{name} holds no WaveNet decoder's weights; export the bundle again")
        if blocks < 1 or layers % blocks or not 1 <= layers // blocks <= 20 or not 1 <= hop <= MOST_HOP:
            raise UserError(f"{name} has {layers} layers in {blocks} blocks and hop {hop}, which cannot be")
        (rows, r), a, s, d = embed.shape, classify.shape[0], head.shape[0], condition.shape[1]
        if rows not in (a, 2 * a):
            raise UserError(
                f"{name}: embed.weight has {rows} rows, but classify.weight has {a}, so {a} were wanted, or {2 * a} "
                "in a guided decoder; export it again"
            )
        wanted = _shapes(layers, rows, a, r, s, d)
        clean = checked_floats(arrays, wanted, name)
        if a < 4 or a % 2:  # also keeps the tables below from being empty
            raise UserError(f"{name} has {a} classes; an even number of at least 4 was wanted")
        calibration = None
        keys = [f"calibration.{key}" for key in ("input", "gated", "head", "classify")]
        if all(key in arrays for key in keys):
            calibration = Calibration(
                *checked_floats(arrays, {key: arrays[key].shape for key in keys}, name).values()
            )
        dilations = tuple(2**i for _ in range(blocks) for i in range(layers // blocks))
        leaned = _leaned(arrays, a, name) if rows == 2 * a else None
        return cls(clean, dilations, r, s, a, d, hop, calibration, leaned)

    @classmethod
    def from_safetensors(cls, data: bytes, name: str = "the weights") -> WavenetWeights:
        """From `weights/<domain>.safetensors` of a bundle; read-only, so that no snapshot takes them for state."""
        arrays, metadata = read_safetensors(data, name)
        about = told_about(metadata, "decoder", name)
        if about["kind"] != "wavenet":
            raise UserError(
                f"{name} is of a decoder of the kind {about['kind']!r}, which does not draw sample by sample, so "
                "this engine cannot play it; use --engine auto"
            )
        try:
            hop, blocks = whole_number(about["hop"]), whole_number(about["blocks"])
        except (KeyError, ValueError, TypeError):
            raise UserError(f"{name} does not say which decoder it is; export the bundle again") from None
        weights = cls.from_arrays(arrays, hop, blocks, name)
        for array in (*weights.arrays.values(), *([] if weights.leaned is None else [weights.leaned])):
            array.flags.writeable = False
        return weights


def _leaned(arrays: Mapping[str, np.ndarray], classes: int, name: str) -> np.ndarray:
    """What a guided decoder keeps of each pair of classes, checked: the kernels look it up without a question."""
    table = arrays.get("leaned")
    if (
        table is None
        or table.shape != (classes, classes)
        or table.dtype.kind not in "iu"  # NaN is neither below 0 nor beyond the last class
        or not ((table >= 0) & (table < classes)).all()
    ):
        raise UserError(
            f"{name} is guided, but does not say how its past leans on the guide: `leaned` must be classes from 0 to "
            f"{classes - 1}, whole numbers of shape {[classes, classes]}; export the bundle again"
        )
    return np.require(table, np.int32, ["C", "A"])


def _shapes(layers: int, rows: int, a: int, r: int, s: int, d: int) -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {
        "embed.weight": (rows, r),
        "condition.weight": (layers * 2 * r + s, d, 1),
        "condition.bias": (layers * 2 * r + s,),
        "head.weight": (s, s, 1),
        "head.bias": (s,),
        "classify.weight": (a, s, 1),
        "classify.bias": (a,),
    }
    for i in range(layers):
        rows = s if i == layers - 1 else s + r
        shapes[f"dilated.{i}.weight"] = (2 * r, r, 2)
        shapes[f"output.{i}.weight"] = (rows, r, 1)
        shapes[f"output.{i}.bias"] = (rows,)
    return shapes
