"""What a tape's thread writes: the sound, its journal, and the states of bundles that came later."""

from __future__ import annotations

import datetime
import json
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from realtime.dsp.controls import CELLS, default_cells, named
from realtime.dsp.model_crossfade import Incoming
from realtime.dsp.ring_buffer import Ring
from realtime.recording.restore import save
from realtime.recording.snapshot import polite
from realtime.recording.sound_writers import CHANNELS, create
from realtime.shared.audio_config import RECORD_ENDINGS
from realtime.shared.memory import PARAMETER_INDEX
from umtn.errors import UserError

__all__ = [
    "Event",
    "Journal",
    "TakeFile",
    "beside",
    "default_name",
    "free_path",
    "read_journal",
    "state_beside",
]


# What was done to a performance and when: NAME.jsonl beside NAME.wav, one JSON object a line, for people too.
#
# {"umtn": "journal", "version": 1, "bundle": "...", "sha256": "...", "rate": 48000, "parameters": {...}, ...}
# {"at": 96000, "s": 2.0, "set": {"mix": 0.5}}          the block that begins with sample 96000 has it
# {"at": 96128, "s": 2.003, "block": 256}               from here on the device asks for 256 samples
# {"at": 120000, "s": 2.5, "panic": 1}                  the block that begins here falls to silence
# {"at": 144000, "s": 3.0, "swap": {"bundle": ...}}     another bundle begins to take over
# {"at": 150000, "s": 3.125, "lost": 4096}              the disk was too slow for those
# {"at": 480000, "s": 10.0, "end": "stopped"}


VERSION = 1


class Journal:
    """A new file; every line reaches the system at once. OSError as it comes (FileExistsError too)."""

    def __init__(self, path: Path, rate_hz: int) -> None:
        self._file = open(path, "x", encoding="utf-8", newline="\n")  # noqa: SIM115
        self._rate = rate_hz

    def head(self, facts: dict[str, Any]) -> None:
        self._write([json.dumps({"umtn": "journal", "version": VERSION, **facts})])

    def note(self, events: list[tuple[int, str, Any]]) -> None:
        """(sample position, kind, content)."""
        self._write(
            [json.dumps({"at": at, "s": round(at / self._rate, 3), kind: what}) for at, kind, what in events]
        )

    def _write(self, lines: list[str]) -> None:
        if lines:
            self._file.write("\n".join(lines) + "\n")
            self._file.flush()

    def close(self) -> None:
        self._file.close()


def read_journal(path: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The head and the events. UserError for what is no journal; a last line cut off by a kill is left out."""
    try:
        with path.open(encoding="utf-8") as file:
            lines = list(_objects(file.read().split("\n")))
    except FileNotFoundError:
        raise UserError(f"there is no {path}: without its journal a recording cannot be replayed") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read ({error})") from None
    if not lines or lines[0].get("umtn") != "journal":
        raise UserError(f"{path} is no journal of a recording; its first line should say so")
    if lines[0].get("version") != VERSION:
        raise UserError(
            f"{path} is of version {lines[0].get('version')}, this program reads {VERSION}; use a newer one"
        )
    for line in lines[1:]:
        if type(line.get("at")) is not int:
            raise UserError(f"{path} has an event without a position: {json.dumps(line)[:80]}")
    return lines[0], lines[1:]


def _objects(lines: list[str]) -> Iterator[dict[str, Any]]:
    for line in lines:
        try:
            found = json.loads(line)
        except (ValueError, RecursionError):
            return
        if not isinstance(found, dict):
            return
        yield found


# What recordings are called: light, for the control process names them too.


MAX_TAKES = 10000


def default_name(now: datetime.datetime | None = None) -> str:
    """umtn-20261120-181502.wav"""
    return f"umtn-{now or datetime.datetime.now():%Y%m%d-%H%M%S}.wav"


def beside(sound: Path) -> Path:
    """The journal of a recording."""
    return sound.with_suffix(".jsonl")


def state_beside(sound: Path, number: int = 1) -> Path:
    """The state at its first sample; numbers from 2 on: of the bundles that came later."""
    return sound.with_suffix(".state.npz" if number == 1 else f".state-{number}.npz")


def free_path(path: Path) -> Path:
    """The path, or NAME-2, NAME-3... : neither a recording nor what lies beside it is ever overwritten."""
    for number in range(1, MAX_TAKES):
        free = path if number == 1 else path.with_name(f"{path.stem}-{number}{path.suffix}")
        if not any(p.exists() for p in (free, beside(free), state_beside(free))):
            return free
    raise UserError(f"there are {MAX_TAKES} takes called {path.stem} already; choose another name")


OUTPUT = 1  # its channel
Event = tuple[int, str, Any]  # sample position, kind, content


class TakeFile:
    """New files, none of which existed. Made in the main thread, then used by the tape's thread alone.

    UserError if they cannot be made; OSError from everything else when the disk is full.
    """

    def __init__(self, path: Path, rate_hz: int) -> None:
        if path.suffix.lower() not in RECORD_ENDINGS:
            raise UserError(f"a recording ends in {' or '.join(RECORD_ENDINGS)}, but {path.name} came")
        if not path.parent.is_dir():
            raise UserError(f"cannot record to {path}: there is no folder {path.parent}")
        self._rate = rate_hz
        self._swaps = 0
        self._gaps: deque[tuple[int, int]] = deque()
        self._held = np.zeros(0, np.float32)  # output that has not sounded yet
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

    def head(self, facts: dict[str, Any], cells: np.ndarray, length: int, late: int = 0) -> None:
        """The journal's first line: facts, and the parameters as they are at the first sample. late: see `Tape`."""
        self._held = np.zeros(late, np.float32)
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
                "late": late,
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
            self._put(np.zeros((n, CHANNELS), np.float32))
        self._append(rings, count)

    def _append(self, rings: list[Ring], count: int) -> None:
        if count <= 0:
            return
        piece = np.zeros((count, CHANNELS), np.float32)
        column = np.zeros(count, np.float32)
        for channel, ring in enumerate(rings):
            ring.read(column)
            piece[:, channel] = column
        self._put(piece)

    def _put(self, piece: np.ndarray) -> None:
        """Output later than input, by what is held."""
        if len(self._held):
            said = np.concatenate([self._held, piece[:, OUTPUT]])
            piece[:, OUTPUT], self._held = said[: len(piece)], said[len(piece) :]
        self.sound.append(piece)

    def _rest(self) -> None:
        """What is still to sound after the last input."""
        piece = np.zeros((len(self._held), CHANNELS), np.float32)
        piece[:, OUTPUT], self._held = self._held, self._held[:0]
        if len(piece):
            self.sound.append(piece)

    def close(self, reason: str) -> str:
        """Complete everything; returns a sentence if that failed."""
        played = self.sound.frames
        steps: tuple[Callable[[], None], ...] = (
            self._rest,
            self.sound.close,
            lambda: self._journal.note([(played, "end", reason)]),
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
