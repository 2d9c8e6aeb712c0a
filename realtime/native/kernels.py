"""The kernels there are. No numpy here: the package's own build reads this."""

from __future__ import annotations

from pathlib import Path

from realtime.native.build import AVX2, AVX512, Kernel

__all__ = ["KERNELS", "LIVE", "WAVENET"]

_ENGINES = Path(__file__).resolve().parents[1] / "engines"

WAVENET = Kernel(
    name="wavenet",
    title="the native WaveNet kernel",
    sources=_ENGINES / "wavenet_cpu" / "native",
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
    sources=_ENGINES / "live_cpu" / "native",
    units=("api", "cpu"),
    x86={"avx2": (AVX2, ("/arch:AVX2",)), "avx512": (AVX512, ("/arch:AVX512",))},
    arm={"neon": ((), ())},
    instead="--engine onnx",
)

KERNELS = (WAVENET, LIVE)
