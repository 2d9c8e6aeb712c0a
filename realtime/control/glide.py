"""Moves many values to their targets in one time, each along its own dial.

Threading model: `tick` is called by one thread; the hands of others (OSC, MIDI, the page) may write the same
cells at any moment, and win.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from realtime.parameters import Parameter
from realtime.shared import PARAMETER_INDEX, SharedState

__all__ = ["Glide", "Move"]

_EXPONENT = {"linear": 1.0, "square": 2.0}


@dataclass(frozen=True)
class Move:
    """One value on its way: from where it is to `target`."""

    parameter: Parameter
    target: float


class Glide:
    """All moves of one recall. A value that somebody else sets on the way is let go, the others arrive."""

    def __init__(self, shared: SharedState, moves: Sequence[Move], began_s: float, seconds: float) -> None:
        self._shared, self._began_s, self._seconds = shared, began_s, seconds
        parameters = [m.parameter for m in moves]
        self._index = [PARAMETER_INDEX[p.stored] for p in parameters]
        self._written = [shared.get(p.stored) for p in parameters]
        self._targets = [m.target for m in moves]
        self._names = [p.name for p in parameters]
        self._live = list(range(len(moves)))
        self._low = np.array([p.low for p in parameters])
        self._span = np.array([p.high - p.low for p in parameters])
        self._exponent = np.array([_EXPONENT[p.curve] for p in parameters])
        self._from = np.array([p.normalize(v) for p, v in zip(parameters, self._written)])
        self._way = np.array([p.normalize(t) for p, t in zip(parameters, self._targets)]) - self._from

    @property
    def moving(self) -> set[str]:
        """Names of the values that are still on their way."""
        return {self._names[i] for i in self._live}

    def drop(self, names: set[str]) -> None:
        """Let go of these."""
        self._live = [i for i in self._live if self._names[i] not in names]

    def tick(self, now_s: float) -> bool:
        """Move on; True once all have arrived or been let go."""
        share = 1.0 if self._seconds <= 0 else (now_s - self._began_s) / self._seconds
        if share >= 1.0:
            values = self._targets
        else:
            dial = self._from + self._way * max(share, 0.0)
            values = (self._low + self._span * dial**self._exponent).tolist()
        cells, written, stay = self._shared.parameters, self._written, []
        for i in self._live:
            cell, old, new = self._index[i], written[i], values[i]
            # No call stands between look and write, so that the interpreter lets no other thread in between
            # and a hand's value cannot be lost.
            if cells[cell] == old:
                cells[cell] = new
                written[i] = new
                stay.append(i)
        self._live = stay
        return share >= 1.0 or not stay
