"""`python -m umtn rivals` and `ablate`: models trained on equal budgets and judged alike."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from umtn.model.config import Config

__all__ = ["register"]

SHORTEST_CLIP_S = 0.3


def register(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the `rivals` and `ablate` commands."""
    rivals = commands.add_parser(
        "rivals",
        help="train decoders on equal budgets behind one encoder and compare them",
        description="Presets trained on equal budgets behind one pitch encoder, and judged alike.",
    )
    rivals.add_argument(
        "--encoder", type=Path, required=True, help="a checkpoint whose pitch encoder all get"
    )
    rivals.add_argument("--presets", help="comma-separated (default: live,wavenet-plain)")
    rivals.set_defaults(run=_rivals)
    ablate = commands.add_parser(
        "ablate",
        help="train a preset with each part of its objective left out and compare",
        description="What each part of the objective is worth: a preset trained whole and without it, equal budgets.",
    )
    ablate.add_argument("--preset", default="live", help="(default: live)")
    ablate.set_defaults(run=_ablate)
    for parser in (rivals, ablate):
        _shared(parser)


def _shared(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", type=Path, required=True, help="paired data to learn from")
    parser.add_argument("--held-out", type=Path, required=True, help="paired data that training never saw")
    parser.add_argument("--out", type=Path, required=True, help="folder; a stopped run goes on there")
    parser.add_argument("--minutes", type=float, default=20.0, help="of training for each (default: 20)")
    parser.add_argument(
        "--steps",
        type=int,
        help="of training for each, instead of minutes: fair where other work runs beside it",
    )
    parser.add_argument(
        "--clips",
        type=float,
        default=0.0,
        metavar="S",
        help="seconds a clip (default: the preset's); shorter: more steps",
    )
    parser.add_argument("--domains", help="comma-separated; default: those of the presets")
    parser.add_argument("--seed", type=int, default=0, help="of everything random (default: 0)")
    parser.add_argument("--minutes-per-source", type=float, default=1.0, metavar="M", help="that are judged")
    parser.add_argument("--sources", help="comma-separated instruments that are judged (default: all)")


def _rivals(args: argparse.Namespace) -> None:
    from umtn.errors import words
    from umtn.experiments import RIVALS, rivals

    _run(args, "rivals", rivals(words(args.presets) or RIVALS), args.encoder)


def _ablate(args: argparse.Namespace) -> None:
    from umtn.experiments import ablations

    _run(args, "ablations", ablations(args.preset), None)


def _run(args: argparse.Namespace, title: str, configs: dict[str, Config], encoder: Path | None) -> None:
    from umtn.data.dataset import Dataset
    from umtn.errors import UserError, words
    from umtn.evaluation.material import Material
    from umtn.experiments import Budget, contest

    if not args.minutes > 0:
        raise UserError(f"--minutes is {args.minutes:g}; it should be above 0.")
    if args.steps is not None and args.steps < 1:
        raise UserError(f"--steps is {args.steps}; it should be above 0.")
    material = Material.choose(
        Dataset.open(args.held_out), 0.0, 60 * args.minutes_per_source, words(args.sources) or None
    )
    if args.clips and args.clips < SHORTEST_CLIP_S:
        raise UserError(f"--clips is {args.clips:g}; clips should last {SHORTEST_CLIP_S} seconds at least.")
    budget = Budget(
        Dataset.open(args.data),
        args.minutes,
        args.steps,
        args.clips,
        encoder,
        words(args.domains),
        args.seed,
    )
    if table := contest(title, configs, args.out, budget, material):
        print(f"{table}\n{args.out / title}.md")
