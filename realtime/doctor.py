"""`python -m realtime.doctor`: one page on what would stop a show, each with what mends it.

Nothing is played and nothing is changed. The model is measured for a few seconds on one thread.
"""

from __future__ import annotations

import os

for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")

import argparse  # noqa: E402
import json  # noqa: E402
import sys  # noqa: E402
from collections.abc import Sequence  # noqa: E402
from dataclasses import asdict  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import NoReturn  # noqa: E402

from realtime.checkup.finding import Finding, page, stop, would_stop  # noqa: E402
from realtime.errors import UserError  # noqa: E402
from realtime.options import (  # noqa: E402
    DEFAULT_BUNDLE,
    MAX_BLOCK,
    MAX_RATE_HZ,
    MIN_BLOCK,
    MIN_RATE_HZ,
    find_bundle,
)

__all__ = ["examine", "main"]


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UserError(message.removeprefix("argument "))


def main(arguments: Sequence[str] | None = None) -> int:
    """0: nothing would stop the show; 1: something would; 2: bad input."""
    try:
        options = _parse(arguments)
        bundle = find_bundle(options.bundle)
        findings = examine(options, bundle)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 0
    if options.json:
        print(json.dumps({"stop": would_stop(findings), "findings": [asdict(f) for f in findings]}, indent=1))
    else:
        print(page(findings))
    return 1 if would_stop(findings) else 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = _Parser(
        prog="python -m realtime.doctor", description=(__doc__ or "").split("\n")[0], allow_abbrev=False
    )
    add = parser.add_argument
    add("--bundle", default=DEFAULT_BUNDLE, help="a .umtn file or a shipped one's name")
    add("--engine", default="auto")
    add("--in", dest="input", default="mic", metavar="IN", help="a device's name or number")
    add("--out", dest="output", default="default", metavar="OUT", help="a device's name or number")
    add("--block", type=int, default=128, metavar="N", help="as the show will run (default: 128)")
    add("--slack", type=int, choices=(0, 1), default=1)
    add("--rate", type=int, metavar="HZ", help="(default: the device's own)")
    add("--osc-host", default="127.0.0.1", metavar="HOST")
    add("--osc-port", type=int, default=9100, metavar="PORT", help="also the page's, over TCP")
    add("--json", action="store_true", help="one JSON object instead of the page")
    options = parser.parse_args(arguments)
    if not MIN_BLOCK <= options.block <= MAX_BLOCK:
        raise UserError(f"--block takes {MIN_BLOCK} to {MAX_BLOCK}, but {options.block} came")
    if options.rate is not None and not MIN_RATE_HZ <= options.rate <= MAX_RATE_HZ:
        raise UserError(f"--rate takes {MIN_RATE_HZ} to {MAX_RATE_HZ} Hz, but {options.rate} came")
    if not 0 <= options.osc_port <= 65535:
        raise UserError(f"--osc-port takes 0 to 65535, but {options.osc_port} came")
    return options


def examine(options: argparse.Namespace, bundle: Path) -> list[Finding]:
    """Everything, in the order of the page."""
    from realtime.checkup.machine import machine
    from realtime.checkup.ports import ports
    from realtime.checkup.sound import sound

    found = sound(options.input, options.output, options.rate)
    return [
        *found.findings,
        *machine(found.rate_hz, Path.cwd()),
        *ports(options.osc_host, options.osc_port),
        *_model(options, bundle, found),
    ]


def _model(options: argparse.Namespace, bundle: Path, found: object) -> list[Finding]:
    """What the bundle costs; the witness watches alone, or it would see our own measurement."""
    from realtime.checkup import cost
    from realtime.checkup.sound import Sound, judge_latency

    assert isinstance(found, Sound)
    rate, block, slack = found.rate_hz, options.block, options.slack
    stalls = cost.judge_stalls(*cost.measure_stalls(), block, rate, slack)
    try:
        figures = cost.measure(bundle, options.engine, rate, block)
    except UserError as error:
        return [stalls, stop("model", str(error), "another --bundle or --engine, or export the bundle again")]
    domains = [cost.judge_domain(name, c, block, rate, slack) for name, c in figures["domains"].items()]
    times = figures["encode_s"], figures["decode_s"], figures["model_block_s"]
    latency = judge_latency(found, block, slack, figures["own_ms"])
    return [*domains, cost.judge_blend(*times, len(domains)), stalls, latency]


if __name__ == "__main__":
    sys.exit(main())
