"""The same programs are typed in two ways, `umtn play` and `python -m realtime.run`; help speaks as it was asked.

The parsers belong to many modules, each with its own `python -m` name. So what argparse says is put into the other
words where it leaves argparse, for as long as the command runs.
"""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any
from unittest.mock import patch

from umtn.cli.commands import COMMANDS, Command

__all__ = ["spelled", "spoken_as"]

Pairs = tuple[tuple[str, str], ...]


def pairs_for(command: Command) -> Pairs:
    """(python -m MODULE, umtn NAME), the longest first: one may be the beginning of another. A module that two
    commands run is called by the one that was typed."""
    commands = [command, *COMMANDS.values()]
    known = [(c.typed, f"umtn {c.name}") for c in commands] + [("python -m umtn", "umtn")]
    return tuple(sorted(dict(reversed(known)).items(), key=lambda pair: -len(pair[0])))


def spelled(text: str, pairs: Iterable[tuple[str, str]]) -> str:
    """The text with every name in the other words."""
    for module, name in pairs:
        text = text.replace(module, name)
    return text


@contextlib.contextmanager
def spoken_as(command: Command) -> Iterator[None]:
    """All parsers, whoever makes them, name the command as it was typed."""
    pairs = pairs_for(command)
    parser = argparse.ArgumentParser
    help_of, usage_of, exit_of = parser.format_help, parser.format_usage, parser.exit

    def said(format_of: Callable[[argparse.ArgumentParser], str]) -> Callable[[argparse.ArgumentParser], str]:
        def format_it(self: argparse.ArgumentParser) -> str:
            self.prog = spelled(self.prog, pairs)  # first: the lines below it are indented by its length
            return spelled(format_of(self), pairs)

        return format_it

    def leave(self: argparse.ArgumentParser, status: int = 0, message: str | None = None) -> Any:
        exit_of(self, status, None if message is None else spelled(message, pairs))

    with patch.multiple(parser, format_help=said(help_of), format_usage=said(usage_of), exit=leave):
        yield
