"""The command line of `python -m realtime.run`: parsed and judged before anything is opened."""

from __future__ import annotations

import argparse
import difflib
import math
import sys
from collections.abc import Callable, Sequence
from typing import NoReturn

from realtime.shared.audio_config import MAX_SLACK
from realtime.shared.parameters import PARAMETERS, Parameter
from umtn.errors import UserError

__all__ = [
    "DEFAULT_BUNDLE",
    "DEFAULT_PORT",
    "MAX_BLOCK",
    "MAX_RATE_HZ",
    "MAX_SLACK",
    "MIN_BLOCK",
    "MIN_RATE_HZ",
    "SentenceParser",
    "add_sound",
    "build_parser",
    "exit_code",
    "finite",
    "parse",
    "pick_domain",
    "whole",
]


# What the command lines of this package share: one sentence for bad input, readers of numbers, options of sound.


DEFAULT_BUNDLE = "live"
MIN_BLOCK, MAX_BLOCK = 32, 4096
MIN_RATE_HZ, MAX_RATE_HZ = 8000, 192000


class SentenceParser(argparse.ArgumentParser):
    """Complains in one sentence, like everything else here."""

    def error(self, message: str) -> NoReturn:
        raise UserError(message.removeprefix("argument "))


def exit_code(program: Callable[[], int]) -> int:
    """What the program returns; 2 and a sentence for bad input, 0 for Ctrl-C."""
    try:
        return program()
    except ValueError as error:  # UserError and BundleError: a sentence each
        print(f"error: {error}", file=sys.stderr)
        return 2
    except ModuleNotFoundError as error:
        from umtn.missing import is_ours, sentence

        if is_ours(error):
            raise
        print(f"error: {sentence(error.name or '')}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 0


def add_sound(parser: argparse.ArgumentParser) -> None:
    """Which devices, in which blocks, with which model: for programs that look at a show before it runs."""
    add = parser.add_argument
    add("--in", dest="input", default="mic", metavar="IN", help="a device's name or number (default: mic)")
    add("--out", dest="output", default="default", metavar="OUT", help="a device's name or number")
    add("--block", type=whole(MIN_BLOCK, MAX_BLOCK), default=128, metavar="N",
        help="samples in a block, as the show will run (default: 128)")  # fmt: skip
    add("--slack", type=whole(0, MAX_SLACK), default=1, metavar="N", help="as the show will run (default: 1)")
    add("--rate", type=whole(MIN_RATE_HZ, MAX_RATE_HZ), metavar="HZ",
        help="sample rate (default: the device's own)")  # fmt: skip
    add(
        "--bundle",
        default=DEFAULT_BUNDLE,
        help=f"a .umtn file or a shipped one's name (default: {DEFAULT_BUNDLE})",
    )


def whole(low: int, high: int) -> Callable[[str], int]:
    """A reader for argparse; it puts the option's name before the sentence."""

    def read(text: str) -> int:
        number = finite(text)
        if number != int(number) or not low <= number <= high:
            raise argparse.ArgumentTypeError(f"takes a whole number from {low} to {high}, but {text} came")
        return int(number)

    return read


def finite(text: str) -> float:
    """A finite number, for argparse."""
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise argparse.ArgumentTypeError(f"takes a number, but {text!r} came")
    return number


DEFAULT_PORT = 9100

EXAMPLES = """examples:
  python -m realtime.run --in mic --to strings            play
  python -m realtime.run --in demo --to piano             no microphone: a built-in clip
  python -m realtime.run --in take.wav --out piano.wav --to piano --fast
  python -m realtime.run --list                           devices
  python -m realtime.run --in 3 --out "Scarlett" --block 64 --mix 0.8

while it plays: OSC on port 9100, for example  oscsend localhost 9100 /umtn/to s winds
"""


def build_parser() -> argparse.ArgumentParser:
    """Options of the run itself, and one for each parameter of the table that has one."""
    parser = SentenceParser(
        prog="python -m realtime.run",
        description="Play or sing into a microphone and hear strings, piano, winds... in real time.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    _add_sound(parser.add_argument_group("sound"))
    parameters = parser.add_argument_group("parameters (all can be moved over OSC while it plays)")
    for parameter in PARAMETERS:
        if parameter.cli:
            _add_parameter(parameters, parameter)
    _add_control(parser.add_argument_group("control"))
    return parser


def _add_sound(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add(
        "--in",
        dest="input",
        default="mic",
        metavar="IN",
        help="mic, a device's name or number, a sound file, demo",
    )
    add(
        "--out",
        dest="output",
        metavar="OUT",
        help="a device's name or number, a .wav or .flac file, none",
    )
    add("--list", action="store_true", help="list the devices and end")
    add(
        "--bundle",
        help=f"a .umtn file or a shipped one's name (default: {DEFAULT_BUNDLE})",
    )
    add("--engine", default="auto", help="what computes the model: auto, onnx... (default: auto)")
    add(
        "--precision",
        default="auto",
        metavar="P",
        help="of the native WaveNet engine: auto, int8, bf16, fp32 (default: auto, by what is fast and true here)",
    )
    add(
        "--cores",
        type=whole(1, 2),
        default=1,
        metavar="N",
        help="cores for the native WaveNet engine (default: 1; 2 only where a second one is idle)",
    )
    add("--block", type=whole(MIN_BLOCK, MAX_BLOCK), default=128, metavar="N",
        help=f"samples in a block, {MIN_BLOCK} to {MAX_BLOCK}, any number (default: 128)")  # fmt: skip
    add(
        "--slack",
        type=whole(0, MAX_SLACK),
        default=1,
        metavar="N",
        help=f"blocks in hand, 0 to {MAX_SLACK}: each forgives a stall of its length and adds it to the latency "
        "(default: 1)",
    )
    add("--rate", type=whole(MIN_RATE_HZ, MAX_RATE_HZ), metavar="HZ",
        help="sample rate (default: the device's or the file's own)")  # fmt: skip
    add(
        "--channel",
        type=whole(1, 1024),
        metavar="N",
        help="input channel, from 1 (default: a device's first; a sound file's channels together, and of more "
        "than two only those that are not silent: their mean)",
    )
    add("--seconds", type=_seconds, metavar="S", help="stop after so long")
    add(
        "--fast",
        action="store_true",
        help="file to file: as quickly as the machine can, without OSC and page unless their options are given",
    )
    add(
        "--record",
        nargs="?",
        const="",
        metavar="FILE",
        help="record input and output from the start (.wav or .flac; default: a name with the date)",
    )
    add(
        "--replay",
        metavar="FILE",
        help="render a recorded performance again (--out: the file to write; --bundle: another one)",
    )


def _add_control(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add("--osc-port", type=whole(0, 65535), metavar="PORT",
        help=f"UDP port for OSC (default: {DEFAULT_PORT}; 0: any free one)")  # fmt: skip
    add("--osc-host", metavar="HOST",
        help="address to listen on (default: 127.0.0.1; 0.0.0.0 lets the whole network steer)")  # fmt: skip
    add("--no-osc", action="store_true", help="no OSC")
    add(
        "--web-port",
        type=whole(0, 65535),
        metavar="PORT",
        help="TCP port for the page and OSCQuery (default: OSC's number; 0: any free one)",
    )
    add(
        "--web-host",
        metavar="HOST",
        help="address of the page (default: 127.0.0.1; 0.0.0.0 lets phones in that know the token shown)",
    )
    add("--web-token", metavar="TEXT", help="the page's token (default: a new one for each session)")
    add("--no-web", action="store_true", help="no page and no OSCQuery")
    add("--midi", metavar="PORT", help="MIDI input, by a part of its name")
    add("--midi-map", metavar="FILE", help="where learnt controllers are kept")
    add("--presets", metavar="DIR", help="folder of presets and set list (default: the user's own)")
    add("--no-keys", action="store_true", help="leave the keyboard alone")
    add("--stop", metavar="NAME", help="stop an audio process whose control process was killed")


def _add_parameter(group: argparse._ArgumentGroup, parameter: Parameter) -> None:
    if parameter.kind == "choice":
        group.add_argument(
            str(parameter.cli),
            dest=parameter.name,
            metavar="ID",
            help=f"{parameter.description}; its id, or its index from 0",
        )
        return
    limits = f"{parameter.low:g} to {parameter.high:g} {parameter.unit}".rstrip()
    group.add_argument(
        str(parameter.cli),
        dest=parameter.name,
        type=_within(parameter),
        metavar="X",
        help=f"{parameter.description}; {limits} (default: {parameter.default:g})",
    )


def _within(parameter: Parameter) -> Callable[[str], float]:
    """A reader for argparse; it puts the option's name before the sentence."""

    def read(text: str) -> float:
        number = finite(text)
        if not parameter.low <= number <= parameter.high:
            unit = f" {parameter.unit}" if parameter.unit else ""
            limits = f"{parameter.low:g} to {parameter.high:g}{unit}"
            raise argparse.ArgumentTypeError(f"takes {limits}, but {text} came")
        return number

    return read


def _seconds(text: str) -> float:
    number = finite(text)
    if number <= 0:
        raise argparse.ArgumentTypeError(f"takes a number above 0, but {text} came")
    return number


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Parsed options; UserError with one sentence for whatever is wrong (--help exits by itself)."""
    parser = build_parser()
    options, unknown = parser.parse_known_args(arguments)
    if unknown:
        known = [flag for action in parser._actions for flag in action.option_strings]
        near = difflib.get_close_matches(unknown[0].split("=")[0], known, 1, 0.5)
        hint = f"; did you mean {near[0]}?" if near else "; see --help"
        raise UserError(f"there is no option {unknown[0]!r}{hint}")
    return options


def pick_domain(wanted: str | None, domains: tuple[str, ...]) -> int:
    """Index of the wanted domain, by id or index from 0 (None: the first); UserError lists the known ones."""
    if wanted is None:
        return 0
    if wanted in domains:
        return domains.index(wanted)
    if wanted.isascii() and wanted.isdecimal():
        if (index := int(wanted[:9])) < len(domains):
            return index
        listed = ", ".join(f"{i} {domain}" for i, domain in enumerate(domains))
        raise UserError(f"no domain has the index {wanted[:9]} in this bundle, which has {listed}")
    near = difflib.get_close_matches(wanted.lower(), domains, 1)
    hint = f"; did you mean {near[0]}?" if near else ""
    raise UserError(f"no domain {wanted!r} in this bundle, which has {', '.join(domains)}{hint}")
