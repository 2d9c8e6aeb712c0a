"""Compiling a kernel: where it goes, what happens twice at once, and without a compiler."""

from __future__ import annotations

import _ctypes
import ctypes
import dataclasses
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from umtn.native import build
from umtn.native.build import KERNELS, LIVE, WAVENET, CompilerError, Handle, Kernel

needs_compiler = pytest.mark.skipif(
    not any(shutil.which(name) for name in build.COMPILERS), reason="no C++ compiler"
)


def _copied(kernel: Kernel, folder: Path) -> Kernel:
    """The same sources in another place."""
    shutil.copytree(kernel.sources, folder / "native")
    return dataclasses.replace(kernel, sources=folder / "native")


def test_without_a_compiler_one_sentence_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(CompilerError, match=r"needs a C\+\+ compiler.*numba"):
        WAVENET.compile()
    assert _copied(LIVE, tmp_path).ready() is None


@pytest.mark.skipif(sys.platform == "win32", reason="a shell script as compiler")
def test_a_compiler_that_fails_is_quoted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    fake = tmp_path / "fakecc"
    fake.write_text("#!/bin/sh\necho 'wavenet.h:1: fatal error: out of luck' >&2\nexit 1\n")
    fake.chmod(0o755)
    monkeypatch.setenv("CXX", str(fake))
    with pytest.raises(CompilerError, match="cannot compile.*out of luck"):
        WAVENET.compile(tmp_path / "target")
    assert [p.name for p in (tmp_path / "target").iterdir()] == []  # nothing half-made is left


def test_the_package_may_carry_the_kernel_unless_it_is_of_other_sources(tmp_path: Path) -> None:
    kernel = _copied(WAVENET, tmp_path)
    assert kernel.packaged() is None
    (tmp_path / kernel.file_name("0123456789abcdef")).write_bytes(b"stale")
    assert kernel.packaged() is None
    carried = tmp_path / kernel.file_name(kernel.source_hash())
    shutil.copy(_ctypes.__file__, carried)  # something that this system loads
    assert kernel.packaged() == carried == kernel.ready() == kernel.library()


def _of_no_system(path: Path) -> None:
    path.write_bytes(b"\xcf\xfa\xed\xfe" + bytes(4000))


