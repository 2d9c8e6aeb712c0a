"""Frechet distance between two clouds of timbre embeddings (after Kilgour et al. 2019, "Frechet audio distance")."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from umtn.evaluation.means import average_frechet

__all__ = ["Timbres", "frechet"]

Cloud = NDArray[np.float32]
FEWEST = 64  # windows; fewer say nothing about a spread in 96 dimensions


def frechet(a: Cloud, b: Cloud) -> float:
    """Distance of the normal distributions fitted to [n, d] and [m, d]; NaN below 64 windows in either.

    Few windows make it larger: compare only distances from about equally many.
    """
    if min(len(a), len(b)) < FEWEST:
        return float("nan")
    x, y = (c.astype(np.float64) for c in (a, b))
    first, second = (np.cov(c, rowvar=False) for c in (x, y))
    values, vectors = np.linalg.eigh(first)
    root = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
    cross = np.sqrt(np.maximum(np.linalg.eigvalsh(root @ second @ root), 0)).sum()
    apart = float(np.sum((x.mean(axis=0) - y.mean(axis=0)) ** 2))
    return max(0.0, apart + float(np.trace(first) + np.trace(second) - 2 * cross))


class Timbres:
    """Embeddings of sounding windows by target: of the model, of the inputs and of the true renderings."""

    def __init__(self, truths: dict[str, Cloud]) -> None:
        self.truths = truths
        self.model: dict[str, list[Cloud]] = {t: [] for t in truths}
        self.copy: dict[str, list[Cloud]] = {t: [] for t in truths}

    def add(self, target: str, made: Cloud, given: Cloud) -> None:
        """A translation and its input."""
        self.model[target].append(made)
        self.copy[target].append(given)

    def distances(self, target: str) -> dict[str, float]:
        """Mean over sources for model and copy; for truth its two halves against each other, the floor."""
        truth = self.truths[target]
        half = len(truth) // 2
        found = {"truth": frechet(truth[:half], truth[half:])}
        for kind, clouds in (("model", self.model[target]), ("copy", self.copy[target])):
            each = [d for d in (frechet(c, truth) for c in clouds) if np.isfinite(d)]
            found[kind] = float(np.mean(each)) if each else float("nan")
        return {kind: round(d, 3) for kind, d in found.items() if np.isfinite(d)}

    def into(self, means: dict[str, Any]) -> None:
        """Write `frechet` into the means of each target, and their mean into that of all."""
        for target in self.truths:
            for kind, distance in self.distances(target).items():
                means["targets"][target][kind]["frechet"] = distance
        average_frechet(means)
