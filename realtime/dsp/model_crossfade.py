"""What sounds: one signal path, and for a moment a second one that takes over from it (another bundle).

    old path   ____________________                     old path   _________
                                   \\___                                     \\___
    new path   unheard, filling ___/                    new path               ___/   (no time for two at once)

The gains of the cross-fade add up to one, so the sum is never louder than the louder of the two.

Threading model: belongs to the thread that makes the audio, as the paths do. A retired path is handed to
`retire`, to be freed elsewhere.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from realtime.dsp.controls import DomainMap, fill
from realtime.dsp.signal_path import MAX_CALL, PANIC_FADE, SignalPath
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


@saved("player")
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
        self._position, self._length = 0, 1  # of the fade
        self._rising = False  # a new path fades in alone
        self._last = self._end = 0.0  # last sample of the call before this one, and of this one
        self._other = np.zeros(MAX_CALL, np.float32)
        self._gain = np.zeros(MAX_CALL, np.float32)
        self._count = np.arange(1, MAX_CALL + 1, dtype=np.float32)

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
        self._position = 0
        self._length = max(1, round(max(MIN_FADE_MS, float(cells[_FADE])) * rate / 1000))

    def process(self, cells: np.ndarray, x: np.ndarray, out: np.ndarray) -> None:
        """x, out: [n] float32, n up to MAX_CALL."""
        self._last = self._end
        if not self._follow(self.path, self._map, cells):
            self._map = None
        self.path.process(x, out)
        if self._rising:
            out *= self._curve(len(x))
            self._rising = self._position < self._length
        elif self._next is not None:
            self._change(self._next, cells, x, out)
        self._end = float(out[-1])

    def panic(self, cells: np.ndarray, out: np.ndarray) -> None:
        """Forget all sound; `out`, the call that was just made, falls to silence from the sample before it."""
        if self._next is not None:
            self._take_over(self._next, cells)
        self._rising = False
        self.path.panic(out)
        self.path.rise()
        n = min(len(out), PANIC_FADE)
        out[:] = 0.0
        np.subtract(1.0, self._count[:n] * np.float32(1.0 / PANIC_FADE), out=out[:n])
        out[:n] *= self._last
        self._end = float(out[-1])

    def _follow(self, path: SignalPath, map_: DomainMap | None, cells: np.ndarray) -> bool:
        fill(path.controls, cells)
        return map_ is None or map_.apply(path.controls, cells)

    def _change(self, new: SignalPath, cells: np.ndarray, x: np.ndarray, out: np.ndarray) -> None:
        n = len(x)
        if not self._overlap:
            out *= np.subtract(1.0, self._curve(n), out=self._gain[:n])
            if self._position >= self._length:
                self._take_over(new, cells)
                self._position, self._rising = -new.latency.total, True  # it begins with that much silence
            return
        other = self._other[:n]
        self._follow(new, self._next_map, cells)
        new.process(x, other)
        if self._quiet > 0:
            self._quiet -= n
            return
        gain = self._curve(n)
        other -= out
        other *= gain
        out += other
        if self._position >= self._length:
            self._take_over(new, cells)

    def _curve(self, n: int) -> np.ndarray:
        """The next `n` values of a rise from 0 to 1 without corners; 0 where the position is below 0."""
        gain = np.add(self._count[:n], np.float32(self._position), out=self._gain[:n])
        gain *= np.float32(math.pi / self._length)
        np.clip(gain, np.float32(0.0), np.float32(math.pi), out=gain)
        np.cos(gain, out=gain)
        gain *= np.float32(-0.5)
        gain += np.float32(0.5)
        self._position += n
        return gain

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
