"""What a tape's thread writes: the sound, its journal, and the states of bundles that came later."""

from __future__ import annotations

import datetime
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from realtime.audio.cells import CELLS, default_cells, named
from realtime.audio.containers import CHANNELS, ENDINGS, create
from realtime.audio.journal import Journal
from realtime.audio.player import Incoming
from realtime.audio.restore import save
from realtime.audio.ring import Ring
from realtime.audio.snapshot import polite
from realtime.audio.takes import beside, free_path, state_beside
from realtime.errors import UserError
from realtime.shared import PARAMETER_INDEX

__all__ = ["Event", "TapeFile"]

Event = tuple[int, str, Any]  # sample position, kind, content


class TapeFile:
    """New files, none of which existed. Made in the main thread, then used by the tape's thread alone.

    UserError if they cannot be made; OSError from everything else when the disk is full.
    """

    def __init__(self, path: Path, rate_hz: int) -> None:
        if path.suffix.lower() not in ENDINGS:
            raise UserError(f"a recording ends in {' or '.join(ENDINGS)}, but {path.name} came")
        if not path.parent.is_dir():
            raise UserError(f"cannot record to {path}: there is no folder {path.parent}")
        self._rate = rate_hz
        self._swaps = 0
        self._gaps: deque[tuple[int, int]] = deque()
        while True:
            self.path = free_path(path)
            try:
                self.sound = create(self.path, rate_hz)
                self._journal = Journal(beside(self.path), rate_hz)
                return
            except FileExistsError:  # another program was quicker
                continue
            except OSError as error:
                raise UserError(f"cannot record to {self.path} ({error.strerror or error})") from None

    def head(self, facts: dict[str, Any], cells: np.ndarray, length: int) -> None:
        """The journal's first line: facts, and the parameters as they are at the first sample."""
        shown = [i for name, i in PARAMETER_INDEX.items() if not name.rpartition("/")[2].isdecimal()]
        plain = named(cells, shown)
        plain.pop("panic")
        defaults = default_cells()
        others = [i for i in range(CELLS) if i not in shown and cells[i] != defaults[i]]
        self._journal.head(
            {
                **facts,
                "file": self.path.name,
                "state": state_beside(self.path).name,
                "date": datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
                "rate": self._rate,
                "call": length,
                "parameters": {**plain, **named(cells, others)},
            }
        )

    def note(self, events: list[Event]) -> None:
        """Into the journal; positions count from the recording's first sample."""
        self._gaps += [(at, content) for at, kind, content in events if kind == "lost"]
        self._journal.note([(at, kind, self._readable(kind, content)) for at, kind, content in events])

    def _readable(self, kind: str, content: Any) -> Any:
        if kind == "set":
            indices, values = content
            cells = np.zeros(CELLS)
            cells[indices] = values
            return named(cells, indices)
        return self._keep(content) if kind == "swap" else content

    def _keep(self, incoming: Incoming) -> dict[str, Any]:
        """The state in which another bundle begins."""
        self._swaps += 1
        path = state_beside(self.path, self._swaps + 1)
        save(incoming.state, path, polite())
        incoming.state.forget()
        return {**incoming.about, "overlap": incoming.overlap, "state": path.name}

    def store(self, rings: list[Ring], count: int) -> None:
        """That many samples of each ring into the file, with silence where samples were lost."""
        while self._gaps and self._gaps[0][0] - self.sound.frames <= count:
            at, n = self._gaps.popleft()
            before = at - self.sound.frames
            self._append(rings, before)
            count -= before
            self.sound.append(np.zeros((n, CHANNELS), np.float32))
        self._append(rings, count)

    def _append(self, rings: list[Ring], count: int) -> None:
        if count <= 0:
            return
        piece = np.zeros((count, CHANNELS), np.float32)
        column = np.zeros(count, np.float32)
        for channel, ring in enumerate(rings):
            ring.read(column)
            piece[:, channel] = column
        self.sound.append(piece)

    def close(self, reason: str) -> str:
        """Complete everything; returns a sentence if that failed."""
        steps: tuple[Callable[[], None], ...] = (
            self.sound.close,
            lambda: self._journal.note([(self.sound.frames, "end", reason)]),
            self._journal.close,
        )
        said = ""
        for step in steps:
            try:
                step()
            except OSError as error:
                said = said or f"cannot complete {self.path} ({error.strerror or error})"
        return said

    def remove(self) -> None:
        """There is nothing in it."""
        self.path.unlink(missing_ok=True)
        beside(self.path).unlink(missing_ok=True)
