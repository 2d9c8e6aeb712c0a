"""Compiles the native kernel: once, at the package's build or at first use, into a cache.

    library()            the compiled file: the package's own, or the cache's, or freshly compiled
    compile(folder)      compiles into that folder, whatever is there

Every instruction set is a translation unit of its own, compiled with its flags; which one runs is asked of the
CPU at run time. So the file does not depend on the CPU, and a package may carry it.
"""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from realtime.errors import UserError

__all__ = ["CompilerError", "compile", "find_compiler", "library", "packaged"]

SOURCES = Path(__file__).resolve().with_name("native")
COMPILERS = ("c++", "g++", "clang++", "cl")
_Flags = dict[str, tuple[tuple[str, ...], tuple[str, ...]]]
# unit -> flags of GCC and Clang, and of Visual C++
_AVX2 = ("-mavx2", "-mfma")
_AVX512 = (*_AVX2, "-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl", "-mavx512vnni")
X86: _Flags = {
    "avx2": (_AVX2, ("/arch:AVX2",)),
    "avxvnni": ((*_AVX2, "-mavxvnni"), ("/arch:AVX2",)),
    "avx512": (_AVX512, ("/arch:AVX512",)),
    "avx512bf16": ((*_AVX512, "-mavx512bf16"), ("/arch:AVX512",)),
}
ARM: _Flags = {"neon": (("-march=armv8.2-a+dotprod",), ())}
GNU = (
    "-std=c++17", "-fPIC", "-fvisibility=hidden", "-fno-exceptions", "-fno-rtti",
    "-fno-math-errno", "-fno-trapping-math", "-ffp-contract=fast",
)  # fmt: skip
MICROSOFT = ("/nologo", "/std:c++17", "/O2", "/fp:contract", "/GR-", "/EHs-c-", "/D_HAS_EXCEPTIONS=0")
SECONDS = 300


class CompilerError(UserError):
    """There is no compiler, or it failed; one sentence that says what to do."""


def find_compiler() -> str:
    """$CXX, or the first of c++, g++, clang++ and cl on the path."""
    for name in [os.environ.get("CXX", ""), *COMPILERS]:
        if name and (path := shutil.which(name)):
            return path
    raise CompilerError(
        "the native WaveNet kernel needs a C++ compiler, and none of c++, g++, clang++, cl was found; install "
        "one (Debian: g++, macOS: xcode-select --install, Windows: Visual Studio Build Tools), or play with "
        "numba (pip install numba)"
    )


def library() -> Path:
    """The compiled kernel. CompilerError where it cannot be had."""
    if (ready := packaged()) is not None:
        return ready
    return compile()


def packaged() -> Path | None:
    """The file that the package's build left beside this one, if it is of these sources."""
    path = Path(__file__).with_name(_name(_source_hash()))
    return path if path.is_file() else None


def compile(target_dir: Path | None = None) -> Path:
    """Compile into a folder (for a package's build) or, if it is not there already, into the cache.

    Two processes may do it at once: each writes a file of its own, and the last one to finish puts it in place.
    """
    compiler = find_compiler()
    if target_dir is not None:
        path = target_dir.resolve() / _name(_source_hash())
    else:
        path = _cache() / _name(_key(compiler))
        if path.is_file():
            return path
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=".build-") as folder:
            os.replace(_build(compiler, Path(folder)), path)
    except OSError as error:
        raise CompilerError(
            f"the native WaveNet kernel cannot be written to {path.parent} ({error})"
        ) from None
    return path


def _build(compiler: str, folder: Path) -> Path:
    """Objects, then the library. An instruction set that the compiler does not know is left out."""
    microsoft = _is_microsoft(compiler)
    units = {"plain": ((), ()), **_units()}

    def unit(name: str) -> subprocess.CompletedProcess[str]:
        gnu, ms = units[name]
        # plain C++ gains nothing from -O3, but takes minutes to compile with it
        flags = ms if microsoft else (*gnu, "-O2" if name == "plain" else "-O3")
        return _object(compiler, f"isa_{name}", flags, folder)

    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        runs = dict(zip(units, pool.map(unit, units)))
    _check(compiler, runs["plain"])
    missing = [name for name, run in runs.items() if run.returncode]
    without = tuple(f"{'/D' if microsoft else '-D'}WN_WITHOUT_{name.upper()}" for name in missing)
    for name in ("api", "cpu", "helper"):
        _check(compiler, _object(compiler, name, (*without, *(() if microsoft else ("-O2",))), folder))
    objects = sorted(str(path) for path in folder.glob("*.o*"))
    out = folder / ("wavenet.dll" if sys.platform == "win32" else "wavenet.so")
    if microsoft:
        link = [compiler, "/nologo", "/LD", *objects, f"/Fe:{out}"]
    else:
        link = [compiler, "-dynamiclib" if sys.platform == "darwin" else "-shared", *objects, "-o", str(out)]
        link += ["-static-libgcc", "-static-libstdc++"] if sys.platform == "win32" else ["-pthread"]
    _check(compiler, _run(link, folder))
    return out


def _object(compiler: str, name: str, flags: Sequence[str], folder: Path) -> subprocess.CompletedProcess[str]:
    source = str(SOURCES / f"{name}.cpp")
    if _is_microsoft(compiler):
        return _run([compiler, *MICROSOFT, *flags, "/c", source, f"/Fo:{folder / name}.obj"], folder)
    return _run([compiler, *GNU, *flags, "-c", source, "-o", str(folder / f"{name}.o")], folder)


def _run(command: Sequence[str], folder: Path) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            command,
            cwd=folder,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise CompilerError(
            f"{command[0]} took more than {SECONDS} s over the native WaveNet kernel"
        ) from None
    except OSError as error:
        raise CompilerError(f"the compiler {command[0]} cannot be run ({error})") from None


def _check(compiler: str, run: subprocess.CompletedProcess[str]) -> None:
    if run.returncode:
        lines = (run.stderr + run.stdout).strip().splitlines()
        reason = next((line for line in lines if "error" in line), lines[0] if lines else "no reason given")
        raise CompilerError(f"{compiler} cannot compile the native WaveNet kernel ({reason.strip()})")


def _units() -> _Flags:
    machine = platform.machine().lower()
    return X86 if machine in ("x86_64", "amd64") else ARM if machine in ("arm64", "aarch64") else {}


def _is_microsoft(compiler: str) -> bool:
    return Path(compiler).stem.lower() == "cl"


def _source_hash() -> str:
    digest = hashlib.sha256(repr((GNU, MICROSOFT, X86, ARM)).encode())
    for path in sorted(SOURCES.iterdir()):
        if path.suffix in (".h", ".cpp"):
            digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]


def _key(compiler: str) -> str:
    """Sources, flags and compiler; the CPU's own flags do not enter (see the top of this file)."""
    version = "" if _is_microsoft(compiler) else _run([compiler, "--version"], SOURCES).stdout
    parts = (_source_hash(), compiler, version)
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def _name(key: str) -> str:
    end = "dll" if sys.platform == "win32" else "so"
    return f"wavenet-{platform.machine().lower()}-{key}.{end}"


def _cache() -> Path:
    """Where this system keeps what can be made again."""
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "umtn-live" / "wavenet_cpu"
