"""What the sample loop asks of a GPU, and the GPU through cuda.core.

Threading model: memory, stream and launches belong to the one thread that makes the audio.
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
from typing import Any, Protocol

import numpy as np

from realtime.engines.wavenet.cuda.plan import Chip, Plan
from umtn.errors import UserError

__all__ = ["CudaDevice", "Device", "Usage", "compile_kernel", "import_cuda", "source", "usage"]


# CUDA C++ -> machine code by NVRTC through cuda.core, at first use, and from then on from a cache on disk.
#
# No nvcc, no headers, and no GPU: any chip's code can be compiled anywhere. cuda.core is imported only here and in
# device.py, and only when it is needed.


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


SMALL_BLOCK = 128  # threads of the kernels that are not resident


class Device(Protocol):
    """Memory by address, kernels by name. `args`: int for a pointer, else numpy scalars.

    load: compiles and prepares a plan; UserError where it does not fit. read waits for all work before it.
    """

    chip: Chip
    name: str

    def load(self, plan: Plan) -> None: ...

    def allocate(self, size: int) -> int: ...

    def write(self, address: int, array: np.ndarray) -> None: ...

    def read(self, address: int, array: np.ndarray) -> None: ...

    def launch(self, kernel: str, blocks: int, args: tuple[Any, ...]) -> None: ...

    def free(self) -> None: ...


class CudaDevice:
    """See `Device`. One CUDA stream; memory is given back by `free`."""

    def __init__(self, ordinal: int = 0) -> None:
        self._core = import_cuda()
        try:
            from cuda.bindings import driver
        except ImportError as error:
            raise UserError(
                f"cuda-core came without cuda-bindings ({error}); pip install 'cuda-core[cu13]'"
            ) from None
        self._driver = driver
        try:
            self._device = self._core.Device(ordinal)
            self._device.set_current()
            properties = self._device.properties
            capability = tuple(self._device.compute_capability)
            self._stream = self._device.create_stream()
        except Exception as error:  # no driver, no GPU and a driver too old each have a class of their own
            reason = str(error).strip().splitlines()[0][:160]
            raise UserError(
                f"the WaveNet kernel for GPUs needs an NVIDIA GPU and a driver for CUDA 12 or later ({reason}); "
                "use the CPU engine"
            ) from None
        shared = int(properties.max_shared_memory_per_block_optin)
        table = Chip.of(10 * capability[0] + capability[1])
        self.chip = Chip(table.capability, int(properties.multiprocessor_count), shared)
        self.name = str(self._device.name)
        self._memory: list[Any] = []
        self._kernels: dict[str, Any] = {}
        self._plan: Plan | None = None

    def load(self, plan: Plan) -> None:
        code, _ = compile_kernel(plan, self.chip)
        try:
            module = self._core.ObjectCode.from_cubin(code)
            self._kernels = {n: module.get_kernel(n) for n in ("wn_run", "wn_condition", "wn_reset")}
        except Exception as error:
            raise UserError(
                f"the driver does not take the WaveNet kernel ({str(error)[:160]}); it is older than the "
                "installed nvidia-cuda-nvrtc: update the driver, or install the nvrtc of its version"
            ) from None
        self._plan = plan
        attribute = self._driver.CUfunction_attribute
        run = self._kernels["wn_run"].handle
        self._set(run, attribute.CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, plan.shared_bytes)
        if plan.cluster > 8:
            self._set(run, attribute.CU_FUNC_ATTRIBUTE_NON_PORTABLE_CLUSTER_SIZE_ALLOWED, 1)
        self._config = self._resident_config(plan)
        try:
            room = self._room(plan)
        except UserError:
            raise
        except Exception as error:  # a cluster size that the chip does not have
            raise UserError(f"{self.name} cannot run the WaveNet kernel so ({str(error)[:160]})") from None
        self._check_room(plan, room)

    def _set(self, kernel: Any, attribute: Any, value: int) -> None:
        device = self._driver.CUdevice(self._device.device_id)
        self._check(*self._driver.cuKernelSetAttribute(attribute, value, kernel, device))

    def _resident_config(self, plan: Plan) -> Any:
        """Clusters come all at once or not at all, and `_check_room` has counted them; blocks without clusters
        need the cooperative launch, which refuses where they would not all be resident."""
        config = self._core.LaunchConfig
        if plan.cluster > 1:
            return config(
                grid=plan.blocks // plan.cluster,
                cluster=plan.cluster,
                block=plan.threads,
                shmem_size=plan.shared_bytes,
            )
        return config(grid=plan.blocks, block=plan.threads, shmem_size=plan.shared_bytes, is_cooperative=True)

    def _room(self, plan: Plan) -> int:
        """Blocks that can be resident at once."""
        occupancy = self._kernels["wn_run"].occupancy
        if plan.cluster > 1:
            return int(plan.cluster * occupancy.max_active_clusters(self._config, stream=self._stream))
        each = occupancy.max_active_blocks_per_multiprocessor(plan.threads, plan.shared_bytes)
        return int(each * self.chip.multiprocessors)

    def _check_room(self, plan: Plan, room: int) -> None:
        if room < plan.blocks:
            kind = f" in clusters of {plan.cluster}" if plan.cluster > 1 else ""
            raise UserError(
                f"the WaveNet kernel needs {plan.wants}{kind}, and {self.name} ({self.chip.multiprocessors} "
                f"multiprocessors, {self.chip.shared_bytes // 1024} KiB) has room for {room}; use a smaller decoder "
                "or the CPU engine"
            )

    def allocate(self, size: int) -> int:
        try:
            (address,) = self._check(*self._driver.cuMemAlloc(max(size, 16)))
        except UserError as error:
            raise UserError(f"the GPU has no {size / 1e6:.1f} MB left ({error})") from None
        self._memory.append(address)
        return int(address)

    def write(self, address: int, array: np.ndarray) -> None:
        # copied before this returns where the array is ordinary memory: the caller may change it at once
        self._check(
            *self._driver.cuMemcpyHtoDAsync(address, array.ctypes.data, array.nbytes, self._stream.handle)
        )

    def read(self, address: int, array: np.ndarray) -> None:
        self._check(
            *self._driver.cuMemcpyDtoHAsync(array.ctypes.data, address, array.nbytes, self._stream.handle)
        )
        self._check(*self._driver.cuStreamSynchronize(self._stream.handle))

    def launch(self, kernel: str, blocks: int, args: tuple[Any, ...]) -> None:
        resident = kernel == "wn_run"
        config = self._config if resident else self._core.LaunchConfig(grid=blocks, block=SMALL_BLOCK)
        try:
            self._core.launch(self._stream, config, self._kernels[kernel], *args)
        except Exception as error:
            wants = f"; it needs {self._plan.wants}" if resident and self._plan else ""
            raise UserError(
                f"{self.name} did not take the kernel {kernel} ({str(error)[:160]}){wants}; use the CPU engine"
            ) from None

    def free(self) -> None:
        for address in self._memory:
            self._driver.cuMemFree(address)
        self._memory.clear()

    def _check(self, status: Any, *values: Any) -> tuple[Any, ...]:
        if int(status) != 0:
            _, name = self._driver.cuGetErrorName(status)
            text = name.decode() if isinstance(name, bytes) else str(name)
            raise UserError(f"CUDA on {self.name} failed with {text}; use the CPU engine")
        return values
