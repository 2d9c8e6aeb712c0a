"""`python -m realtime.bench --stage MINUTES`: the whole instrument under a controller that never rests.

Over a private jackd: first a stretch with nothing but a performer who changes domains, then as long again with
20,000 numbered OSC sets a second on top, a page open and, if asked, MIDI moving. Every set is noted where it is
stored, so that a lost or a reordered one shows; what the flood costs is the difference of the two stretches.

Threading model: the program under test runs as ever (its control process is this one, its audio another); the
listener in JACK, the flood, the page and the MIDI player are processes of their own.
"""

from __future__ import annotations

import multiprocessing
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from realtime import bench_stage_guests as guests
from realtime.audio.config import AudioConfig
from realtime.bench_jack import RATE_HZ, jack_server, realtime_granted
from realtime.bench_stage_guests import FLOODED
from realtime.bench_switches import switches
from realtime.bench_witness import Witness, blame
from realtime.errors import UserError
from realtime.performance import Performance
from realtime.shared import SharedState
from realtime.surfaces import Wanted

__all__ = ["FLOODED", "Ledger", "stage", "switches"]

RATE_OF_SETS = 20000
MARGIN_S = 10.0  # for processes to start

Make = Callable[[AudioConfig, tuple[str, ...], int], Performance]


def _make(config: AudioConfig, domains: tuple[str, ...], latent_channels: int) -> Performance:
    wanted = Wanted(osc=("127.0.0.1", 0), web=("127.0.0.1", 0))
    return Performance(config, domains, {}, wanted, latent_channels=latent_channels)


class Ledger:
    """Notes every set of the flooded parameters where it is stored: how many, the last, how many out of order."""

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
            "sets_sent": sum(count for count, _ in sent.values()),
            "sets_lost": sum(lost.values()),
            "sets_out_of_order": self.disorder,
            "last_value_missing": wrong,
        }


class _Stretch:
    """One performance of the length asked for, with or without the flood."""

    def __init__(self, make: Make, bundle: Path, engine: str, block: int, seconds: float) -> None:
        from export.bundle import Bundle

        manifest = Bundle.open(bundle).manifest
        self._domains = tuple(d.id for d in manifest.domains)
        config = AudioConfig(
            bundle=str(bundle),
            engine=engine,
            block=block,
            rate=RATE_HZ,
            seconds=seconds + guests.SETTLE_S + MARGIN_S,
        )
        self._make = lambda: make(config, self._domains, manifest.latent_channels)
        self._seconds, self._block = seconds, block
        self._context = multiprocessing.get_context("spawn")
        self._others: dict[str, tuple[Any, Any]] = {}

    def _start(self, name: str, target: Callable[..., None], *arguments: Any) -> None:
        ours, theirs = self._context.Pipe(duplex=False)
        process = self._context.Process(target=target, args=(*arguments, theirs), daemon=True)
        process.start()
        self._others[name] = (process, ours)

    def run(self, rate: int, page_port: int | None, midi_port: str | None) -> dict[str, Any]:
        """rate: sets a second; 0 is the stretch to compare with, where the page and MIDI rest as well."""
        ledger = Ledger(tuple(FLOODED))
        ready, go = self._context.Event(), self._context.Event()
        span: list[float] = []
        with jack_server(self._block), ledger.watching():
            performance = self._make()
            assert performance.osc is not None
            port, seconds = int(performance.osc.port), self._seconds
            self._start("listener", guests.listen, port, len(self._domains), seconds, ready, go)
            if rate:
                self._start("flood", guests.flood, port, seconds, rate, go)
                web = performance.surfaces.web_port if page_port is None else page_port
                if web:
                    self._start("page", guests.page, web, seconds, go)
                if midi_port:
                    self._start("midi", guests.midi, midi_port, seconds, go)

            def begin() -> None:
                if ready.wait(60.0):
                    ledger.armed = True
                    span.append(time.perf_counter())
                    go.set()

            threading.Thread(target=begin, daemon=True).start()
            with Witness() as witness:
                performance.run()
            answers = self._answers()
        if "listener" not in answers or not span:
            raise UserError(
                "the program never played over JACK, or the listener failed; is JACK-Client installed?"
            )
        return self._figures(performance, witness, answers, ledger, span[0])

    def _answers(self) -> dict[str, Any]:
        answers = {}
        for name, (process, pipe) in self._others.items():
            if pipe.poll(10):
                with suppress(EOFError):
                    answers[name] = pipe.recv()
            process.join(5)
            if process.is_alive():
                process.kill()
        return answers

    def _figures(
        self,
        performance: Performance,
        witness: Witness,
        answers: dict[str, Any],
        ledger: Ledger,
        start: float,
    ) -> dict[str, Any]:
        ending = performance.session.ending
        stats = (ending.stats if ending else None) or {}
        xruns = [t for t in stats.get("xrun_times", ()) if start <= t <= start + self._seconds]
        jump, server_xruns, loudest = answers["listener"]
        flooded = ledger.against(answers["flood"]) if "flood" in answers else {}
        more = {"page_messages": answers["page"]} if "page" in answers else {}
        more |= {"midi_messages": answers["midi"]} if "midi" in answers else {}
        return {
            **flooded,
            **more,
            "xruns": len(xruns),
            "xruns_of_the_server": server_xruns,
            "callback_p999_us": stats.get("callback_p999_us"),
            **{key: stats.get(key) for key in ("p50_us", "p999_us", "max_us", "resets", "failures")},
            "restarts": performance.session.restarts,
            **blame(xruns, witness.stalls, self._block / RATE_HZ),
            "largest_jump": round(jump, 4),
            "loudest_sample": round(loudest, 3),
        }


def stage(
    bundle: Path,
    engine: str,
    block: int,
    minutes: float,
    page_port: int | None = None,
    midi_port: str | None = None,
    make: Make = _make,
    rate: int = RATE_OF_SETS,
) -> dict[str, Any]:
    """`minutes` without the flood, then `minutes` with it.

    make: builds the Performance (config, domains, latent channels), so that the caller decides about its page and
    MIDI. page_port: of the page's socket (None: the program's own, if there is one). midi_port: an output
    port of this system that the program listens to.
    """
    without = _Stretch(make, bundle, engine, block, 60.0 * minutes).run(0, None, None)
    flooded = _Stretch(make, bundle, engine, block, 60.0 * minutes).run(rate, page_port, midi_port)
    return {
        "minutes": minutes,
        "block": block,
        "server": "real-time" if realtime_granted() else "without real-time rights",
        "sets_a_second": round(flooded.get("sets_sent", 0) / (60.0 * minutes), 1),
        "xruns_more_than_without": flooded["xruns"] - without["xruns"],
        "without": without,
        "with": flooded,
    }
