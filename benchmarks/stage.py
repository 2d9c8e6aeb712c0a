"""`python -m benchmarks --stage MINUTES`: the whole instrument under a controller that never rests.

Over a private jackd: first a stretch with nothing but a performer who changes domains, then as long again with
20,000 numbered OSC sets a second on top, a page open and a MIDI device whose knobs never rest and whose keys change
the domains. Every set is noted where it is stored, so that a lost or a reordered one shows; what all that costs is
the difference of the two stretches.

Threading model: the program under test runs as ever (its control process is this one, its audio another); the
listener in JACK, the flood, the page and the MIDI device are processes of their own.
"""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from benchmarks.jack import RATE_HZ, jack_server, realtime_granted
from benchmarks.stage_clients import (
    DEVICE,
    FLOODED,
    MOVED,
    SETTLE_S,
    Clients,
    flood,
    listen,
    page,
    play,
    write_mapping,
)
from realtime.app import Performance
from realtime.doctor.stalls import StallWatch, blame, without_stalls
from realtime.shared.audio_config import AudioConfig
from realtime.shared.memory import SharedState
from realtime.surfaces import Wanted
from umtn.errors import UserError

__all__ = ["Ledger", "stage"]


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
        self._guests = Clients()
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
            with StallWatch() as witness:
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
        self, performance: Performance, witness: StallWatch, answers: dict[str, Any], began: float
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
