"""`python -m umtn COMMAND`: render or prepare data, train, translate offline, evaluate, compare, let models compete,
add a domain."""

from __future__ import annotations

import argparse
import os
import sys

from umtn.cli import data, evaluate, train
from umtn.errors import UserError
from umtn.missing import needs_training_packages


def build_parser() -> argparse.ArgumentParser:
    """All commands and their options."""
    parser = argparse.ArgumentParser(prog="python -m umtn", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for register in (
        data.register,
        train.register,
        evaluate.register_translate,
        evaluate.register,
        train.register_experiments,
        train.register_add_domain,
    ):
        register(commands)
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run a command; -> exit code, 2 for bad input."""
    args = build_parser().parse_args(argv)
    try:
        with needs_training_packages():
            args.run(args)
        sys.stdout.flush()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # whoever reads has read enough (| head)
        os.dup2(
            os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno()
        )  # the interpreter flushes on its way out
        return 0
    return 0


if __name__ == "__main__":
    sys.exit(main())