def _damaged(path: Path) -> None:
    whole = Path(_ctypes.__file__).read_bytes()
    path.write_bytes(whole[: len(whole) // 2])


@pytest.mark.parametrize("spoil", [_of_no_system, _damaged])
def test_a_kernel_that_does_not_load_is_not_ready(
    spoil: Callable[[Path], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A source tree copied from another system brings its kernel along; one cut short killed the process by SIGBUS."""
    monkeypatch.setattr(build, "_cache", lambda: tmp_path / "empty")
    kernel = _copied(LIVE, tmp_path)
    carried = tmp_path / kernel.file_name(kernel.source_hash())
    spoil(carried)
    assert kernel.ready() is None
    assert kernel.absence().startswith(f"{kernel.title} {carried} cannot be loaded (")
    carried.unlink()
    assert kernel.absence() == f"{kernel.title} is not here"


@needs_compiler
def test_the_cache_stands_in_for_one_that_does_not_load(tmp_path: Path) -> None:
    kernel = _copied(LIVE, tmp_path)
    cached = LIVE.compile()
    _damaged(tmp_path / kernel.file_name(kernel.source_hash()))
    assert kernel.ready() == cached


@needs_compiler
def test_the_second_time_it_is_there_already(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Kernel, "packaged", lambda self: None)  # an installation's own would come first
    first = LIVE.compile()

    def refuse(*arguments: object) -> Path:
        raise AssertionError("compiled again")

    monkeypatch.setattr(Kernel, "_build", refuse)
    assert LIVE.compile() == first == LIVE.ready()


@needs_compiler
def test_a_kernel_that_must_be_compiled_first_is_not_ready(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(build, "_cache", lambda: tmp_path / "empty")
    assert _copied(LIVE, tmp_path).ready() is None


@pytest.mark.parametrize("kernel", KERNELS, ids=lambda kernel: kernel.name)
def test_other_sources_are_another_file(
    kernel: Kernel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy, shared = _copied(kernel, tmp_path), tmp_path / "simd"
    before = kernel.source_hash()
    assert copy.source_hash() == before
    with open(copy.sources / "api.cpp", "a") as file:
        file.write("// changed\n")
    assert copy.source_hash() != before
    shutil.copytree(build.SIMD, shared)
    monkeypatch.setattr(build, "SIMD", shared)
    assert kernel.source_hash() == before
    with open(shared / "simd.h", "a") as file:
        file.write("// changed\n")
    assert kernel.source_hash() != before


@pytest.mark.slow
@needs_compiler
def test_an_instruction_set_that_the_compiler_does_not_know_is_left_out(tmp_path: Path) -> None:
    """Only `plain` is compiled here, which takes seconds; the others fail on a flag that no compiler has."""
    bad = dict.fromkeys(WAVENET.instruction_sets(), (("-mno-such-instructions",), ("/arch:NONE",)))
    path = dataclasses.replace(WAVENET, x86=bad, arm=bad).compile(tmp_path)
    code = (
        "import ctypes, sys; w = ctypes.CDLL(sys.argv[1]); "
        "print([w.wn_supports(i, p) for i in range(5) for p in (0, 1, 2)])"
    )
    said = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == str([1, 0, 1] + [0] * 12)


@needs_compiler
def test_two_processes_at_once(tmp_path: Path) -> None:
    """Both get a whole library; the compiler is a stand-in that takes its time."""
    if sys.platform == "win32":
        pytest.skip("a shell script as compiler")
    fake = tmp_path / "slowcc"
    fake.write_text(
        '#!/bin/sh\n[ "$1" = --version ] && { echo slow; exit 0; }\nsleep 0.05\n'
        'while [ $# -gt 1 ]; do [ "$1" = -o ] && head -c 100000 /dev/zero > "$2"; shift; done\n'
    )
    fake.chmod(0o755)
    environment = os.environ | {
        "CXX": str(fake),
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
        "HOME": str(tmp_path),
    }
    code = "from umtn.native.build import WAVENET; print(WAVENET.compile())"
    runs = [
        subprocess.Popen([sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    paths = {run.communicate(timeout=60)[0].strip() for run in runs}
    assert len(paths) == 1 and Path(paths.pop()).stat().st_size == 100000
    left = [p.name for p in (tmp_path).rglob(".build-*")]
    assert left == []


@pytest.mark.qemu
@pytest.mark.parametrize("kernel", KERNELS, ids=lambda kernel: kernel.name)
def test_neon_computes_what_plain_does(kernel: Kernel, tmp_path: Path) -> None:
    """On the emulated CPU; on an Arm machine the other tests run it for real."""
    units = {**dict.fromkeys((*kernel.units, "isa_plain"), ()), "isa_neon": kernel.arm["neon"][0]}
    compiler = ["aarch64-linux-gnu-g++", *build.GNU, "-O1", "-Wall", "-Werror"]
    compiler += [f"-I{kernel.sources}", f"-I{build.SIMD}"]
    for unit, flags in units.items():
        command = [*compiler, *flags, "-c", str(kernel.source(unit)), "-o", str(tmp_path / f"{unit}.o")]
        subprocess.run(command, check=True)
    main = str(Path(__file__).with_name(f"{kernel.name}_neon_check.cpp"))
    objects = [str(tmp_path / f"{unit}.o") for unit in units]
    program = str(tmp_path / "check")
    subprocess.run([*compiler, main, *objects, "-static", "-pthread", "-o", program], check=True)
    run = subprocess.run(["qemu-aarch64", "-cpu", "max", program], capture_output=True, text=True, check=True)
    errors = [float(line.split()[1]) for line in run.stdout.splitlines()]
    assert len(errors) == 2 and max(errors) < 1e-4


def test_what_the_library_made_is_given_back_once() -> None:
    given: list[int] = []
    handle, other = Handle(7, given.append), Handle(8, given.append)
    assert ctypes.c_void_p.from_param(handle)
    handle.close()
    handle.close()
    assert given == [7]
    del handle, other
    assert given == [7, 8]
