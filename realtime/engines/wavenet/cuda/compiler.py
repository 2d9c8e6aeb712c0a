"""CUDA C++ -> machine code by NVRTC through cuda.core, at first use, and from then on from a cache on disk.

No nvcc, no headers, and no GPU: any chip's code can be compiled anywhere. cuda.core is imported only here and in
device.py, and only when it is needed.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from realtime.engines.wavenet.cuda.plan import Chip, Plan
from umtn.errors import UserError

__all__ = ["Usage", "compile_kernel", "import_cuda", "source", "usage"]

FOLDER = Path(__file__).with_name("kernel")
FILES = ("primitives.cu", "wavenet.cu")


@dataclass(frozen=True)
class Usage:
    """What ptxas says of one kernel: registers a thread; stack, spilled, shared in bytes."""

    registers: int
    stack: int
    spilled: int
    shared: int


def import_cuda() -> ModuleType:
    """cuda.core. UserError where it is missing or cannot be loaded."""
    try:
        import cuda.core as core
        from cuda.core import LaunchConfig, Program  # noqa: F401  # not there before version 1
    except Exception as error:  # a library that cannot be found has a class of its own
        from umtn.missing import pip_install

        raise UserError(
            f"the WaveNet kernel for GPUs needs the package cuda-core 1.0 or later with CUDA's compiler ({error}); "
            f"{pip_install('gpu')}, or use the CPU engine"
        ) from None
    module: ModuleType = core
    return module


def source(plan: Plan) -> str:
    """The whole translation unit; the sizes stand in front of it."""
    lines = [f"#define {name} {value}" for name, value in plan.macros.items()]
    return "\n".join([*lines, *((FOLDER / file).read_text(encoding="utf-8") for file in FILES)])


def compile_kernel(plan: Plan, chip: Chip, cache: bool = True) -> tuple[bytes, str]:
    """(machine code, ptxas's report). UserError: no compiler, or it fails or does not know the chip."""
    text = source(plan)
    key = hashlib.sha256("\0".join((text, chip.arch, _version())).encode()).hexdigest()[:24]
    path = cache_folder() / f"wavenet-{chip.arch}-{key}.cubin"
    if cache:
        try:
            return path.read_bytes(), path.with_suffix(".log").read_text(encoding="utf-8")
        except OSError:
            pass
    code, log = _compile(text, chip)
    if cache:
        _store(path.with_suffix(".log"), log.encode())
        _store(path, code)
    return code, log


def _compile(text: str, chip: Chip) -> tuple[bytes, str]:
    core = import_cuda()
    log = io.StringIO()
    try:
        options = core.ProgramOptions(name="wavenet.cu", arch=chip.arch, std="c++17", ptxas_options=["-v"])
        program = core.Program(text, "c++", options)
        code = program.compile("cubin", logs=log).code
    except Exception as error:  # cuda.core has a class per library below it, and a missing one has its own
        first = next((line for line in str(error).splitlines() if "error" in line.lower()), str(error)[:200])
        raise UserError(
            f"CUDA's compiler cannot make the WaveNet kernel for {chip.arch} ({first.strip()}); "
            "install the newest nvidia-cuda-nvrtc, or use the CPU engine"
        ) from None
    return bytes(code), log.getvalue()


def usage(log: str) -> dict[str, Usage]:
    """Per kernel, from ptxas's report."""
    found = {}
    parts = re.split(r"Compiling entry function '(\w+)'", log)
    for name, body in zip(parts[1::2], parts[2::2]):

        def number(pattern: str, body: str = body) -> int:
            match = re.search(pattern, body)
            return int(match.group(1)) if match else 0

        spilled = number(r"(\d+) bytes spill stores") + number(r"(\d+) bytes spill loads")
        found[name] = Usage(
            number(r"Used (\d+) registers"),
            number(r"(\d+) bytes stack frame"),
            spilled,
            number(r"(\d+) bytes smem"),
        )
    return found


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    names = []
    for name in ("nvidia-cuda-nvrtc", "nvidia-cuda-nvrtc-cu12", "cuda-core"):
        try:
            names.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            names.append(name)
    return ", ".join(names)


def cache_folder() -> Path:
    """This user's cache for the program."""
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local"))
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "umtn-live"


def _store(path: Path, data: bytes) -> None:
    """Whole or not at all; a cache that cannot be written only costs time."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent)
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        os.replace(name, path)
    except OSError:
        pass
