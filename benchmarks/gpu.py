"""`python -m benchmarks.gpu`: what the WaveNet decoder costs on this machine's GPU, and whether it is right.

Random weights, fresh each run. Needs torch (the reference), numpy and cuda-core with NVRTC; nothing else.
Exit code 2 and one sentence where there is no GPU.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from realtime.engines.wavenet import WavenetWeights, make_loop
from realtime.engines.wavenet.cuda import CudaLoop
from realtime.engines.wavenet.cuda.device import CudaDevice, Device
from realtime.engines.wavenet.cuda.loop import CLUSTERS
from umtn.errors import UserError

if TYPE_CHECKING:
    from umtn.model.decoders.wavenet import WaveNetDecoder

__all__ = ["Size", "Truth", "compare", "long_run", "main", "random_decoder", "time_loop", "time_pytorch"]

RATE_HZ = 16000
LATENT, CLASSES = 64, 256
PIECE = 2048  # samples of one launch in the comparisons


@dataclass(frozen=True)
class Size:
    """blocks x layers, residual and skip channels, samples a latent frame holds."""

    blocks: int
    layers: int
    residual: int
    skip: int
    hop: int = 256
    classes: int = CLASSES
    latent: int = LATENT

    @property
    def name(self) -> str:
        return f"{self.blocks}x{self.layers} R{self.residual} S{self.skip}"


PAPER, MIDDLE, SMALL = Size(4, 10, 128, 128), Size(3, 10, 96, 128), Size(2, 10, 64, 128)


@dataclass(frozen=True)
class Truth:
    """The kernel beside PyTorch in fp32, both hearing PyTorch's samples."""

    samples: int
    equal_share: float
    logits_snr_db: float


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table; exit code 2 and one sentence for bad input or a missing GPU."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__.split("\n")[0])
    parser.add_argument("--json", action="store_true", help="one JSON object instead of lines")
    parser.add_argument("--samples", type=int, default=1_000_000, help="of the long comparison (0: none)")
    parser.add_argument("--seed", type=int, help="default: another one each time")
    options = parser.parse_args(arguments)
    try:
        figures = measure(options.samples, options.seed)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(json.dumps(figures, indent=1) if options.json else "\n".join(_lines(figures)))
    return 0


def measure(samples: int, seed: int | None, device: Callable[[], Device] = CudaDevice) -> dict[str, Any]:
    """All figures. UserError: no GPU, no torch."""
    machine = device()
    _torch()
    seed = int(np.random.SeedSequence().generate_state(1)[0] >> 1) if seed is None else seed
    rows = []
    truths = {}
    for size in (PAPER, MIDDLE, SMALL):
        decoder, weights = random_decoder(size, seed)
        pytorch_us = time_pytorch(decoder)
        for streams in (1, 8):
            for cluster in CLUSTERS if machine.chip.clusters else (1,):
                rows.append(_row(weights, streams, cluster, pytorch_us, device))
        try:
            truths[size.name] = asdict(compare(CudaLoop(weights, 1, device()), decoder, 8 * PIECE, seed))
        except UserError as error:
            truths[size.name] = {"refused": str(error)}
    _, weights = random_decoder(SMALL, seed)
    return {
        "machine": f"{machine.name}, {machine.chip.arch}, {machine.chip.multiprocessors} multiprocessors",
        "seed": seed,
        "rows": rows,
        "against_pytorch_fp32": truths,
        "long_run": long_run(weights, samples, seed, device) if samples else "not asked for",
    }


def _row(
    weights: WavenetWeights, streams: int, cluster: int, pytorch_us: float, device: Callable[[], Device]
) -> dict[str, Any]:
    row: dict[str, Any] = {"decoder": weights.name, "streams": streams, "cluster": cluster}
    try:
        loop = CudaLoop(weights, streams, device(), cluster)
        us, live_us = time_loop(loop, PIECE), time_loop(loop, weights.hop)
        loop.close()
    except UserError as error:
        return row | {"refused": str(error)}
    return row | {
        "engine": "wavenet-cuda",
        "precision": "fp16",
        "us_per_sample": round(us, 2),
        "us_per_sample_blocks_of_one_hop": round(live_us, 2),
        "rtf_at_16_khz": round(us * 1e-6 * RATE_HZ, 3),
        "pytorch_us_per_sample": round(pytorch_us, 1),
        "versus_pytorch": round(pytorch_us * streams / us, 1),
    }


