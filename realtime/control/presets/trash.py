"""Presets as they were before they were saved over or deleted: a pile that `undo` takes from, newest first.

`trash/000123-9f3a saved Verse.toml` beside the presets. What lies there was moved or copied in one step before the
preset itself was touched, so that nothing is lost whenever the process dies; any editor opens it.
Threading model: none of its own; `Library` calls it under its lock, `newest` may be called by anyone.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from realtime.control.presets.names import is_name
from umtn.errors import UserError

__all__ = ["FOLDER", "KEPT", "Trash", "Trashed"]

FOLDER = "trash"
KEPT = 100  # presets of a few KiB each
_ENDING = ".toml"
_ENTRY = re.compile(r"(\d{6,12})-[0-9a-f]{4} (saved|deleted|undone) (.+)\.toml")

How = Literal["saved", "deleted", "undone"]


@dataclass(frozen=True)
class Trashed:
    """One preset of the pile. `how` it came there: saved over, deleted, or itself put away by an undo."""

    path: Path
    number: int
    how: How
    name: str


class Trash:
    """The newest KEPT that were put away, in a folder beside the presets that need not exist yet."""

    def __init__(self, presets: Path) -> None:
        self.folder = presets / FOLDER

    def entries(self) -> list[Trashed]:
        """All of them, the oldest first."""
        try:
            names = os.listdir(self.folder)
        except OSError:
            return []
        found = []
        for name in names:
            match = _ENTRY.fullmatch(name)
            if match is not None and is_name(match[3]):
                how: How = match[2]  # type: ignore[assignment]  # the pattern knows no other
                found.append(Trashed(self.folder / name, int(match[1]), how, match[3]))
        return sorted(found, key=lambda e: (e.number, e.path.name))

    def newest(self) -> Trashed | None:
        """What an undo would bring back, or None."""
        return next((e for e in reversed(self.entries()) if e.how != "undone"), None)

    def copy(self, path: Path, how: How) -> Path:
        """Keep the file as it is now, and leave it where it is; UserError: it could not be kept."""
        kept = self._place(path, how)
        temporary = kept.with_name(f".{kept.name}.tmp")  # half a copy must not look like a preset
        try:
            shutil.copyfile(path, temporary)
            os.replace(temporary, kept)
        except OSError as error:
            with suppress(OSError):
                temporary.unlink()
            raise _not_kept(path, error) from error
        self._forget_oldest()
        return kept

    def move(self, path: Path, how: How) -> Path:
        """Put the file itself away; UserError: it is where it was."""
        kept = self._place(path, how)
        try:
            os.replace(path, kept)
        except OSError as error:
            raise _not_kept(path, error) from error
        self._forget_oldest()
        return kept

    def _place(self, path: Path, how: How) -> Path:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise _not_kept(path, error) from error
        number = max((e.number for e in self.entries()), default=0) + 1
        # Counted, for a clock may go backwards; the letters keep two sessions in one folder apart.
        return self.folder / f"{number:06d}-{secrets.token_hex(2)} {how} {path.stem}{_ENDING}"

    def _forget_oldest(self) -> None:
        for entry in self.entries()[:-KEPT]:
            with suppress(OSError):
                entry.path.unlink()


def _not_kept(path: Path, error: OSError) -> UserError:
    return UserError(f"{path} could not be kept aside ({error.strerror or error}); nothing was changed")
