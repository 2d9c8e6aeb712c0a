"""A `Device` without a GPU: wavenet.cu compiled for the CPU by g++, its threads emulated (see the header)."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np

from realtime.engines.wavenet.cuda.device import FOLDER
from realtime.engines.wavenet.cuda.plan import Chip, Plan

__all__ = ["EmulatedDevice", "build", "compiler", "decoder_arrays"]

HERE = Path(__file__).parent
_TYPES = {
    "int32": ctypes.c_int32,
    "uint32": ctypes.c_uint32,
    "int64": ctypes.c_int64,
    "uint64": ctypes.c_uint64,
}


def compiler() -> str | None:
    return shutil.which("g++") or shutil.which("clang++")


def build(plan: Plan, out: Path, *flags: str) -> Path:
    """Library, or with -DWN_RACES in the flags a program."""
    macros = [f"-D{name}={value}" for name, value in plan.macros.items()]
    command = [
        str(compiler()), "-std=c++17", "-O1", "-w", *flags, *macros, f"-DWN_SHARED_BYTES={plan.shared_bytes}",
        f"-I{FOLDER}", f"-I{HERE}", str(HERE / "wavenet_cuda_emulator.cpp"), "-o", str(out),
    ]  # fmt: skip
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr[:3000]
    return out


class EmulatedDevice:
    """`absent`: a block that finds no multiprocessor until the others have left. Fresh memory is poisoned."""

    name = "an emulated GPU"

    def __init__(self, folder: Path, capability: int = 90, seed: int = 0, absent: int = -1) -> None:
        self.chip = Chip.of(capability, 132)
        self.absent, self._folder, self._seed = absent, folder, seed
        self._memory: dict[int, np.ndarray] = {}

    def load(self, plan: Plan) -> None:
        path = self._folder / f"emulated-{abs(hash(tuple(plan.macros.items()))):x}.so"
        if not path.exists():
            build(plan, path, "-shared", "-fPIC")
        self._library, self._plan = ctypes.CDLL(str(path)), plan

    def allocate(self, size: int) -> int:
        memory = np.full((size + 31) // 16 * 2, -1, np.int64)  # not a number, whatever is read from it
        start = memory.ctypes.data
        start += -start % 16
        self._memory[start] = memory
        return start

    def write(self, address: int, array: np.ndarray) -> None:
        ctypes.memmove(address, array.ctypes.data, array.nbytes)

    def read(self, address: int, array: np.ndarray) -> None:
        ctypes.memmove(array.ctypes.data, address, array.nbytes)

    def launch(self, kernel: str, blocks: int, args: tuple[Any, ...]) -> None:
        function = getattr(self._library, f"emulate_{kernel}")
        function.restype = ctypes.c_char_p
        self._seed += 1
        values = [ctypes.c_void_p(a) if isinstance(a, int) else _TYPES[a.dtype.name](int(a)) for a in args]
        shared = ctypes.c_int32(self._plan.shared_bytes)
        failure = function(
            ctypes.c_int32(blocks), shared, ctypes.c_uint32(self._seed), ctypes.c_int32(self.absent), *values
        )
        assert failure is None, failure.decode()

    def free(self) -> None:
        self._memory.clear()


def decoder_arrays(
    seed: int,
    blocks: int,
    layers: int,
    r: int,
    s: int,
    a: int,
    latent: int,
    loud: float = 1.0,
    guided: bool = False,
) -> dict[str, np.ndarray]:
    """Random weights under PyTorch's names; `loud` > 1 spreads the logits. Any two classes may lean to any third."""
    random = np.random.default_rng(seed)
    n = blocks * layers

    def matrix(rows: int, columns: int, *more: int, gain: float = 1.0) -> np.ndarray:
        return (gain * random.standard_normal((rows, columns, *more)) / np.sqrt(columns)).astype(np.float32)

    arrays = {
        "embed.weight": matrix(2 * a if guided else a, r, gain=np.sqrt(r) / 2),
        "condition.weight": matrix(n * 2 * r + s, latent, 1),
        "condition.bias": matrix(n * 2 * r + s, 1)[:, 0] * 0.1,
        "head.weight": matrix(s, s, 1, gain=1.4),
        "head.bias": matrix(s, 1)[:, 0] * 0.1,
        "classify.weight": matrix(a, s, 1, gain=1.4 * loud),
        "classify.bias": matrix(a, 1)[:, 0] * 0.1,
    }
    if guided:
        arrays["leaned"] = random.integers(1, a, (a, a), np.int16)
    for i in range(n):
        rows = s if i == n - 1 else s + r
        arrays[f"dilated.{i}.weight"] = matrix(2 * r, r, 2, gain=0.8)
        arrays[f"output.{i}.weight"] = matrix(rows, r, 1)
        arrays[f"output.{i}.bias"] = matrix(rows, 1)[:, 0] * 0.1
    return arrays
