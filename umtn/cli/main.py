"""`umtn COMMAND [options]`: play, record, doctor, train, export...

It imports nothing but what the command needs: `umtn play` starts as fast as `python -m realtime.run`.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import importlib.util
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

from umtn.errors import advice
from umtn.missing import is_ours, sentence

__all__ = ["COMMANDS", "Command", "listed", "main", "spelled", "spoken_as"]


# What the command `umtn` offers: a name, the module that does it, one line for a stranger.
#
# Nothing is imported here: a name is looked up, and then its module alone is.


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


USAGE = """usage: umtn COMMAND [options]

Play or sing into a microphone and hear strings, piano, winds... in real time.

  umtn play --in mic --to strings      play
  umtn play --in demo --to piano       no microphone: a built-in clip
  umtn COMMAND --help                  what a command takes
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; -> its exit code, 2 for bad input or a package that is missing."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if not words or words[0] in ("-h", "--help", "help"):
        print(USAGE + listed())
        return 0 if words else 2
    if words[0] in ("-V", "--version", "version"):
        print(f"umtn-live {_version()}")
        return 0
    command = COMMANDS.get(words[0])
    if command is None:
        what = "option" if words[0].startswith("-") else "command"
        return _refused(f"umtn has no {what} {words[0]!r}; {advice(words[0], COMMANDS)}")
    if (foreign := _foreign()) is not None:
        return _refused(foreign)
    return _run(command, words[1:])


def _run(command: Command, rest: list[str]) -> int:
    given = [*command.before, *(_recorded(rest) if command.name == "record" else rest)]
    try:
        if command.module.startswith("benchmarks"):
            _from_checkout()
        if importlib.util.find_spec(command.module.split(".")[0]) is None:
            return _refused(
                f"umtn {command.name} is not part of an installation; it runs from the sources (a clone of the "
                "repository, in its folder)"
            )
        if command.module == "realtime.run":
            from realtime.shared.interrupts import hold_interrupts

            hold_interrupts()  # Ctrl-C could come in the middle of the imports
        with spoken_as(command):
            run: Callable[[Sequence[str]], int] = importlib.import_module(command.module).main
            return run(given)
    except ModuleNotFoundError as error:
        if is_ours(error):
            raise
        return _refused(f"umtn {command.name}: {sentence(error.name or '', _extra(command))}")
    except KeyboardInterrupt:  # before the command could listen to it
        return 130


def _from_checkout() -> None:
    """What only measures is installed nowhere, not even in place; beside the sources of a clone it is found."""
    root = Path(__file__).resolve().parents[2]
    if (root / "pyproject.toml").is_file() and (root / "benchmarks").is_dir() and str(root) not in sys.path:
        sys.path.append(str(root))


def _recorded(rest: list[str]) -> list[str]:
    """A first word that is no option is the take's name; without one it is the date, in the current folder."""
    if rest and not rest[0].startswith("-"):
        return ["--record", *rest]
    return rest if any(word.split("=")[0] == "--record" for word in rest) else [*rest, "--record"]


def _foreign() -> str | None:
    """One sentence where another project's package has taken the place of one of ours; asked before the first of them
    is imported."""
    from umtn.missing import foreign_package_sentence

    return foreign_package_sentence() or None


def _extra(command: Command) -> str:
    """Learning and freezing need all of [train], whatever they missed first."""
    return "train" if command.topic != "play" else ""


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("umtn-live")
    except PackageNotFoundError:
        return "(not installed: run from its sources)"


def _refused(why: str) -> int:
    print(f"error: {why}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
