"""Two JSON reports side by side: what became better and what worse, figure by figure."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from umtn.errors import UserError
from umtn.evaluation.columns import COLUMNS, SIDE_FIGURES, Column
from umtn.evaluation.means import only_targets

__all__ = ["Change", "changes", "comparison", "read_report"]


@dataclass(frozen=True)
class Change:
    """A figure of both reports; `where` is a group such as `all`, `strings` or `source koto`."""

    where: str
    column: Column
    before: float
    after: float

    @property
    def verdict(self) -> str:
        """better, worse, same or changed."""
        return self.column.verdict(self.before, self.after)


def read_report(path: Path) -> dict[str, Any]:
    """A report that `umtn evaluate --json` wrote; UserError when it is none."""
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"'{path}' cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise UserError(f"'{path}' is not JSON: {error}") from None
    wanted = ("model", "material", "lags", "means", "silence")
    if not isinstance(report, dict) or (
        missing := [k for k in wanted if not isinstance(report.get(k), dict)]
    ):
        lack = f" (it has no '{missing[0]}')" if isinstance(report, dict) else ""
        raise UserError(f"'{path}' is not a report{lack}; one made by `umtn evaluate --json` is wanted")
    return report


def _groups(report: dict[str, Any]) -> Iterator[tuple[str, tuple[Column, ...], dict[str, Any]]]:
    """The model's figures: over all, over sources never trained on, by target, by source; then the rest."""
    means = report["means"]
    yield "all", COLUMNS, means["all"]["model"]
    yield "never trained", COLUMNS, means["never_trained"].get("model", {})
    for target, kinds in means["targets"].items():
        side = (report["lags"], report["silence"], report.get("cost", {}))
        yield target, COLUMNS + SIDE_FIGURES, kinds["model"] | _joined(s.get(target, {}) for s in side)
    for source, row in means["sources"].items():
        yield f"source {source}", COLUMNS, row
    yield "latent", SIDE_FIGURES, report.get("latent", {})


def _joined(parts: Iterator[dict[str, Any]]) -> dict[str, Any]:
    return {k: v for part in parts for k, v in part.items()}


def changes(a: dict[str, Any], b: dict[str, Any]) -> list[Change]:
    """Every figure that both reports have."""
    after = {where: row for where, _, row in _groups(b)}
    found = []
    for where, columns, row in _groups(a):
        for column in columns:
            pair = row.get(column.key), after.get(where, {}).get(column.key)
            if all(isinstance(v, int | float) for v in pair):
                found.append(Change(where, column, *map(float, pair)))  # type: ignore[arg-type]
    return found


def comparison(a: dict[str, Any], b: dict[str, Any]) -> str:
    """The changes as text; what stayed the same is only counted. Targets that only one has are left out."""
    names = [str(r["model"].get("name", "?")) for r in (a, b)]
    lines = [f"A: {names[0]}", f"B: {names[1]}", *_unlike(a["material"], b["material"])]
    a, b, left_out = _on_equal_terms(a, b)
    if left_out:
        lines.append(f"Only one of the two was asked for {', '.join(left_out)}: not counted.")
    lines.append("")
    found = changes(a, b)
    lines.append(f"{'':<22}{'figure':<30}{'A':>14}{'B':>14}")
    shown = ""
    for change in found:
        if change.verdict != "same":
            label, shown = ("" if change.where == shown else change.where), change.where
            values = "".join(f"{change.column.write(v):>14}" for v in (change.before, change.after))
            lines.append(f"{label:<22}{change.column.label:<30}{values}  {change.verdict}")
    verdicts = [c.verdict for c in found]
    counts = ", ".join(f"{verdicts.count(v)} {v}" for v in ("better", "worse", "changed", "same"))
    return "\n".join([*lines, "", f"B against A: {counts}"])


def _on_equal_terms(a: dict[str, Any], b: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any], list[str]]:
    """Both reports over the targets that both have, and the names of the others; UserError when they share none."""
    ours, theirs = a["means"]["targets"], b["means"]["targets"]
    left_out = [t for t in [*ours, *theirs] if (t in ours) != (t in theirs)]
    if not left_out:
        return a, b, []
    shared = [t for t in ours if t in theirs]
    if not shared:
        raise UserError(f"The reports share no target: {', '.join(ours)} and {', '.join(theirs)}.")
    return only_targets(a, shared), only_targets(b, shared), left_out


def _unlike(a: dict[str, Any], b: dict[str, Any]) -> list[str]:
    """A warning when the two were not asked the same."""
    labels = {"score": "score", "start_s": "start", "seconds": "length", "sources": "sources"}
    unlike = [label for key, label in labels.items() if a.get(key) != b.get(key)]
    if not unlike:
        return []
    return [f"Not the same material ({', '.join(unlike)} differ): the means are not of the models alone."]
