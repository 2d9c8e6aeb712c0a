"""`umtn COMMAND [options]`: play, record, doctor, train, export...

It imports nothing but what the command needs: `umtn play` starts as fast as `python -m realtime.run`.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable, Sequence

from umtn.cli.commands import COMMANDS, Command, listed, spoken_as
from umtn.errors import advice
from umtn.missing import is_ours, sentence

__all__ = ["main"]

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


def _recorded(rest: list[str]) -> list[str]:
    """A first word that is no option is the take's name; without one it is the date, in the current folder."""
    if rest and not rest[0].startswith("-"):
        return ["--record", *rest]
    return rest if any(word.split("=")[0] == "--record" for word in rest) else [*rest, "--record"]


def _foreign() -> str | None:
    """One sentence where another project's package has taken the place of one of ours; asked before the first of them
    is imported."""
    from umtn.foreign import foreign_package_sentence

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
