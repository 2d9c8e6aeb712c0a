"""What plays, and what is said, where ONNX Runtime, PyTorch, a GPU's packages or the kernels are not installed."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from export.bundle.bundle import Bundle
from realtime.doctor.report import judge_engines
from realtime.engines import load_engine, select
from realtime.engines.live import kernel
from realtime.shared.audio_config import find_bundle
from tests.realtime.engines.live_kernels import ISAS
from umtn.errors import UserError
from umtn.native.build import KERNELS

ROOT = Path(__file__).resolve().parents[3]
needs_kernel = pytest.mark.skipif(not ISAS, reason="no compiled kernel and no compiler")


@pytest.fixture
def bundle() -> Bundle:
    return Bundle.open(find_bundle("live"))


def _without(monkeypatch: pytest.MonkeyPatch, package: str, module: str = "") -> None:
    """As if the package were not installed, for a module that may have imported it before."""
    monkeypatch.setitem(sys.modules, package, None)
    if module:
        monkeypatch.delitem(sys.modules, module, raising=False)


@pytest.fixture
def no_onnx(monkeypatch: pytest.MonkeyPatch) -> None:
    _without(monkeypatch, "onnxruntime", "realtime.engines.onnx")


@needs_kernel
def test_the_native_kernel_needs_no_onnx_runtime(bundle: Bundle, no_onnx: None) -> None:
    assert load_engine(bundle).name == "live-cpu"


def test_without_both_one_sentence_names_both_cures(
    bundle: Bundle, no_onnx: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kernel, "ready", lambda: None)
    monkeypatch.setattr(kernel, "absence", lambda: "the native kernel is not here")
    with pytest.raises(UserError) as caught:
        load_engine(bundle)
    said = str(caught.value)
    assert said.startswith("the native kernel is not here, and ONNX Runtime is not installed; ")
    assert "python -m umtn.native" in said
    assert "g++" in said and 'pip install "umtn-live[onnx]"' in said


@pytest.mark.parametrize(
    ("engine", "package", "module", "extra"),
    [
        ("onnx", "onnxruntime", "realtime.engines.onnx", "onnx"),
        ("onnx-cuda", "onnxruntime", "realtime.engines.onnx", "gpu"),
        ("torchscript", "torch", "", "train"),
    ],
)
def test_an_engine_asked_for_by_name_says_what_it_needs(
    engine: str, package: str, module: str, extra: str, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    _without(monkeypatch, package, module)
    monkeypatch.setattr(select, "gpu_present", lambda: True)
    with pytest.raises(UserError, match=rf'the engine {engine} .*pip install "umtn-live\[{extra}\]"'):
        load_engine(bundle, engine)


@needs_kernel
def test_the_cuda_kernel_says_what_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    from realtime.engines.wavenet.cuda.device import import_cuda

    _without(monkeypatch, "cuda.core")
    _without(monkeypatch, "cuda")
    with pytest.raises(UserError, match=r'cuda-core.*pip install "umtn-live\[gpu\]"'):
        import_cuda()


def test_onnx_cuda_without_a_gpu(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(select, "gpu_present", lambda: False)
    with pytest.raises(UserError, match="needs an NVIDIA GPU with its driver, and none answers"):
        load_engine(bundle, "onnx-cuda")


def test_a_kernel_that_does_not_load_is_told_and_onnx_runtime_plays(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("onnxruntime")
    monkeypatch.setattr(kernel, "ready", lambda: None)
    monkeypatch.setattr(kernel, "absence", lambda: "the kernel live.so cannot be loaded (invalid ELF header)")
    engine = load_engine(bundle)
    assert engine.name == "onnx"
    assert engine.hint.startswith(
        "the kernel live.so cannot be loaded (invalid ELF header), and ONNX Runtime"
    )


def test_a_wavenet_bundles_kernels_are_compiled_before_the_sound_process_waits_for_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """That process is given up after a minute, which is what the compiler may take."""
    compiled: list[str] = []
    monkeypatch.setattr(type(KERNELS[0]), "ready", lambda self: None)
    monkeypatch.setattr(type(KERNELS[0]), "compile", lambda self: compiled.append(self.name))
    told: list[str] = []
    select.compile_first(Bundle.open(find_bundle("live")), "auto", told.append)
    assert compiled == []  # ONNX Runtime may play it, and says so
    select.compile_first(Bundle.open(find_bundle("wavenet-live")), "auto", told.append)
    assert sorted(compiled) == ["live", "wavenet"] and all("a minute, once" in line for line in told)


@pytest.mark.skipif(sys.platform == "win32", reason="another search path")
def test_the_program_ends_with_the_sentence_and_2(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    for name in ("realtime", "export", "umtn"):
        leave = shutil.ignore_patterns("*.umtn", "*.so", "__pycache__")
        shutil.copytree(ROOT / name, tree / name, ignore=leave)
    (tree / "onnxruntime.py").write_text("raise ModuleNotFoundError('none', name='onnxruntime')")
    done = subprocess.run(
        [sys.executable, "-m", "realtime.run", "--in", "demo", "--out", "x.wav", "--seconds", "1", "--fast"]
        + ["--bundle", str(find_bundle("live"))],
        cwd=tree,
        env=os.environ | {"XDG_CACHE_HOME": str(tmp_path), "PATH": str(tmp_path), "CXX": ""},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1 and "Traceback" not in done.stderr
    assert "python -m umtn.native" in done.stderr and 'pip install "umtn-live[onnx]"' in done.stderr


def test_the_doctor_says_which_engines_there_are() -> None:
    gone = {"live": "the live kernel is not here", "wavenet": "the WaveNet kernel is not here"}
    here = dict.fromkeys(gone, "")
    nothing = judge_engines(gone, "", False)
    assert nothing.level == "stop" and "umtn.native" in nothing.mend and "[onnx]" in nothing.mend
    slow = judge_engines(gone, "onnxruntime 1.20", False)
    assert slow.level == "warn" and "the live kernel is not here" in slow.text
    fine = judge_engines(here, "", False)
    assert fine.level == "ok" and "ONNX Runtime is not installed" in fine.text
    assert "[gpu]" in judge_engines(here, "onnxruntime 1.20", True).text
    assert "[gpu]" not in judge_engines(here, "onnxruntime-gpu 1.20", True).text


@needs_kernel
def test_all_that_loads_is_named_by_the_library() -> None:
    """A guard for `ready`: what it returns can be opened."""
    path = kernel.ready() or kernel.library()
    assert ctypes.CDLL(str(path)).live_abi() > 0
