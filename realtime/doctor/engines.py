"""What could compute a model here: the native kernels, ONNX Runtime, a GPU."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from importlib import metadata

from realtime.doctor.finding import Finding, ok, stop, warn

__all__ = ["engines", "judge_engines"]

COMPILE = "python -m umtn.native, a minute, once, after a C++ compiler (Debian: apt install g++)"
ONNX = ("onnxruntime-gpu", "onnxruntime")


def engines() -> Finding:
    """On this machine."""
    from realtime.engines.select import gpu_present
    from umtn.native.build import KERNELS

    absent = {kernel.name: "" if kernel.ready() else kernel.absence() for kernel in KERNELS}
    return judge_engines(absent, onnx_version(), gpu_present())


def onnx_version() -> str:
    """ "onnxruntime-gpu 1.24.1"; "" where there is none."""
    if importlib.util.find_spec("onnxruntime") is None:
        return ""
    for name in ONNX:
        try:
            return f"{name} {metadata.version(name)}"
        except metadata.PackageNotFoundError:
            continue
    return "onnxruntime"


def judge_engines(absent: Mapping[str, str], onnx: str, gpu: bool) -> Finding:
    """absent: why each native kernel is not ready, "" where it is. onnx: what plays without them, "" where it is not
    installed. gpu: whether a driver answers.
    """
    from umtn.missing import pip_install

    faults = [why for why in absent.values() if why]
    ready = [name for name, why in absent.items() if not why]
    has = [f"native kernels: {', '.join(ready)}"] if ready else []
    has += [onnx] if onnx else []
    text = "; ".join([*has, *faults])
    if not has:
        return stop(
            "engines",
            f"{text}; ONNX Runtime is not installed either",
            f"{COMPILE}; or {pip_install('onnx')}",
        )
    if faults:
        return warn("engines", text, COMPILE)
    if not onnx:
        text += f"; ONNX Runtime is not installed (for --engine onnx: {pip_install('onnx')})"
    if gpu and not onnx.startswith("onnxruntime-gpu"):
        text += f"; there is a GPU (for its engines: {pip_install('gpu')})"
    return ok("engines", text)
