"""Compiling the kernel: where it goes, what happens twice at once, and without a compiler."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from realtime.engines.wavenet_cpu import build

needs_compiler = pytest.mark.skipif(
    not any(shutil.which(name) for name in build.COMPILERS), reason="no C++ compiler"
)


def test_without_a_compiler_one_sentence_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(build.CompilerError, match=r"needs a C\+\+ compiler.*numba"):
        build.compile()


@pytest.mark.skipif(sys.platform == "win32", reason="a shell script as compiler")
def test_a_compiler_that_fails_is_quoted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    fake = tmp_path / "fakecc"
    fake.write_text("#!/bin/sh\necho 'wavenet.h:1: fatal error: out of luck' >&2\nexit 1\n")
    fake.chmod(0o755)
    monkeypatch.setenv("CXX", str(fake))
    with pytest.raises(build.CompilerError, match="cannot compile.*out of luck"):
        build.compile(tmp_path / "target")
    assert [p.name for p in (tmp_path / "target").iterdir()] == []  # nothing half-made is left


def test_the_package_may_carry_the_kernel_unless_it_is_of_other_sources(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(build, "__file__", str(tmp_path / "build.py"))
    assert build.packaged() is None
    (tmp_path / build._name("0123456789abcdef")).write_bytes(b"stale")
    assert build.packaged() is None
    carried = tmp_path / build._name(build._source_hash())
    carried.write_bytes(b"")
    assert build.packaged() == carried and build.library() == carried


@needs_compiler
def test_the_second_time_it_is_there_already(monkeypatch: pytest.MonkeyPatch) -> None:
    first = build.compile()

    def refuse(*arguments: object) -> Path:
        raise AssertionError("compiled again")

    monkeypatch.setattr(build, "_build", refuse)
    assert build.compile() == first


@needs_compiler
def test_other_sources_are_another_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    copy = tmp_path / "native"
    shutil.copytree(build.SOURCES, copy)
    before = build._source_hash()
    monkeypatch.setattr(build, "SOURCES", copy)
    assert build._source_hash() == before
    with open(copy / "api.cpp", "a") as file:
        file.write("// changed\n")
    assert build._source_hash() != before


@needs_compiler
def test_an_instruction_set_that_the_compiler_does_not_know_is_left_out(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Only `plain` is compiled here, which takes seconds; the others fail on a flag that no compiler has."""
    bad = dict.fromkeys(build._units(), (("-mno-such-instructions",), ("/arch:NONE",)))
    monkeypatch.setattr(build, "_units", lambda: bad)
    path = build.compile(tmp_path)
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
    code = "from realtime.engines.wavenet_cpu import build; print(build.compile())"
    runs = [
        subprocess.Popen([sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    paths = {run.communicate(timeout=60)[0].strip() for run in runs}
    assert len(paths) == 1 and Path(paths.pop()).stat().st_size == 100000
    left = [p.name for p in (tmp_path).rglob(".build-*")]
    assert left == []


@pytest.mark.skipif(
    not (shutil.which("aarch64-linux-gnu-g++") and shutil.which("qemu-aarch64")),
    reason="no cross compiler and emulator for Arm (g++-aarch64-linux-gnu, qemu-user)",
)
def test_neon_computes_what_plain_does(tmp_path: Path) -> None:
    """On the emulated CPU; on an Arm machine the other tests run it for real."""
    units = {"api": (), "cpu": (), "helper": (), "isa_plain": (), "isa_neon": build.ARM["neon"][0]}
    compiler = ["aarch64-linux-gnu-g++", *build.GNU, "-O1", "-Wall", "-Werror", f"-I{build.SOURCES}"]
    for unit, flags in units.items():
        source = str(build.SOURCES / f"{unit}.cpp")
        subprocess.run([*compiler, *flags, "-c", source, "-o", str(tmp_path / f"{unit}.o")], check=True)
    main = str(Path(__file__).with_name("neon_check.cpp"))
    objects = [str(tmp_path / f"{unit}.o") for unit in units]
    program = str(tmp_path / "check")
    subprocess.run([*compiler, main, *objects, "-static", "-pthread", "-o", program], check=True)
    run = subprocess.run(["qemu-aarch64", "-cpu", "max", program], capture_output=True, text=True, check=True)
    fp32, int8 = (float(line.split()[1]) for line in run.stdout.splitlines())
    assert fp32 < 1e-4 and int8 < 1e-4
