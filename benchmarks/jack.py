"""A real sound server without hardware to measure over: `jackd -d dummy`, on a server of our own.

Threading model: jackd, the program under test, and the measuring JACK client are processes of their own; the
measuring client's callbacks only copy. Sender and receiver are two clients, so the graph has no loop in it.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import shutil
import subprocess
import time
from collections.abc import Iterator
from typing import Any, Self

import numpy as np

from umtn.errors import UserError

__all__ = [
    "IMPULSE_EVERY_S",
    "RATE_HZ",
    "Probe",
    "await_ports",
    "driver_frames",
    "jack_server",
    "realtime_granted",
]

RATE_HZ = 48000
IMPULSE_EVERY_S = 0.5


def realtime_granted() -> bool:
    """Whether this user may have real-time priority, as a performer's sound server has."""
    if not hasattr(os, "sched_setscheduler"):
        return False
    try:
        before = os.sched_getscheduler(0), os.sched_getparam(0)
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
        os.sched_setscheduler(0, *before)
    except OSError:
        return False
    return True


@contextlib.contextmanager
def jack_server(period: int) -> Iterator[str]:
    """A private jackd with the dummy driver; yields its name and sets JACK_DEFAULT_SERVER for children."""
    if shutil.which("jackd") is None:
        raise UserError("this needs the program jackd; on Debian: sudo apt-get install jackd2")
    try:
        import jack
    except (ImportError, OSError):
        raise UserError("this needs the package JACK-Client: pip install JACK-Client") from None
    name = f"umtn{secrets.token_hex(3)}"
    saved = {key: os.environ.get(key) for key in ("JACK_DEFAULT_SERVER", "JACK_NO_AUDIO_RESERVATION")}
    os.environ.update(JACK_DEFAULT_SERVER=name, JACK_NO_AUDIO_RESERVATION="1")
    rights = ["-R", "-P", "10"] if realtime_granted() else ["-r"]
    driver = ["-d", "dummy", "-r", str(RATE_HZ), "-p", str(period)]
    command = ["jackd", "-n", name, *rights, *driver]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _await_server(jack, server)
        yield name
    finally:
        server.terminate()
        try:
            server.wait(5)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()
        for key, value in saved.items():
            if value is None:
                os.environ.pop(key, None)
            else:
                os.environ[key] = value


def _await_server(jack: Any, server: subprocess.Popen[bytes]) -> None:
    jack.set_error_function(lambda _: None)
    for _ in range(100):
        if server.poll() is not None:
            break
        try:
            jack.Client("umtn-ask", no_start_server=True).close()
            return
        except jack.JackOpenError:
            time.sleep(0.1)
    raise UserError("jackd does not start on this machine; try: jackd -r -d dummy")


class Probe:
    """Two JACK clients: one plays `signal` (looped) or impulses into the program, one hears its output."""

    def __init__(self, clip: np.ndarray | None) -> None:
        import jack

        jack.set_error_function(lambda _: None)
        self.sender = jack.Client("umtn-send", no_start_server=True)
        self.receiver = jack.Client("umtn-hear", no_start_server=True)
        self._out = self.sender.outports.register("out")
        self._in = self.receiver.inports.register("in")
        self._clip, self._at = clip, 0
        self._every = int(IMPULSE_EVERY_S * RATE_HZ)
        self.sent: list[int] = []
        self.heard: list[int] = []
        self._quiet = 0
        self._last = 0.0
        self.jump = self.loudest = 0.0
        self.server_xruns = 0
        self.sender.set_process_callback(self._send)
        self.receiver.set_process_callback(self._hear)
        self.receiver.set_xrun_callback(self._count_xrun)

    def _count_xrun(self, _: float) -> None:
        self.server_xruns += 1

    def _send(self, frames: int) -> None:
        out = self._out.get_array()
        if self._clip is not None:
            if self._at + frames > len(self._clip):
                self._at = 0
            out[:] = self._clip[self._at : self._at + frames]
        else:
            out[:] = 0.0
            left = -self._at % self._every
            if left < frames:
                out[left] = 0.5
                self.sent.append(self.sender.last_frame_time + left)
        self._at += frames

    def _hear(self, frames: int) -> None:
        x = self._in.get_array()
        self.jump = max(self.jump, float(np.abs(np.diff(x)).max()), abs(float(x[0]) - self._last))
        self._last = float(x[-1])
        peak = int(np.argmax(np.abs(x)))
        level = abs(float(x[peak]))
        self.loudest = max(self.loudest, level)
        if level > 0.2 and self._quiet <= 0:
            self.heard.append(self.receiver.last_frame_time + peak)
            self._quiet = self._every // 2
        self._quiet -= frames

    def connect(self) -> bool:
        """Take the program's ports away from the (silent) system ports and wire them to ours."""
        theirs = [p for p in self.sender.get_ports(is_audio=True) if p.name.startswith("PortAudio")]
        inputs, outputs = [p for p in theirs if p.is_input], [p for p in theirs if p.is_output]
        if not (inputs and outputs):
            return False
        for port in self.sender.get_all_connections(inputs[0]):
            self.sender.disconnect(port, inputs[0])
        self.sender.connect(self._out, inputs[0])
        self.receiver.connect(outputs[0], self._in)
        return True

    def __enter__(self) -> Self:
        self.sender.activate()
        self.receiver.activate()
        return self

    def __exit__(self, *_: object) -> None:
        for client in (self.sender, self.receiver):
            client.deactivate()
            client.close()


def driver_frames() -> tuple[int, int]:
    """What the server says that its driver adds: capture, playback. JACK-Client cannot ask for it."""
    listing = subprocess.run(
        ["jack_lsp", "-l", "system:"], capture_output=True, text=True, check=False
    ).stdout
    frames = []
    for port, mode in (("capture_1", "capture"), ("playback_1", "playback")):
        found = re.search(rf"system:{port}\n(?:\s.*\n)*?\s+port {mode} latency = \[ (\d+) (\d+) \]", listing)
        if found is None:
            raise UserError("the JACK server does not tell its latency (jack_lsp -l); is jackd2 complete?")
        frames.append(int(found[2]))
    return frames[0], frames[1]


def await_ports(probe: Probe) -> None:
    """Waits up to ten seconds until the program under test has its ports; UserError: it never had."""
    for _ in range(200):
        if probe.connect():
            return
        time.sleep(0.05)
    raise UserError("the program under test never opened its JACK ports")
