"""Measured over a real sound server without hardware: `jackd -d dummy`, on a server of our own.

Threading model: jackd, the program under test, and the measuring JACK client are processes of their own; the
measuring client's callbacks only copy. Sender and receiver are two clients, so the graph has no loop in it.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import re
import secrets
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from realtime.audio.config import AudioConfig
from realtime.errors import UserError

__all__ = ["jack_server", "latency", "soak"]

RATE_HZ = 48000
SETTLE_S = 1.0
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


class _Probe:
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

    def __enter__(self) -> _Probe:
        self.sender.activate()
        self.receiver.activate()
        return self

    def __exit__(self, *_: object) -> None:
        for client in (self.sender, self.receiver):
            client.deactivate()
            client.close()


def _driver_frames() -> tuple[int, int]:
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


def _await_ports(probe: _Probe) -> None:
    for _ in range(200):
        if probe.connect():
            return
        time.sleep(0.05)
    raise UserError("the program under test never opened its JACK ports")


def latency(bundle: Path, engine: str, block: int, mix: float = 0.0, impulses: int = 10) -> dict[str, Any]:
    """An impulse through the running program, JACK port to JACK port, plus the driver's own buffers.

    At mix 0 the program plays its aligned dry signal, delayed by exactly what the model's path takes: a
    network answers an impulse with a sound of its own, not with an impulse.
    """
    from realtime.audio.process import run_audio
    from realtime.shared import SharedState

    with jack_server(block):
        shared = SharedState.create()
        shared.set("mix", mix)
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        config = AudioConfig(bundle=str(bundle), engine=engine, block=block, rate=RATE_HZ)
        process = context.Process(target=run_audio, args=(config, shared.name, theirs))
        process.start()
        theirs.close()
        try:
            kind, info = ours.recv()
            if kind != "ready":
                raise UserError(str(info))
            with _Probe(None) as probe:
                _await_ports(probe)
                time.sleep(SETTLE_S + impulses * IMPULSE_EVERY_S)
                driver = _driver_frames()
                sent, heard = list(probe.sent), list(probe.heard)
        finally:
            shared.stop_flag = True
            process.join(10)
            shared.close()
            shared.unlink()
    return _split(sent, heard, driver, info)


def _split(
    sent: list[int], heard: list[int], driver: tuple[int, int], info: dict[str, Any]
) -> dict[str, Any]:
    delays = [h - max((s for s in sent if s <= h), default=h) for h in heard]
    if len(delays) < 3:
        raise UserError(f"{len(sent)} impulses were sent, but only {len(delays)} came back")
    measured = int(np.median(delays))
    ms = 1000.0 / RATE_HZ
    resampler, model = info["latency_ms"]["resampler"], info["latency_ms"]["model"]
    return {
        "block": info["block"],
        "impulses": len(delays),
        "port_to_port_frames": measured,
        "spread_frames": int(max(delays) - min(delays)),
        "port_to_port_ms": round(measured * ms, 3),
        "split_ms": {
            "driver capture + playback (server's word)": round(sum(driver) * ms, 3),
            "PortAudio (measured less the two below)": round(measured * ms - resampler - model, 3),
            "resampler": resampler,
            "model and its block": model,
        },
        "total_ms": round((measured + sum(driver)) * ms, 3),
    }


def _flood(port: int, domains: int, seconds: float, go: Any, results: Any, rate: int = 1000) -> None:
    """Own process: once told to go, send `rate` OSC messages a second that switch domains and gains."""
    from pythonosc.osc_message_builder import OscMessageBuilder

    def message(address: str, value: float | int) -> bytes:
        builder = OscMessageBuilder(address)
        builder.add_arg(value)
        return bytes(builder.build().dgram)

    messages = [message("/umtn/to", i) for i in range(domains)]
    for db in (-12.0, -6.0, -3.0, 0.0):
        messages += [message("/umtn/output/gain_db", db), message("/umtn/input/gain_db", db)]
    order = np.random.default_rng(0)
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    go.wait()
    start, sent = time.perf_counter(), 0
    while (now := time.perf_counter() - start) < seconds:
        while sent < now * rate:
            udp.sendto(messages[int(order.integers(len(messages)))], ("127.0.0.1", port))
            sent += 1
        time.sleep(0.001)
    results.send(sent)


def _listen(port: int, domains: int, seconds: float, go: Any, results: Any) -> None:
    """Own process: every domain played steadily for reference, then the flood, heard through JACK."""
    from pythonosc.udp_client import SimpleUDPClient

    from realtime.audio.files import DEMO, FileSource

    source = FileSource(DEMO, RATE_HZ)
    clip = np.empty(source.frames, np.float32)
    source.read(clip)
    osc = SimpleUDPClient("127.0.0.1", port)
    with _Probe(clip) as probe:
        _await_ports(probe)
        osc.send_message("/umtn/crossfade_ms", 60.0)
        for domain in range(
            domains
        ):  # a whole clip of each, so that the reference has heard what the flood will
            osc.send_message("/umtn/to", domain)
            time.sleep(len(clip) / RATE_HZ + 0.3)
        steady, before = probe.jump, probe.server_xruns
        probe.jump = 0.0
        go.set()
        time.sleep(seconds)
        figures = (steady, probe.jump, probe.server_xruns - before, probe.loudest)
    results.send(figures)


def soak(bundle: Path, engine: str, block: int, minutes: float) -> dict[str, Any]:
    """Play over JACK for `minutes` while 1,000 OSC messages a second arrive; what was late, what clicked."""
    from export.bundle import Bundle
    from realtime.performance import Performance

    domains = tuple(d.id for d in Bundle.open(bundle).manifest.domains)
    seconds = 60.0 * minutes
    with jack_server(block):
        config = AudioConfig(
            bundle=str(bundle),
            engine=engine,
            block=block,
            rate=RATE_HZ,
            seconds=seconds + 15.0 * len(domains) + 5.0,
        )
        performance = Performance(config, domains, {}, ("127.0.0.1", 0))
        assert performance.osc is not None
        context = multiprocessing.get_context("spawn")
        go = context.Event()
        pipes, others = [], []
        for target in (_listen, _flood):
            ours, theirs = context.Pipe()
            arguments = (performance.osc.port, len(domains), seconds, go, theirs)
            others.append(context.Process(target=target, args=arguments, daemon=True))
            others[-1].start()
            pipes.append(ours)
        performance.run()
        if not all(pipe.poll(20) for pipe in pipes):
            raise UserError("a measuring process did not answer; are JACK-Client and python-osc installed?")
        (steady, jump, server_xruns, loudest), sent = (pipe.recv() for pipe in pipes)
        for other in others:
            other.join(10)
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
    )
    return {
        "minutes": minutes,
        "block": block,
        "server": "real-time" if realtime_granted() else "without real-time rights",
        "osc_messages": sent,
        **{key: stats.get(key) for key in keys},
        "restarts": performance.session.restarts,
        "xruns_of_the_server": server_xruns,
        "largest_jump_steady": round(steady, 4),
        "largest_jump_flooded": round(jump, 4),
        "loudest_sample": round(loudest, 3),
    }
