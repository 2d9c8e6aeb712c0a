"""For objects whose state is where no walk over Python's objects finds it: in C++, or on a GPU.

Threading model: whoever makes the audio calls `save_state` between two blocks; it neither waits nor allocates
more than a few objects. `load_state` belongs to the construction.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np
from numpy.typing import NDArray

__all__ = ["Kept", "Stateful"]


class Stateful(ABC):
    """Hands its state out and takes it back; a snapshot (realtime.recording.snapshot) looks no further into it.

    state_layout: what the bytes mean, as a user may read it; state goes only between objects of one layout.
    save_state: -> `out`, uint8 [state_bytes], without an address in it. load_state: from such an
    array; ValueError: that cannot be a state.
    """

    @property
    @abstractmethod
    def state_layout(self) -> str: ...

    @property
    @abstractmethod
    def state_bytes(self) -> int: ...

    @abstractmethod
    def save_state(self, out: NDArray[np.uint8]) -> None: ...

    @abstractmethod
    def load_state(self, kept: NDArray[np.uint8]) -> None: ...


class Kept:
    """What an array or a `Stateful` object holds at one moment, to go back to as often as one likes.

    keep: belongs to the construction. restore: whoever makes the audio, between two blocks; an array stays where it is.
    A snapshot finds no state in here: whoever is constructed the same way keeps the same.
    """

    def __init__(self, held: np.ndarray | Stateful) -> None:
        self._held = held
        self.keep()

    def keep(self) -> None:
        if isinstance(self._held, Stateful):
            self._copy = np.zeros(self._held.state_bytes, np.uint8)
            self._held.save_state(self._copy)
        else:
            self._copy = self._held.copy()
        self._copy.flags.writeable = False

    def restore(self) -> None:
        if isinstance(self._held, Stateful):
            self._held.load_state(self._copy)
        else:
            self._held[...] = self._copy
