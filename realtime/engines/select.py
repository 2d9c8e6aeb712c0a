"""What an engine is, and how one is picked.

Threading model: an engine belongs to one thread, the one that makes the audio. No allocation after loading.
"""

from __future__ import annotations

import ctypes
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from export.bundle.bundle import agreed
from export.bundle.safetensors import weights_kind
from realtime.engines.engine import Cost, Engine
from umtn.errors import UserError

if TYPE_CHECKING:
    from export.bundle.bundle import Bundle

__all__ = ["ENGINES", "check_probe", "compile_first", "load_engine"]

ENGINES = ("auto", "onnx", "onnx-cuda", "torchscript", "live-cpu", "wavenet-cpu", "wavenet-cuda")
SLOWER = (
    ", and ONNX Runtime takes several times as long over a block; "
    "python -m umtn.native compiles it, a minute, once"
)
UNCOMPILED = f"the native kernel of `live` models is not here{SLOWER}"
COMPILE = "python -m umtn.native, which compiles it once a C++ compiler is there (Debian: apt install g++)"


def load_engine(
    bundle: Bundle,
    name: str = "auto",
    seed: int | None = None,
    precision: str = "auto",
    cores: int = 1,
    live: bool = True,
) -> Engine:
    """Load, run the bundle's own probe, and return the engine, settled, from a fresh state.

    precision, cores: of the native engine of WaveNet decoders, which `auto` takes for bundles that have them. A
    `live` bundle that has weights is played by live-cpu, where its kernel is compiled already. live: somebody
    listens; without it a WaveNet engine that cannot keep up with real time is no error.
    UserError: unknown engine, missing package, or outputs that differ from the probe.
    """
    engine = _loaded(bundle, name, seed, precision, cores, live)
    engine.settle()
    return engine


def _loaded(bundle: Bundle, name: str, seed: int | None, precision: str, cores: int, live: bool) -> Engine:
    if name not in ENGINES:
        raise UserError(f"unknown engine {name!r}; known are {', '.join(ENGINES)}")
    kind = weights_kind(bundle) if name == "auto" else None
    if name == "wavenet-cuda":
        from realtime.engines.wavenet.engine import WavenetCudaEngine

        return WavenetCudaEngine(bundle, seed=seed)
    if name == "wavenet-cpu" or kind == "wavenet":
        from realtime.engines.wavenet.engine import WavenetCpuEngine

        return WavenetCpuEngine(
            bundle, precision, cores, seed, refuse_slow=live
        )  # checks itself: int8 may differ from the probe
    unplayed = ""  # why no native kernel plays a bundle that one could play
    if name == "live-cpu" or kind == "live":
        from realtime.engines.live import kernel as build
        from realtime.engines.live.engine import LiveCpuEngine

        if name == "live-cpu":
            return checked(LiveCpuEngine(bundle, seed), bundle)
        try:
            if build.ready() is not None:  # nobody waits a minute on stage
                return checked(LiveCpuEngine(bundle, seed), bundle)
            unplayed = build.absence()
        except UserError as error:  # ONNX Runtime plays as well, if slower
            unplayed = str(error)
    if name == "torchscript":
        from realtime.engines.torchscript import TorchScriptEngine

        return checked(TorchScriptEngine(bundle, seed), bundle)
    if name == "onnx-cuda":
        return _onnx_cuda(bundle, seed)
    try:
        from realtime.engines.onnx import OnnxEngine, cuda_offered
    except UserError as error:
        if name == "onnx":
            raise UserError(f"the engine onnx cannot be had: {error}") from None
        if unplayed:
            raise UserError(f"{unplayed}, and {error}, or {COMPILE}") from None
        raise UserError(f"no native kernel plays this bundle, and {error}") from None
    if name == "onnx":
        return checked(OnnxEngine(bundle, seed=seed), bundle)
    cpu: Engine = checked(OnnxEngine(bundle, seed=seed), bundle)
    if unplayed:
        cpu.hint = unplayed + SLOWER
    if not (cuda_offered() and gpu_present()):
        return cpu
    try:
        gpu = checked(OnnxEngine(bundle, cuda=True, seed=seed), bundle)
    except (UserError, RuntimeError):  # a GPU whose libraries do not fit: the CPU plays as well
        return cpu
    # tiny blocks often run faster on the CPU than the launch alone costs on a GPU: ask the machine
    return min((cpu, gpu), key=step_seconds)


