"""The report as a table to read and as JSON to keep."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from umtn.errors import UserError
from umtn.files import write_atomically

__all__ = [
    "COLUMNS",
    "Change",
    "Column",
    "Good",
    "Row",
    "SIDE_FIGURES",
    "average_frechet",
    "changes",
    "comparison",
    "mean_row",
    "means_of",
    "only_targets",
    "read_report",
    "table",
    "write_json",
]


# Every figure of a report: its name in tables, how it is written, which direction is good, what it means.


Good = Literal["higher", "lower", "zero", "one", "neither"]


@dataclass(frozen=True)
class Column:
    """`good`: the better direction; `zero` and `one` mean nearer to that."""

    label: str
    key: str
    form: str
    good: Good
    meaning: str

    def write(self, value: float | None) -> str:
        """The value as text; a dash where there is none."""
        return "-" if value is None or not math.isfinite(value) else self.form.format(value)

    def verdict(self, before: float, after: float) -> str:
        """better, worse, same (as far as `form` shows) or changed (where no direction is good)."""
        if self.write(before) == self.write(after):
            return "same"
        if self.good == "neither":
            return "changed"
        gain = after - before if self.good == "higher" else before - after
        if self.good in ("zero", "one"):
            aim = float(self.good == "one")
            gain = abs(before - aim) - abs(after - aim)
        return "better" if gain > 0 else "worse" if gain < 0 else "same"


COLUMNS = (
    Column("timbre", "timbre_share", "{:.2f}", "higher",
           "share of sounding half-second windows that the timbre judge gives to the target domain"),
    Column("Frechet", "frechet", "{:.1f}", "lower",
           "Fréchet distance of the timbre judge's embeddings to those of true renderings"),
    Column("F1 one", "pitch_f1_one", "{:.2f}", "higher",
           "frame-level pitch F1 against the score where one voice plays"),
    Column("F1 sev", "pitch_f1_several", "{:.2f}", "higher", "the same where several voices play"),
    Column("onset", "onset_f1", "{:.2f}", "higher", "F1 of note onsets within 50 ms"),
    Column("note", "note_f1", "{:.2f}", "higher", "F1 of notes: onset within 50 ms and the right pitch"),
    Column("octave", "octave_errors", "{:.2f}", "lower",
           "share of reported frame pitches that are wrong by one or two octaves"),
    Column("RPA", "raw_pitch_accuracy", "{:.2f}", "higher",
           "share of one-voice frames whose tracked pitch is within 50 cents of the score"),
    Column("vibrato", "vibrato_kept", "{:.2f}", "one",
           "how much of the score's vibrato the one-voice pitch track shows (1 = all of it)"),
    Column("NCC", "ncc", "{:.2f}", "higher",
           "correlation of the pitch tracks of input and output at the best shift (Mor et al. 2018)"),
    Column("DTW", "dtw", "{:.2f}", "higher", "the same after dynamic time warping (Mor et al. 2018)"),
    Column("loud r", "loudness_correlation", "{:.2f}", "higher",
           "correlation of the loudness curves of output and true rendering"),
    Column("level", "level_difference_db", "{:+.1f}", "zero", "dB louder than the true rendering"),
    Column("air", "air_difference_db", "{:+.1f}", "zero", "the same above 12 kHz, where the rate carries it"),
    Column("mel dB", "logmel_distance_db", "{:.1f}", "lower",
           "mean difference of log-mel spectra to the true rendering, in dB"),
    Column("spectra", "spectral_distance", "{:.2f}", "lower",
           "multi-resolution spectral distance to the true rendering (1 = what silence scores)"),
    Column("rest", "rest_dbfs", "{:.0f}", "lower", "level in the score's rests, in dBFS"),
    Column("clicks", "clicks_per_minute", "{:.1f}", "lower", "isolated jumps a minute"),
    Column("attack", "attack_ms", "{:.0f}", "lower",
           "ms from a note's start in the score to half of its power, lag included"),
)  # fmt: skip

SIDE_FIGURES = (
    Column("out for silence, dBFS", "silence_dbfs", "{:.0f}", "lower", "level for digital silence"),
    Column("out for noise at -60, dBFS", "noise_dbfs", "{:.0f}", "lower", "level for faint noise"),
    Column("out for hum, dB", "hum_db", "{:+.0f}", "lower", "level out above level in for mains hum at -45 dBFS"),
    Column("out for breath, dB", "breath_db", "{:+.0f}", "lower", "the same for breaths at -45 dBFS"),
    Column("out for knocks, dB", "knocks_db", "{:+.0f}", "lower", "the same for knocks on a guitar's body, peak .2"),
    Column("tail after a stop, s", "stop_tail_s", "{:.2f}", "lower",
           "from the moment the player stops in the middle of a note to -60 dBFS"),
    Column("vibrato of a made-up singer", "vibrato_probe", "{:.2f}", "one",
           "how much of a swing of 30 cents at 5.5 Hz comes through, mean of five tones"),
    Column("tremolo of a trembling tone", "tremolo_probe", "{:.2f}", "lower",
           "how much of a level's swing of 6 dB, 5 times a second, comes through (a bow may, a hammer cannot)"),
    Column("measured lag, s", "measured_s", "{:.3f}", "lower", "attacks behind the true rendering's"),
    Column("real-time factor", "rtf", "{:.3f}", "lower", "seconds of computing per second on one thread"),
    Column("parameters", "parameters", "{:,.0f}", "neither",
           "weights of encoder and this decoder, for a bundle with their fixed filters"),
    Column("MAC per second", "mac_per_s", "{:,.0f}", "lower", "multiplications of encoder and this decoder"),
    Column("domain probe", "probe_domain", "{:.2f}", "lower",
           "accuracy of a fresh linear probe for the input's domain on the latent (chance is the aim)"),
    Column("pitch probe", "probe_pitch", "{:.2f}", "higher", "frame F1 of a fresh linear pitch probe on the latent"),
)  # fmt: skip


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


# A report's means: over everything, over sources never trained on, by target and by source.


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


# Two JSON reports side by side: what became better and what worse, figure by figure.


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
