"""Who plays with the program under test: a listener, a flood of sets, a page, and a MIDI device of our own.

Threading model: `flood`, `listen`, `page` and `play` are each the main of a process of its own and send their figures
through `results`; `Clients` starts them and asks them afterwards. The MIDI device has knobs that never rest and keys
that choose the domain; the program opens it as it opens any other, so what arrives has come through the machine's MIDI.
"""

from __future__ import annotations

import gc
import multiprocessing
import socket
import struct
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.jack import RATE_HZ, Probe, await_ports
from realtime.control.midi.mapping import Binding, Source, mapping_toml
from realtime.shared.parameters import PREFIX, by_name
from umtn.errors import UserError

__all__ = [
    "CHANGE_EVERY_S",
    "DEVICE",
    "FLOODED",
    "Clients",
    "KNOBS",
    "MOVED",
    "SETTLE_S",
    "flood",
    "head",
    "listen",
    "listening",
    "page",
    "play",
    "position",
    "rising",
    "write_mapping",
]


CHANGE_EVERY_S = 2.0  # the domain changes
ANSWER_S = 20.0
SETTLE_S = 2.0
# messages: a sender that was held up does not make up for more, or its burst would be the test
MAX_BURST = 200
# parameter cell -> the range that its numbered values rise through; none of them silences the sound
FLOODED: dict[str, tuple[float, float]] = {
    "mix": (0.5, 1.0),
    "input/gain_db": (-12.0, 0.0),
    "output/gain_db": (-12.0, 0.0),
    "transpose": (-0.5, 0.5),
    "latent/scale/0": (0.75, 1.0),
}


class Clients:
    """Processes that begin when `go` is set and answer when they are done. A guest takes (..., go, results)."""

    def __init__(self) -> None:
        self._context = multiprocessing.get_context("spawn")
        self.go = self._context.Event()
        self._pipes: dict[str, Any] = {}
        self._processes: list[Any] = []

    def start(self, name: str, target: Callable[..., None], *arguments: Any) -> None:
        ours, theirs = self._context.Pipe(duplex=False)
        process = self._context.Process(target=target, args=(*arguments, self.go, theirs), daemon=True)
        process.start()
        theirs.close()  # so that the end of a guest that failed is heard
        self._pipes[name] = ours
        self._processes.append(process)

    def event(self) -> Any:
        """For a guest to tell that it is ready."""
        return self._context.Event()

    def hear(self, name: str, timeout_s: float = ANSWER_S) -> Any:
        """What it sends next; UserError if it says nothing."""
        with suppress(EOFError):
            if self._pipes[name].poll(timeout_s):
                return self._pipes[name].recv()
        raise UserError(
            f"the measuring process {name!r} did not answer; are JACK-Client and python-osc installed?"
        )

    def answers(self) -> dict[str, Any]:
        """Of all of them, by name, once the performance is over."""
        try:
            return {name: self.hear(name) for name in self._pipes}
        finally:
            self.dismiss()

    def dismiss(self) -> None:
        for process in self._processes:
            process.join(5)
            if process.is_alive():
                process.kill()


def rising(low: float, high: float, total: int) -> list[float]:
    """Numbered values: each higher than the one before, also as OSC carries them (float32)."""
    return (low + (high - low) * np.arange(1, total + 1) / total).astype(np.float32).tolist()  # type: ignore[no-any-return]


