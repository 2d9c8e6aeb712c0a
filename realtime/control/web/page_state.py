"""What the page shows: the table of its controls, and the values of the moment."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from realtime.control.namespace import Namespace
from realtime.shared.audio_config import MAX_SLACK
from realtime.shared.memory import SCOPE_FRAMES, SharedState
from realtime.shared.parameters import PREFIX, STATUS, describe

__all__ = [
    "BANDS",
    "COLUMNS_HZ",
    "FLOOR_DB",
    "Incidents",
    "PageValues",
    "Scope",
    "band_edges_hz",
    "band_matrix",
]


# A log of what went wrong in the sound and when, made by watching the counters.
#
# What keeps happening is one entry that counts on, so that late blocks every second do not push everything else out
# of the log; the first entry of more than a few late blocks says what helps.


WATCHED = ("xruns", "resets", "input_repairs", "recording_lost")
KEPT = 60
JOINED_S = 30.0  # of quiet before the same fault is another entry
MANY = 3  # late blocks that are worth a remedy: one alone may be anything


class Incidents:
    """`entries`: newest last, each {"at", "until": seconds since 1970, "what": name of the status, "count": how many}.

    slack: how many blocks the model works ahead, None where that is not known. One entry of late blocks, the first
    that there is a remedy for, has "cure": a sentence.
    """

    def __init__(
        self,
        shared: SharedState,
        slack: Callable[[], int | None] = lambda: None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._shared, self._slack, self._clock = shared, slack, clock
        self._seen = {name: shared.status_get(name) for name in WATCHED}
        self._advised = False
        self.entries: deque[dict[str, Any]] = deque(maxlen=KEPT)

    def poll(self) -> None:
        """Look at the counters; a few times a second."""
        now = self._clock()
        for name in WATCHED:
            count = self._shared.status_get(name)
            more = count - self._seen[name]
            self._seen[name] = count
            if more > 0:
                entry = self._add(name, int(more), round(now, 1))
                if name == "xruns" and entry["count"] >= MANY and not self._advised:
                    self._advise(entry)

    def _add(self, name: str, more: int, now: float) -> dict[str, Any]:
        for entry in reversed(self.entries):
            if entry["what"] == name and now - entry["until"] <= JOINED_S:
                entry["count"] += more
                entry["until"] = now
                return entry
        entry = {"at": now, "until": now, "what": name, "count": more}
        self.entries.append(entry)
        return entry

    def _advise(self, entry: dict[str, Any]) -> None:
        slack = self._slack()
        if slack is None:
            return
        self._advised = True
        if slack >= MAX_SLACK:
            entry["cure"] = "A larger --block gives the model more time."
            return
        block, rate = self._shared.status_get("block"), self._shared.status_get("rate")
        price = f", for {1000 * block / rate:.1f} ms more latency" if rate > 0 and block > 0 else ""
        entry["cure"] = f"Start with --slack {slack + 1}: it forgives longer stalls{price}."


# A spectrogram of input and output, column by column, for pictures.
#
# Threading model: used by one thread of the control process, and only while someone looks. It copies samples
# out of the ring that the audio process writes; nothing here can hold the audio up.


BANDS = 96
COLUMNS_HZ = 25.0
FLOOR_DB = -96.0  # byte 0; byte 255 is a sine at full scale
LOW_HZ, HIGH_HZ = 45.0, 16000.0
WINDOW_S = 0.085  # long enough to part two low notes, short enough to see an attack
MAX_COLUMNS = 4  # at one call: who looks away for longer than that misses some
MIN_RATE_HZ = 1000.0


def band_edges_hz(rate_hz: float) -> npt.NDArray[np.float64]:
    """BANDS + 1 edges, evenly spaced on a logarithmic scale up to HIGH_HZ or half the rate."""
    return np.geomspace(LOW_HZ, min(HIGH_HZ, rate_hz / 2), BANDS + 1)


def band_matrix(rate_hz: float, window: int) -> npt.NDArray[np.float32]:
    """[BANDS, window / 2 + 1]: which share of each bin's power counts for each band.

    A bin is `rate / window` wide and spreads over the bands it covers; where bands are narrower than bins (the
    lowest octaves) they take the loudest bin they touch at full weight, so that a bass note is one bright line.
    """
    edges, spacing = band_edges_hz(rate_hz), rate_hz / window
    bins_hz = np.arange(window // 2 + 1) * spacing
    low, high = edges[:-1, None], edges[1:, None]
    middle, half = (low + high) / 2, np.maximum((high - low) / 2, spacing / 2)
    inside = np.clip((half + spacing / 2 - np.abs(bins_hz - middle)) / spacing, 0.0, 1.0)
    return np.asarray(inside, np.float32)


class Scope:
    """Call `columns()` COLUMNS_HZ times a second, or less often."""

    def __init__(self, shared: SharedState) -> None:
        self._shared = shared
        self._rate = 0.0
        self._next = 0  # where the coming column ends, in samples since the start

    def columns(self) -> list[bytes]:
        """The columns that are due, oldest first: BANDS bytes of input, then of output, low to high."""
        rate = self._shared.status_get("rate")
        if not math.isfinite(rate) or rate < MIN_RATE_HZ or not self._shared.scope.size:
            return []
        if rate != self._rate:
            self._prepare(rate)
        written = self._shared.scope_written
        if not self._next <= written + self._hop:  # a new audio process counts from its own start
            self._next = written
        self._next = max(self._next, written - (MAX_COLUMNS - 1) * self._hop)
        made = []
        while self._next <= written:
            made.append(self._column(self._next))
            self._next += self._hop
        return [column for column in made if column]

    def _prepare(self, rate: float) -> None:
        self._rate, self._hop = rate, max(round(rate / COLUMNS_HZ), 1)
        self._window = min(2 ** round(math.log2(rate * WINDOW_S)), SCOPE_FRAMES // 4)
        self._shape = np.hanning(self._window).astype(np.float32)
        self._shape *= 2 / self._shape.sum()  # a sine at full scale has power 1
        self._bands = band_matrix(rate, self._window)
        self._next = self._shared.scope_written

    def _column(self, end: int) -> bytes:
        """Of the window that ends at sample `end`; empty if audio wrote over it meanwhile."""
        at = np.arange(end - self._window, end) % SCOPE_FRAMES
        sound = self._shared.scope[:, at]
        if self._shared.scope_written - (end - self._window) > SCOPE_FRAMES:
            return b""
        np.nan_to_num(sound, copy=False, posinf=0.0, neginf=0.0)
        power = np.abs(np.fft.rfft(sound * self._shape)) ** 2
        level_db = 10 * np.log10(power @ self._bands.T + 1e-12)
        steps = np.clip(255 * (1 - level_db / FLOOR_DB), 0, 255)
        return bytes(steps.astype(np.uint8).tobytes())


QUIET_DB = -120.0
ASSUMED_RATE_HZ = 48000.0  # until audio plays
_FAST = {f"status/{name}" for name in ("level_in_db", "level_out_db", "domain", "gate", "recording")}
_LEVELS = tuple(s.name for s in STATUS if s.unit == "dB")


class PageValues:
    """midi and presets may be None: then the page does not show them."""

    def __init__(self, namespace: Namespace, version: str, midi: Any, presets: Any) -> None:
        self._namespace, self._version = namespace, version
        self._midi, self._presets = midi, presets
        self._names: list[str] = []
        self._undo: dict[str, str] | None = None
        self._bundles: list[dict[str, Any]] = []
        self._slow: dict[str, Any] = {}
        self.incidents = Incidents(namespace.shared, lambda: namespace.slack)

    def table(self) -> dict[str, Any]:
        """All that the page builds its controls from; another one after a hot swap."""
        space = self._namespace
        return {
            "version": self._version,
            "domains": list(space.domains),
            "parameters": [
                describe(p, p.kind != "action" or p.name in space.actions)
                for p in space.parameters
                if not space.unused(p)
            ],
            "status": [{"name": s.name, "unit": s.unit, "description": s.description} for s in STATUS],
            "presets": self._presets is not None,
            "midi": self._midi is not None,
            "scope": {"bands": BANDS, "columns_hz": COLUMNS_HZ, "edges_hz": _edges_hz(space.shared)},
        }

    def now(self, slow: bool) -> dict[str, Any]:
        """By name. slow: also take new figures that nobody reads 25 times a second."""
        values = {a.removeprefix(PREFIX): _short(v) for a, v in self._namespace.current().items()}
        for name in _LEVELS:
            level = self._namespace.shared.status_get(name)
            values[f"status/{name}"] = round(level, 1) if math.isfinite(level) else QUIET_DB
        if slow or not self._slow:
            self._slow = {k: v for k, v in values.items() if k.startswith("status/") and k not in _FAST}
            self._slow["status/uptime"] = int(self._slow.get("status/uptime", 0))
            self._slow |= self._lists()
        return values | self._slow

    def _lists(self) -> dict[str, Any]:
        lists: dict[str, Any] = {
            "log": [dict(entry) for entry in self.incidents.entries],
            "bundles": self._bundles,
        }
        if self._presets is not None:
            lists |= {"presets": self._names, "undo": self._undo}
        if self._midi is not None:
            lists["midi"] = {
                "port": str(self._midi.port or ""),
                "learning": str(self._midi.learning or ""),
                "mapping": [[str(name), str(source)] for name, source in self._midi.mapping()],
            }
        return lists

    def read_files(self) -> None:
        """The bundles; the set list, then what else there is of presets. Not for the loop's thread."""
        self._bundles = self._namespace.bundles()
        if self._presets is None:
            return
        try:
            listed = list(self._presets.set_list())
        except ValueError:  # it is being written; who recalls from it is told
            listed = []
        self._names = listed + [name for name in self._presets.names() if name not in listed]
        trashed = self._presets.undoable()
        self._undo = trashed and {"name": trashed.name, "how": trashed.how}


def _edges_hz(shared: SharedState) -> list[float]:
    rate = shared.status_get("rate")
    edges = band_edges_hz(rate if math.isfinite(rate) and rate >= 8000 else ASSUMED_RATE_HZ)
    return [round(float(edges[0]), 1), round(float(edges[-1]), 1)]


def _short(value: Any) -> Any:
    """Six digits are enough for any dial."""
    return float(f"{value:.6g}") if isinstance(value, float) else value
