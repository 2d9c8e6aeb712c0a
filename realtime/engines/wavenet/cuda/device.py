"""What the sample loop asks of a GPU, and the GPU through cuda.core.

Threading model: memory, stream and launches belong to the one thread that makes the audio.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

from realtime.engines.wavenet.cuda.compiler import compile_kernel, import_cuda
from realtime.engines.wavenet.cuda.plan import Chip, Plan
from umtn.errors import UserError

__all__ = ["CudaDevice", "Device"]

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
