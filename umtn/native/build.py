"""Compiles a native kernel: once, at the package's build or at first use, into a cache.

    kernel.library()            the compiled file: the package's own, or the cache's, or freshly compiled
    kernel.ready()              the same if it need not be compiled first, which takes a minute
    kernel.compile(folder)      compiles into that folder, whatever is there
    kernel.fault(path)          why this system does not load that file; "" where it does

Every instruction set is a translation unit of its own (`isa_*.cpp`), compiled with its flags; which one runs is
asked of the CPU at run time. So the file does not depend on the CPU, and a package may carry it.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import shutil
import struct
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from umtn.errors import UserError

__all__ = [
    "AVX2",
    "AVX512",
    "CompilerError",
    "Flags",
    "Handle",
    "KERNELS",
    "Kernel",
    "LIVE",
    "WAVENET",
    "find_compiler",
    "opened",
]


SIMD = Path(__file__).resolve().with_name("simd")
COMPILERS = ("c++", "g++", "clang++", "cl")
Flags = dict[
    str, tuple[tuple[str, ...], tuple[str, ...]]
]  # unit -> flags of GCC and Clang, and of Visual C++
AVX2 = ("-mavx2", "-mfma")
AVX512 = (*AVX2, "-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl")
GNU = (
    "-std=c++17", "-fPIC", "-fvisibility=hidden", "-fno-exceptions", "-fno-rtti",
    "-fno-math-errno", "-fno-trapping-math", "-ffp-contract=fast",
)  # fmt: skip
MICROSOFT = ("/nologo", "/std:c++17", "/O2", "/fp:contract", "/GR-", "/EHs-c-", "/D_HAS_EXCEPTIONS=0")
SECONDS = 300


class CompilerError(UserError):
    """There is no compiler, or it failed; one sentence that says what to do."""


def find_compiler(title: str = "a native kernel", instead: str = "") -> str:
    """$CXX, or the first of c++, g++, clang++ and cl on the path."""
    for name in [os.environ.get("CXX", ""), *COMPILERS]:
        if name and (path := shutil.which(name)):
            return path
    raise CompilerError(
        f"{title} needs a C++ compiler, and none of c++, g++, clang++, cl was found; install "
        "one (Debian: g++, macOS: xcode-select --install, Windows: Visual Studio Build Tools)"
        + (f", or play with {instead}" if instead else "")
    )


@dataclass(frozen=True)
class Kernel:
    """One kernel's sources and flags.

    name: of its files. title, instead: what it is called in a sentence, and what plays where it cannot be had.
    units: compiled without flags of an instruction set, as is `plain`; x86, arm: the instruction sets' flags.
    """

    name: str
    title: str
    sources: Path
    units: tuple[str, ...]
    x86: Flags
    arm: Flags
    instead: str

    def library(self) -> Path:
        """The compiled kernel. CompilerError where it cannot be had."""
        return self.ready() or self.compile()

    def ready(self) -> Path | None:
        """The compiled kernel, if it is there already and this system loads it."""
        return next((path for path in self._there() if not self.fault(path)), None)

    def absence(self) -> str:
        """Why none is ready, after the title: what does not load, or that there is none."""
        for path in self._there():
            if fault := self.fault(path):
                return f"{self.title} {path} cannot be loaded ({fault})"
        return f"{self.title} is not here"

    def fault(self, path: Path) -> str:
        """Why this system does not load the file: it is of another one, or damaged. "" where it does."""
        try:
            if _cut_short(path):
                return "the file is cut short"
            ctypes.CDLL(str(path))
        except OSError as error:
            return str(error).removeprefix(f"{path}: ")
        return ""

    def packaged(self) -> Path | None:
        """The file that the package's build left beside the sources' folder, if it is of these sources."""
        path = self.sources.parent / self.file_name(self.source_hash())
        return path if path.is_file() else None

    def forget_others(self, path: Path) -> None:
        """Delete what lies beside the compiled file and is of other sources."""
        for other in path.parent.glob(f"{self.name}-*{path.suffix}"):
            if other != path:
                other.unlink()

    def _there(self) -> list[Path]:
        """The package's own file and the cache's, those that exist."""
        packaged = self.packaged()
        try:
            cached = self._cached(find_compiler())
        except CompilerError:
            cached = None
        return [path for path in (packaged, cached) if path is not None and path.is_file()]

    def compile(self, target_dir: Path | None = None) -> Path:
        """Compile into a folder (for a package's build) or, if it is not there already, into the cache.

        Two processes may do it at once: each writes a file of its own, and the last one to finish puts it in place.
        """
        compiler = find_compiler(self.title, self.instead)
        if target_dir is not None:
            path = target_dir.resolve() / self.file_name(self.source_hash())
        else:
            path = self._cached(compiler)
            if path.is_file() and not self.fault(path):
                return path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=path.parent, prefix=".build-") as folder:
                os.replace(self._build(compiler, Path(folder)), path)
        except OSError as error:
            raise CompilerError(f"{self.title} cannot be written to {path.parent} ({error})") from None
        return path

    def instruction_sets(self) -> Flags:
        """Those of this machine's family."""
        machine = platform.machine().lower()
        if machine in ("x86_64", "amd64"):
            return self.x86
        return self.arm if machine in ("arm64", "aarch64") else {}

    def source(self, unit: str) -> Path:
        """The unit's file: the kernel's own, or one that all share."""
        own = self.sources / f"{unit}.cpp"
        return own if own.is_file() else SIMD / f"{unit}.cpp"

    def source_hash(self) -> str:
        digest = hashlib.sha256(repr((GNU, MICROSOFT, self.x86, self.arm)).encode())
        for folder in (self.sources, SIMD):
            for path in sorted(folder.iterdir()):
                if path.suffix in (".h", ".cpp"):
                    digest.update(path.name.encode() + b"\0" + path.read_bytes())
        return digest.hexdigest()[:16]

    def file_name(self, key: str) -> str:
        end = "dll" if sys.platform == "win32" else "so"
        return f"{self.name}-{platform.machine().lower()}-{key}.{end}"

    def _cached(self, compiler: str) -> Path:
        return _cache() / self.name / self.file_name(self._key(compiler))

    def _key(self, compiler: str) -> str:
        """Sources, flags and compiler; the CPU's own flags do not enter (see the top of this file)."""
        version = "" if _is_microsoft(compiler) else self._run([compiler, "--version"], SIMD).stdout
        return hashlib.sha256("\0".join((self.source_hash(), compiler, version)).encode()).hexdigest()[:16]

    def _build(self, compiler: str, folder: Path) -> Path:
        """Objects, then the library. An instruction set that the compiler does not know is left out."""
        microsoft = _is_microsoft(compiler)
        sets: Flags = {"plain": ((), ()), **self.instruction_sets()}

        def unit(name: str) -> subprocess.CompletedProcess[str]:
            gnu, ms = sets[name]
            # plain C++ gains nothing from -O3, but takes minutes to compile with it
            flags = ms if microsoft else (*gnu, "-O2" if name == "plain" else "-O3")
            return self._object(compiler, f"isa_{name}", flags, folder)

        with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
            runs = dict(zip(sets, pool.map(unit, sets)))
        self._check(compiler, runs["plain"])
        missing = [name for name, run in runs.items() if run.returncode]
        without = tuple(f"{'/D' if microsoft else '-D'}WITHOUT_{name.upper()}" for name in missing)
        for name in self.units:
            flags = (*without, *(() if microsoft else ("-O2",)))
            self._check(compiler, self._object(compiler, name, flags, folder))
        objects = sorted(str(path) for path in folder.glob("*.o*"))
        out = folder / f"{self.name}.{'dll' if sys.platform == 'win32' else 'so'}"
        if microsoft:
            link = [compiler, "/nologo", "/LD", *objects, f"/Fe:{out}"]
        else:
            shared = "-dynamiclib" if sys.platform == "darwin" else "-shared"
            link = [compiler, shared, *objects, "-o", str(out)]
            link += (
                ["-static-libgcc", "-static-libstdc++"] if sys.platform == "win32" else ["-pthread", "-lm"]
            )
        self._check(compiler, self._run(link, folder))
        return out

    def _object(
        self, compiler: str, unit: str, flags: Sequence[str], folder: Path
    ) -> subprocess.CompletedProcess[str]:
        source = str(self.source(unit))
        if _is_microsoft(compiler):
            command = [compiler, *MICROSOFT, *flags, f"/I{SIMD}", "/c", source, f"/Fo:{folder / unit}.obj"]
        else:
            command = [compiler, *GNU, *flags, f"-I{SIMD}", "-c", source, "-o", str(folder / f"{unit}.o")]
        return self._run(command, folder)

    def _run(self, command: Sequence[str], folder: Path) -> subprocess.CompletedProcess[str]:
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
            raise CompilerError(f"{command[0]} took more than {SECONDS} s over {self.title}") from None
        except OSError as error:
            raise CompilerError(f"the compiler {command[0]} cannot be run ({error})") from None

    def _check(self, compiler: str, run: subprocess.CompletedProcess[str]) -> None:
        if run.returncode:
            lines = (run.stderr + run.stdout).strip().splitlines()
            found = (line for line in lines if "error" in line)
            reason = next(found, lines[0] if lines else "no reason given")
            raise CompilerError(f"{compiler} cannot compile {self.title} ({reason.strip()})")


def _is_microsoft(compiler: str) -> bool:
    return Path(compiler).stem.lower() == "cl"


def _cache() -> Path:
    """Where this system keeps what can be made again."""
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "umtn-live"


def _cut_short(path: Path) -> bool:
    """Whether the end of an ELF file is missing: the system would map it all the same, and die of SIGBUS within."""
    with open(path, "rb") as file:
        header = file.read(64)
    if (
        len(header) < 64 or header[:6] != b"\x7fELF\x02\x01"
    ):  # 64 bits, little endian: the only ones we compile for
        return False
    (table,) = struct.unpack_from("<Q", header, 40)  # of sections; linkers put it last
    size, count = struct.unpack_from("<HH", header, 58)
    return bool(table + size * count > path.stat().st_size)


def opened(library: Path, name: str) -> ctypes.CDLL:
    """The compiled kernel; CompilerError, with what it is called, when the system does not load it."""
    try:
        return ctypes.CDLL(str(library))
    except OSError as error:
        raise CompilerError(f"{name} {library} cannot be loaded ({error})") from None


# The kernels there are. No numpy here: the package's own build reads this.


_ENGINES = Path(__file__).resolve().parents[2] / "realtime" / "engines"

WAVENET = Kernel(
    name="wavenet",
    title="the native WaveNet kernel",
    sources=_ENGINES / "wavenet" / "native",
    units=("api", "cpu", "helper"),
    x86={
        "avx2": (AVX2, ("/arch:AVX2",)),
        "avxvnni": ((*AVX2, "-mavxvnni"), ("/arch:AVX2",)),
        "avx512": ((*AVX512, "-mavx512vnni"), ("/arch:AVX512",)),
        "avx512bf16": ((*AVX512, "-mavx512vnni", "-mavx512bf16"), ("/arch:AVX512",)),
    },
    arm={"neon": (("-march=armv8.2-a+dotprod",), ())},
    instead="numba (pip install numba)",
)

LIVE = Kernel(
    name="live",
    title="the native kernel of `live` models",
    sources=_ENGINES / "live" / "native",
    units=("api", "cpu"),
    x86={"avx2": (AVX2, ("/arch:AVX2",)), "avx512": (AVX512, ("/arch:AVX512",))},
    arm={"neon": ((), ())},
    instead="--engine onnx",
)

KERNELS = (WAVENET, LIVE)


# What a kernel's library has made, as its owner in Python holds it.


class Handle:
    """An address, for ctypes to pass on; `free` gets it once, by `close` or when nobody holds this any more.

    After `close`, ctypes refuses it (ArgumentError).
    """

    __slots__ = ("_as_parameter_", "_free")

    def __init__(self, address: int, free: Callable[[int], None]) -> None:
        self._as_parameter_, self._free = address, free

    def close(self) -> None:
        if hasattr(self, "_as_parameter_"):
            self._free(self._as_parameter_)
            del self._as_parameter_

    def __del__(self) -> None:
        self.close()
