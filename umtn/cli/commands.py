"""What the command `umtn` offers: a name, the module that does it, one line for a stranger.

Nothing is imported here: a name is looked up, and then its module alone is.
"""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

__all__ = ["COMMANDS", "Command", "listed", "spelled", "spoken_as"]


@dataclass(frozen=True)
class Command:
    """module.main(arguments) runs it. before: arguments that come first. typed: how the module's own help calls it.

    topic: the heading under which it is listed.
    """

    name: str
    module: str
    line: str
    topic: str
    before: tuple[str, ...] = ()

    @property
    def typed(self) -> str:
        module = self.module.removesuffix(".__main__")
        return " ".join(("python -m", module, *self.before))


def _play(name: str, module: str, line: str) -> Command:
    return Command(name, module, line, "play")


def _learn(name: str, line: str) -> Command:
    return Command(name, "umtn.__main__", line, "learn, needs PyTorch", (name,))


COMMANDS = {
    command.name: command
    for command in (
        _play("play", "realtime.run", "play or sing, and hear another instrument"),
        _play("record", "realtime.run", "the same, and keep it: umtn record [FILE.wav] [options of play]"),
        _play(
            "doctor", "realtime.doctor.__main__", "what would stop a show on this machine, and what mends it"
        ),
        _play(
            "latency", "realtime.latency.__main__", "measure the true latency of the interface, with a cable"
        ),
        _play(
            "patches", "realtime.patches.__main__", "write patches for Max, Live, Pure Data, SuperCollider"
        ),
        _play("native", "umtn.native.__main__", "compile the fast engines that are missing, a minute, once"),
        _play("bench", "benchmarks.__main__", "measure what a model costs on this machine"),
        _learn("render", "make training data from scores and sound fonts"),
        _learn("prepare", "make training data from recordings"),
        _learn("guide", "make training data for guided WaveNet decoders"),
        _learn("train", "train a translator"),
        _learn("take-ear", "give a finished model the encoder of a newer one"),
        _learn("add-domain", "teach a model your own sound, from plain recordings"),
        _learn("translate", "translate a sound file offline"),
        _learn("evaluate", "measure how a model sounds"),
        _learn("compare", "say what is better and what worse in a second report"),
        _learn("train-judge", "train the judges that evaluate asks"),
        _learn("rivals", "let models compete for equal time"),
        _learn("ablate", "train without one part after the other"),
        Command(
            "export", "export.__main__", "turn a checkpoint into a bundle to play", "freeze, needs PyTorch"
        ),
        Command(
            "verify",
            "export.__main__",
            "prove that a bundle equals its checkpoint",
            "freeze, needs PyTorch",
            ("verify",),
        ),
    )
}


def listed() -> str:
    """All of them, a line each, under their topics."""
    lines = []
    for topic in dict.fromkeys(command.topic for command in COMMANDS.values()):
        lines.append(f"\n{topic}:")
        lines += [f"  {c.name:<12} {c.line}" for c in COMMANDS.values() if c.topic == topic]
    return "\n".join(lines)


# The same programs are typed in two ways, `umtn play` and `python -m realtime.run`; help speaks as it was asked.
#
# The parsers belong to many modules, each with its own `python -m` name. So what argparse says is put into the other
# words where it leaves argparse, for as long as the command runs.


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
