"""Fresh linear probes on the latent: does it tell who plays (it should not), and which notes (it should)?

Ridge regression in closed form, so that nothing depends on how long a probe was trained. All domains play the
same stretch of the same score; probes learn from its even seconds and are tested on the odd ones, so that most
pitches occur in both.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from umtn.evaluation.classifiers import FRAME_S, LOWEST, PITCHES
from umtn.evaluation.material import Material
from umtn.evaluation.note_metrics import reference_rolls
from umtn.evaluation.report import average_frechet
from umtn.offline import Encoder, Player

__all__ = ["Timbres", "domain_accuracy", "frechet", "pitch_f1", "probe_latent"]


Floats = NDArray[np.float64]
LONGEST_S = 20.0
RIDGE = 0.1  # of the mean variance


def probe_latent(player: Player, material: Material, targets: tuple[str, ...]) -> dict[str, float]:
    """Both figures, and chance for the first; empty for a player without a latent or with one domain."""
    if not isinstance(player, Encoder) or len(targets) < 2:
        return {}
    n = min(round(LONGEST_S * material.rate), material.samples)
    latents = [player.latent(material.truths[t][:n]).astype(np.float64).T for t in targets]
    times_s = np.arange(len(latents[0])) * n / material.rate / len(latents[0]) - player.declared_lag_s
    active, _ = reference_rolls(
        material.score, material.start_s, round(n / material.rate * 100), LOWEST, PITCHES
    )
    roll = active[:, np.clip((times_s / FRAME_S).round().astype(int), 0, active.shape[1] - 1)].T > 0
    learning = (np.arange(len(roll)) * n // (material.rate * len(roll))) % 2 == 0
    return {
        "probe_domain": round(domain_accuracy(latents, np.asarray(roll.any(axis=1)), learning), 4),
        "probe_chance": round(1 / len(targets), 4),
        "probe_pitch": round(pitch_f1(latents, roll, learning), 4),
        "probed_seconds": round(n / material.rate, 1),
    }


def _fit(x: Floats, y: Floats) -> tuple[Floats, Floats, Floats]:
    """Mean, scale and weights (bias last) of ridge regression of y [n, k] on x [n, d]."""
    mean, scale = x.mean(axis=0), x.std(axis=0) + 1e-6
    z = np.column_stack([(x - mean) / scale, np.ones(len(x))])
    weights = np.linalg.solve(z.T @ z + RIDGE * len(x) * np.eye(z.shape[1]), z.T @ y)
    return mean, scale, weights


def _predict(fitted: tuple[Floats, Floats, Floats], x: Floats) -> Floats:
    mean, scale, weights = fitted
    return np.asarray(np.column_stack([(x - mean) / scale, np.ones(len(x))]) @ weights)


def domain_accuracy(latents: list[Floats], sounding: NDArray[np.bool_], learning: NDArray[np.bool_]) -> float:
    """Share of the other frames [T] whose domain is told from one frame of the latent [T, D] of each domain."""
    train, test = np.flatnonzero(sounding & learning), np.flatnonzero(sounding & ~learning)
    if not len(train) or not len(test):
        return float("nan")
    names = np.repeat(np.arange(len(latents)), len(train))
    fitted = _fit(np.concatenate([z[train] for z in latents]), np.eye(len(latents))[names])
    right = [np.mean(_predict(fitted, z[test]).argmax(axis=1) == i) for i, z in enumerate(latents)]
    return float(np.mean(right))


def pitch_f1(latents: list[Floats], roll: NDArray[np.bool_], learning: NDArray[np.bool_]) -> float:
    """F1 of sounding pitches [T, P] in the other frames; the probe's threshold is chosen where it learned."""
    n = len(latents)
    x, y = np.concatenate([z[learning] for z in latents]), np.tile(roll[learning], (n, 1))
    if not len(x) or learning.all():
        return float("nan")
    fitted = _fit(x, y.astype(np.float64))
    train = _predict(fitted, x)
    best = max((i / 20 for i in range(2, 18)), key=lambda above: _f1(train > above, y))
    test = _predict(fitted, np.concatenate([z[~learning] for z in latents]))
    return _f1(test > best, np.tile(roll[~learning], (n, 1)))


def _f1(found: NDArray[np.bool_], wanted: NDArray[np.bool_]) -> float:
    both = int(found.sum() + wanted.sum())
    return float(2 * (found & wanted).sum() / both) if both else float("nan")


# Frechet distance between two clouds of timbre embeddings (after Kilgour et al. 2019, "Frechet audio distance").


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
