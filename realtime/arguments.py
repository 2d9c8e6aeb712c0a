"""What the command lines of this package share: one sentence for bad input, readers of numbers, options of sound."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable
from typing import NoReturn

from realtime.audio.config import MAX_SLACK
from realtime.errors import UserError

__all__ = [
    "DEFAULT_BUNDLE",
    "MAX_BLOCK",
    "MAX_RATE_HZ",
    "MAX_SLACK",
    "MIN_BLOCK",
    "MIN_RATE_HZ",
    "SentenceParser",
    "add_sound",
    "exit_code",
    "finite",
    "whole",
]

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
