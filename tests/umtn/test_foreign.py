"""PyPI's `realtime`, a database's client, in the same environment: its `__init__.py` replaces ours.

The program then said "No module named 'httpx'", for what the other package needs is not here.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from umtn.missing import MARK, foreign_package_sentence

ROOT = Path(__file__).parents[2]
ASK = "import sys; from umtn.missing import foreign_package_sentence as f; print(f()); print(sorted(sys.modules))"


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """An environment with the parts of our three packages that matter here."""
    site = tmp_path / "site-packages"
    for name in ("umtn/__init__.py", "umtn/errors.py", "umtn/missing.py", "export/__init__.py", "export/verify.py",
                 "realtime/__init__.py", "realtime/run.py"):  # fmt: skip
        (site / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, site / name)
    return site


def install_foreign(site: Path, package: str = "realtime", version: str = "2.34.1") -> None:
    """As pip does: the files over whatever is there, and the list of them."""
    (site / package).mkdir(parents=True, exist_ok=True)
    (site / package / "__init__.py").write_text("import httpx\n")
    about = site / f"{package}-{version}.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: {version}\n")
    (about / "RECORD").write_text(f"{package}/__init__.py,,\n{package}-{version}.dist-info/METADATA,,\n")


def ask(site: Path, *before: Path, cwd: Path | None = None) -> str:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (*before, site)))}
    done = subprocess.run(
        [sys.executable, "-S", "-c", ASK], cwd=cwd or site.parent, env=environment,
        capture_output=True, text=True, timeout=30, check=True,
    )  # fmt: skip
    sentence, modules = done.stdout.splitlines()
    for heavy in ("'realtime'", "'export'", "'numpy'", "'torch'"):
        assert heavy not in modules
    return sentence


def test_ours_are_ours(site: Path) -> None:
    assert ask(site) == ""
    assert foreign_package_sentence() == ""


@pytest.mark.parametrize("package", ["export", "realtime"])
def test_each_package_that_is_looked_for_carries_the_mark(package: str) -> None:
    assert MARK in (ROOT / package / "__init__.py").read_text()


@pytest.mark.parametrize("package", ["realtime", "export"])
def test_another_projects_package_over_ours_is_named_with_the_cure(site: Path, package: str) -> None:
    install_foreign(site, package)
    sentence = ask(site)
    assert f"the package '{package}' in {site} is that of {package} 2.34.1, another project" in sentence
    assert "virtual environment of its own" in sentence


def test_another_projects_package_that_is_found_first(site: Path, tmp_path: Path) -> None:
    install_foreign(tmp_path / "other")
    sentence = ask(site, tmp_path / "other")
    assert f"in {tmp_path / 'other'} is that of realtime 2.34.1" in sentence


def test_a_users_own_file_of_that_name(site: Path, tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "realtime.py").write_text("x = 1\n")
    sentence = ask(site, cwd=tmp_path / "here")
    assert "realtime.py hides the package 'realtime' of umtn-live; give it another name" in sentence


def lose_init(site: Path) -> None:
    """`pip uninstall realtime` after both were there: ours lacks its `__init__.py` and works."""
    (site / "realtime" / "__init__.py").unlink()


def lose_all(site: Path) -> None:
    shutil.rmtree(site / "realtime")


@pytest.mark.parametrize(
    ("lose", "said"),
    [(lose_init, ""), (lose_all, "'realtime' of umtn-live is missing")],
)
def test_what_an_uninstallation_leaves(site: Path, lose: Callable[[Path], None], said: str) -> None:
    lose(site)
    sentence = ask(site)
    assert said in sentence and bool(said) == bool(sentence)
