"""What the README and docs tell people to type is understood, their tables are the program's, their files exist."""

from __future__ import annotations

import argparse
import re
import shlex
from pathlib import Path

import pytest

from export.__main__ import _export_options, _verify_options
from realtime import options
from realtime.shared.parameters import markdown_table
from umtn.__main__ import build_parser
from umtn.cli.main import COMMANDS as PROGRAMS

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
DOCS = {p.name: p.read_text(encoding="utf-8") for p in sorted(ROOT.glob("docs/*.md"))}
PAGES = {"README.md": README, "CONTRIBUTING.md": (ROOT / "CONTRIBUTING.md").read_text("utf-8"), **DOCS}
TYPED = re.compile(
    r"^ {4,6}(?:torchrun .* -m|python -m|(?:\.venv/bin/)?(umtn)(?= )) ?(.+?)(?:\s{2,}#.*)?$", re.MULTILINE
)
COMMANDS = sorted(
    {f"{found[1] or '-m'} {found[2]}" for text in PAGES.values() for found in TYPED.finditer(text)}
)
OTHERS = (
    "benchmarks",
    "benchmarks.gpu",
    "benchmarks.osc",
    "benchmarks.teacher_forcing",
    "realtime.doctor",
    "realtime.latency",
    "realtime.patches",
    "umtn.native",
    "pytest",
)


def test_there_are_commands() -> None:
    assert len(TYPED.findall(README)) > 10
    assert len(COMMANDS) > 25
    assert README.splitlines()[4].strip() == "make play"
    assert "umtn play --in mic --to strings" in README
    assert "python -m realtime.run --in mic --to strings" in README


def _parse(module: str, arguments: list[str]) -> None:
    """SystemExit or UserError for what the program would refuse."""
    parser: argparse.ArgumentParser | None = None
    if module == "realtime.run":
        options.parse(arguments)
    elif module == "umtn":
        parser = build_parser()
    elif module == "export":
        verify = arguments[:1] == ["verify"]
        parser, arguments = (_verify_options(), arguments[1:]) if verify else (_export_options(), arguments)
    else:
        assert module in OTHERS, f"a page names an unknown program: {module}"
    if parser is not None:
        parser.parse_args(arguments)


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_parse(command: str) -> None:
    module, *arguments = shlex.split(command)[1:]
    if command.startswith("umtn "):
        if module == "--help":
            return
        program = PROGRAMS[module]
        module = program.module.removesuffix(".__main__")
        arguments = [*program.before, *arguments]
        if program.name == "record":
            arguments = ["--record", *arguments]
    _parse(module, arguments)


def test_parameter_table_is_the_programs() -> None:
    assert markdown_table() in DOCS["control.md"]


@pytest.mark.parametrize("page", PAGES)
def test_links_and_figures_exist(page: str) -> None:
    """Files, and headings where a link names one."""
    home = ROOT / page if (ROOT / page).exists() else ROOT / "docs" / page
    for target in re.findall(r"\]\(([^)\s]+)\)", PAGES[page]):
        if target.startswith(("http:", "https:")):
            continue
        path, _, heading = target.partition("#")
        file = (home.parent / path).resolve() if path else home
        assert file.exists(), f"{page} links to {target}"
        if heading:
            found = re.findall(r"^#+ (.+)$", file.read_text(encoding="utf-8"), re.MULTILINE)
            assert heading in {re.sub(r"[^a-z0-9 -]", "", f.lower()).replace(" ", "-") for f in found}, target


TOPS = ("umtn", "export", "realtime", "benchmarks", "tests", "docs", "scripts", "models")
PATH = re.compile(rf"`((?:{'|'.join(TOPS)})/[\w./*{{}},-]*)(?:::\w+)?`")


def _spelled_out(path: str) -> list[str]:
    """`a/{b,c}.py` -> `a/b.py`, `a/c.py`."""
    braces = re.search(r"\{([^}]*)\}", path)
    if braces is None:
        return [path]
    return [path[: braces.start()] + each + path[braces.end() :] for each in braces[1].split(",")]


@pytest.mark.parametrize("page", PAGES)
def test_paths_exist(page: str) -> None:
    """Whatever stands in backquotes and begins with a folder of ours."""
    gone = [
        path
        for named in PATH.findall(PAGES[page])
        for path in _spelled_out(named)
        if not any(ROOT.glob(path.rstrip("/")))
    ]
    assert gone == []


def test_the_walks_name_files() -> None:
    """docs/architecture.md is checked above only if its paths are written as paths."""
    assert len(PATH.findall(DOCS["architecture.md"])) > 60