def flood(port: int, seconds: float, rate: int, go: Any, results: Any) -> None:
    """Own process: one datagram a set, round robin; sends back name -> (how many, last value)."""
    gc.disable()
    names = list(FLOODED)
    heads = [head(PREFIX + name) for name in names]
    total = int(seconds * rate / len(names)) + 2
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    udp.connect(("127.0.0.1", port))
    pack, sent, held_up = struct.Struct(">f").pack, 0, 0
    values = [rising(*FLOODED[name], total) for name in names]
    go.wait()
    start = time.perf_counter()
    while (now := time.perf_counter() - start) < seconds:
        due = int(now * rate) - held_up
        if due - sent > MAX_BURST:
            held_up += due - sent - MAX_BURST
            due = sent + MAX_BURST
        while sent < due:
            which, n = sent % len(names), sent // len(names)
            with suppress(ConnectionError):
                udp.send(heads[which] + pack(values[which][n]))
            sent += 1
        time.sleep(0.0002)
    counts = [sent // len(names) + (which < sent % len(names)) for which in range(len(names))]
    results.send({n: (c, values[i][c - 1] if c else 0.0) for i, (n, c) in enumerate(zip(names, counts))})


def head(address: str) -> bytes:
    """An OSC message with one float, without its float."""
    raw = address.encode()
    return raw + b"\0" * (4 - len(raw) % 4) + b",f\0\0"


@contextmanager
def listening(port: int) -> Iterator[tuple[Probe, Any, float]]:
    """The clip plays into the program and its output is heard; with it, an OSC client and the clip's length in s."""
    from pythonosc.udp_client import SimpleUDPClient

    from realtime.audio.sound_files import DEMO, FileSource

    gc.disable()  # the listener is in the server's chain: its pauses would be counted as ours
    sys.setswitchinterval(0.0002)
    source = FileSource(DEMO, RATE_HZ)
    clip = np.empty(source.frames, np.float32)
    source.read(clip)
    with Probe(clip) as probe:
        await_ports(probe)
        yield probe, SimpleUDPClient("127.0.0.1", port), len(clip) / RATE_HZ


def listen(port: int, domains: int, seconds: float, ready: Any, go: Any, results: Any) -> None:
    """Own process: hears what comes out, and changes domains as a performer does (0: somebody else does)."""
    with listening(port) as (probe, osc, _):
        time.sleep(SETTLE_S)
        probe.jump, before = 0.0, probe.server_xruns
        ready.set()
        go.wait()
        end, turn = time.perf_counter() + seconds, 0
        while (left := end - time.perf_counter()) > 0:
            turn += 1
            if domains:
                osc.send_message("/umtn/to", turn % domains)
            time.sleep(min(CHANGE_EVERY_S, left))
        figures = (probe.jump, probe.server_xruns - before, probe.loudest)
    results.send(figures)


def page(port: int, seconds: float, go: Any, results: Any) -> None:
    """Own process: an open page; counts what is pushed to it."""
    import asyncio

    async def look() -> int:
        import aiohttp

        url, count = f"127.0.0.1:{port}", 0
        async with (
            aiohttp.ClientSession() as session,
            session.ws_connect(f"ws://{url}/ui/socket", headers={"Origin": f"http://{url}"}) as page,
        ):
            end = None
            while end is None or time.perf_counter() < end:
                if end is None and go.is_set():
                    end, count = time.perf_counter() + seconds, 0
                with suppress(asyncio.TimeoutError):
                    message = await page.receive(timeout=0.5)
                    if message.type in (
                        aiohttp.WSMsgType.CLOSED,
                        aiohttp.WSMsgType.CLOSE,
                        aiohttp.WSMsgType.ERROR,
                    ):
                        return -1
                    count += 1
        return count

    try:
        results.send(asyncio.run(look()))
    except Exception as error:  # told in the figures; the measurement goes on without it
        results.send(f"{type(error).__name__}: {error}")


DEVICE = "umtn stage knobs"
HZ = 200.0  # knob messages a second
FIRST_CONTROL, FIRST_KEY = 20, 60
KEY_HELD_S = 0.2
# parameter -> steps of the dial that its knob goes, from where the parameter stands at the start, and back
KNOBS: dict[str, int] = {"temperature": -24, "input/gate_db": 25, "crossfade_ms": -7}
MOVED = (*KNOBS, "to")


def write_mapping(path: Path) -> None:
    """The program's MIDI mapping for this device."""
    knobs = [Binding(name, Source("control", FIRST_CONTROL + i)) for i, name in enumerate(KNOBS)]
    path.write_text(mapping_toml([*knobs, Binding("to", Source("note", FIRST_KEY))]))


def position(name: str, n: int) -> int:
    """Of a knob, 0 to 127, in its n-th message: up and down between its two ends."""
    parameter, span = by_name(name), KNOBS[name]
    turn = n % (2 * abs(span))
    way = min(turn, 2 * abs(span) - turn)
    return round(127 * parameter.normalize(parameter.default)) + (way if span > 0 else -way)


def _plug_in() -> Any:
    """On the system's own MIDI, or on the JACK server's where there is none (as the program itself chooses)."""
    import rtmidi

    try:
        device = rtmidi.MidiOut(name=DEVICE)
    except rtmidi.RtMidiError:
        device = rtmidi.MidiOut(name=DEVICE, rtapi=rtmidi.API_UNIX_JACK)
    device.open_virtual_port("out")
    return device


def play(domains: int, seconds: float, go: Any, results: Any) -> None:
    """Sends first "" or why there is no device, last parameter -> (how many messages, the value it must have)."""
    try:
        device = _plug_in()
    except Exception as error:  # no package, no MIDI system, no virtual ports: told by the other side
        results.send(f"{type(error).__name__}: {error}")
        return
    results.send("")
    go.wait()
    names = list(KNOBS)
    sent, turns, held = 0, 0, -1
    start = time.perf_counter()
    while (now := time.perf_counter() - start) < seconds:
        while sent < now * HZ:
            which, n = sent % len(names), sent // len(names)
            device.send_message([0xB0, FIRST_CONTROL + which, position(names[which], n)])
            sent += 1
        if now >= turns * CHANGE_EVERY_S:
            turns += 1
            held = FIRST_KEY + turns % domains
            device.send_message([0x90, held, 100])
        elif held >= 0 and now >= (turns - 1) * CHANGE_EVERY_S + KEY_HELD_S:
            device.send_message([0x80, held, 0])
            held = -1
        time.sleep(0.001)
    time.sleep(0.5)  # a port that closes takes what it still holds with it
    results.send(_told(names, sent, turns, domains))
    device.close_port()
    device.delete()


def _told(names: list[str], sent: int, turns: int, domains: int) -> dict[str, tuple[int, float]]:
    told = {"to": (turns, float(turns % domains))}
    for which, name in enumerate(names):
        count = len(range(which, sent, len(names)))
        told[name] = (count, by_name(name).denormalize(position(name, count - 1) / 127) if count else 0.0)
    return told
