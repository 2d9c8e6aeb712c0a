"""What an installation leaves: both kernels where the engines look for them, and how one gets them afterwards."""

from __future__ import annotations

import _ctypes
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

pytest.importorskip("setuptools")

from export.bundle.bundle import Bundle
from realtime.engines import load_engine, select
from realtime.engines.live import kernel as live_build
from realtime.shared.audio_config import find_bundle
from umtn.native import __main__ as native
from umtn.native import build
from umtn.native.build import KERNELS

ROOT = Path(__file__).resolve().parents[3]
COMPILER = """#!/bin/sh
[ "$1" = --version ] && { echo quick; exit 0; }
echo compiled >> "$(dirname "$0")/calls"
while [ $# -gt 1 ]; do [ "$1" = -o ] && cp "$LIBRARY" "$2"; shift; done
"""

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="a shell script as compiler")


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The repository without what weighs, a compiler that takes no time, and a cache of its own."""
    tree = tmp_path / "tree"
    leave = shutil.ignore_patterns("*.umtn", "*.so", "__pycache__", "*.safetensors")
    for name in ("realtime", "export", "umtn"):
        shutil.copytree(ROOT / name, tree / name, ignore=leave)
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tree / name)
    compiler = tmp_path / "bin" / "quickc"
    compiler.parent.mkdir()
    compiler.write_text(COMPILER)
    compiler.chmod(0o755)
    monkeypatch.setenv("CXX", str(compiler))
    monkeypatch.setenv("LIBRARY", _ctypes.__file__)  # something that this system loads
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tree


def _build(tree: Path, what: str, out: Path) -> Path:
    code = f"from setuptools import build_meta; print('made', build_meta.build_{what}({str(out)!r}))"
    run = subprocess.run([sys.executable, "-c", code], cwd=tree, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr[-2000:]
    return out / run.stdout.rsplit("made ", 1)[1].strip()


def _kernels(tree: Path) -> list[str]:
    return sorted(path.name for path in tree.rglob("*.so"))


def test_an_editable_installation_keeps_its_kernels(tree: Path, tmp_path: Path) -> None:
    for kernel in KERNELS:
        stale = tree / kernel.sources.parent.relative_to(ROOT) / kernel.file_name("0123456789abcdef")
        stale.write_bytes(b"of other sources")
    _build(tree, "editable", tmp_path)
    wanted = [kernel.file_name(kernel.source_hash()) for kernel in KERNELS]
    assert _kernels(tree) == sorted(wanted)
    code = "from umtn.native.build import KERNELS; print([k.packaged() is not None for k in KERNELS])"
    said = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tree,
        env=os.environ | {"PYTHONPATH": str(tree)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert said.stdout.strip() == "[True, True]"
    calls = (tmp_path / "bin" / "calls").read_text()
    _build(tree, "editable", tmp_path)  # `make test` after `make play`
    assert (tmp_path / "bin" / "calls").read_text() == calls and _kernels(tree) == sorted(wanted)


def test_a_wheel_carries_them(tree: Path, tmp_path: Path) -> None:
    (tree / "benchmarks").mkdir()
    (tree / "benchmarks" / "__init__.py").touch()
    built = _build(tree, "wheel", tmp_path)
    with zipfile.ZipFile(built) as wheel:
        names = wheel.namelist()
    found = sorted(Path(name).name for name in names if name.endswith(".so"))
    assert found == sorted(kernel.file_name(kernel.source_hash()) for kernel in KERNELS)
    assert "-py3-none-" in built.name and not built.name.endswith(
        "-any.whl"
    )  # of a platform, but of no Python
    assert {name.split("/")[0] for name in names if "dist-info" not in name} == {"umtn", "export", "realtime"}
    assert {f"{package}/py.typed" for package in ("umtn", "export", "realtime")} <= set(names)


def test_a_wheel_without_its_kernels_is_not_built(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UMTN_KERNELS", "required")
    monkeypatch.setenv("CXX", "")
    monkeypatch.setenv("PATH", str(tmp_path))
    code = f"from setuptools import build_meta; build_meta.build_wheel({str(tmp_path)!r})"
    run = subprocess.run([sys.executable, "-c", code], cwd=tree, capture_output=True, text=True, check=False)
    assert run.returncode != 0 and "needs a C++ compiler" in run.stderr


def test_an_installation_may_leave_the_kernels_for_later(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UMTN_KERNELS", "later")
    _build(tree, "editable", tmp_path)
    assert _kernels(tree) == []


def test_a_kernel_of_another_system_is_compiled_anew(tree: Path, tmp_path: Path) -> None:
    for kernel in KERNELS:
        foreign = tree / kernel.sources.parent.relative_to(ROOT) / kernel.file_name(kernel.source_hash())
        foreign.write_bytes(b"\xcf\xfa\xed\xfe")
    _build(tree, "editable", tmp_path)
    assert all(
        path.read_bytes()[:4] == Path(_ctypes.__file__).read_bytes()[:4] for path in tree.rglob("*.so")
    )


def test_an_installation_without_a_compiler_does_without(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CXX", "")
    monkeypatch.setenv("PATH", str(tmp_path))
    _build(tree, "editable", tmp_path)
    assert _kernels(tree) == []


def test_afterwards_a_command_compiles_what_is_missing(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for kernel in KERNELS:
        monkeypatch.setattr(type(kernel), "packaged", lambda self: None)
    assert native.main() == 0
    said = capsys.readouterr().out
    assert said.count("a minute, once") == 2 and said.count(str(tmp_path / "cache")) == 2
    assert native.main() == 0
    assert "a minute" not in capsys.readouterr().out
    monkeypatch.setattr(build, "_cache", lambda: tmp_path / "empty")
    monkeypatch.setenv("CXX", "")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert native.main() == 1
    assert "needs a C++ compiler" in capsys.readouterr().err


@pytest.mark.slow
def test_whoever_plays_without_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = Bundle.open(find_bundle("live"))
    monkeypatch.setattr(live_build, "ready", lambda: None)
    engine = load_engine(bundle)
    assert (
        engine.name == "onnx" and engine.hint == select.UNCOMPILED and "python -m umtn.native" in engine.hint
    )
    assert load_engine(bundle, "onnx").hint == ""  # asked for by name
