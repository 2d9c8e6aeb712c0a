"""Stands in for the audio process: beats a hundred times a second and behaves as `config.input` says.

As a script it is a whole performance over that fake: `python fakeaudio.py INPUT OSC_PORT`.
"""

from __future__ import annotations

import os
import sys
import time
from multiprocessing.connection import Connection
from pathlib import Path

from realtime.shared.audio_config import AudioConfig
from realtime.shared.memory import SharedState
from realtime.shared.messages import Done, PlayingBundle, Ready

DOMAINS = ("strings", "piano", "winds")
TARGET = "tests.realtime.control.fakeaudio:run_audio"


def run_audio(config: AudioConfig, shared_name: str, conn: Connection) -> None:
    """input: play | strange | error | raise | crash-at-start | crash-always | mute-start | end-after-N (seconds)."""
    shared = SharedState.attach(shared_name)
    mode = config.input
    if mode == "error":
        raise ValueError("no input device; try --in demo")
    if mode == "raise":
        raise RuntimeError("a fault")
    if mode == "crash-at-start":
        os._exit(3)
    if mode == "strange":  # of another version
        conn.send(("notice", "a pair"))
    conn.send(Ready(PlayingBundle(engine="fake"), rate=48000, block=256, latency_ms={"io": 1.0}))
    if mode == "crash-always":
        os._exit(3)
    began = time.monotonic()
    while not shared.stop_flag:
        time.sleep(0.01)
        shared.heartbeat += 1
        shared.status_set("domain", shared.get("to"))
        shared.status_set("uptime", time.monotonic() - began)
        shared.status_set("level_in_db", -20.0)
        if shared.get("mix") == 0.123:  # the test's signal to hang
            time.sleep(60)
        if mode.startswith("end-after-") and time.monotonic() - began > float(mode.split("-")[-1]):
            break
    time.sleep(0.1)  # closing a file takes a moment
    if config.output.endswith(".wav"):
        Path(config.output).write_text("closed")
    conn.send(Done({"xruns": 0, "mix": shared.get("mix")}))
    shared.close()


def main() -> int:
    """A whole performance over the fake."""
    from realtime.app import Performance
    from realtime.surfaces import Wanted
    from umtn.errors import UserError

    mode, port, output = sys.argv[1], int(sys.argv[2]), sys.argv[3]
    config = AudioConfig(bundle="", input=mode, output=output)
    try:
        performance = Performance(config, DOMAINS, {"mix": 0.25}, Wanted(osc=("127.0.0.1", port)), TARGET)
        if len(sys.argv) > 4:
            Path(sys.argv[4]).write_text(performance.shared.name)
        return performance.run()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


__all__ = ["DOMAINS", "TARGET", "main", "run_audio"]

if __name__ == "__main__":
    sys.exit(main())
