"""`python -m benchmarks --latency`: an impulse through the running program over JACK."""

from __future__ import annotations

import multiprocessing
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.jack import IMPULSE_EVERY_S, RATE_HZ, Probe, await_ports, driver_frames, jack_server
from realtime.shared.audio_config import AudioConfig
from realtime.shared.messages import Ready
from umtn.errors import UserError

__all__ = ["latency"]

SETTLE_S = 1.0


def latency(
    bundle: Path,
    engine: str,
    block: int,
    mix: float = 0.0,
    impulses: int = 10,
    slack: int = 1,
    record: str | None = None,
) -> dict[str, Any]:
    """An impulse through the running program, JACK port to JACK port, plus the driver's own buffers.

    At mix 0 the program plays its aligned dry signal, delayed by exactly what the model's path takes: a
    network answers an impulse with a sound of its own, not with an impulse. `shown_ms` is what the program said
    at its start, while it was still wired to the driver. record: a file that the program records to meanwhile.
    """
    from realtime.audio.process import run_audio
    from realtime.shared.memory import SharedState

    with jack_server(block):
        shared = SharedState.create()
        shared.set("mix", mix)
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        config = AudioConfig(
            bundle=str(bundle), engine=engine, block=block, rate=RATE_HZ, slack=slack, record=record
        )
        process = context.Process(target=run_audio, args=(config, shared.name, theirs))
        process.start()
        theirs.close()
        try:
            info = ours.recv()
            if not isinstance(info, Ready):
                raise UserError(str(getattr(info, "sentence", info)))
            with Probe(None) as probe:
                await_ports(probe)
                time.sleep(SETTLE_S + impulses * IMPULSE_EVERY_S)
                driver = driver_frames()
                sent, heard = list(probe.sent), list(probe.heard)
        finally:
            shared.stop_flag = True
            process.join(10)
            shared.close()
            shared.unlink()
    return {"slack_blocks": slack, **_split(sent, heard, driver, info)}


def _split(sent: list[int], heard: list[int], driver: tuple[int, int], info: Ready) -> dict[str, Any]:
    delays = [h - max((s for s in sent if s <= h), default=h) for h in heard]
    if len(delays) < 3:
        raise UserError(f"{len(sent)} impulses were sent, but only {len(delays)} came back")
    measured = int(np.median(delays))
    ms = 1000.0 / RATE_HZ
    split = info.latency_ms
    resampler, model, slack = split["resampler"], split["model"], split["slack"]
    return {
        "block": info.block,
        "impulses": len(delays),
        "port_to_port_frames": measured,
        "spread_frames": int(max(delays) - min(delays)),
        "port_to_port_ms": round(measured * ms, 3),
        "split_ms": {
            "driver capture + playback (server's word)": round(sum(driver) * ms, 3),
            "PortAudio (measured less those below)": round(measured * ms - resampler - model - slack, 3),
            "blocks in hand (--slack 0 does without)": slack,
            "resampler": resampler,
            "model and its block": model,
        },
        "total_ms": round((measured + sum(driver)) * ms, 3),
        "shown_ms": dict(info.latency),
    }
