"""Shared memory between the control process and the audio process.

Threading model: the control process creates it and writes `parameters` and `stop_flag`; the
audio process attaches and writes `status` and `heartbeat`. Each number is one aligned 8-byte cell with one
writer, so that a reader sees the old value or the new one, never half of each; no lock is taken anywhere.
The cell of an event (`panic`) holds how many times it has happened.
"""

from __future__ import annotations

import atexit
import os
import secrets
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing import resource_tracker, shared_memory

import numpy as np
import numpy.typing as npt

from realtime.shared.parameters import FAMILIES, MAX_DOMAINS, PARAMETERS, STATUS

__all__ = ["LAYOUT", "PARAMETER_INDEX", "SCOPE_FRAMES", "STATUS_INDEX", "SharedState", "SharedStateError"]

_MAGIC = 0x554D544E_52540001  # "UMTNRT", format 1
_HEADER = 8  # int64 cells; the last three are spare
_MAGIC_CELL, _LAYOUT_CELL, _STOP_CELL, _BEAT_CELL, _SCOPE_CELL = range(5)


def _cells() -> Iterator[tuple[str, float]]:
    """Name and first value of every parameter cell, one for each domain or number where there are several."""
    for p in PARAMETERS:
        if p.per_domain:
            yield from ((f"{p.name}/{i}", p.default) for i in range(MAX_DOMAINS))
        elif p.kind != "action":
            yield p.name, p.default
    for family in FAMILIES:
        yield from ((f"{family.name}/{i}", family.default) for i in range(family.count))


_DEFAULTS = dict(_cells())
PARAMETER_INDEX: dict[str, int] = {name: i for i, name in enumerate(_DEFAULTS)}
STATUS_INDEX: dict[str, int] = {s.name: i for i, s in enumerate(STATUS)}
LAYOUT: int = zlib.crc32("\n".join([*PARAMETER_INDEX, "", *STATUS_INDEX]).encode())
SCOPE_FRAMES = 1 << 16
_SCOPE = 8 * (_HEADER + len(PARAMETER_INDEX) + len(STATUS))
_SIZE = _SCOPE + 4 * 2 * SCOPE_FRAMES
_track_lock = threading.Lock()


class SharedStateError(ValueError):
    """The shared memory is gone, or was made by another version of the program."""


class _Memory(shared_memory.SharedMemory):
    """Quiet at the end of the process even if a reader still holds an array on it."""

    def __del__(self) -> None:
        with suppress(OSError, BufferError):
            self.close()

    def bytes(self) -> memoryview:
        """The mapped memory."""
        assert self.buf is not None, "closed"
        return self.buf


@contextmanager
def _untracked() -> Iterator[None]:
    """Attach without registering: a registered attachment is unlinked at exit, under the owner's feet.

    Python 3.13 has `track=False` for this; the same patch works before and after.
    """
    with _track_lock:
        original = resource_tracker.register
        resource_tracker.register = lambda name, rtype: None
        try:
            yield
        finally:
            resource_tracker.register = original


