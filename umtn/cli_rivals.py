"""`python -m umtn rivals`: decoders for `live` trained on equal budgets behind one encoder, and judged alike."""

from __future__ import annotations

import argparse
from pathlib import Path

__all__ = ["register"]


def register(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the `rivals` command."""
    parser = commands.add_parser(
        "rivals", help="train decoders on equal budgets and compare them", description=__doc__
    )
    parser.add_argument("--data", type=Path, required=True, help="paired data to learn from")
    parser.add_argument("--held-out", type=Path, required=True, help="paired data that training never saw")
    parser.add_argument(
        "--encoder", type=Path, required=True, help="a checkpoint whose pitch encoder all get"
    )
    parser.add_argument("--out", type=Path, required=True, help="folder; a stopped run goes on there")
    parser.add_argument("--minutes", type=float, default=20.0, help="of training for each (default: 20)")
    parser.add_argument("--presets", help="comma-separated (default: live,live-conv,live-conv-past)")
    parser.add_argument("--domains", help="comma-separated; default: those of the presets")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--minutes-per-source", type=float, default=1.0, metavar="M", help="that are judged")
    parser.add_argument("--sources", help="comma-separated instruments that are judged (default: all)")
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> None:
    from umtn.data.store import Dataset
    from umtn.errors import UserError
    from umtn.evaluation.material import Material
    from umtn.rivals import RIVALS, Budget, contest

    if not args.minutes > 0:
        raise UserError(f"--minutes is {args.minutes:g}; it should be above 0.")
    names, domains, sources = (
        tuple(word.strip() for word in given.split(",") if word.strip()) if given else ()
        for given in (args.presets, args.domains, args.sources)
    )
    material = Material.choose(
        Dataset.open(args.held_out), 0.0, 60 * args.minutes_per_source, sources or None
    )
    budget = Budget(Dataset.open(args.data), args.minutes, args.encoder, domains, args.seed)
    if table := contest(names or RIVALS, args.out, budget, material):
        print(f"{table}\n{args.out / 'rivals.md'}")
