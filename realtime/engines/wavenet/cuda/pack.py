"""PyTorch's weights in the order in which the kernel's threads hold them.

A tile is 16 rows by 16 columns. Lane 4 g + c of a warp holds rows g and g + 8, columns 2c, 2c + 1, 2c + 8,
2c + 9 (PTX ISA, "Matrix Fragments for mma.m16n8k16"):

              column 2c..      column 2c + 8..
    row g     register 0       register 2
    row g+8   register 1       register 3

Any order of the columns will do if weights and vector agree, so columns 2c, 2c + 1, 2c + 8, 2c + 9 are the
channels 4c .. 4c + 3: a lane then reads its part of the vector at once. Rows are ordered as it suits who reads
the result: a gate above the value that it opens, or two neighbours above each other.
"""

from __future__ import annotations

import numpy as np

from realtime.engines.wavenet import WavenetWeights
from realtime.engines.wavenet.cuda.plan import Plan
from umtn.errors import UserError

__all__ = ["Packed", "fragments", "pack"]

LARGEST_HALF = 65504.0
Packed = dict[str, np.ndarray]


def fragments(matrix: np.ndarray, depth: int) -> np.ndarray:
    """Rows [16 n, columns] in the tile's order -> uint16 [n, depth / 16, 32 lanes, 4 registers, 2]."""
    wide = np.zeros((matrix.shape[0], depth), np.float32)
    wide[:, : matrix.shape[1]] = matrix
    if not np.abs(wide).max(initial=0.0) <= LARGEST_HALF:  # also NaN
        raise UserError("a weight of the WaveNet decoder is beyond what fp16 can hold; use the CPU engine")
    # channel 16 k + 4 c + 2 u + e of row 16 n + 8 h + g: register 2 u + h of lane 4 g + c
    tiles = wide.reshape(-1, 2, 8, depth // 16, 4, 2, 2)  # n h g k c u e
    lanes = tiles.transpose(0, 3, 2, 4, 5, 1, 6)  # n k g c u h e
    halves = np.ascontiguousarray(lanes).astype(np.float16).view(np.uint16)
    return halves.reshape(-1, depth // 16, 32, 4, 2)


def gated_rows(matrix: np.ndarray, residual: int) -> np.ndarray:
    """[2 r, columns] -> [2 residual, columns]: in every 16 rows 8 gates, then their values."""
    r = matrix.shape[0] // 2
    out = np.zeros((2, residual, matrix.shape[1]), np.float32)
    out[:, :r] = matrix.reshape(2, r, -1)
    return out.reshape(2, -1, 8, matrix.shape[1]).transpose(1, 0, 2, 3).reshape(2 * residual, -1)


def paired_rows(matrix: np.ndarray) -> np.ndarray:
    """[16 n, columns]: rows 2 g and 2 g + 1 become rows g and g + 8 of their tile."""
    n = matrix.shape[0] // 16
    return matrix.reshape(n, 8, 2, -1).transpose(0, 2, 1, 3).reshape(16 * n, -1)


def _rows(array: np.ndarray, rows: int, fill: float = 0.0) -> np.ndarray:
    """More rows, filled."""
    out = np.full((rows, *array.shape[1:]), fill, np.float32)
    out[: len(array)] = array
    return out


def pack(weights: WavenetWeights, plan: Plan, audio: np.ndarray) -> Packed:
    """The kernel's arrays by the names of its parameters. UserError: beyond the range of fp16."""
    a, w = weights.arrays, plan
    _check_range(weights)
    layers = []
    biases = np.zeros((w.layers, w.width), np.float32)
    for i in range(w.layers):
        taps = a[f"dilated.{i}.weight"]
        out, biases[i] = _output(weights, plan, i)
        layers += [
            fragments(gated_rows(taps[:, :, 1], w.residual), w.residual).ravel(),
            fragments(paired_rows(out), w.residual).ravel(),
            fragments(gated_rows(taps[:, :, 0], w.residual), w.residual).ravel(),
        ]
    head = _rows(a["head.weight"][:, :, 0], w.skip)
    classify = _rows(a["classify.weight"][:, :, 0], w.padded_classes)
    condition, condition_bias = _condition(weights, plan)
    tables = _embeddings(weights)
    embed = np.zeros((len(tables), w.padded_classes, w.residual), np.float32)
    embed[:, : weights.classes, : weights.residual] = tables
    leaned = {} if weights.leaned is None else {"leaned": _leaned(weights.leaned, w.padded_classes)}
    starts = np.concatenate([[0], np.cumsum(weights.dilations)])
    return {
        "layers": np.concatenate(layers),
        "head": np.concatenate([fragments(paired_rows(m), w.skip).ravel() for m in (head, classify)]),
        "embed": embed,
        **leaned,
        "output_bias": biases,
        "classify_bias": _rows(a["classify.bias"], w.padded_classes, -1e30),
        "audio_of": _rows(audio, w.padded_classes),
        "dilation": np.array(weights.dilations, np.int32),
        "ring_start": starts[:-1].astype(np.int32),
        "condition_weight": condition,
        "condition_bias": condition_bias,
    }


def _output(weights: WavenetWeights, plan: Plan, layer: int) -> tuple[np.ndarray, np.ndarray]:
    """Residual rows first, then skip rows (PyTorch has them the other way round; the last layer only skip)."""
    matrix, bias = weights.arrays[f"output.{layer}.weight"][:, :, 0], weights.arrays[f"output.{layer}.bias"]
    s, r = weights.skip, weights.residual
    out = np.zeros((plan.width, r), np.float32)
    offset = np.zeros(plan.width, np.float32)
    out[plan.residual : plan.residual + s], offset[plan.residual : plan.residual + s] = matrix[:s], bias[:s]
    if len(matrix) > s:
        out[:r], offset[:r] = matrix[s:], bias[s:]
    return out, offset


def _condition(weights: WavenetWeights, plan: Plan) -> tuple[np.ndarray, np.ndarray]:
    """Transposed weight [D, rows] and bias [rows]; the head's own bias is in it."""
    a, r, s, n = weights.arrays, weights.residual, weights.skip, weights.layers
    both = np.concatenate([a["condition.weight"][:, :, 0], a["condition.bias"][:, None]], axis=1)
    both[n * 2 * r :, -1] += a["head.bias"]
    out = np.zeros((n * 2 * plan.residual + plan.skip, both.shape[1]), np.float32)
    out[: n * 2 * plan.residual].reshape(n, 2, plan.residual, -1)[:, :, :r] = both[: n * 2 * r].reshape(
        n, 2, r, -1
    )
    out[n * 2 * plan.residual :][:s] = both[n * 2 * r :]
    return np.ascontiguousarray(out[:, :-1].T), np.ascontiguousarray(out[:, -1])


def _embeddings(weights: WavenetWeights) -> np.ndarray:
    """[1, A, R], or [2, A, R] with the guide's."""
    return weights.arrays["embed.weight"].reshape(-1, weights.classes, weights.residual)


def _leaned(table: np.ndarray, columns: int) -> np.ndarray:
    """[A, A] -> uint16 [A, columns]: a block's shared memory ends the alphabet long before 16 bits do."""
    out = np.zeros((len(table), columns), np.uint16)
    out[:, : len(table)] = table
    return out


def _check_range(weights: WavenetWeights) -> None:
    """x is embeddings plus gated values (at most 1) times weights: bounded, whatever is played."""
    largest = float(np.abs(_embeddings(weights)).max(axis=(1, 2)).sum())
    for i in range(weights.layers - 1):
        rows = slice(weights.skip, None)
        matrix, bias = (
            weights.arrays[f"output.{i}.weight"][rows, :, 0],
            weights.arrays[f"output.{i}.bias"][rows],
        )
        largest += float((np.abs(matrix).sum(axis=1) + np.abs(bias)).max())
    if not largest <= LARGEST_HALF:
        raise UserError("signals inside the WaveNet decoder may leave the range of fp16; use the CPU engine")
