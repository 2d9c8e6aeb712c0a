"""A long analysis written as a few shapes that many bins share, and a matrix that mixes them.

A bin's kernel is up to thousands of samples long, and every hop moves it by one hop only. Cut into spans, the
pieces of neighbouring bins' kernels span a space of few dimensions (sines of nearly one frequency under a smooth
window; Slepian 1978). Its basis is applied to the newest span once for all bins, the results are kept, and a bin
combines those of the past: the same numbers for a third of the arithmetic.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

__all__ = ["BINS", "TOLERANCE", "Bins", "Source", "factorised"]

BINS = 16  # read together
TOGETHER = (
    3  # such groups share a source, or as many as have the longest window, where each is read on its own
)
TOLERANCE = 1e-7  # of a kernel's norm: what rounding it to float32 costs


@dataclass(frozen=True)
class Source:
    """basis [span, rank]: applied to the last `span` samples; `blocks` results a span apart are kept."""

    basis: np.ndarray
    blocks: int


@dataclass(frozen=True)
class Bins:
    """kernel [2 (re, im), bins, inputs]: of the source's last results, oldest first, or (None) of the samples."""

    source: int | None
    kernel: np.ndarray


def factorised(
    fine: np.ndarray, quick: np.ndarray, hop: int, together: int = TOGETHER
) -> tuple[list[Source], list[Bins], list[Bins]]:
    """Kernels [bins, 2, longest] -> sources, and the fine and the quick bins that read them, in their order."""
    sources: list[Source] = []
    below = _factorise(fine, hop, together, sources)
    return sources, below, _factorise(quick, hop, together, sources)


def _factorise(kernels: np.ndarray, hop: int, together: int, sources: list[Source]) -> list[Bins]:
    groups = [kernels[first : first + BINS] for first in range(0, len(kernels), BINS)]
    longest = max(map(_length, groups))
    same = sum(all(_length(k[None]) == longest for k in group) for group in groups)
    starts = [0, *range(same, len(groups), together)]
    bins: list[Bins] = []
    for start, end in zip(starts, [*starts[1:], len(groups)]):
        if start < end:
            bins += _cheapest(groups[start:end], hop, sources)
    return bins


def _length(kernels: np.ndarray) -> int:
    """Samples from the oldest that any of them reads."""
    return kernels.shape[2] - int(np.flatnonzero(np.abs(kernels).any(axis=(0, 1)))[0])


def _cheapest(groups: list[np.ndarray], hop: int, sources: list[Source]) -> list[Bins]:
    """By the samples themselves, or by a new source of the span that costs least."""
    longest = groups[0].shape[2]
    best = [Bins(None, g[:, :, longest - _length(g) :].swapaxes(0, 1)) for g in groups]
    cost = sum(2 * BINS * b.kernel.shape[2] for b in best)
    chosen: Source | None = None
    span, before = hop, float("inf")
    while span <= longest:
        blocks = [-(-_length(g) // span) for g in groups]
        if max(blocks) * span > longest:  # they would reach beyond the samples that are kept
            break
        basis = _basis(groups, blocks, span)
        rank = basis.shape[1]
        new_cost = span * rank + sum(2 * BINS * n * rank for n in blocks)
        if new_cost > before:  # from here on the basis costs more than the mixing saves
            break
        before = new_cost
        if new_cost < cost:
            cost, chosen = new_cost, Source(basis, max(blocks))
            best = [
                Bins(len(sources), (_pieces(g, n, span) @ basis).reshape(len(g), 2, -1).swapaxes(0, 1))
                for g, n in zip(groups, blocks)
            ]
        span *= 2
    if chosen is not None:
        sources.append(chosen)
    return best


def _pieces(group: np.ndarray, blocks: int, span: int) -> np.ndarray:
    """[bins, 2, longest] -> the newest blocks, [bins, 2, blocks, span]."""
    return group[:, :, group.shape[2] - blocks * span :].reshape(len(group), 2, blocks, span)


def _basis(groups: list[np.ndarray], blocks: list[int], span: int) -> np.ndarray:
    """Orthonormal [span, rank], in which no kernel loses more than TOLERANCE of its norm."""
    rows: list[np.ndarray] = []
    bins: list[int] = []  # rows of each
    for group, n in zip(groups, blocks):
        norms = np.sqrt((group**2).sum(axis=(1, 2), keepdims=True))
        rows.append(_pieces(group / norms, n, span).reshape(-1, span))
        bins += [2 * n] * len(group)
    pieces = np.concatenate(rows)
    few = torch.from_numpy(pieces)
    if len(pieces) > span:
        few = torch.linalg.qr(few, mode="r")[1]
    basis = torch.linalg.svd(few, full_matrices=False)[2].numpy().T
    energy = np.add.reduceat((pieces @ basis) ** 2, np.cumsum([0, *bins[:-1]]))  # [bins, rank]
    lost = np.sqrt(np.cumsum(energy[:, ::-1], axis=1)[:, ::-1]).max(axis=0)
    rank = max(1, int((lost > TOLERANCE).sum()))
    return basis[:, :rank]
