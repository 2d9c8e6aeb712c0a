"""What is not installed: the extra that brings it, or the environment of `make play` where another Python was typed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from umtn import missing

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A source tree that `make play` has set up, and which is the current folder."""
    (tmp_path / "pyproject.toml").touch()
    for name in ("python", "pip"):
        file = tmp_path / ".venv" / "bin" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    monkeypatch.setattr(missing, "ROOT", tmp_path)
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("module", "said"),
    [
        ("onnxruntime", 'ONNX Runtime is not installed; pip install "umtn-live[onnx]"'),
        ("torch.nn", 'PyTorch is not installed; pip install "umtn-live[train]"'),
        ("rtmidi", 'python-rtmidi is not installed; pip install "umtn-live[midi]"'),
        ("numpy", "numpy is not installed; pip install umtn-live"),
    ],
)
def test_a_sentence_with_the_command(
    module: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(missing, "ROOT", tmp_path)  # nothing beside it
    assert missing.sentence(module) == said


def test_the_environment_beside_the_sources_is_named(sources: Path) -> None:
    """After `make play` the README's own command said: pip install sounddevice."""
    said = missing.sentence("sounddevice")
    assert said.startswith(f"sounddevice is not installed for this Python ({sys.executable})")
    assert ".venv/bin/python" in said and "pip install" not in said
    assert missing.sentence("torch").endswith('.venv/bin/pip install "umtn-live[train]"')


def test_in_that_environment_commands_are_typed_from_it(
    sources: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert missing.command("play --in mic") == "umtn play --in mic"
    monkeypatch.setattr(sys, "prefix", str(sources / ".venv"))
    assert missing.neighbour() is None
    assert missing.command("play --in mic") == ".venv/bin/umtn play --in mic"
    assert missing.pip_install("onnx") == '.venv/bin/pip install "umtn-live[onnx]"'
    monkeypatch.chdir(sources / ".venv" / "bin")
    assert missing.command("play") == f"{sources}/.venv/bin/umtn play"


@pytest.mark.parametrize(
    "module",
    ["realtime.run", "realtime.latency", "realtime.doctor", "realtime.patches", "export", "umtn.cli.main"],
)
def test_no_program_ends_in_a_traceback_without_its_packages(module: str) -> None:
    arguments = {"realtime.run": ["--in", "demo"], "export": ["x", "-o", "y.umtn"], "umtn.cli.main": ["play"]}
    code = f"""
import importlib.machinery as machinery, runpy, sys
gone, find = ("numpy", "sounddevice", "torch"), machinery.PathFinder.find_spec
machinery.PathFinder.find_spec = staticmethod(lambda name, *rest: None if name in gone else find(name, *rest))
sys.argv[1:] = {arguments.get(module, [])!r}
runpy.run_module({module!r}, run_name="__main__", alter_sys=True)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=100, check=False
    )
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1
    assert "numpy is not installed" in done.stderr
