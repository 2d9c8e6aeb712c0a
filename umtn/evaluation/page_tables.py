"""The page's tables, as HTML."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from typing import Any

import numpy as np

from umtn.evaluation.columns import COLUMNS, SIDE_FIGURES, Column

__all__ = ["confusion_tables", "cost_table", "source_table", "summary_table"]

KINDS = {"model": "model", "copy": "copy of the input", "truth": "true rendering"}


def _table(head: Iterable[str], rows: Iterable[str], kind: str = "") -> str:
    cells = "".join(f'<th scope="col">{escape(h)}</th>' for h in head)
    return (
        f'<div class="wide"><table class="{kind}"><thead><tr>{cells}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def _row(label: str, figures: dict[str, float], columns: Iterable[Column], kind: str = "") -> str:
    cells = "".join(f"<td>{escape(c.write(figures.get(c.key)))}</td>" for c in columns)
    return f'<tr class="{kind}"><th scope="row">{label}</th>{cells}</tr>'


def _used(rows: Iterable[dict[str, float]], columns: Iterable[Column]) -> list[Column]:
    """The columns in which some row has a figure."""
    keys = {key for row in rows for key, value in row.items() if value is not None}
    return [c for c in columns if c.key in keys]


def summary_table(report: dict[str, Any]) -> str:
    """Model, copy and truth beside each other for each target, over all, and over sources never trained on."""
    means = report["means"]
    groups = {"all": means["all"], "never trained": means["never_trained"], **means["targets"]}
    columns = _used((f for kinds in groups.values() for f in kinds.values()), COLUMNS)
    rows = []
    for name, kinds in groups.items():
        for kind, figures in kinds.items():
            label = escape(name) if kind == "model" else f'<span class="kind">{KINDS[kind]}</span>'
            rows.append(_row(label, figures, columns, kind))
    return _table(["", *(c.label for c in columns)], rows)


def source_table(report: dict[str, Any]) -> str:
    """The model's figures for each source, a mean over targets."""
    sources, new = report["means"]["sources"], report["material"]["never_trained"]
    columns = _used(sources.values(), COLUMNS)
    rows = [_row(escape(s) + "*" * (s in new), figures, columns) for s, figures in sources.items()]
    return _table(["source", *(c.label for c in columns)], rows)


def cost_table(report: dict[str, Any]) -> str:
    """What belongs to a target and not to a pair: silence, lag, cost."""
    rows = {
        t: {**report["silence"][t], **report["lags"][t], **report.get("cost", {}).get(t, {})}
        for t in report["silence"]
    }
    columns = _used(rows.values(), SIDE_FIGURES)
    table = _table(
        ["domain", *(c.label for c in columns)], [_row(escape(t), r, columns) for t, r in rows.items()]
    )
    if not (latent := report.get("latent")):
        return table
    return table + (
        f'<p class="soft">Fresh linear probes on {latent["probed_seconds"]:g} s of the latent: the domain that '
        f"plays is told in {latent['probe_domain']:.2f} of frames (chance {latent['probe_chance']:.2f}, which "
        f"is the aim); pitch F1 {latent['probe_pitch']:.2f}.</p>"
    )


def _matrix(title: str, rows: dict[str, dict[str, float]]) -> str:
    heard = list(dict.fromkeys(h for row in rows.values() for h in row))
    lines = []
    for wanted, row in rows.items():
        shares = [row.get(h, float("nan")) for h in heard]
        cells = "".join(
            f'<td style="--share:{s:.2f}">{s:.2f}</td>' if np.isfinite(s) else '<td style="--share:0">-</td>'
            for s in shares
        )
        lines.append(f'<tr><th scope="row">{escape(wanted)}</th>{cells}</tr>')
    return f"<figure><figcaption>{escape(title)}</figcaption>{_table(['', *heard], lines, 'matrix')}</figure>"


def confusion_tables(report: dict[str, Any]) -> str:
    """The model's output, and true renderings as the judge's own limit."""
    given: dict[str, list[dict[str, float]]] = {}
    for row in report["rows"]:
        if row["kind"] == "model":
            given.setdefault(row["target"], []).append(row["given_to"])
    mean = {t: {h: float(np.mean([r[h] for r in rows])) for h in rows[0]} for t, rows in given.items()}
    truth = {t: row for t, row in report["judges"]["given_to"].items() if t in mean}
    return f'<div class="matrices">{_matrix("output of the model", mean)}{_matrix("true renderings", truth)}</div>'
