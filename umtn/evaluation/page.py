"""The report as one page that needs nothing else: tables, pictures, sounds, and whose timbre was heard."""

from __future__ import annotations

import base64
import io
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from umtn.data.store import write_atomically
from umtn.errors import UserError
from umtn.evaluation.columns import COLUMNS, SIDE_FIGURES
from umtn.evaluation.examples import Clip, Example
from umtn.evaluation.material import Material
from umtn.evaluation.page_tables import confusion_tables, cost_table, source_table, summary_table
from umtn.evaluation.pictures import roll_svg, spectrogram_svg
from umtn.evaluation.pitch_judge import LOWEST, PITCHES
from umtn.evaluation.reference import reference_rolls
from umtn.evaluation.weights import ASSETS

__all__ = ["MOST_BYTES", "page", "write_page"]

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
