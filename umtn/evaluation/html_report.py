"""The report as one page that needs nothing else: tables, pictures, sounds, and whose timbre was heard."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Iterator
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import scipy.signal
import soundfile
from numpy.typing import NDArray

from umtn.errors import UserError
from umtn.evaluation.classifiers import ASSETS, FRAME_S, LOWEST, PITCHES
from umtn.evaluation.examples import Clip, Example
from umtn.evaluation.material import Material
from umtn.evaluation.note_metrics import reference_rolls
from umtn.evaluation.report import COLUMNS, SIDE_FIGURES, Column
from umtn.files import write_atomically

__all__ = [
    "MOST_BYTES",
    "confusion_tables",
    "cost_table",
    "page",
    "roll_svg",
    "source_table",
    "spectrogram_svg",
    "summary_table",
    "write_page",
]


# The page's tables, as HTML.


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


# Pictures of a page as inline SVG: spectrograms (a PNG inside) and note rolls. Text takes the page's colour.
#
# Drawings are 400 units wide: about a phone's width, so that text keeps its size there.


WIDTH, LEFT, BOTTOM = 400, 34, 16
TOP_HZ, LOWEST_HZ = 8000.0, 50.0
FAINT_DB, LOUD_DB = -100.0, -20.0
OCTAVES_HZ = (100, 200, 400, 800, 1600, 3200, 6400)


def _frame(height: int, seconds: float, label: str, inside: str) -> str:
    """An SVG with seconds below and `inside` drawn in a field from (LEFT, 0) to (WIDTH, height)."""
    step = 1 if seconds <= 10 else 5
    ticks = "".join(
        f'<text x="{LEFT + (WIDTH - LEFT) * s / seconds:.1f}" y="{height + 13}">{s}</text>'
        for s in range(step, int(seconds + 0.99), step)
    )
    return (
        f'<svg viewBox="0 0 {WIDTH} {height + BOTTOM}" role="img" aria-label="{label}">{inside}'
        f'<g class="ticks" text-anchor="middle">{ticks}<text x="{LEFT}" y="{height + 13}">0 s</text></g></svg>'
    )


def _left_ticks(places: list[tuple[float, str]]) -> str:
    texts = "".join(
        f'<text x="{LEFT - 4}" y="{max(9.0, y + 4):.1f}">{text}</text>'  # whole, at the upper edge too
        for y, text in places
    )
    return f'<g class="ticks" text-anchor="end">{texts}</g>'


def _spectrum_db(audio: NDArray[np.float32], rate: int, rows: int, columns: int) -> NDArray[np.float64]:
    """Levels [rows, columns] in dB, frequency from 50 Hz to 8 kHz in equal ratios, upwards."""
    size = 2 ** round(np.log2(rate / 12))
    padded = np.pad(audio, size // 2)
    hz, _, z = scipy.signal.stft(
        padded, rate, nperseg=size, noverlap=size * 7 // 8, boundary=None, padded=True
    )
    power_db = 10 * np.log10(np.abs(z) ** 2 + 1e-12)
    edges = np.geomspace(LOWEST_HZ, min(TOP_HZ, rate / 2), rows + 1)
    first = np.searchsorted(hz, edges[:-1])
    last = np.maximum(first + 1, np.searchsorted(hz, edges[1:]))
    bands = np.stack([power_db[a:b].max(axis=0) for a, b in zip(first, last, strict=True)])
    at = np.linspace(0, bands.shape[1] - 1, columns).round().astype(int)
    return bands[:, at]


def spectrogram_svg(audio: NDArray[np.float32], rate: int, label: str, height: int = 150) -> str:
    """Frequency in octaves upwards, -100 .. -20 dB from dark to light."""
    import matplotlib.image

    shown = (_spectrum_db(audio, rate, height, 2 * WIDTH) - FAINT_DB) / (LOUD_DB - FAINT_DB)
    file = io.BytesIO()
    matplotlib.image.imsave(file, np.clip(shown, 0, 1)[::-1], vmin=0, vmax=1, cmap="magma", format="png")
    data = base64.b64encode(file.getvalue()).decode()
    picture = (
        f'<image x="{LEFT}" width="{WIDTH - LEFT}" height="{height}" preserveAspectRatio="none"'
        f' href="data:image/png;base64,{data}"/>'
    )
    octaves = np.log2(min(TOP_HZ, rate / 2) / LOWEST_HZ)
    places = [
        (height * (1 - np.log2(hz / LOWEST_HZ) / octaves), f"{hz / 1000:g}k" if hz >= 1000 else str(hz))
        for hz in OCTAVES_HZ
        if hz < rate / 2
    ]
    return _frame(height, len(audio) / rate, label, picture + _left_ticks(places))


def _runs(active: NDArray[np.bool_]) -> Iterator[tuple[int, int, int]]:
    """(row, first frame, frames) of every unbroken stretch."""
    edges = np.diff(active.astype(np.int8), axis=1, prepend=0, append=0)
    rows, first = np.nonzero(edges == 1)
    _, stop = np.nonzero(edges == -1)
    for row, a, b in zip(rows, first, stop, strict=True):
        yield int(row), int(a), int(b - a)


def roll_svg(wanted: NDArray[np.bool_], found: NDArray[np.bool_], label: str, height: int = 120) -> str:
    """Score and transcription [P, T]: played as written, played but not written, written but not played."""
    frames = min(wanted.shape[1], found.shape[1])
    wanted, found = wanted[:, :frames], found[:, :frames]
    used = np.flatnonzero((wanted | found).any(axis=1))
    low, high = (int(used[0]) - 1, int(used[-1]) + 1) if len(used) else (24, 48)
    row_height, column = height / (high - low + 1), (WIDTH - LEFT) / max(1, frames)
    boxes = []
    for name, active in (("right", wanted & found), ("extra", found & ~wanted), ("missed", wanted & ~found)):
        for row, first, length in _runs(active):
            y = height - (row - low + 1) * row_height
            boxes.append(
                f'<rect class="{name}" x="{LEFT + first * column:.1f}" y="{y:.1f}"'
                f' width="{length * column:.1f}" height="{row_height:.1f}"/>'
            )
    field = f'<rect class="field" x="{LEFT}" y="0" width="{WIDTH - LEFT}" height="{height}"/>'
    octaves = [p for p in range(low, high + 1) if (p + LOWEST) % 12 == 0]
    places = [(height - (p - low + 0.5) * row_height, f"C{(p + LOWEST) // 12 - 1}") for p in octaves]
    return _frame(height, frames * FRAME_S, label, field + "".join(boxes) + _left_ticks(places))


MOST_BYTES = 15_000_000


def write_page(path: Path, report: dict[str, Any], shown: list[Example], material: Material) -> None:
    """Write the page in one piece; UserError when it would be larger than 15 MB."""
    content = page(report, shown, material).encode()
    if len(content) > MOST_BYTES:
        raise UserError(f"the page would be {len(content) / 1e6:.0f} MB; name fewer domains with --targets")
    try:
        write_atomically(path, content)
    except OSError as error:
        raise UserError(f"'{path}' cannot be written: {error.strerror}") from None


def page(report: dict[str, Any], shown: list[Example], material: Material) -> str:
    """HTML of the whole report."""
    name = escape(str(report["model"]["name"]))
    sections = [
        _head(report, name),
        _section("By domain", summary_table(report), SUMMARY_NOTE),
        _section("How it sounds", _legend() + "".join(_example(e, material) for e in shown)),
        _section("By source", source_table(report), "The model alone. * was never trained on."),
        _section("Whose timbre was heard", confusion_tables(report), CONFUSION_NOTE),
        _section("Silence, lag and cost", cost_table(report)),
        _section("What the figures are", _meanings()),
    ]
    style = (ASSETS / "page.css").read_text(encoding="utf-8")
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{name}: evaluation</title><style>\n{style}</style></head>\n<body>\n"
        + "\n".join(sections)
        + "\n</body></html>\n"
    )


SUMMARY_NOTE = (
    "The copy is the input left as it is: the floor. The true rendering is the same score played by the "
    "domain's own instrument: the ceiling."
)
CONFUSION_NOTE = (
    "Rows: the domain that was asked for. Columns: the domain that the timbre judge heard, as a share of "
    "sounding half-second windows."
)


def _section(title: str, content: str, note: str = "") -> str:
    note = f'<p class="soft">{escape(note)}</p>' if note else ""
    return f"<section><h2>{escape(title)}</h2>{note}{content}</section>"


def _head(report: dict[str, Any], name: str) -> str:
    model, material = report["model"], report["material"]
    facts = " · ".join(
        f"{escape(k.replace('_', ' '))} {escape(f'{v:.4g}' if isinstance(v, float) else str(v))}"
        for k, v in model.items()
        if k != "name" and v != ""
    )
    what = (
        f"{material['seconds']:g} s of score {material['score']} played by {', '.join(material['sources'])}"
    )
    return f'<header><h1>{name}</h1><p>{escape(what)}</p><p class="facts">{facts}</p></header>'


def _legend() -> str:
    return (
        '<p class="key"><span><i class="right"></i>played as written</span> '
        '<span><i class="extra"></i>played, not written</span> '
        '<span><i class="missed"></i>written, not played</span> '
        "(the score against what the pitch judge hears)</p>"
    )


def _example(example: Example, material: Material) -> str:
    figures = "".join(_clip(c, material) for c in example.clips)
    title = f"{example.source} to {example.target}"
    return f'<article class="example"><h3>{escape(title)}</h3><div class="clips">{figures}</div></article>'


def _clip(clip: Clip, material: Material) -> str:
    label = escape(clip.label, quote=True)
    wanted, _ = reference_rolls(material.score, material.start_s, clip.active.shape[1], LOWEST, PITCHES)
    return (
        f"<figure><figcaption>{label}</figcaption>"
        f'<audio controls preload="none" src="data:audio/flac;base64,{_flac(clip.audio, material.rate)}"></audio>'
        + spectrogram_svg(clip.audio, material.rate, f"spectrogram of {label}")
        + roll_svg(wanted > 0, clip.active, f"notes of {label}")
        + "</figure>"
    )


def _flac(audio: np.ndarray, rate: int) -> str:
    """Audio as base64 of 16-bit mono FLAC."""
    file = io.BytesIO()
    soundfile.write(file, np.clip(audio, -1, 1), rate, format="FLAC", subtype="PCM_16")
    return base64.b64encode(file.getvalue()).decode()


def _meanings() -> str:
    rows = "".join(
        f"<dt>{escape(c.label)}</dt><dd>{escape(c.meaning)}</dd>" for c in (*COLUMNS, *SIDE_FIGURES)
    )
    return f"<dl>{rows}</dl>"
