"""The last state of a session on disk, so that a crash in mid-set costs a second of knob turning at most.

Threading model: `tick` and `close` are called by the presets' thread and its owner, never both at once.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from realtime.control.config_files import read_toml, write_atomic
from realtime.control.presets.files import read_preset, to_toml
from umtn.errors import UserError

if TYPE_CHECKING:
    from realtime.control.namespace import Namespace

__all__ = ["FILE", "LastState", "process_runs"]

FILE = "last.toml"
ASIDE = "last.unread.toml"
EVERY_S = 1.0


class LastState:
    """Writes FILE when something has changed. `crashed`: the session before left one and did not end in order.

    An entry `process` names who is at work; an orderly end takes it out. While another session that still runs
    is at work in the folder nothing is written there.
    """

    def __init__(self, namespace: Namespace, folder: Path) -> None:
        self._namespace, self._path = namespace, folder / FILE
        self._seen: np.ndarray | None = None
        self._preset = ""
        self._due_s = -np.inf
        self.trouble = ""
        owner = self._owner()
        self.other = owner if owner != os.getpid() and process_runs(owner) else 0
        self.crashed = owner > 0 and not self.other

    def _owner(self) -> int:
        """Number of the process that wrote the file and did not end in order, or 0."""
        try:
            process = read_toml(self._path)[0].get("process", 0) if os.path.exists(self._path) else 0
        except UserError as error:
            self.trouble = str(error)
            self._put_aside()
            return 0
        return process if isinstance(process, int) and not isinstance(process, bool) else 0

    def read(self) -> tuple[dict[str, float], str]:
        """Values and preset of the last state; one that cannot be used is put aside and named in a UserError."""
        try:
            values = read_preset(self._path, self._namespace)
            preset = read_toml(self._path)[0].get("preset", "")
        except UserError as error:
            self._put_aside()
            raise UserError(f"{error}; it is kept as {ASIDE}") from error
        return values, preset if isinstance(preset, str) else ""

    def _put_aside(self) -> None:
        with suppress(OSError):
            os.replace(self._path, self._path.with_name(ASIDE))

    def tick(self, now_s: float) -> None:
        """Write if due and changed; a full disk is told once (`trouble`) and tried again."""
        if self.other or now_s < self._due_s:
            return
        self._due_s = now_s + EVERY_S
        cells, preset = self._namespace.shared.parameters.copy(), self._namespace.texts["preset"]
        if self._seen is not None and preset == self._preset and np.array_equal(cells, self._seen):
            return
        if self._write({"process": os.getpid()}):
            self._seen, self._preset = cells, preset

    def close(self) -> None:
        """The orderly end: what is in the file now is no crash's."""
        if not self.other and self._seen is not None:
            self._write({})

    def _write(self, about: dict[str, str | int]) -> bool:
        about = {"preset": self._namespace.texts["preset"], **about}
        title = "Where the session stood last; written by the program, which reads it after a crash."
        try:
            write_atomic(self._path, to_toml(self._namespace, title, about, glide=True))
        except UserError as error:
            self.trouble = str(error)
            return False
        return True


def process_runs(number: int) -> bool:
    """Whether a process of that number is there."""
    if number <= 0 or number >= 1 << 31:
        return False
    if sys.platform == "win32":  # where os.kill would end it
        import ctypes

        handle = ctypes.windll.kernel32.OpenProcess(0x1000, False, number)
        if not handle:
            return False
        code = ctypes.c_ulong()
        ctypes.windll.kernel32.GetExitCodeProcess(handle, ctypes.byref(code))
        ctypes.windll.kernel32.CloseHandle(handle)
        return code.value == 259  # STILL_ACTIVE
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True  # somebody else's
    return True
