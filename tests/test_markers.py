"""The suite's own rules: markers and the programs behind them, what a test costs, graphs remembered once made."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.conftest import PROGRAMS, missing, spent

ROOT = Path(__file__).parents[1]
MAKEFILE = (ROOT / "Makefile").read_text()


def test_every_marker_is_registered_and_left_out_of_the_quick_run() -> None:
    lines = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["pytest"]["ini_options"]["markers"]
    registered = {line.split(":")[0] for line in lines}
    assert registered == {*PROGRAMS, "slow"}
    found = re.search(r'-m "not \((.*?)\)"', MAKEFILE)
    assert found is not None and set(found[1].split(" or ")) == registered


@pytest.mark.parametrize("marker", PROGRAMS)
def test_a_missing_program_is_told_with_packages_that_make_test_installs(
    marker: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    reason = missing(marker)
    packages = reason.split("(Debian: ")[1].rstrip(")")
    for package in re.split(r", | and ", packages):
        assert re.search(rf"(?<![\w-]){re.escape(package)}(?![\w-])", MAKEFILE), package


@pytest.mark.parametrize(("ci", "said"), [("", "1 skipped"), ("true", "1 error")])
def test_without_its_program_a_test_is_skipped_and_an_error_where_all_is_installed(
    ci: str, said: str, tmp_path: Path
) -> None:
    (tmp_path / "test_one.py").write_text(
        "import pytest\n@pytest.mark.liblo\ndef test_one() -> None:\n    assert False\n"
    )
    command = [sys.executable, "-m", "pytest", "-p", "tests.conftest", "-c", str(ROOT / "pyproject.toml")]
    command += [f"--rootdir={tmp_path}", "-p", "no:cacheprovider", str(tmp_path / "test_one.py")]
    environment = {**os.environ, "PATH": str(tmp_path), "CI": ci, "PYTHONPATH": str(ROOT)}
    run = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False, timeout=120
    )
    assert said in run.stdout, run.stdout + run.stderr


def test_the_cost_counts_this_process_and_its_children() -> None:
    before = spent()
    subprocess.run([sys.executable, "-c", "sum(range(10**6))"], check=True)
    assert spent() > before


@pytest.mark.slow
def test_a_module_is_traced_again_only_if_a_weight_is_another(traces_once: None) -> None:
    import torch

    from export import onnx as graphs

    torch.manual_seed(0)
    module, x = torch.nn.Linear(2, 3), {"x": torch.zeros(1, 2)}
    first, again = (graphs.trace(module, x, ["y"]).SerializeToString() for _ in range(2))
    assert first == again
    with torch.no_grad():
        module.bias += 1
    assert graphs.trace(module, x, ["y"]).SerializeToString() != first
