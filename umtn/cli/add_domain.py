"""`python -m umtn add-domain NAME RECORDINGS --to BUNDLE`: your own sound as a domain."""

from __future__ import annotations

import argparse
from pathlib import Path

__all__ = ["register"]


def register(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the `add-domain` command."""
    parser = commands.add_parser(
        "add-domain", help="train one more decoder on plain recordings and add it to a bundle"
    )
    parser.add_argument("name", help="what the domain is called")
    parser.add_argument("recordings", type=Path, help="a sound file, or a folder of them")
    parser.add_argument(
        "--to",
        required=True,
        metavar="BUNDLE",
        help="a .umtn file of preset live, or a shipped one's name: that one is left as it is and wants -o",
    )
    parser.add_argument("-o", "--output", type=Path, help="write here instead of into BUNDLE")
    parser.add_argument("--minutes", type=float, default=30.0, help="of training (default: 30)")
    parser.add_argument(
        "--start", type=Path, metavar="CHECKPOINT",
        help="begin with the nearest decoder of this checkpoint (default: models/NAME OF BUNDLE if it is there)",
    )  # fmt: skip
    parser.add_argument("--seed", type=int, default=0, help="of everything random (default: 0)")
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> None:
    from realtime.shared.audio_config import bundle_named
    from umtn.errors import UserError
    from umtn.training.add_domain import add_domain

    if not args.minutes > 0:
        raise UserError(f"--minutes is {args.minutes:g}; it should be above 0.")
    to = bundle_named(args.to)
    if args.output is None and not Path(args.to).expanduser().is_file():
        raise UserError(
            f"'{args.to}' is shipped with the program and stays as it is; say with -o NAME.umtn what to write."
        )
    print(add_domain(args.name, args.recordings, to, args.output, args.minutes, args.start, args.seed))
