"""`python -m benchmarks --reaction`: how long after an OSC set the sound begins to change, over JACK.

A tone whose period is a whole number of samples plays through the dry path: while nothing changes, each sample
equals the one a period before. JACK's own clock stamps the sending and the first sample that differs.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.jack import RATE_HZ, Probe, await_ports, jack_server
from benchmarks.stage_clients import Clients
from realtime.shared.audio_config import AudioConfig
from umtn.errors import UserError

__all__ = ["Onlooker", "reaction"]

PERIOD, LEVEL = 8, 0.25  # samples; 6 kHz
TOLERANCE = 2e-3  # of the tone's level
SETS, EVERY_S, GIVE_UP_S = 60, 0.12, 0.1
GAINS_DB = (-12.0, 0.0)


class Onlooker(Probe):
    """Plays the tone and keeps the frame times of the first and last sample that were not as a period before."""

    def __init__(self) -> None:
        tone = LEVEL * np.sin(2 * np.pi * np.arange(64 * PERIOD) / PERIOD)
        super().__init__(np.tile(tone, 64).astype(np.float32))
        self._before = np.zeros(PERIOD, np.float32)
        self.first: int | None = None
        self.last = 0

    def look_away(self) -> None:
        self.first = None

    def _hear(self, frames: int) -> None:
        self.see(self._in.get_array(), self.receiver.last_frame_time)

    def see(self, x: np.ndarray, time_of_first: int) -> None:
        """One block whose first sample has that frame time."""
        both = np.concatenate([self._before, x])
        changed = np.flatnonzero(np.abs(both[PERIOD:] - both[: len(x)]) > TOLERANCE * LEVEL)
        self._before = both[len(x) :]
        if len(changed):
            if self.first is None:
                self.first = time_of_first + int(changed[0])
            self.last = time_of_first + int(changed[-1])


def _turn(port: int, _go: Any, results: Any) -> None:
    """Own process: sets the output's gain up and down at odd moments; (first change, end of it) in frames each."""
    from pythonosc.udp_client import SimpleUDPClient

    osc, found = SimpleUDPClient("127.0.0.1", port), []
    with Onlooker() as onlooker:
        await_ports(onlooker)
        osc.send_message("/umtn/mix", 0.0)
        time.sleep(1.0)
        odd = np.random.default_rng(0)
        for i in range(SETS):
            onlooker.look_away()
            sent = onlooker.receiver.frame_time
            osc.send_message("/umtn/output/gain_db", GAINS_DB[i % 2])
            time.sleep(GIVE_UP_S)
            if onlooker.first is not None:
                found.append((onlooker.first - sent, onlooker.last - sent))
            time.sleep(EVERY_S * float(odd.random()))
    results.send(found)


def reaction(bundle: Path, engine: str, block: int, slack: int = 1) -> dict[str, Any]:
    """From the sending of an OSC set to the first changed sample at the program's output port, and to the last.

    What counts: OSC over UDP, the control process, the shared memory, the block that picks the value up and the
    blocks that are already made (`slack`). UserError when less than half of the sets were heard.
    """
    from export.bundle.bundle import Bundle
    from realtime.app import Performance
    from realtime.surfaces import Wanted

    domains = tuple(d.id for d in Bundle.open(bundle).manifest.domains)
    with jack_server(block):
        seconds = 8.0 + SETS * (GIVE_UP_S + EVERY_S)
        config = AudioConfig(
            bundle=str(bundle), engine=engine, block=block, rate=RATE_HZ, seconds=seconds, slack=slack
        )
        performance = Performance(config, domains, {}, Wanted(osc=("127.0.0.1", 0)))
        assert performance.osc is not None
        guests = Clients()
        guests.start("onlooker", _turn, performance.osc.port)
        performance.run()
        found = guests.answers()["onlooker"]
    if len(found) < SETS // 2:
        raise UserError(f"{SETS} sets were sent, but only {len(found)} were heard in the sound")
    ms = 1000.0 / RATE_HZ
    begun, done = (np.array(column) * ms for column in zip(*found))
    return {
        "block": block,
        "block_ms": round(block * ms, 3),
        "slack_blocks": slack,
        "sets": SETS,
        "heard": len(found),
        "begins_ms_median": round(float(np.median(begun)), 3),
        "begins_ms_max": round(float(begun.max()), 3),
        "begins_blocks_max": round(float(begun.max()) / (block * ms), 2),
        "smoothing_ms": round(float(np.median(done - begun)), 3),
        "done_ms_max": round(float(done.max()), 3),
    }
