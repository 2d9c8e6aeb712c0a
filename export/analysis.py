"""The encoder's spectrum, written as a few shapes that many bins share: what a native engine computes from.

A bin's kernel is up to thousands of samples long, and every hop moves it by one hop only. Cut into spans, the
pieces of neighbouring bins' kernels span a space of few dimensions (sines of nearly one frequency under a smooth
window; Slepian 1978). Its basis is applied to the newest span once for all bins, the results are kept, and a bin
combines those of the past: the same numbers for a third of the arithmetic.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from umtn.spectral import CausalSpectrum

__all__ = ["BINS", "TOLERANCE", "Bins", "Source", "expanded", "factorise", "full_kernels"]

BINS = 16  # read together
TOGETHER = 3  # such groups share a source, or as many as have the longest window
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


def full_kernels(groups: torch.nn.ModuleList, longest: int) -> np.ndarray:
    """A spectrum's kernels, zeros before the older ones' windows: [bins, 2, longest] float64."""
    kernels = []
    for group in groups:
        assert isinstance(group.kernel, torch.Tensor)
        size = len(group.kernel)
        parts = group.kernel.double().numpy().T.reshape(2, -1, size)
        kernels.append(np.pad(parts, ((0, 0), (0, 0), (longest - size, 0))).swapaxes(0, 1))
    return np.concatenate(kernels)


def factorise(spectrum: CausalSpectrum) -> tuple[list[Source], list[Bins], list[Bins]]:
    """Sources, and the fine and the quick bins that read them, in ascending order."""
    sources: list[Source] = []
    fine, quick = (
        _factorise(full_kernels(groups, spectrum.longest), spectrum.hop, sources)
        for groups in (spectrum.fine, spectrum.quick)
    )
    return sources, fine, quick


def expanded(bins: list[Bins], sources: list[Source], longest: int) -> np.ndarray:
    """The kernels [bins, 2, longest] that the bins amount to."""
    kernels = []
    for group in bins:
        k = group.kernel
        if group.source is not None:
            basis = sources[group.source].basis
            k = (k.reshape(2, k.shape[1], -1, basis.shape[1]) @ basis.T).reshape(2, k.shape[1], -1)
        kernels.append(np.pad(k, ((0, 0), (0, 0), (longest - k.shape[2], 0))).swapaxes(0, 1))
    return np.concatenate(kernels)


def _factorise(kernels: np.ndarray, hop: int, sources: list[Source]) -> list[Bins]:
    groups = [kernels[first : first + BINS] for first in range(0, len(kernels), BINS)]
    longest = max(map(_length, groups))
    same = sum(all(_length(k[None]) == longest for k in group) for group in groups)
    starts = [0, *range(same, len(groups), TOGETHER)]
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
    span = hop
    while span <= longest:
        blocks = [min(-(-_length(g) // span), longest // span) for g in groups]
        basis = _basis(groups, blocks, span)
        rank = basis.shape[1]
        new_cost = span * rank + sum(2 * BINS * n * rank for n in blocks)
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
    few = np.linalg.qr(pieces, mode="r") if len(pieces) > span else pieces
    basis = np.linalg.svd(few, full_matrices=False)[2].T
    energy = np.add.reduceat((pieces @ basis) ** 2, np.cumsum([0, *bins[:-1]]))  # [bins, rank]
    lost = np.sqrt(np.cumsum(energy[:, ::-1], axis=1)[:, ::-1]).max(axis=0)
    rank = max(1, int((lost > TOLERANCE).sum()))
    return basis[:, :rank]
