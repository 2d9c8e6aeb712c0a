"""Every program explains itself where PyTorch is not installed, and says in a sentence what it misses or refuses."""

from __future__ import annotations

import subprocess
import sys

import pytest

# a finder that has none of the packages of the extra `train`
WITHOUT = """
import importlib.abc, runpy, sys
class Without(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        missing = ("torch", "lightning_fabric", "safetensors", "soxr", "mir_eval", "tqdm", "scipy", "onnx", "mido")
        if name.partition(".")[0] in missing:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Without())
sys.argv = sys.argv[1:]
runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
"""
COMMANDS = (
    "render", "prepare", "guide", "train", "take-ear", "translate", "evaluate", "compare", "train-judge", "rivals",
    "ablate", "add-domain",
)  # fmt: skip
PROGRAMS = (
    "umtn",
    *(f"umtn {command}" for command in COMMANDS),
    "export",
    "export verify",
    "umtn.native",
    "benchmarks",
    "benchmarks.gpu",
    *(f"realtime.{name}" for name in ("run", "play", "patches", "doctor", "latency")),
)


def _without_torch(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", WITHOUT, *words], capture_output=True, text=True, check=False, timeout=60
    )


@pytest.mark.parametrize("program", PROGRAMS)
def test_help_needs_no_torch(program: str) -> None:
    done = _without_torch(*program.split(), "--help")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("usage: python -m ") and not done.stderr
    assert "compiling" not in done.stdout


@pytest.mark.parametrize("program", PROGRAMS)
def test_an_unknown_option_is_refused_in_a_sentence(program: str) -> None:
    wanted = {
        "umtn": "", "umtn render": "x", "umtn prepare": "x y", "umtn guide": "--data x --bundle y",
        "umtn train": "--data x --out y", "umtn take-ear": "x --encoder y --out z", "umtn evaluate": "x --data y",
        "umtn translate": "x --to y -o z --checkpoint c", "umtn compare": "x y", "umtn train-judge": "--data x",
        "umtn rivals": "--encoder e --data x --held-out y --out z", "umtn ablate": "--data x --held-out y --out z",
        "umtn add-domain": "n x --to y", "export": "x -o y.umtn", "export verify": "y",
    }.get(program, "")  # fmt: skip
    done = _without_torch(*program.split(), *wanted.split(), "--no-such-option")
    assert done.returncode == 2
    assert "error: " in done.stderr and "Traceback" not in done.stderr
    assert program == "umtn" or "--no-such-option" in done.stderr


@pytest.mark.parametrize(
    "command",
    [
        "umtn train --data x --out y",
        "umtn translate x.wav --to piano -o y.wav --checkpoint c",
        "umtn evaluate live --data x",
        "export x -o y.umtn",
        "export verify live",
    ],
)
def test_what_needs_torch_says_how_to_get_it(command: str) -> None:
    done = _without_torch(*command.split())
    assert done.returncode == 2
    assert (
        done.stderr.startswith("error: ")
        and "is not installed" in done.stderr
        and 'pip install "umtn-live[train]"' in done.stderr
    )
    assert len(done.stderr.splitlines()) == 1
