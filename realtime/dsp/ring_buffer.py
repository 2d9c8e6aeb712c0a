"""First-in first-out buffers of float32 samples, preallocated.

Threading model: `Fifo` belongs to one thread. `Ring` has one writer and one reader, which may be two threads:
each side moves only its own counter, both counters only grow, and a sample is written before the counter
says so (the interpreter's lock orders the two), so there is nothing to lock and nobody ever waits.
"""

from __future__ import annotations

import numpy as np

from realtime.shared.saved_classes import saved

__all__ = ["Fifo", "Ring"]


class Ring:
    """Single-producer, single-consumer ring; `capacity` samples (rounded up to a power of two)."""

    def __init__(self, capacity: int) -> None:
        size = 1 << max(4, (int(capacity) - 1).bit_length())
        self.data = np.zeros(size, np.float32)
        self.size, self._mask = size, size - 1
        self.written = 0
        self.taken = 0
        self.lost = 0  # samples the writer had to drop because the reader was behind

    def __len__(self) -> int:
        return self.written - self.taken

    @property
    def room(self) -> int:
        return self.size - len(self)

    def write(self, samples: np.ndarray) -> int:
        """Append what fits, count the rest as lost; returns how many fitted."""
        n = min(len(samples), self.room)
        start = self.written & self._mask
        first = min(n, self.size - start)
        self.data[start : start + first] = samples[:first]
        self.data[: n - first] = samples[first:n]
        self.written += n
        self.lost += len(samples) - n
        return n

    def read(self, out: np.ndarray) -> int:
        """Fill `out` from the oldest samples, the rest with zeros; returns how many were there."""
        n = min(len(out), len(self))
        start = self.taken & self._mask
        first = min(n, self.size - start)
        out[:first] = self.data[start : start + first]
        out[first:n] = self.data[: n - first]
        out[n:] = 0.0
        self.taken += n
        return n

    def skip(self, n: int) -> int:
        """Drop the oldest `n` samples (fewer if there are fewer)."""
        n = min(n, len(self))
        self.taken += n
        return n


@saved("fifo")
class Fifo(Ring):
    """The same for one thread, with what only one thread may do."""

    def write_zeros(self, n: int) -> None:
        """Append silence: the delay of a path is the number of zeros it starts with."""
        start = self.written & self._mask
        first = min(n, self.size - start)
        self.data[start : start + first] = 0.0
        self.data[: n - first] = 0.0
        self.written += n

    def clear_to_zeros(self) -> None:
        """Keep the fill, and so the delay, but forget the sound."""
        self.data[:] = 0.0