def _onnx_cuda(bundle: Bundle, seed: int | None) -> Engine:
    """UserError: what of a GPU, its driver and the packages is missing, and how to get it."""
    if not gpu_present():
        raise UserError(
            "the engine onnx-cuda needs an NVIDIA GPU with its driver, and none answers here; use --engine onnx"
        )
    from umtn.missing import pip_install

    try:
        from realtime.engines.onnx import OnnxEngine, cuda_offered
    except UserError:
        raise UserError(
            f"the engine onnx-cuda needs the GPU build of ONNX Runtime, which is not installed; {pip_install('gpu')}"
        ) from None
    if not cuda_offered():
        raise UserError(
            "the engine onnx-cuda needs the GPU build of ONNX Runtime, and the one installed is for CPUs; "
            f"pip uninstall onnxruntime, then {pip_install('gpu')}"
        )
    return checked(OnnxEngine(bundle, cuda=True, seed=seed), bundle)


def compile_first(bundle: Bundle, name: str, say: Callable[[str], None]) -> None:
    """Compile what a WaveNet bundle is played with and is not here: a minute, in which nothing else is tried.

    The process that makes the sound would do it too, but nobody waits a minute for that one. Where it cannot be
    compiled the engine says what else there is.
    """
    if name != "wavenet-cpu" and not (name == "auto" and weights_kind(bundle) == "wavenet"):
        return
    from umtn.native.build import KERNELS, CompilerError

    for kernel in KERNELS:
        if kernel.ready() is None:
            say(f"compiling {kernel.title}, a minute, once")
            try:
                kernel.compile()
            except CompilerError:
                return


def gpu_present() -> bool:
    """Whether an NVIDIA driver answers, without any CUDA library but the driver's own."""
    try:
        driver = ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
        count = ctypes.c_int(0)
        return driver.cuInit(0) == 0 and driver.cuDeviceGetCount(ctypes.byref(count)) == 0 and count.value > 0
    except (OSError, AttributeError):
        return False


def step_seconds(engine: Engine, steps: int = 30) -> float:
    """Median time of one encoder and one decoder step; leaves the engine reset."""
    audio = np.zeros(engine.manifest.block, np.float32)
    out = np.zeros_like(audio)
    times = []
    for _ in range(steps):
        start = time.perf_counter()
        engine.encode(audio)
        engine.decode(0, out)
        times.append(time.perf_counter() - start)
    engine.reset()
    return float(np.median(times))


def checked(engine: Engine, bundle: Bundle) -> Engine:
    """The engine if it passes its bundle's probe; this is also its warm-up."""
    worst, where = check_probe(engine, bundle)
    tolerance = bundle.manifest.probe.tolerance
    if not worst <= tolerance:
        raise UserError(
            f"the engine {engine.name} computes {where} of {bundle.path.name} wrongly on this machine "
            f"(off by {worst:.2g}, allowed {tolerance:.2g}); try another --engine, or export the bundle again"
        )
    return engine


def check_probe(engine: Engine, bundle: Bundle) -> tuple[float, str]:
    """Largest difference from the probe's outputs, and in which output; streamed from the initial state.

    Its steps are timed on the way: `engine.cost`.
    """
    manifest, probe = bundle.manifest, bundle.probe()
    block = manifest.block
    engine.reset()
    engine.temperature = 1.0 / manifest.temperature  # the probe was drawn as trained
    audio = probe["audio"].reshape(-1, block)
    noise = probe["noise"].reshape(-1, block) if "noise" in probe else None
    latents = probe["latent"].reshape(manifest.latent_channels, len(audio), block // manifest.hop)
    out = np.zeros(block, np.float32)
    worst, where = 0.0, "the encoder"
    times = np.zeros((len(audio), 1 + len(manifest.domains)))
    for i, piece in enumerate(audio):
        start = time.perf_counter()
        latent = engine.encode(piece)
        times[i, 0] = time.perf_counter() - start
        error = float(np.abs(latent - latents[:, i]).max())
        if worst == worst and not error <= worst:  # also when it is not a number, and then for good
            worst, where = error, "the encoder"
        for index, domain in enumerate(manifest.domains):
            start = time.perf_counter()
            engine.decode(index, out, None if noise is None else noise[i])
            times[i, 1 + index] = time.perf_counter() - start
            here = slice(i * block, max(i * block, min((i + 1) * block, agreed(probe, domain.id))))
            off = np.abs(out[: here.stop - here.start] - probe[f"audio.{domain.id}"][here])
            error = float(off.max(initial=0.0))
            if worst == worst and not error <= worst:
                worst, where = error, f"the domain {domain.id}"
    engine.reset()
    engine.temperature = 1.0
    # not the median: another program that runs during these milliseconds says nothing about the show
    typical = np.quantile(times, 0.25, axis=0)
    engine.cost = Cost(float(typical[0]), float(typical[1:].max()))
    return worst, where
