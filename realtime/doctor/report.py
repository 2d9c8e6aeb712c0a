"""`python -m realtime.doctor`: one page on what would stop a show, each with what mends it.

Nothing is played and nothing is changed. The model is measured for a few seconds on one thread.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
from collections.abc import (
    Mapping,
    Sequence,
)
from dataclasses import asdict
from importlib import metadata
from pathlib import Path

from realtime.doctor.finding import Finding, ok, page, stop, warn, would_stop
from realtime.options import SentenceParser, add_sound, exit_code, whole
from realtime.shared.audio_config import find_bundle
from umtn.errors import UserError

__all__ = ["engines", "examine", "judge_engines", "main"]


for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")


def main(arguments: Sequence[str] | None = None) -> int:
    """0: nothing would stop the show; 1: something would; 2: bad input."""
    return exit_code(lambda: _report(_parse(arguments)))


def _report(options: argparse.Namespace) -> int:
    findings = examine(options, find_bundle(options.bundle))
    if options.json:
        print(json.dumps({"stop": would_stop(findings), "findings": [asdict(f) for f in findings]}, indent=1))
    else:
        print(page(findings))
    return 1 if would_stop(findings) else 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = SentenceParser(
        prog="python -m realtime.doctor", description=(__doc__ or "").split("\n")[0], allow_abbrev=False
    )
    add_sound(parser)
    add = parser.add_argument
    add("--engine", default="auto", help="what computes the model: auto, onnx... (default: auto)")
    add(
        "--osc-host",
        default="127.0.0.1",
        metavar="HOST",
        help="address that OSC will listen on (default: 127.0.0.1)",
    )
    add("--osc-port", type=whole(0, 65535), default=9100, metavar="PORT", help="also the page's, over TCP")
    add("--json", action="store_true", help="one JSON object instead of the page")
    return parser.parse_args(arguments)


def examine(options: argparse.Namespace, bundle: Path) -> list[Finding]:
    """Everything, in the order of the page."""
    pass
    from realtime.doctor.machine import machine, ports
    from realtime.doctor.sound import sound

    found = sound(options.input, options.output, options.rate)
    return [
        *found.findings,
        *machine(found.rate_hz, Path.cwd()),
        *ports(options.osc_host, options.osc_port),
        engines(),
        *_model(options, bundle, found),
    ]


def _model(options: argparse.Namespace, bundle: Path, found: object) -> list[Finding]:
    """What the bundle costs; the witness watches alone, or it would see our own measurement."""
    from realtime.doctor import cost
    from realtime.doctor.sound import Sound, judge_latency

    assert isinstance(found, Sound)
    rate, block, slack = found.rate_hz, found.block or options.block, options.slack
    stalls = cost.judge_stalls(*cost.measure_stalls(), block, rate, slack)
    try:
        figures = cost.measure(bundle, options.engine, rate, block)
    except UserError as error:
        return [stalls, stop("model", str(error), "another --bundle or --engine, or export the bundle again")]
    domains = [cost.judge_domain(name, c, block, rate, slack) for name, c in figures["domains"].items()]
    times = figures["encode_s"], figures["decode_s"], figures["model_block_s"]
    latency = judge_latency(found, block, slack, figures["own_ms"], figures["model_ms"])
    engine = cost.judge_engine(figures["hint"])
    return [*domains, *engine, cost.judge_blend(*times, len(domains)), stalls, latency]


# What could compute a model here: the native kernels, ONNX Runtime, a GPU.


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
