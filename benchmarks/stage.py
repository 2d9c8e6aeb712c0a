"""`python -m benchmarks --stage MINUTES`: the whole instrument under a controller that never rests.

Over a private jackd: first a stretch with nothing but a performer who changes domains, then as long again with
20,000 numbered OSC sets a second on top, a page open and a MIDI device whose knobs never rest and whose keys change
the domains. Every set is noted where it is stored, so that a lost or a reordered one shows; what all that costs is
the difference of the two stretches.

Threading model: the program under test runs as ever (its control process is this one, its audio another); the
listener in JACK, the flood, the page and the MIDI device are processes of their own.
"""

from __future__ import annotations

import gc
import multiprocessing
import socket
import struct
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.jack import RATE_HZ, Probe, await_ports, jack_server, realtime_granted
from realtime.app import Performance
from realtime.control.midi.mapping import Binding, Source, mapping_toml
from realtime.doctor.stalls import Witness, blame, without_stalls
from realtime.shared.audio_config import AudioConfig
from realtime.shared.memory import SharedState
from realtime.shared.parameters import PREFIX, by_name
from realtime.surfaces import Wanted
from umtn.errors import UserError

__all__ = [
    "CHANGE_EVERY_S",
    "DEVICE",
    "FLOODED",
    "Guests",
    "KNOBS",
    "Ledger",
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
    "stage",
    "write_mapping",
]


# Who plays with the program under test: a listener, a flood of sets, a page, a MIDI device.
#
# Threading model: each function is the main of a process of its own and sends its figures through `results`;
# `Guests` starts them and asks them afterwards.


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


class Guests:
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


# A MIDI device of our own for bench_stage.py: knobs that never rest, and keys that choose the domain.
#
# Threading model: `play` is the main of a process of its own. The program under test opens the device as it opens
# any other, so what arrives has come through the machine's MIDI system.


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


RATE_OF_SETS = 20000
MARGIN_S = 10.0  # for processes to start
READY_S = 60.0
FIGURES = (
    "callback_p50_us", "callback_p999_us", "waits", "late", "p50_us", "p999_us", "max_us", "resets", "failures",
)  # fmt: skip


class Ledger:
    """Notes every set of some parameters where it is stored: how many, the last, how many not above the last."""

    def __init__(self, names: tuple[str, ...]) -> None:
        self.stored = dict.fromkeys(names, 0)
        self.last = dict.fromkeys(names, -float("inf"))
        self.disorder = 0
        self.armed = False

    def note(self, name: str, value: float) -> None:
        """One set."""
        if not self.armed or name not in self.stored:
            return
        self.stored[name] += 1
        self.disorder += value <= self.last[name]
        self.last[name] = value

    @contextmanager
    def watching(self) -> Iterator[None]:
        """All shared memories of this process, while the context lasts."""
        original = SharedState.set

        def noted(shared: SharedState, name: str, value: float) -> None:
            self.note(name, value)
            original(shared, name, value)

        SharedState.set = noted  # type: ignore[method-assign,assignment]
        try:
            yield
        finally:
            SharedState.set = original  # type: ignore[method-assign]

    def against(self, sent: dict[str, tuple[int, float]]) -> dict[str, Any]:
        """What came of what was sent: name -> (how many, last value)."""
        lost = {name: count - self.stored[name] for name, (count, _) in sent.items()}
        wrong = [name for name, (count, last) in sent.items() if count and self.last[name] != last]
        return {
            "sent": sum(count for count, _ in sent.values()),
            "lost": sum(lost.values()),
            "last_value_missing": wrong,
        }


