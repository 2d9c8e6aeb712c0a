"""What the README tells people to type is understood, and its parameter table is the program's."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from realtime import options
from realtime.shared.parameters import markdown_table
from umtn.__main__ import build_parser

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"^    (?:torchrun .* -m|python -m) (.+?)(?:\s{2,}#.*)?$", README, re.MULTILINE)


def test_there_are_commands() -> None:
    assert len(COMMANDS) > 10
    assert README.splitlines()[4].strip() == "make play"


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_parse(command: str) -> None:
    module, *arguments = shlex.split(command)
    if module == "realtime.run":
        options.parse(arguments)
    elif module == "umtn":
        build_parser().parse_args(arguments)
    else:
        assert module in (
            "export",
            "benchmarks",
            "realtime.doctor",
            "realtime.latency",
            "umtn.native",
            "realtime.patches",
        ), f"the README names an unknown program: {module}"


def test_parameter_table_is_the_programs() -> None:
    assert markdown_table() in README


def test_figures_exist() -> None:
    for path in re.findall(r"\]\((docs/[^)]+)\)", README):
        assert (Path(__file__).parents[1] / path).is_file(), path
