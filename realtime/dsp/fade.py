"""The one fade: a gain that goes from 0 to 1, or from 1 to 0, within a number of steps, and is then over.

    fade = Fade(length, most)
    fade.start()
    x *= fade.rise(len(x))       # piece after piece, of any size up to `most`

      1 |        ______           1 |___
        |      /                    |    \\
        |    /          rise(n)     |      \\          fall(n)
      0 |___/                     0 |        \\______
            start    over             start    over

What has no end, a control value that follows the performer or a gate, is a `Ramp` (filters.py) or a gate's slide.
"""

from __future__ import annotations

import math

import numpy as np

from realtime.shared.saved_classes import saved

__all__ = ["Fade"]


@saved("fade")
class Fade:
    """A gain that moves once, in `length` steps (samples, or frames of a latent); made once, it is started often.

    most: steps that one call may ask for. cosine: without corners, else a straight line. `position` is how far it is:
    below 0 it waits, from `length` on it is over, as it is when it has just been made. No call allocates.
    """

    def __init__(self, length: int, most: int, cosine: bool = False) -> None:
        self.position = self.length = length
        self._cosine = cosine
        self._count = np.arange(1, most + 1, dtype=np.float32)
        self._gain = np.empty(most, np.float32)

    @property
    def over(self) -> bool:
        return self.position >= self.length

    @property
    def left(self) -> int:
        """Steps to its end; to be set as well."""
        return max(0, self.length - self.position)

    @left.setter
    def left(self, steps: int) -> None:
        self.position = self.length - steps

    def start(self, length: int | None = None, wait: int = 0) -> None:
        """From the beginning, with another length from now on or the same; `wait` steps come before it."""
        if length is not None:
            self.length = length
        self.position = -wait

    def stop(self) -> None:
        """It is over at once."""
        self.position = self.length

    def rise(self, n: int) -> np.ndarray:
        """The next `n` gains of 0 -> 1: a view [n] that the next call overwrites."""
        top = math.pi if self._cosine else 1.0
        gain = np.add(self._count[:n], np.float32(self.position), out=self._gain[:n])
        gain *= np.float32(top / self.length)
        np.clip(gain, np.float32(0.0), np.float32(top), out=gain)
        if self._cosine:
            np.cos(gain, out=gain)
            gain *= np.float32(-0.5)
            gain += np.float32(0.5)
        self.position += n
        return gain

    def fall(self, n: int) -> np.ndarray:
        """The next `n` gains of 1 -> 0, a straight line: a view [n] that the next call overwrites."""
        gain = np.subtract(np.float32(self.length - self.position), self._count[:n], out=self._gain[:n])
        gain *= np.float32(1.0 / self.length)
        np.clip(gain, np.float32(0.0), np.float32(1.0), out=gain)
        self.position += n
        return gain

    def drop(self, value: float, out: np.ndarray) -> None:
        """Where a sound broke off at `value`: `out` [up to `most`] falls from there to 0, all of it from the start."""
        self.start()
        np.subtract(np.float32(1.0), self.rise(len(out)), out=out)
        out *= value
