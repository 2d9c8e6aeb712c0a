"""The command `umtn`: what it offers, whom it calls with what, what it imports."""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from umtn.cli import main as program
from umtn.cli.main import COMMANDS, main

ROOT = Path(__file__).resolve().parents[3]


class _Called:
    """Stands for the module of a command."""

    def __init__(self) -> None:
        self.given: list[str] = []

    def main(self, arguments: Sequence[str]) -> int:
        self.given = list(arguments)
        return 0


def _calls(monkeypatch: pytest.MonkeyPatch, *words: str) -> tuple[str, list[str]]:
    called, names = _Called(), []

    def find(name: str) -> _Called:
        names.append(name)
        return called

    monkeypatch.setattr(program.importlib, "import_module", find)
    assert main(words) == 0
    return names[0], called.given


@pytest.mark.parametrize(
    ("words", "module", "given"),
    [
        ("play --in mic --to strings", "realtime.run", "--in mic --to strings"),
        ("record", "realtime.run", "--record"),
        ("record take.wav --to piano", "realtime.run", "--record take.wav --to piano"),
        ("record --to piano", "realtime.run", "--to piano --record"),
        ("record --to piano --record=b.wav", "realtime.run", "--to piano --record=b.wav"),
        ("doctor --json", "realtime.doctor.__main__", "--json"),
        ("patches -o DIR", "realtime.patches.__main__", "-o DIR"),
        ("train --data d", "umtn.__main__", "train --data d"),
        ("export c -o x.umtn", "export.__main__", "c -o x.umtn"),
        ("verify x.umtn", "export.__main__", "verify x.umtn"),
    ],
)
def test_a_command_calls_its_program(
    words: str, module: str, given: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("realtime.shared.interrupts.hold_interrupts", lambda: None)
    assert _calls(monkeypatch, *words.split()) == (module, given.split())


def test_it_offers_all_that_the_module_umtn_does() -> None:
    pytest.importorskip("torch")
    from umtn.__main__ import build_parser

    (commands,) = (a for a in build_parser()._actions if isinstance(a, argparse._SubParsersAction))
    assert set(commands.choices) == {c.name for c in COMMANDS.values() if c.module == "umtn.__main__"}


def test_help_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    said = capsys.readouterr().out
    assert all(f"  {name} " in said for name in COMMANDS)
    assert main([]) == 2


@pytest.mark.parametrize("name", ["play", "record", "doctor", "latency", "patches", "native", "verify"])
def test_each_has_help_that_names_it_as_it_was_typed(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([name, "--help"])
    assert ended.value.code == 0
    said = capsys.readouterr().out
    assert said.startswith(f"usage: umtn {name}") and "python -m realtime.run" not in said


def test_complaints_name_it_too(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["verify"])
    assert "umtn verify: error: the following arguments are required" in capsys.readouterr().err


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("umtn-live ")


@pytest.mark.parametrize(
    ("word", "said"), [("plya", "did you mean 'play'?"), ("--fast", "no option '--fast'")]
)
def test_a_slip_gets_a_sentence(word: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([word]) == 2
    assert said in capsys.readouterr().err


def test_what_is_not_in_a_wheel_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    find = program.importlib.util.find_spec
    monkeypatch.setattr(
        program.importlib.util, "find_spec", lambda name: None if name == "benchmarks" else find(name)
    )
    assert main(["bench"]) == 2
    assert "runs from the sources" in capsys.readouterr().err


def test_learning_without_torch_names_the_extra(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def lacks(name: str) -> _Called:
        raise ModuleNotFoundError("No module named 'tqdm'", name="tqdm")

    monkeypatch.setattr(program.importlib, "import_module", lacks)
    assert main(["train"]) == 2
    assert 'pip install "umtn-live[train]"' in capsys.readouterr().err


def test_it_imports_nothing_before_it_knows_what_is_wanted() -> None:
    code = """
import sys
from umtn.cli.main import main
main(["--version"])
print([m for m in ("torch", "numpy", "realtime", "export", "umtn.__main__") if m in sys.modules])
"""
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.splitlines()[-1] == "[]"


def test_bench_runs_beside_its_sources_wherever_it_is_called(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.append({str(ROOT)!r}); from umtn.cli.main import main; "
         "sys.path.remove(sys.path[-1]); sys.exit(main(['bench', '--help']))"],
        cwd=tmp_path, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0 and done.stdout.startswith("usage: umtn bench"), done.stderr
