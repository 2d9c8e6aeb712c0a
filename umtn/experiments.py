"""What plays best: models trained on equal budgets, judged on the same material, in one table.

OUT/<name>/            the checkpoint
OUT/<name>.json        its report (`umtn evaluate --json`)
OUT/<title>.md, .json  the table
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from umtn.data.dataset import Dataset
from umtn.errors import UserError
from umtn.evaluation.evaluate import evaluate
from umtn.evaluation.material import Material
from umtn.evaluation.report import COLUMNS, read_report, write_json
from umtn.files import write_atomically
from umtn.model import checkpoint
from umtn.model.checkpoint import Progress
from umtn.model.config import Config
from umtn.model.pitch_encoder import encoder_of
from umtn.model.presets import ABLATIONS, preset, without
from umtn.offline import open_player
from umtn.training.train import train

__all__ = ["Budget", "RIVALS", "ablations", "compete", "markdown", "rivals"]


RIVALS = ("live", "wavenet-plain")
ABOUT = {  # what stands in a row beside COLUMNS (encoder and one decoder), and how it is written
    "steps": "{:.0f}",
    "minutes": "{:.1f}",
    "parameters": "{:,.0f}",
    "MMAC/s": "{:.0f}",
    "RTF": "{:.3f}",
    "silence dBFS": "{:.0f}",
    "domain probe": "{:.2f}",
    "pitch probe": "{:.2f}",
}


@dataclass(frozen=True)
class Budget:
    """What each gets: `minutes` of the same machine or so many `steps`, clips of `seconds` (0: as its preset says), the
    same data, domains, seed, and encoder where one is given."""

    data: Dataset
    minutes: float
    steps: int | None = None
    seconds: float = 0.0
    encoder: Path | None = None
    domains: tuple[str, ...] = ()
    seed: int = 0


def rivals(names: tuple[str, ...]) -> dict[str, Config]:
    """Presets by name; UserError for one that there is not."""
    return {name: preset(name) for name in names}


def ablations(name: str) -> dict[str, Config]:
    """A preset with all of its objective, and with each part of it left out."""
    whole = preset(name)
    return {name: whole} | {f"{name}-without-{part}": without(whole, part) for part in ABLATIONS}


def trained(name: str, config: Config, out: Path, budget: Budget) -> Path:
    """Train into out/name, or go on where it was stopped; -> the checkpoint, its minutes used up."""
    folder = out / name
    if budget.domains:
        config = replace(config, domains=budget.domains)
    if budget.seconds:
        config = replace(config, training=replace(config.training, seconds=budget.seconds))
    there = (folder / "checkpoint.json").exists()
    if there:
        _check(folder, config, budget)
        if _spent(checkpoint.read_config(folder)[1], budget):
            return folder
    taken = None if there else budget.encoder
    trainer = train(
        config,
        budget.data,
        folder,
        budget.minutes,
        there,
        seed=budget.seed,
        encoder=taken,
        whole=budget.steps,
    )
    if not _spent(trainer.progress, budget):
        raise KeyboardInterrupt  # the trainer kept what it had; the next one is not to begin
    return folder


def _spent(progress: Progress, budget: Budget) -> bool:
    if budget.steps is not None:
        return progress.step >= budget.steps
    return progress.minutes >= budget.minutes


def _began(config: Config, data: str, seed: int) -> dict[str, object]:
    training = config.training
    return {
        "preset": config.preset,
        "domains": config.domains,
        "confusion weight": config.confusion.weight,
        "augment": training.augment,
        "pairs": training.pairs,
        "share of pairs": training.share_paired,
        "clips of seconds": training.seconds,
        "data": data,
        "seed": seed,
    }


def _check(folder: Path, config: Config, budget: Budget) -> None:
    """What began otherwise is not to be compared."""
    known, progress = checkpoint.read_config(folder)
    asked = _began(config, budget.data.root.resolve().name, budget.seed)
    for what, was in _began(known, progress.data, progress.seed).items():
        if was != asked[what]:
            raise UserError(
                f"'{folder}' was begun with {what} {was!r}, but {asked[what]!r} came: all get the same. "
                "Choose another --out."
            )
    if budget.encoder is None:
        return
    heard, given = (encoder_of(checkpoint.load(place).encoder) for place in (folder, budget.encoder))
    if heard is None or given is None or not _equal(heard, given):
        raise UserError(f"'{folder}' hears otherwise than '{budget.encoder}': all get the same encoder.")


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
    probes = {
        f"{what} probe": report["latent"][f"probe_{what}"] for what in ("domain", "pitch") if report["latent"]
    }
    return (
        report["means"]["all"]["model"]
        | {
            "steps": model["step"],
            "minutes": model["minutes_trained"],
            "parameters": mean("cost", "parameters"),
            "MMAC/s": mean("cost", "mac_per_s") / 1e6,
            "RTF": mean("cost", "rtf"),
            "silence dBFS": mean("silence", "silence_dbfs"),
        }
        | probes
    )


def markdown(rows: dict[str, dict[str, float]]) -> str:
    """A figure a line, a model a column; the best of a line in bold where a direction is good."""
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
        cells = [form.format(row[label]) if label in row else "-" for row in rows.values()]
        lines.append(f"| {label} | {' | '.join(cells)} |")
    return "\n".join(lines)


def write_table(out: Path, title: str, reports: dict[str, dict[str, Any]]) -> str:
    """OUT/<title>.md and .json: means over all sources and targets; -> the table."""
    rows = {name: _row(report) for name, report in reports.items()}
    table = markdown(rows)
    meanings = [f"- {c.label}: {c.meaning}" for c in COLUMNS]
    write_atomically(out / f"{title}.md", "\n".join([table, "", *meanings, ""]).encode())
    write_atomically(out / f"{title}.json", json.dumps(rows, indent=1).encode())
    return table


def compete(
    title: str,
    configs: Mapping[str, Config],
    out: Path,
    budget: Budget,
    material: Material,
    only: tuple[str, ...] | None = None,
) -> str:
    """Train one after the other, judge each, write the table; -> the table. Stopped, it goes on when called again."""
    folders = {name: trained(name, config, out, budget) for name, config in configs.items()}
    if int(os.environ.get("RANK", "0")):  # torchrun's other ranks only help with training
        return ""
    return write_table(out, title, {name: judged(folder, material, only) for name, folder in folders.items()})
