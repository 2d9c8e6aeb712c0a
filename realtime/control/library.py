"""The folder of presets and its set list; every question is answered from the disk, for a hand may edit it."""

from __future__ import annotations

import difflib
import os
import shutil
import threading
import unicodedata
from pathlib import Path

from realtime.control.names import checked_name, is_name
from realtime.control.store import key_lines, read_toml, sync_file, write_atomic
from realtime.errors import UserError

__all__ = ["Library"]

ENDING = ".toml"
SET_LIST = "setlist.toml"
BACKUP = ".bak"


class Library:
    """`NAME.toml` each, and `setlist.toml` with `presets = ["Intro", "Verse"]`; the folder may not exist yet."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def names(self) -> list[str]:
        """All presets in alphabetical order."""
        try:
            files = [p for p in self.folder.iterdir() if p.suffix == ENDING]
        except OSError:
            return []
        names = [unicodedata.normalize("NFC", p.stem) for p in files]
        return sorted((n for n in names if is_name(n)), key=lambda n: (n.casefold(), n))

    def set_list(self) -> list[str]:
        """The names of setlist.toml in its order, or all presets if there is none. UserError if broken."""
        path = self.folder / SET_LIST
        if not os.path.exists(path):  # no error where one may not look
            return self.names()
        content, text = read_toml(path)
        listed = content.get("presets")
        if not isinstance(listed, list) or not all(isinstance(name, str) for name in listed):
            lines = [line for line, key in key_lines(text) if key == "presets"]
            where = f", line {lines[0]}" if lines else ""
            raise UserError(f'{SET_LIST}{where}: presets = ["first name", "second name"] is wanted')
        return [unicodedata.normalize("NFC", name).strip() for name in listed]

    def path(self, name: str) -> Path:
        """File of the preset that is called so, whatever its capitals; a new one if none is. UserError."""
        name = checked_name(name)
        same = [n for n in self.names() if n.casefold() == name.casefold()]
        chosen = name if name in same or not same else same[0]
        return self.folder / (chosen + ENDING)

    def existing(self, name: str) -> Path:
        """As `path`; UserError with the nearest names if there is no such preset."""
        path = self.path(name)
        if os.path.isfile(path):
            return path
        known = self.names()
        near = difflib.get_close_matches(name, known, 1)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(known[:12]) or 'none'}"
        raise UserError(f"no preset is called {name[:64]!r}; {hint}")

    def save(self, name: str, text: str) -> str:
        """Keep a preset, the one of that name before as NAME.toml.bak; returns its name."""
        path = self.path(name)
        if os.path.isfile(path):
            try:
                shutil.copyfile(path, path.with_name(path.name + BACKUP))
            except OSError as error:
                raise UserError(f"{path} could not be kept aside ({error}); nothing was changed") from error
        write_atomic(path, text)
        # A slow disk must not hold up whoever asked: that thread also hears OSC.
        threading.Thread(target=sync_file, args=(path,), name="sync").start()
        return path.stem
