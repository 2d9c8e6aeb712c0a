"""`python -m benchmarks`: what a bundle costs on this machine, beside ONNX Runtime and PyTorch.

One thread, real signal path, real clip. `--latency`, `--reaction`, `--soak` and `--stage` need jackd (see
bench_jack.py).
"""

from __future__ import annotations

import os

if __name__ == "__main__":
    from umtn.missing import require

    require("numpy")
for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_variable] = "1"

import argparse  # noqa: E402
import gc  # noqa: E402
import importlib.util  # noqa: E402
import json  # noqa: E402
import subprocess  # noqa: E402
import sys  # noqa: E402
import time  # noqa: E402
from collections.abc import Callable, Sequence  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import TYPE_CHECKING, Any  # noqa: E402

import numpy as np  # noqa: E402

from realtime.options import DEFAULT_BUNDLE, MAX_SLACK, SentenceParser, whole  # noqa: E402
from realtime.shared.audio_config import find_bundle  # noqa: E402
from umtn.errors import UserError  # noqa: E402

if TYPE_CHECKING:
    from export.bundle.bundle import Bundle

__all__ = ["main", "measure"]

STEPS = 2000
MOST_S = 4.0  # for one figure: what is far too slow needs not be measured a thousand times
RATE_HZ, BLOCK = 48000, 256
_CHILD = """
import json, sys, time
start = time.perf_counter()
from export.bundle.bundle import Bundle
from realtime.audio.process import run_audio
from realtime.dsp.signal_path import SignalPath
from realtime.engines import load_engine
imported = time.perf_counter()
path = SignalPath(load_engine(Bundle.open(sys.argv[1]), sys.argv[2]), 48000, 256)
loaded = time.perf_counter()
print(json.dumps([imported - start, loaded - imported]))
try:
    for line in open("/proc/self/status"):
        if line.startswith("VmRSS"):
            print(int(line.split()[1]) / 1024)
except OSError:
    pass
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the figures; exit code 2 and one sentence for bad input."""
    parser = SentenceParser(prog="python -m benchmarks", description=__doc__.split("\n")[0])
    parser.add_argument("--bundle", default=DEFAULT_BUNDLE, help="a .umtn file or a shipped one's name")
    parser.add_argument(
        "--engine", default="auto", help="what computes the model: auto, onnx... (default: auto)"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object instead of lines")
    parser.add_argument("--latency", action="store_true", help="impulse through jackd's dummy driver")
    parser.add_argument(
        "--reaction", action="store_true", help="from an OSC set to a changed sample, over jackd"
    )
    parser.add_argument("--soak", type=float, metavar="MINUTES", help="play over jackd while OSC floods in")
    parser.add_argument(
        "--calm", action="store_true", help="with --soak: the domain changes once a second, not at every turn"
    )
    parser.add_argument(
        "--stage",
        type=float,
        metavar="MINUTES",
        help="the same with 20,000 OSC sets a second, a page open and MIDI moving",
    )
    parser.add_argument(
        "--switches", action="store_true", help="sample jumps of everything that can be switched"
    )
    parser.add_argument(
        "--wavenet", action="store_true", help="native sample-by-sample decoders beside PyTorch's step"
    )
    parser.add_argument(
        "--kl", action="store_true", help="what int8 and bf16 cost the bundle's WaveNet decoders, in nats"
    )
    parser.add_argument("--sound", type=Path, help="a recording for --kl (default: the built-in clip)")
    parser.add_argument(
        "--block", type=int, help="frames (default: 128 for --latency and --reaction, else 256)"
    )
    parser.add_argument(
        "--slack",
        type=whole(0, MAX_SLACK),
        default=1,
        metavar="N",
        help="blocks in hand, for --latency, --reaction and --soak (default: 1)",
    )
    try:
        options = parser.parse_args(arguments)
        path = find_bundle(options.bundle)
        figures = _chosen(options, path)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if options.json:
        print(json.dumps(figures, indent=1))
    elif options.wavenet:
        from benchmarks.wavenet import format_rows

        print("\n".join(format_rows(figures)))
    else:
        print("\n".join(_lines(figures)))
    return 0


def _chosen(options: argparse.Namespace, path: Path) -> Any:
    """What was asked for; modules that need jackd or torch are imported only then."""
    if options.latency:
        from benchmarks.latency import latency

        return latency(path, options.engine, options.block or 128, slack=options.slack)
    if options.reaction:
        from benchmarks.reaction import reaction

        return reaction(path, options.engine, options.block or 128, options.slack)
    if options.soak:
        from benchmarks.soak import soak

        return soak(path, options.engine, options.block or BLOCK, options.soak, options.calm, options.slack)
    if options.stage:
        from benchmarks.stage import stage

        return stage(path, options.engine, options.block or BLOCK, options.stage)
    if options.switches:
        from benchmarks.switches import switches

        return switches(path, options.engine, options.block or BLOCK)
    if options.wavenet:
        from benchmarks.wavenet import rows

        return rows()
    if options.kl:
        from benchmarks.kl import divergences

        return divergences(path, options.sound)
    return measure(path, options.engine, options.block or BLOCK)


def measure(path: Path, engine_name: str = "auto", block: int = BLOCK) -> dict[str, Any]:
    """All figures of one bundle; times in microseconds unless the key says otherwise."""
    from export.bundle.bundle import Bundle
    from realtime.engines import load_engine

    bundle = Bundle.open(path)
    manifest = bundle.manifest
    engine = load_engine(bundle, engine_name)
    figures: dict[str, Any] = {
        "bundle": manifest.name,
        "engine": f"{engine.name}, one thread",
        "model_block_us": round(1e6 * manifest.block / manifest.sample_rate, 1),
        **({"decoders": str(engine.choice)} if hasattr(engine, "choice") else {}),
        **_start_up(path, engine_name),
        **_engine_times(engine),
        **_path_times(engine, block),
    }
    if engine.name != "onnx":
        _beside(figures, bundle, "onnx", "ONNX Runtime, one thread")
    torch = importlib.util.find_spec("torch") is not None
    if torch and engine.name != "torchscript" and "torchscript/encoder.ts" in bundle.names:
        _beside(figures, bundle, "torchscript", "TorchScript, one thread")
    else:
        figures["torchscript"] = "not measured: " + (
            "the bundle holds no torchscript" if torch else "torch is missing"
        )
    return figures


def _beside(figures: dict[str, Any], bundle: Bundle, engine_name: str, title: str) -> None:
    """The same steps by another engine, and how many times longer they take."""
    from realtime.engines import load_engine

    twin = _engine_times(load_engine(bundle, engine_name))
    figures[engine_name] = {**twin, "name": title}
    figures[f"{engine_name}_slower_by"] = {key: round(twin[key] / figures[key], 2) for key in twin}


def _start_up(path: Path, engine_name: str) -> dict[str, float]:
    """In a fresh interpreter, as a performer starts it."""
    began = time.perf_counter()
    run = subprocess.run(
        [sys.executable, "-c", _CHILD, str(path), engine_name], capture_output=True, text=True, check=False
    )
    whole = time.perf_counter() - began
    if run.returncode:
        raise UserError(
            f"the bundle could not be loaded in a fresh process ({run.stderr.strip().splitlines()[-1]})"
        )
    lines = run.stdout.splitlines()
    imports, load = json.loads(lines[0])
    figures = {"import_s": round(imports, 3), "load_s": round(load, 3), "process_s": round(whole, 3)}
    if len(lines) > 1:
        figures["resident_mb"] = round(float(lines[1]), 1)
    return figures


def _times(call: Callable[[], object], steps: int = STEPS) -> np.ndarray:
    """Microseconds of each call, after a warm-up."""
    began = time.perf_counter()
    for _ in range(max(20, steps // 20)):
        call()
        if time.perf_counter() - began > MOST_S / 4:
            break
    times = np.empty(steps)
    gc.collect()
    gc.disable()
    began, done = time.perf_counter_ns(), 0
    while done < steps and time.perf_counter_ns() - began < MOST_S * 1e9:
        start = time.perf_counter_ns()
        call()
        times[done] = time.perf_counter_ns() - start
        done += 1
    gc.enable()
    return times[:done] / 1000


def _engine_times(engine: Any) -> dict[str, float]:
    """Median of one step of the encoder and of each decoder."""
    manifest = engine.manifest
    audio = np.random.default_rng(0).uniform(-0.3, 0.3, manifest.block).astype(np.float32)
    out = np.empty(manifest.block, np.float32)
    figures = {"encoder_us": round(float(np.median(_times(lambda: engine.encode(audio)))), 1)}
    for i, domain in enumerate(manifest.domains):
        steps = _times(lambda i=i: engine.decode(i, out), STEPS // 2)  # type: ignore[misc]
        figures[f"decoder_us.{domain.id}"] = round(float(np.median(steps)), 1)
    engine.reset()
    return figures


def _path_times(engine: Any, block: int) -> dict[str, Any]:
    """The whole signal path on the built-in clip, as the callback runs it."""
    from realtime.audio.sound_files import DEMO, FileSource
    from realtime.dsp.signal_path import SignalPath

    path = SignalPath(engine, RATE_HZ, block)
    clip = np.zeros(STEPS * block, np.float32)
    source = FileSource(DEMO, RATE_HZ)
    source.read(clip)
    source.close()
    clip = np.tile(clip[: source.frames], STEPS * block // source.frames + 2)
    out, at = np.empty(block, np.float32), 0

    def step() -> None:
        nonlocal at
        path.process(clip[at : at + block], out)
        at = at + block if at + 2 * block < len(clip) else 0

    began, before = time.perf_counter(), time.thread_time()
    us = _times(step)
    busy = (time.thread_time() - before) / (time.perf_counter() - began)
    length_us = 1e6 * block / RATE_HZ
    return {
        "path_block": f"{block} at {RATE_HZ} Hz = {length_us:.0f} us",
        "path_mean_us": round(float(us.mean()), 1),
        "path_p99_us": round(float(np.percentile(us, 99)), 1),
        "path_max_us": round(float(us.max()), 1),
        "path_rtf": round(float(us.mean()) / length_us, 4),
        # below 1 other programs took the processor, and the times above are theirs too
        "path_share_of_core": round(busy, 2),
        "path_latency_ms": round(1000 * path.latency.total / RATE_HZ, 3),
    }


def _lines(figures: dict[str, Any], indent: str = "") -> list[str]:
    lines = []
    for key, value in figures.items():
        if isinstance(value, dict):
            lines += [f"{indent}{key}:", *_lines(value, indent + "  ")]
        else:
            lines.append(f"{indent}{key:<{32 - len(indent)}} {value}")
    return lines


if __name__ == "__main__":
    sys.exit(main())
