"""Which decoder plays best: rivals trained on equal budgets behind one frozen encoder, judged on the same material.

OUT/<preset>/         the checkpoint
OUT/<preset>.json     its report (`umtn evaluate --json`)
OUT/rivals.md, .json  the table
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from umtn import checkpoint
from umtn.config import Config, preset
from umtn.data.store import Dataset, write_atomically
from umtn.errors import UserError
from umtn.evaluation.columns import COLUMNS
from umtn.evaluation.compare import read_report
from umtn.evaluation.evaluate import evaluate
from umtn.evaluation.material import Material
from umtn.evaluation.players import open_player
from umtn.evaluation.report import write_json
from umtn.pitch_encoder import ear_of
from umtn.training.loop import train

__all__ = ["RIVALS", "Budget", "contest", "markdown"]

RIVALS = ("live", "live-conv", "live-conv-past")
ABOUT = {  # what stands in a row beside COLUMNS (encoder and one decoder), and how it is written
    "steps": "{:.0f}",
    "minutes": "{:.1f}",
    "parameters": "{:,.0f}",
    "MMAC/s": "{:.0f}",
    "RTF": "{:.3f}",
    "silence dBFS": "{:.0f}",
}


@dataclass(frozen=True)
class Budget:
    """What each rival gets: `minutes` of the same machine, the same data, domains, encoder and seed."""

    data: Dataset
    minutes: float
    encoder: Path
    domains: tuple[str, ...] = ()
    seed: int = 0


def trained(name: str, out: Path, budget: Budget) -> Path:
    """Train the preset `name` into out/name, or go on where it was stopped; -> the checkpoint, its minutes used up."""
    folder, config = out / name, preset(name)
    if budget.domains:
        config = replace(config, domains=budget.domains)
    there = (folder / "checkpoint.json").exists()
    if there:
        _check(folder, config, budget)
        if checkpoint.read_config(folder)[1].minutes >= budget.minutes:
            return folder
    taken = None if there else budget.encoder
    trainer = train(config, budget.data, folder, budget.minutes, there, None, budget.seed, taken)
    if trainer.progress.minutes < budget.minutes:
        raise KeyboardInterrupt  # the trainer kept what it had; the next rival is not to begin
    return folder


def _check(folder: Path, config: Config, budget: Budget) -> None:
    """A rival that began otherwise is no rival."""
    known, progress = checkpoint.read_config(folder)
    began = (known.preset, known.domains, progress.data, progress.seed)
    asked = (config.preset, config.domains, budget.data.root.resolve().name, budget.seed)
    for what, was, now in zip(("preset", "domains", "data", "seed"), began, asked, strict=True):
        if was != now:
            raise UserError(
                f"'{folder}' was begun with {what} {was!r}, but {now!r} came: rivals get the same. "
                "Choose another --out."
            )
    heard, given = (ear_of(checkpoint.load(place).encoder) for place in (folder, budget.encoder))
    if heard is None or given is None or not _equal(heard, given):
        raise UserError(f"'{folder}' hears otherwise than '{budget.encoder}': rivals get the same encoder.")


def _equal(a: nn.Module, b: nn.Module) -> bool:
    ours, theirs = a.state_dict(), b.state_dict()
    return ours.keys() == theirs.keys() and all(torch.equal(v, theirs[k]) for k, v in ours.items())


def judged(folder: Path, material: Material, only: tuple[str, ...] | None = None) -> dict[str, Any]:
    """The report beside the checkpoint; played and judged anew where it is of other weights or material."""
    path = folder.with_suffix(".json")
    player = open_player(folder)
    if path.exists():
        report = read_report(path)
        asked = (
            material.score_id,
            material.start_s,
            material.samples / material.rate,
            list(material.sources),
        )
        known = tuple(report["material"].get(key) for key in ("score", "start_s", "seconds", "sources"))
        targets = list(report["lags"]) == list(only or player.domains)
        if asked == known and targets and report["model"].get("step") == player.facts["step"]:
            return report
    write_json(path, evaluate(player, material, only))
    return read_report(path)


def _row(report: dict[str, Any]) -> dict[str, float]:
    def mean(part: str, key: str) -> float:
        return float(np.mean([row[key] for row in report[part].values()]))

    model = report["model"]
    return report["means"]["all"]["model"] | {
        "steps": model["step"],
        "minutes": model["minutes_trained"],
        "parameters": mean("cost", "parameters"),
        "MMAC/s": mean("cost", "mac_per_s") / 1e6,
        "RTF": mean("cost", "rtf"),
        "silence dBFS": mean("silence", "silence_dbfs"),
    }


def markdown(rows: dict[str, dict[str, float]]) -> str:
    """A figure a line, a rival a column; the best of a line in bold where a direction is good."""
    lines = [f"| | {' | '.join(rows)} |", f"|---|{'---|' * len(rows)}"]
    for column in COLUMNS:
        values = [row.get(column.key) for row in rows.values()]
        known = [v for v in values if v is not None]
        beaten = [
            any(v is not None and column.verdict(v, other) == "better" for other in known) for v in values
        ]
        cells = [
            f"**{text}**" if v is not None and not worse and any(beaten) else text
            for v, worse, text in zip(values, beaten, map(column.write, values), strict=True)
        ]
        lines.append(f"| {column.label} | {' | '.join(cells)} |")
    for label, form in ABOUT.items():
        lines.append(f"| {label} | {' | '.join(form.format(row[label]) for row in rows.values())} |")
    return "\n".join(lines)


def write_table(out: Path, reports: dict[str, dict[str, Any]]) -> str:
    """OUT/rivals.md and OUT/rivals.json: means over all sources and targets; -> the table."""
    rows = {name: _row(report) for name, report in reports.items()}
    table = markdown(rows)
    meanings = [f"- {c.label}: {c.meaning}" for c in COLUMNS]
    write_atomically(out / "rivals.md", "\n".join([table, "", *meanings, ""]).encode())
    write_atomically(out / "rivals.json", json.dumps(rows, indent=1).encode())
    return table


def contest(
    names: Sequence[str], out: Path, budget: Budget, material: Material, only: tuple[str, ...] | None = None
) -> str:
    """Train one after the other, judge each, write the table; -> the table. Stopped, it goes on when called again."""
    for name in names:
        preset(name)  # a slip is told before the first hour, not after it
    folders = {name: trained(name, out, budget) for name in names}
    if int(os.environ.get("RANK", "0")):  # torchrun's other ranks only help with training
        return ""
    return write_table(out, {name: judged(folder, material, only) for name, folder in folders.items()})
