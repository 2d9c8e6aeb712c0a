"""A report's means: over everything, over sources never trained on, by target and by source."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any

import numpy as np

__all__ = ["Row", "average_frechet", "mean_row", "means_of", "only_targets"]

Row = dict[str, float]


def mean_row(rows: Iterable[dict[str, Any]]) -> Row:
    """Means of all figures, NaN left out."""
    columns: dict[str, list[float]] = {}
    for row in rows:
        for name, value in row.items():
            if isinstance(value, float) and np.isfinite(value):
                columns.setdefault(name, []).append(value)
    return {name: round(float(np.mean(values)), 4) for name, values in columns.items()}


def means_of(
    rows: Sequence[dict[str, Any]],
    targets: Iterable[str],
    sources: Iterable[str],
    never_trained: Collection[str],
) -> dict[str, Any]:
    """`all` and `never_trained`: kind (model, copy, truth) -> figures; `targets` and `sources`: the same by name."""
    found: dict[str, Any] = {
        "targets": {t: {} for t in targets},
        "all": {},
        "never_trained": {},
        "sources": {},
    }
    for kind in ("model", "copy", "truth"):
        own = [r for r in rows if r["kind"] == kind]
        new = [r for r in own if r["source"] in never_trained]
        found["all"][kind] = mean_row(own)
        if new:
            found["never_trained"][kind] = mean_row(new)
        for t, kinds in found["targets"].items():
            kinds[kind] = mean_row(r for r in own if r["target"] == t)
    if found["never_trained"]:  # the true renderings are the same, but what is compared with sources
        truth = found["all"]["truth"].items()
        found["never_trained"]["truth"] = {k: v for k, v in truth if k not in ("ncc", "dtw")}
    for s in sources:
        found["sources"][s] = mean_row(r for r in rows if r["kind"] == "model" and r["source"] == s)
    return found


def only_targets(report: dict[str, Any], targets: Collection[str]) -> dict[str, Any]:
    """The report as if only these targets had been asked for. Frechet distances, which are of a target's whole sound,
    are kept by target and averaged."""
    material = report["material"]
    rows = [r for r in report["rows"] if r["target"] in targets]
    wanted = [t for t in report["means"]["targets"] if t in targets]
    means = means_of(rows, wanted, material["sources"], material["never_trained"])
    for t in wanted:
        for kind, row in report["means"]["targets"][t].items():
            means["targets"][t][kind] |= {k: v for k, v in row.items() if k == "frechet"}
    average_frechet(means)
    return report | {"means": means}


def average_frechet(means: dict[str, Any]) -> None:
    """Write the mean of the targets' Frechet distances into that of all."""
    for kind, row in means["all"].items():
        each = [k[kind]["frechet"] for k in means["targets"].values() if "frechet" in k.get(kind, {})]
        if each:
            row["frechet"] = round(float(np.mean(each)), 3)