class SharedState:
    """Parameters one way, status the other; `create()` in control, `attach(name)` in audio.

    `parameters` and `status` are float64 arrays in the order of the tables; a real-time reader may use the
    arrays with `PARAMETER_INDEX` / `STATUS_INDEX`, everyone else `get` / `set` / `status_get` / `status_set`.
    """

    def __init__(self, memory: _Memory, owner: bool) -> None:
        self._memory = memory
        self._owner = owner
        self._open = True
        cells = np.frombuffer(memory.bytes(), dtype=np.int64, count=_HEADER)
        self._header: npt.NDArray[np.int64] = cells
        start, middle = 8 * _HEADER, 8 * (_HEADER + len(PARAMETER_INDEX))
        self.parameters: npt.NDArray[np.float64] = np.frombuffer(
            memory.bytes(), dtype=np.float64, count=len(PARAMETER_INDEX), offset=start
        )
        self.status: npt.NDArray[np.float64] = np.frombuffer(
            memory.bytes(), dtype=np.float64, count=len(STATUS), offset=middle
        )
        self.scope: npt.NDArray[np.float32] = np.frombuffer(
            memory.bytes(), dtype=np.float32, count=2 * SCOPE_FRAMES, offset=_SCOPE
        ).reshape(2, SCOPE_FRAMES)

    @classmethod
    def create(cls) -> SharedState:
        """New memory with every parameter at its default; the caller must `close` and `unlink` it."""
        name = f"umtn-{os.getpid()}-{secrets.token_hex(3)}"
        memory = _Memory(name=name, create=True, size=_SIZE)
        state = cls(memory, owner=True)
        state._header[:] = 0
        state.parameters[:] = list(_DEFAULTS.values())
        state.status[:] = 0.0
        state.scope[:] = 0.0
        state._header[_LAYOUT_CELL] = LAYOUT
        state._header[_MAGIC_CELL] = _MAGIC
        return state

    @classmethod
    def attach(cls, name: str) -> SharedState:
        """The memory that another process created; SharedStateError if it is gone or of another layout."""
        try:
            with _untracked():
                memory = _Memory(name=name)
        except (FileNotFoundError, ValueError, OSError) as error:
            raise SharedStateError(f"no running session is called {name!r}; it may have ended") from error
        if memory.size < _SIZE or not cls._matches(memory):
            memory.close()
            raise SharedStateError(
                f"session {name!r} has another layout of parameters; both processes must run one version"
            )
        return cls(memory, owner=False)

    @staticmethod
    def _matches(memory: _Memory) -> bool:
        header = np.frombuffer(bytes(memory.bytes()[: 8 * _HEADER]), dtype=np.int64)
        return int(header[_MAGIC_CELL]) == _MAGIC and int(header[_LAYOUT_CELL]) == LAYOUT

    @property
    def name(self) -> str:
        """What `attach` needs."""
        return self._memory.name

    def get(self, name: str) -> float:
        """Value of a parameter (a choice as its index)."""
        return float(self.parameters[PARAMETER_INDEX[name]])

    def set(self, name: str, value: float) -> None:
        """Store a parameter's value; the caller has clipped it."""
        self.parameters[PARAMETER_INDEX[name]] = value

    def status_get(self, name: str) -> float:
        """Latest figure from the audio process."""
        return float(self.status[STATUS_INDEX[name]])

    def status_set(self, name: str, value: float) -> None:
        """Publish a figure (audio process)."""
        self.status[STATUS_INDEX[name]] = value

    @property
    def panic_count(self) -> int:
        """Rises by one with each panic; audio resets when it differs from the last one it saw."""
        return int(self.get("panic"))

    @panic_count.setter
    def panic_count(self, count: int) -> None:
        self.set("panic", count)

    @property
    def stop_flag(self) -> bool:
        """True asks the audio process to close its files and end."""
        return bool(self._header[_STOP_CELL])

    @stop_flag.setter
    def stop_flag(self, stop: bool) -> None:
        self._header[_STOP_CELL] = int(stop)

    @property
    def heartbeat(self) -> int:
        """Rises with every block that audio has handled; standing still means that it hangs."""
        return int(self._header[_BEAT_CELL])

    @heartbeat.setter
    def heartbeat(self, count: int) -> None:
        self._header[_BEAT_CELL] = count

    @property
    def scope_written(self) -> int:
        """How many samples of input (scope[0]) and output (scope[1]) audio has put into the ring `scope`."""
        return int(self._header[_SCOPE_CELL])

    def scope_write(self, heard: npt.NDArray[np.float32], said: npt.NDArray[np.float32]) -> None:
        """Append one block to the ring (audio); for pictures only: a slow reader misses some."""
        n = len(heard)
        start = self.scope_written & (SCOPE_FRAMES - 1)
        first = min(n, SCOPE_FRAMES - start)
        for row, samples in ((self.scope[0], heard), (self.scope[1], said)):
            row[start : start + first] = samples[:first]
            row[: n - first] = samples[first:]
        self._header[_SCOPE_CELL] += n

    def close(self) -> None:
        """Let go of the memory; may be called twice."""
        if not self._open:
            return
        self._open = False
        empty = np.zeros(0)
        # The arrays must go first: memory that is still looked at cannot be closed.
        self.parameters, self.status, self._header = empty, empty, np.zeros(0, np.int64)
        self.scope = np.zeros((2, 0), np.float32)
        with suppress(BufferError):  # someone kept a view: the memory goes when that view does
            self._memory.close()

    def adopt(self) -> None:
        """Take over the creator's duty to remove the memory; done at the end of this process."""
        self._owner = True
        atexit.register(self.unlink)

    def __del__(self) -> None:
        # Only __init__ sets _open; an object that failed before has nothing to close.
        if getattr(self, "_open", False):
            self.close()

    def unlink(self) -> None:
        """Remove the memory from the system (creator only); who is attached keeps it until `close`."""
        if self._owner:
            self._owner = False
            with suppress(FileNotFoundError):
                self._memory.unlink()