def _torch() -> Any:
    try:
        import torch
    except ImportError:
        raise UserError(
            "the GPU benchmark compares with PyTorch, which is not installed; pip install torch"
        ) from None
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    return torch


def random_decoder(size: Size, seed: int) -> tuple[WaveNetDecoder, WavenetWeights]:
    """Random weights, a little louder than PyTorch makes them, so that signals do not die on their way."""
    torch = _torch()
    from umtn.model.decoders.wavenet import WaveNetDecoder

    torch.manual_seed(seed)
    decoder = WaveNetDecoder(
        size.latent, size.hop, size.blocks, size.layers, size.residual, size.skip, size.classes
    )
    decoder.eval().requires_grad_(False)
    state = decoder.state_dict()  # the decoder's own tensors
    for name, gain in [
        *((f"dilated.{i}.weight", 1.7) for i in range(len(decoder.dilations))),
        ("classify.weight", 3.0),
    ]:
        state[name].mul_(gain)
    arrays = {name: value.numpy().copy() for name, value in state.items()}
    return decoder, WavenetWeights.from_arrays(arrays, size.hop, size.blocks)


def time_pytorch(decoder: WaveNetDecoder, samples: int = 50) -> float:
    """Microseconds of one eager fp32 step, on the GPU if PyTorch has one."""
    torch = _torch()
    place = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    net: Any = decoder.to(place)
    latent = torch.randn(1, net.latent_channels, 1, device=place)
    condition = net.condition(latent)[:, :, 0]
    uniform, temperature = torch.full((1,), 0.5, device=place), torch.ones(1, device=place)
    state = net.init_state(1)
    times: list[float] = []
    for _ in range(samples):
        start = time.perf_counter()
        drawn, state = net.sample_step(condition, uniform, temperature, state)
        drawn.item()
        times.append(time.perf_counter() - start)
    decoder.to("cpu")
    return 1e6 * float(np.median(times[samples // 5 :]))


def time_loop(loop: CudaLoop, samples: int, repeats: int = 7) -> float:
    """Microseconds a sample of all streams together, launch and copies included: the median of whole calls."""
    w, random = loop.weights, np.random.default_rng(0)
    frames = max(1, samples // w.hop)
    n = frames * w.hop
    latent = random.standard_normal((loop.streams, w.latent, frames)).astype(np.float32)
    temperature, audio = np.ones(loop.streams, np.float32), np.zeros((loop.streams, n), np.float32)
    times = []
    for _ in range(repeats + 1):
        noise = random.random((loop.streams, n), dtype=np.float32)
        start = time.perf_counter()
        loop.decode(latent, noise, temperature, audio)
        times.append(time.perf_counter() - start)
    return 1e6 * float(np.median(times[1:])) / n


def compare(loop: CudaLoop, decoder: WaveNetDecoder, samples: int, seed: int) -> Truth:
    """Both draw with the same noise after the same (random) samples; outputs are poisoned before."""
    torch = _torch()
    from umtn.model.decoders.wavenet import draw

    w = loop.weights
    frames = max(1, samples // w.hop)
    n = frames * w.hop
    random = np.random.default_rng(seed)
    latent = random.standard_normal((w.latent, frames)).astype(np.float32)
    noise = random.random(n, dtype=np.float32)
    heard = (
        (w.classes / 2 + w.classes / 10 * random.standard_normal(n)).clip(1, w.classes - 1).astype(np.int32)
    )
    wanted = decoder.logits(torch.from_numpy(latent)[None], torch.from_numpy(heard).long()[None])[0].T
    drawn = draw(wanted, torch.from_numpy(noise), torch.ones(1)).numpy()
    audio, classes = np.full((1, n), np.nan, np.float32), np.full((1, n), -1, np.int32)
    logits = np.full((1, n, w.classes), np.nan, np.float32)
    loop.reset()
    for frame in range(frames):
        at = slice(frame * w.hop, (frame + 1) * w.hop)
        loop.condition(0, np.ascontiguousarray(latent[:, frame]))
        loop.run(
            noise[None, at],
            np.ones(1, np.float32),
            audio[:, at],
            heard[None, at],
            classes[:, at],
            logits[:, at],
        )
    exact = wanted.numpy()
    snr = 10 * np.log10((exact**2).mean() / ((logits[0] - exact) ** 2).mean())
    return Truth(n, float((classes[0] == drawn).mean()), float(snr))


def long_run(
    weights: WavenetWeights, samples: int, seed: int, device: Callable[[], Device] = CudaDevice
) -> dict[str, Any]:
    """Free running twice: must be the same to the last bit, or threads race. Then the CPU's kernel hears it."""
    w = weights
    n = max(1, samples // w.hop) * w.hop
    random = np.random.default_rng(seed)
    latent = random.standard_normal((1, w.latent, n // w.hop)).astype(np.float32)
    noise = random.random((1, n), dtype=np.float32)
    try:
        loops = [CudaLoop(w, 1, device()) for _ in range(2)]
        runs = [_free_run(loop, latent, noise) for loop in loops]
    except UserError as error:
        return {"decoder": w.name, "refused": str(error)}
    figures: dict[str, Any] = {
        "decoder": w.name,
        "samples": n,
        "classes_drawn": len(np.unique(runs[0])),
        "differing_between_two_runs": int((runs[0] != runs[1]).sum()),
    }
    for kind in ("native", "numba"):
        try:
            reference = make_loop(w, kind)
        except UserError as error:
            figures["cpu_kernel"] = f"not compared ({error})"
            continue
        drawn = _free_run(reference, latent, noise, runs[0])
        return figures | {"cpu_kernel": reference.name, "equal_share": float((drawn == runs[0]).mean())}
    return figures


def _free_run(
    loop: Any, latent: np.ndarray, noise: np.ndarray, forced: np.ndarray | None = None
) -> np.ndarray:
    """Classes [1, N], a frame a call."""
    hop, n = loop.weights.hop, noise.shape[1]
    classes, audio = np.full((1, n), -1, np.int32), np.zeros((1, hop), np.float32)
    piece = np.zeros((1, hop), np.int32)
    for frame in range(n // hop):
        at = slice(frame * hop, (frame + 1) * hop)
        loop.condition(0, np.ascontiguousarray(latent[0, :, frame]))
        given = None if forced is None else np.ascontiguousarray(forced[:, at])
        loop.run(np.ascontiguousarray(noise[:, at]), np.ones(1, np.float32), audio, given, piece)
        classes[:, at] = piece
    return classes


def _lines(figures: dict[str, Any]) -> list[str]:
    lines = [f"{figures['machine']}; random weights, seed {figures['seed']}", ""]
    lines.append(
        f"{'decoder':<16} streams cluster  us/sample (blocks of one hop)   RTF 16 kHz   PyTorch us   ratio"
    )
    for row in figures["rows"]:
        start = f"{row['decoder']:<16} {row['streams']:>7} {row['cluster']:>7}"
        if "refused" in row:
            lines.append(f"{start}  {row['refused']}")
            continue
        lines.append(
            f"{start}  {row['us_per_sample']:>9.2f} ({row['us_per_sample_blocks_of_one_hop']:.2f})"
            f"{'':>14}{row['rtf_at_16_khz']:>10.3f} {row['pytorch_us_per_sample']:>12.1f} {row['versus_pytorch']:>7.1f}"
        )
    lines += ["", "against PyTorch fp32, hearing the same samples:"]
    lines += [
        f"  {name}: {', '.join(f'{k} {v}' for k, v in t.items())}"
        for name, t in figures["against_pytorch_fp32"].items()
    ]
    return [*lines, f"long run: {figures['long_run']}"]


if __name__ == "__main__":
    sys.exit(main())
