"""What one sample of a WaveNet decoder costs here: every path of the native kernel, numba, and PyTorch eager.

Random weights: the cost does not depend on them. The least of many short runs, for other programs share the
machine; conditioning is included, once a hop.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import platform
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from realtime.engines.wavenet.autotune import calibrate, make_loop
from realtime.engines.wavenet.native_loop import CompilerError
from realtime.engines.wavenet.sample_loop import SampleLoop
from realtime.engines.wavenet.weights import WavenetWeights
from umtn.errors import UserError

__all__ = ["DECODERS", "format_rows", "machine", "random_weights", "rows"]

# blocks, layers a block, residual, skip
DECODERS = ((4, 10, 128, 128), (3, 10, 96, 128), (2, 10, 64, 128))
CLASSES, LATENT, HOP, RATE_HZ = 256, 64, 160, 16000
SECONDS = 0.8  # for each figure
FORCED = ("avx2",)  # the instruction sets shown beside the fastest


def rows(decoders: tuple[tuple[int, int, int, int], ...] = DECODERS, seconds: float = SECONDS) -> list[dict]:
    """{decoder, engine, precision, cores, us_per_sample, rtf, versus_pytorch, machine} for each; `rtf` at 16 kHz.

    `versus_pytorch`: how many times faster than the eager step on this machine; None without torch.
    """
    found, here = [], machine()
    for sizes in decoders:
        weights = random_weights(*sizes)
        eager = _eager_us(weights, seconds) if importlib.util.find_spec("torch") else None
        figures = [(x.name, x.precision, getattr(x, "cores", 1), _us(x, seconds)) for x in _loops(weights)]
        if eager is not None:
            figures.append(("pytorch eager", "fp32", 1, eager))
        for engine, precision, cores, us in figures:
            found.append(
                {
                    "decoder": weights.name,
                    "engine": engine,
                    "precision": precision,
                    "cores": cores,
                    "us_per_sample": round(us, 2),
                    "rtf": round(us * 1e-6 * RATE_HZ, 3),
                    "versus_pytorch": None if eager is None else round(eager / us, 1),
                    "machine": here,
                }
            )
    return found


def format_rows(found: list[dict]) -> list[str]:
    """Lines for a terminal."""
    lines = [f"WaveNet decoders, one stream, random weights, on {found[0]['machine']}"] if found else []
    lines.append(
        f"{'decoder':<16}{'engine':<18}{'precision':<11}{'cores':<6}{'us/sample':>10}{'RTF 16k':>9}{'x PyTorch':>11}"
    )
    for row in found:
        ratio = "-" if row["versus_pytorch"] is None else f"{row['versus_pytorch']:.1f}"
        lines.append(
            f"{row['decoder']:<16}{row['engine']:<18}{row['precision']:<11}{row['cores']:<6}{row['us_per_sample']:>10.2f}"
            f"{row['rtf']:>9.3f}{ratio:>11}"
        )
    return lines


def machine() -> str:
    """The CPU as its own words have it."""
    name, family = platform.processor() or platform.machine(), ""
    try:
        entries = dict(
            line.split(":", 1) for line in Path("/proc/cpuinfo").read_text().splitlines() if ":" in line
        )
        known = {key.strip(): value.strip() for key, value in entries.items()}
        name = known.get("model name", name)
        family = f", family {known['cpu family']}" if "cpu family" in known else ""
    except OSError:
        pass
    return f"{name}{family}, {os.cpu_count()} cores"


def random_weights(blocks: int, layers: int, residual: int, skip: int, seed: int = 0) -> WavenetWeights:
    """Uniform within +-1 / sqrt(inputs), as PyTorch begins."""
    random = np.random.default_rng(seed)

    def uniform(*shape: int, inputs: int) -> np.ndarray:
        return random.uniform(-1, 1, shape).astype(np.float32) / np.float32(np.sqrt(inputs))

    n, r, s = blocks * layers, residual, skip
    rows = n * 2 * r + s
    arrays = {
        "embed.weight": random.standard_normal((CLASSES, r)).astype(np.float32),
        "condition.weight": uniform(rows, LATENT, 1, inputs=LATENT),
        "condition.bias": uniform(rows, inputs=LATENT),
        "head.weight": uniform(s, s, 1, inputs=s),
        "head.bias": uniform(s, inputs=s),
        "classify.weight": uniform(CLASSES, s, 1, inputs=s),
        "classify.bias": uniform(CLASSES, inputs=s),
    }
    for i in range(n):
        outputs = s if i == n - 1 else s + r
        arrays[f"dilated.{i}.weight"] = uniform(2 * r, r, 2, inputs=2 * r)
        arrays[f"output.{i}.weight"] = uniform(outputs, r, 1, inputs=r)
        arrays[f"output.{i}.bias"] = uniform(outputs, inputs=r)
    return WavenetWeights.from_arrays(arrays, HOP, blocks)


def _loops(weights: WavenetWeights) -> Iterator[SampleLoop]:
    """Everything that can run here: each precision by the fastest instruction set, then the forced ones, numba."""
    try:
        from realtime.engines.wavenet.native_loop import NativeLoop, supported

        latent = np.random.default_rng(1).standard_normal((LATENT, 4)).astype(np.float32)
        calibration = calibrate(weights, latent)
        with contextlib.suppress(UserError):  # one core only, or a system where they cannot be chosen
            yield NativeLoop(weights, "int8", calibration=calibration, cores=2)
        for precision in ("int8", "bf16", "fp32"):
            here = supported(precision)
            forced = [isa for isa in FORCED if isa in here[1:]]
            plain = ["plain"] if precision == "fp32" and here[0] != "plain" else []
            for isa in [*here[:1], *forced, *plain]:
                yield NativeLoop(weights, precision, isa=isa, calibration=calibration)
    except CompilerError:
        pass
    with contextlib.suppress(UserError):
        yield make_loop(weights, "numba")


def _us(loop: SampleLoop, seconds: float) -> float:
    """Least microseconds a sample over runs of one hop."""
    random, hop = np.random.default_rng(0), loop.weights.hop
    latent = random.standard_normal((1, loop.weights.latent, 1)).astype(np.float32)
    noise = random.random((1, hop), dtype=np.float32)
    step = loop.bind(latent, noise, np.ones(1, np.float32), np.zeros((1, hop), np.float32))
    cpus = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else None
    loop.stay_off()
    try:
        # a second core that others use too is left alone for a second at a time
        return 1e6 * _least(step, seconds * (3 if getattr(loop, "cores", 1) > 1 else 1)) / hop
    finally:
        if cpus is not None:
            os.sched_setaffinity(0, cpus)


def _least(step: Callable[[], Any], seconds: float) -> float:
    step()
    least, end = float("inf"), time.perf_counter() + seconds
    while True:
        start = time.perf_counter()
        step()
        now = time.perf_counter()
        least = min(least, now - start)
        if now > end:
            return least


def _eager_us(weights: WavenetWeights, seconds: float) -> float:
    """The plain PyTorch step, one sample a call, as it is written in the decoder; one thread."""
    import torch
    import torch.nn.functional as F

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    w = {name: torch.from_numpy(array) for name, array in weights.arrays.items()}
    r, s = weights.residual, weights.skip
    rings = [torch.zeros(1, r, d) for d in weights.dilations]
    position, last = torch.zeros(1, 1, dtype=torch.int64), torch.full((1,), CLASSES // 2)
    condition = F.conv1d(torch.randn(1, LATENT, 1), w["condition.weight"], w["condition.bias"])[:, :, 0]

    def step() -> None:
        nonlocal position, last
        h, total = F.embedding(last, w["embed.weight"]), torch.zeros(1, s)
        for i, d in enumerate(weights.dilations):
            slot = torch.remainder(position, d).unsqueeze(1).expand(1, r, 1)
            past = torch.gather(rings[i], 2, slot)[:, :, 0]
            rings[i] = torch.scatter(rings[i], 2, slot, h.unsqueeze(2))
            taps = w[f"dilated.{i}.weight"]
            y = F.linear(past, taps[:, :, 0]) + F.linear(h, taps[:, :, 1])
            y = y + condition[:, 2 * r * i : 2 * r * (i + 1)]
            z = torch.sigmoid(y[:, :r]) * torch.tanh(y[:, r:])
            out = F.linear(z, w[f"output.{i}.weight"][:, :, 0], w[f"output.{i}.bias"])
            total = total + out[:, :s]
            if out.shape[1] > s:
                h = h + out[:, s:]
        y = F.linear(F.relu(total), w["head.weight"][:, :, 0], w["head.bias"]) + condition[:, -s:]
        p = torch.softmax(F.linear(F.relu(y), w["classify.weight"][:, :, 0], w["classify.bias"]), dim=1)
        last = (torch.cumsum(p, dim=1) <= torch.rand(1, 1)).sum(dim=1).clamp(1, CLASSES - 1)
        position = position + 1

    try:
        with torch.inference_mode():
            return 1e6 * _least(step, seconds)
    finally:
        torch.set_num_threads(threads)


if __name__ == "__main__":
    print("\n".join(format_rows(rows())))
