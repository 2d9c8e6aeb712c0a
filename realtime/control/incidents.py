"""A log of what went wrong in the sound and when, made by watching the counters."""

from __future__ import annotations

import time
from collections import deque
from typing import Any

from realtime.shared import SharedState

__all__ = ["Incidents"]

WATCHED = ("xruns", "resets", "input_repairs", "recording_lost")
KEPT = 60
JOINED_S = 1.0  # a burst is one entry


class Incidents:
    """`entries`: newest last, each {"at": seconds since 1970, "what": name of the status, "count": how many}."""

    def __init__(self, shared: SharedState) -> None:
        self._shared = shared
        self._seen = {name: shared.status_get(name) for name in WATCHED}
        self.entries: deque[dict[str, Any]] = deque(maxlen=KEPT)

    def poll(self) -> None:
        """Look at the counters; a few times a second."""
        now = time.time()
        for name in WATCHED:
            count = self._shared.status_get(name)
            more = count - self._seen[name]
            self._seen[name] = count
            if more > 0:
                self._add(name, int(more), now)

    def _add(self, name: str, more: int, now: float) -> None:
        for entry in reversed(self.entries):
            if now - entry["at"] > JOINED_S:
                break
            if entry["what"] == name:
                entry["count"] += more
                return
        self.entries.append({"at": round(now, 1), "what": name, "count": more})
