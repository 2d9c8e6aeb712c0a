"""What the page shows: the table of its controls, and the values of the moment."""

from __future__ import annotations

import math
from typing import Any

from realtime.control.incidents import Incidents
from realtime.control.namespace import Namespace
from realtime.control.scope import BANDS, COLUMNS_HZ, band_edges_hz
from realtime.control.table import describe
from realtime.parameters import PREFIX, STATUS
from realtime.shared import SharedState

__all__ = ["PageValues"]

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
        self._slow: dict[str, Any] = {}
        self.incidents = Incidents(namespace.shared)

    def table(self) -> dict[str, Any]:
        """All that the page builds its controls from; another one after a hot swap."""
        space = self._namespace
        return {
            "version": self._version,
            "domains": list(space.domains),
            "parameters": [
                describe(p, p.kind != "action" or p.name in space.actions) for p in space.parameters
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
        lists: dict[str, Any] = {"log": [dict(entry) for entry in self.incidents.entries]}
        if self._presets is not None:
            lists["presets"] = self._names
        if self._midi is not None:
            lists["midi"] = {
                "port": str(self._midi.port or ""),
                "learning": str(self._midi.learning or ""),
                "mapping": [[str(name), str(source)] for name, source in self._midi.mapping()],
            }
        return lists

    def read_presets(self) -> None:
        """The set list, then what else there is. Reads files: not for the loop's thread."""
        if self._presets is None:
            return
        try:
            listed = list(self._presets.set_list())
        except ValueError:  # it is being written; who recalls from it is told
            listed = []
        self._names = listed + [name for name in self._presets.names() if name not in listed]


def _edges_hz(shared: SharedState) -> list[float]:
    rate = shared.status_get("rate")
    edges = band_edges_hz(rate if math.isfinite(rate) and rate >= 8000 else ASSUMED_RATE_HZ)
    return [round(float(edges[0]), 1), round(float(edges[-1]), 1)]


def _short(value: Any) -> Any:
    """Six digits are enough for any dial."""
    return float(f"{value:.6g}") if isinstance(value, float) else value
