"""What the model costs on this machine, and whether the machine stands still now and then.

The model is measured as it will play: in a process of its own, one thread, with the real-time rights that the
system grants. `python -m realtime.doctor.cost BUNDLE ENGINE RATE BLOCK` is that process.
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from realtime.doctor.finding import Finding, ok, stop, warn
from realtime.options import MAX_BLOCK, MAX_SLACK
from realtime.shared.scheduling import HEADROOM, blend_room
from umtn.errors import UserError

if TYPE_CHECKING:
    from realtime.engines import Engine

__all__ = ["Cost", "judge_blend", "judge_domain", "judge_engine", "judge_stalls", "measure", "measure_stalls"]

SECONDS = 0.6  # of processor time for each domain
STEPS = 60  # of encoder and decoder alone
WATCH_S = 2.0
MANY = 3  # stalls beyond what slack forgives, within WATCH_S

CHILD_S = 90.0
_MODULE = "realtime.doctor.cost"

Cost = dict[str, float]  # mean_us, p99_us, longest_us of a block


def measure(bundle: Path, engine: str, rate_hz: int, block: int) -> dict[str, Any]:
    """domains: a Cost each; encode_s, decode_s (the slowest), model_block_s, own_ms, model_ms, hint. UserError: why
    not."""
    command = [sys.executable, "-m", _MODULE, str(bundle), engine, str(rate_hz), str(block)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=CHILD_S, check=False)
        figures: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    except subprocess.TimeoutExpired:
        raise UserError(f"the model was not measured within {CHILD_S:.0f} s") from None
    except (OSError, ValueError, IndexError):
        raise UserError("the process that measures the model failed; does realtime.run play?") from None
    if "error" in figures:
        raise UserError(figures["error"])
    return figures


def _child(bundle: str, engine_name: str, rate: str, block: str) -> dict[str, Any]:
    """What `measure` returns, made in its process."""
    from export.bundle.bundle import Bundle
    from realtime.audio.latencies import algorithmic_ms
    from realtime.dsp.signal_path import SignalPath
    from realtime.engines import load_engine
    from realtime.shared.scheduling import flush_denormals, request_realtime

    rate_hz, length = int(rate), int(block)
    try:
        engine = load_engine(Bundle.open(bundle), engine_name)
    except (ValueError, ImportError, OSError) as error:
        return {"error": str(error)}
    request_realtime()
    flush_denormals()
    manifest = engine.manifest
    encode_s, decode_s = _engine_times(engine)
    return {
        "domains": _domains(engine, rate_hz, length),
        "encode_s": encode_s,
        "decode_s": decode_s,
        "model_block_s": manifest.block / manifest.sample_rate,
        "hint": engine.hint,
        "own_ms": 1000.0 * SignalPath(engine, rate_hz, length).latency.total / rate_hz,
        "model_ms": algorithmic_ms(manifest),
    }


def _domains(engine: Engine, rate_hz: int, block: int) -> dict[str, Cost]:
    """Each domain through the whole signal path on the built-in clip; one thread."""
    from realtime.audio.sound_files import DEMO, FileSource
    from realtime.dsp.signal_path import SignalPath

    source = FileSource(DEMO, rate_hz)
    clip = np.zeros(source.frames, np.float32)
    source.read(clip)
    source.close()
    costs: dict[str, Cost] = {}
    for index, domain in enumerate(engine.manifest.domains):
        engine.reset()
        path = SignalPath(engine, rate_hz, block)
        path.controls.to = index
        path.controls.crossfade_ms = 0.0
        costs[domain.id] = _time(path, clip, block)
    engine.reset()
    return costs


def _time(path: Any, clip: np.ndarray, block: int) -> Cost:
    out, at = np.empty(block, np.float32), 0
    times: list[float] = []
    blocks = len(clip) // block
    began = time.perf_counter()
    warm = max(20, int(0.05 * path.rate_hz / block))
    while time.perf_counter() - began < SECONDS or len(times) < warm + 20:
        start = time.perf_counter_ns()
        path.process(clip[at * block : (at + 1) * block], out)
        times.append((time.perf_counter_ns() - start) / 1000.0)
        at = (at + 1) % blocks
    us = np.array(times[warm:])
    return {
        "mean_us": round(float(us.mean()), 1),
        "p99_us": round(float(np.percentile(us, 99)), 1),
        "longest_us": round(float(us.max()), 1),
    }


def _engine_times(engine: Engine) -> tuple[float, float]:
    """Median times of the encoder and of the slowest decoder in s."""
    manifest = engine.manifest
    audio = np.random.default_rng(0).uniform(-0.3, 0.3, manifest.block).astype(np.float32)
    out = np.empty(manifest.block, np.float32)
    encode = _median(lambda: engine.encode(audio))
    decode = max(_median(lambda i=i: engine.decode(i, out)) for i in range(len(manifest.domains)))
    engine.reset()
    return encode, decode


def _median(step: Any) -> float:
    times = []
    for _ in range(STEPS):
        start = time.perf_counter()
        step()
        times.append(time.perf_counter() - start)
    return float(np.median(times[STEPS // 6 :]))


def judge_domain(name: str, cost: Mapping[str, float], block: int, rate_hz: int, slack: int) -> Finding:
    """Computing time of one block against its length; with slack a late one may borrow from the next ones."""
    length = 1e6 * block / rate_hz
    rtf = cost["mean_us"] / length
    text = (
        f"{name}: RTF {rtf:.2f} (block {length:.0f} us: mean {cost['mean_us']:.0f}, p99 {cost['p99_us']:.0f})"
    )
    larger = f"--block {2 * block}, close other programs, or a lighter bundle"
    if rtf > HEADROOM:
        return stop("model", text, f"too slow for the stage, a change of domain costs more still; {larger}")
    if cost["p99_us"] > length * (1 + slack):
        mend = _more_slack(slack, cost["p99_us"] / length) + larger
        return stop("model", f"{text}; 1 block in 100 comes too late", mend)
    if cost["p99_us"] > 0.8 * length:
        return warn("model", f"{text}; little is left", larger)
    return ok("model", text)


def judge_engine(hint: str) -> list[Finding]:
    """A slower engine than there could be; `hint` as `Engine` has it: what is so; what mends it."""
    text, _, mend = hint.partition("; ")
    return [warn("model", text, mend)] if hint else []


def judge_blend(encode_s: float, decode_s: float, model_block_s: float, domains: int) -> Finding:
    """How many decoders fit at once; a change of domain needs two."""
    room = min(blend_room(encode_s, decode_s, model_block_s), domains)
    two = (encode_s + min(2, domains) * decode_s) / model_block_s
    text = f"{room} of {domains} decoders can play at once; a change of domain takes {two:.2f} of the time there is"
    if two > 1:
        return stop(
            "model", text, "the sound would break at every change; a lighter bundle or a faster machine"
        )
    if two > HEADROOM:
        return warn("model", text, "change domains in rests, or a lighter bundle")
    return ok("model", text)


def measure_stalls(seconds: float = WATCH_S) -> tuple[list[tuple[float, float]], float]:
    """Stalls of any processor, (start, end) in s, and the time watched."""
    from realtime.doctor.stalls import StallWatch

    with StallWatch() as witness:
        time.sleep(seconds + 0.5)  # the witnesses need a moment to start
    return witness.stalls, seconds


def judge_stalls(
    stalls: Sequence[tuple[float, float]], seconds: float, block: int, rate_hz: int, slack: int
) -> Finding:
    """Whether the machine was away for longer than a block, or than a block and its slack."""
    block_s = block / rate_hz
    lengths = [end - start for start, end in stalls]
    longest = max(lengths, default=0.0)
    forgiven = block_s * (1 + slack)
    lost = sum(length > forgiven for length in lengths)
    text = f"in {seconds:g} s the machine stood still {len(stalls)} times, {1000 * longest:.1f} ms at most"
    larger = block
    while larger < MAX_BLOCK and larger * (1 + slack) < longest * rate_hz:
        larger *= 2
    mend = (
        f"{_more_slack(slack, longest / block_s)}--block {max(larger, 2 * block)}, close other programs, switch "
        "power saving off; a virtual machine is no stage"
    )
    if not stalls:
        return ok("stalls", f"none in {seconds:g} s")
    if lost >= MANY:
        return stop("stalls", f"{text}; {lost} longer than block and slack ({1000 * forgiven:.1f} ms)", mend)
    if longest > block_s:
        return warn("stalls", f"{text}, longer than a block ({1000 * block_s:.1f} ms)", mend)
    return ok("stalls", f"{text}, less than a block")


def _more_slack(slack: int, blocks: float) -> str:
    """The slack that forgives a delay of so many blocks, as the start of an advice; "" where none does or is needed."""
    wanted = math.ceil(blocks) - 1
    return f"--slack {wanted} or " if slack < wanted <= MAX_SLACK else ""


if __name__ == "__main__":
    print(json.dumps(_child(*sys.argv[1:])))