class _Stretch:
    """One performance of the length asked for. rate: OSC sets a second; 0 = page and MIDI rest as well."""

    def __init__(self, bundle: Path, engine: str, block: int, seconds: float, rate: int) -> None:
        from export.bundle.bundle import Bundle

        self._manifest = Bundle.open(bundle).manifest
        self._domains = tuple(d.id for d in self._manifest.domains)
        self._config = AudioConfig(
            bundle=str(bundle),
            engine=engine,
            block=block,
            rate=RATE_HZ,
            seconds=seconds + SETTLE_S + MARGIN_S,
        )
        self._seconds, self._block, self._rate = seconds, block, rate
        self._osc, self._midi = Ledger(tuple(FLOODED)), Ledger(MOVED)
        self._guests = Guests()
        self._began: float | None = None

    def run(self) -> dict[str, Any]:
        with ExitStack() as stack:
            stack.enter_context(jack_server(self._block))
            stack.callback(self._guests.dismiss)
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            for ledger in (self._osc, self._midi):
                stack.enter_context(ledger.watching())
            wanted = Wanted(osc=("127.0.0.1", 0), web=("127.0.0.1", 0))
            if self._rate:
                wanted = self._with_midi(wanted, folder / "midi.toml")
            performance = Performance(
                self._config, self._domains, {}, wanted, latent_channels=self._manifest.latent_channels
            )
            self._invite(performance)
            with Witness() as witness:
                performance.run()
            answers = self._guests.answers()
        if self._began is None:
            raise UserError("the program never played over JACK; does jackd -r -d dummy run here?")
        return self._figures(performance, witness, answers, self._began)

    def _with_midi(self, wanted: Wanted, mapping: Path) -> Wanted:
        """The device must be there before the program looks for it."""
        self._guests.start("midi", play, len(self._domains), self._seconds)
        if refusal := self._guests.hear("midi"):
            raise UserError(
                f"--stage plays a MIDI device of its own, and none can be made here ({refusal}); it needs "
                'pip install "umtn-live[midi]" and, on Linux, the ALSA sequencer or JACK'
            )
        write_mapping(mapping)
        return Wanted(osc=wanted.osc, web=wanted.web, midi=DEVICE, midi_map=mapping)

    def _invite(self, performance: Performance) -> None:
        """All others, who begin together once the listener hears the program."""
        assert performance.osc is not None
        port, seconds, ready = int(performance.osc.port), self._seconds, self._guests.event()
        changes = 0 if self._rate else len(self._domains)
        self._guests.start("listener", listen, port, changes, seconds, ready)
        if self._rate:
            self._guests.start("flood", flood, port, seconds, self._rate)
            self._guests.start("page", page, performance.surfaces.web_port, seconds)

        def begin() -> None:
            if ready.wait(READY_S):
                self._osc.armed = self._midi.armed = True
                self._began = time.perf_counter()
                self._guests.go.set()

        threading.Thread(target=begin, daemon=True).start()

    def _figures(
        self, performance: Performance, witness: Witness, answers: dict[str, Any], began: float
    ) -> dict[str, Any]:
        ending = performance.session.ending
        stats = (ending.stats if ending else None) or {}
        xruns = [t for t in stats.get("xrun_times", ()) if began <= t <= began + self._seconds]
        jump, server_xruns, loudest = answers["listener"]
        block_s = self._block / RATE_HZ
        return {
            **(self._arrived(performance, answers) if self._rate else {}),
            "xruns": len(xruns),
            "xruns_of_the_server": server_xruns,
            **{key: stats.get(key) for key in FIGURES},
            **without_stalls(stats.get("callback_slow", ()), stats.get("blocks", 0), witness.gaps, block_s),
            "restarts": performance.session.restarts,
            **blame(xruns, witness.stalls, block_s),
            "largest_jump": round(jump, 4),
            "loudest_sample": round(loudest, 3),
        }

    def _arrived(self, performance: Performance, answers: dict[str, Any]) -> dict[str, Any]:
        """What came of what the controllers sent."""
        device = performance.surfaces.midi
        assert device is not None
        return {
            **{f"sets_{key}": value for key, value in self._osc.against(answers["flood"]).items()},
            "sets_out_of_order": self._osc.disorder,
            **{f"midi_sets_{key}": value for key, value in self._midi.against(answers["midi"]).items()},
            "midi_keys_sent": answers["midi"]["to"][0],
            "midi_messages_received": device.received,
            "midi_messages_dropped": device.dropped,
            "page_messages": answers["page"],
        }


def stage(bundle: Path, engine: str, block: int, minutes: float, rate: int = RATE_OF_SETS) -> dict[str, Any]:
    """`minutes` without the flood, then `minutes` with it. UserError where JACK or MIDI cannot be had."""
    without, flooded = (_Stretch(bundle, engine, block, 60.0 * minutes, r).run() for r in (0, rate))
    return {
        "minutes": minutes,
        "block": block,
        "server": "real-time" if realtime_granted() else "without real-time rights",
        "sets_a_second": round(flooded["sets_sent"] / (60.0 * minutes), 1),
        "xruns_more_than_without": flooded["xruns"] - without["xruns"],
        "without": without,
        "with": flooded,
    }
