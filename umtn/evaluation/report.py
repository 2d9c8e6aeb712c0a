"""The report as a table to read and as JSON to keep."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from umtn.data.store import write_atomically

__all__ = ["table", "write_json"]

COLUMNS = (
    ("timbre", "timbre_share", "{:.2f}"),
    ("F1 one", "pitch_f1_one", "{:.2f}"),
    ("F1 sev", "pitch_f1_several", "{:.2f}"),
    ("onset", "onset_f1", "{:.2f}"),
    ("note", "note_f1", "{:.2f}"),
    ("octave", "octave_errors", "{:.2f}"),
    ("loud r", "loudness_correlation", "{:.2f}"),
    ("level", "level_difference_db", "{:+.1f}"),
    ("mel dB", "logmel_distance_db", "{:.1f}"),
    ("rest", "rest_dbfs", "{:.0f}"),
    ("clicks", "clicks_per_minute", "{:.1f}"),
)


def _line(label: str, kind: str, figures: dict[str, float]) -> str:
    cells = [(form.format(figures[key]) if key in figures else "-").rjust(7) for _, key, form in COLUMNS]
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
    lines.append(f"{'target':<20}" + "".join(name.rjust(7) for name, _, _ in COLUMNS))
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
            f"lag {1000 * lag['measured_s']:.0f} ms (match {lag['match']:.2f}), "
            f"removed {1000 * lag['lag_s']:.0f} ms"
        )
    lines.append(f"timbre judge on true renderings: {report['judges']['timbre_accuracy']:.2f}")
    return "\n".join(lines)


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
