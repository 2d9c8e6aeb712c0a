"""`python -m benchmarks --soak MINUTES`: play over JACK while OSC floods in."""

from __future__ import annotations

import functools
import socket
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.jack import RATE_HZ, jack_server, realtime_granted
from benchmarks.stage_clients import Clients, listening
from realtime.doctor.stalls import StallWatch, blame, without_stalls
from realtime.shared.audio_config import AudioConfig

__all__ = ["soak"]


def _flood(
    port: int, domains: int, seconds: float, go: Any, results: Any, calm: bool = False, rate: int = 1000
) -> None:
    """Own process: once told to go, send `rate` OSC messages a second that switch domains and gains; calm: gains, and
    once a second the domain."""
    from pythonosc.osc_message_builder import OscMessageBuilder

    def message(address: str, value: float | int) -> bytes:
        builder = OscMessageBuilder(address)
        builder.add_arg(value)
        return bytes(builder.build().dgram)

    switches = [message("/umtn/to", i) for i in range(domains)]
    messages = [] if calm else list(switches)
    for db in (-12.0, -6.0, -3.0, 0.0):
        messages += [message("/umtn/output/gain_db", db), message("/umtn/input/gain_db", db)]
    order = np.random.default_rng(0)
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    go.wait()
    start, sent = time.perf_counter(), 0
    while (now := time.perf_counter() - start) < seconds:
        while sent < now * rate:
            chosen = messages[int(order.integers(len(messages)))]
            if calm and sent % rate == 0:
                chosen = switches[sent // rate % domains]
            udp.sendto(chosen, ("127.0.0.1", port))
            sent += 1
        time.sleep(0.001)
    results.send(sent)


def _listen(port: int, domains: int, seconds: float, go: Any, results: Any) -> None:
    """Own process: every domain played steadily for reference, then the flood, heard through JACK."""
    with listening(port) as (probe, osc, clip_s):
        osc.send_message("/umtn/crossfade_ms", 60.0)
        for domain in range(domains):  # a whole clip of each: the reference has heard what the flood will
            osc.send_message("/umtn/to", domain)
            time.sleep(clip_s + 0.3)
        steady, before = probe.jump, probe.server_xruns
        probe.jump = 0.0
        go.set()
        time.sleep(seconds)
        figures = (steady, probe.jump, probe.server_xruns - before, probe.loudest)
    results.send(figures)


def soak(
    bundle: Path, engine: str, block: int, minutes: float, calm: bool = False, slack: int = 1
) -> dict[str, Any]:
    """Play over JACK for `minutes` while 1,000 OSC messages a second arrive; what was late, what clicked.

    calm: they move gains, and the domain once a second; else hundreds of times, so that two decoders run.
    """
    from export.bundle.bundle import Bundle
    from realtime.app import Performance
    from realtime.surfaces import Wanted

    domains = tuple(d.id for d in Bundle.open(bundle).manifest.domains)
    seconds = 60.0 * minutes
    with jack_server(block):
        config = AudioConfig(
            bundle=str(bundle),
            engine=engine,
            block=block,
            rate=RATE_HZ,
            seconds=seconds + 15.0 * len(domains) + 5.0,
            slack=slack,
        )
        performance = Performance(config, domains, {}, Wanted(osc=("127.0.0.1", 0)))
        assert performance.osc is not None
        guests = Clients()
        flood = functools.partial(_flood, calm=calm)
        for name, target in (("listener", _listen), ("flood", flood)):
            guests.start(name, target, performance.osc.port, len(domains), seconds)
        with StallWatch() as witness:
            performance.run()
        answers = guests.answers()
    (steady, jump, server_xruns, loudest), sent = answers["listener"], answers["flood"]
    ending = performance.session.ending
    stats = (ending.stats if ending else None) or {}
    keys = (
        "xruns",
        "late",
        "flagged",
        "skipped",
        "failures",
        "resets",
        "blocks",
        "p50_us",
        "p99_us",
        "p999_us",
        "max_us",
        "waits",
        "callback_p50_us",
        "callback_p999_us",
    )
    block_s = block / RATE_HZ
    return {
        "minutes": minutes,
        "domain": "once a second" if calm else "hundreds of times a second",
        "block": block,
        "slack_blocks": slack,
        "server": "real-time" if realtime_granted() else "without real-time rights",
        "osc_messages": sent,
        **{key: stats.get(key) for key in keys},
        "restarts": performance.session.restarts,
        "xruns_of_the_server": server_xruns,
        **without_stalls(stats.get("callback_slow", ()), stats.get("blocks", 0), witness.gaps, block_s),
        **blame(stats.get("xrun_times", ()), witness.stalls, block_s),
        "largest_jump_steady": round(steady, 4),
        "largest_jump_flooded": round(jump, 4),
        "loudest_sample": round(loudest, 3),
    }
