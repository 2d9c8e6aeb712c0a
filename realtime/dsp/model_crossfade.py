"""What sounds: one signal path, and for a moment a second one that takes over from it (another bundle).

    old path   ____________________                     old path   _________
                                   \\___                                     \\___
    new path   unheard, filling ___/                    new path               ___/   (no time for two at once)

The gains of the cross-fade add up to one, so the sum is never louder than the louder of the two.

Threading model: belongs to the thread that makes the audio, as the paths do. A retired path is handed to
`retire`, to be freed elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from realtime.dsp.controls import DomainMap, fill
from realtime.dsp.fade import Fade
from realtime.dsp.signal_path import MAX_CALL, SignalPath
from realtime.shared.memory import PARAMETER_INDEX
from realtime.shared.saved_classes import saved

__all__ = ["MIN_FADE_MS", "SETTLE_MS", "Incoming", "Player"]

MIN_FADE_MS = 20.0
SETTLE_MS = 60.0  # beyond its latency, how long a new path listens before it is heard
_FADE = PARAMETER_INDEX["crossfade_ms"]


@dataclass
class Incoming:
    """A path that is ready to take over. overlap: the machine can compute both at once for a moment."""

    path: SignalPath
    map: DomainMap
    overlap: bool = True
    about: dict[str, Any] = field(default_factory=dict)  # for the journal: which bundle
    state: Any = None  # its captured Plan, for the recording


@saved("player", renamed={"_position": "_fade.position", "_length": "_fade.length"})
class Player:
    """`process(cells, x, out)`: parameters' cells and samples in, samples out. `swaps` counts changes."""

    def __init__(self, path: SignalPath, retire: Callable[[SignalPath], None] = lambda path: None) -> None:
        self.path = path
        self.swaps = 0
        self._retire = retire
        self._resets = self._repairs = self._underruns = 0  # of paths that have gone
        self._map: DomainMap | None = None
        self._next: SignalPath | None = None
        self._next_map: DomainMap | None = None
        self._overlap = True
        self._quiet = 0  # samples until the new path may be heard
        self._fade = Fade(1, MAX_CALL, cosine=True)
        self._rising = False  # a new path fades in alone
        self._last = self._end = 0.0  # last sample of the call before this one, and of this one
        self._other = np.zeros(MAX_CALL, np.float32)

    @property
    def fading(self) -> bool:
        """A change of bundle is under way."""
        return self._next is not None or self._rising

    @property
    def resets(self) -> int:
        return self._resets + self.path.resets

    @property
    def input_repairs(self) -> int:
        return self._repairs + self.path.input_repairs

    @property
    def underruns(self) -> int:
        return self._underruns + self.path.underruns

    def swap(self, incoming: Incoming, cells: np.ndarray) -> None:
        """From this call on the incoming path takes over."""
        path, rate = incoming.path, self.path.rate_hz
        self._next = path
        self._next_map = None if incoming.map.identity else incoming.map
        self._overlap, self._rising = incoming.overlap, False
        self._quiet = path.latency.total + round(SETTLE_MS * rate / 1000) if incoming.overlap else 0
        self._fade.start(max(1, round(max(MIN_FADE_MS, float(cells[_FADE])) * rate / 1000)))

    def process(self, cells: np.ndarray, x: np.ndarray, out: np.ndarray) -> None:
        """x, out: [n] float32, n up to MAX_CALL."""
        self._last = self._end
        if not self._follow(self.path, self._map, cells):
            self._map = None
        self.path.process(x, out)
        if self._rising:
            out *= self._fade.rise(len(x))
            self._rising = not self._fade.over
        elif self._next is not None:
            self._change(self._next, cells, x, out)
        self._end = float(out[-1])

    def panic(self, cells: np.ndarray, out: np.ndarray) -> None:
        """Forget all sound; `out`, the call that was just made, falls to silence from the sample before it."""
        if self._next is not None:
            self._take_over(self._next, cells)
        self._rising = False
        self.path.panic(out, self._last)
        self.path.rise()
        self._end = float(out[-1])

    def _follow(self, path: SignalPath, map_: DomainMap | None, cells: np.ndarray) -> bool:
        fill(path.controls, cells)
        return map_ is None or map_.apply(path.controls, cells)

    def _change(self, new: SignalPath, cells: np.ndarray, x: np.ndarray, out: np.ndarray) -> None:
        n = len(x)
        if not self._overlap:
            gain = self._fade.rise(n)
            out *= np.subtract(1.0, gain, out=gain)
            if self._fade.over:
                self._take_over(new, cells)
                self._fade.start(wait=new.latency.total)  # it begins with that much silence
                self._rising = True
            return
        other = self._other[:n]
        self._follow(new, self._next_map, cells)
        new.process(x, other)
        if self._quiet > 0:
            self._quiet -= n
            return
        other -= out
        other *= self._fade.rise(n)
        out += other
        if self._fade.over:
            self._take_over(new, cells)

    def _take_over(self, new: SignalPath, cells: np.ndarray) -> None:
        old, self.path = self.path, new
        self._resets += old.resets
        self._repairs += old.input_repairs
        self._underruns += old.underruns
        self._map, self._next, self._next_map = self._next_map, None, None
        if self._map is not None:
            self._map.settle(cells)
        self.swaps += 1
        self._retire(old)
