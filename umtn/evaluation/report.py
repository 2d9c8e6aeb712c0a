"""The report as a table to read and as JSON to keep."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from umtn.data.store import write_atomically
from umtn.evaluation.columns import COLUMNS

__all__ = ["table", "write_json"]


def _line(label: str, kind: str, figures: dict[str, float]) -> str:
    cells = [c.write(figures.get(c.key)).rjust(8) for c in COLUMNS]
    return f"{label:<14}{kind:<6}{''.join(cells)}"


def table(report: dict[str, Any]) -> str:
    """Per target, over all, never-trained sources, sources; then silence and lags."""
    model, material, means = report["model"], report["material"], report["means"]
    facts = ", ".join(f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}" for k, v in model.items())
    lines = [
        facts,
        f"{material['seconds']:g} s of {material['score']} by {', '.join(material['sources'])}",
        "",
    ]
    lines.append(f"{'target':<20}" + "".join(c.label.rjust(8) for c in COLUMNS))
    for target, kinds in means["targets"].items():
        lines += [_line(target if kind == "model" else "", kind, row) for kind, row in kinds.items()]
    for label, kinds in (("all", means["all"]), ("never trained", means["never_trained"])):
        lines += [_line(label if kind == "model" else "", kind, row) for kind, row in kinds.items()]
    lines += ["", "by source (model):"]
    for source, row in means["sources"].items():
        mark = "*" if source in material["never_trained"] else ""
        lines.append(_line(source + mark, "", row))
    lines += ["(* never trained on)", ""]
    for target, row in report["silence"].items():
        lag = report["lags"][target]
        lines.append(
            f"{target:<14}out for silence {row['silence_dbfs']:.0f} dBFS, for noise at -60: {row['noise_dbfs']:.0f}; "
            f"against the input, for hum {row['hum_db']:+.0f} dB, breath {row['breath_db']:+.0f}, "
            f"knocks {row['knocks_db']:+.0f}; "
            f"lag {1000 * lag['measured_s']:.0f} ms (match {lag['match']:.2f}), "
            f"removed {1000 * lag['lag_s']:.0f} ms"
        )
    lines += [_costs(t, row) for t, row in report.get("cost", {}).items()]
    if probes := report.get("latent"):
        lines.append(
            f"linear probes on the latent: domain {probes['probe_domain']:.2f} "
            f"(chance {probes['probe_chance']:.2f}), pitch F1 {probes['probe_pitch']:.2f}"
        )
    lines.append(f"timbre judge on true renderings: {report['judges']['timbre_accuracy']:.2f}")
    return "\n".join(lines)


def _costs(target: str, row: dict[str, float]) -> str:
    parts = [f"RTF {row['rtf']:.3f} on one thread"]
    if "parameters" in row:
        parts.append(f"{row['parameters']:,.0f} parameters")
    if "mac_per_s" in row:
        parts.append(f"{row['mac_per_s'] / 1e9:.2f} GMAC/s")
    return f"{target:<14}{', '.join(parts)}"


def _plain(value: Any) -> Any:
    """JSON has no NaN."""
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def write_json(path: Path, report: dict[str, Any]) -> None:
    """The whole report, readable, in one piece."""
    write_atomically(path, json.dumps(_plain(report), indent=1).encode())
