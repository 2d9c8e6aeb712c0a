"""Presets and set lists: `preset/save`, `load`, `next`, `previous`, the glide to them, and the last state.

Threading model: actions come from any control thread (OSC, MIDI, page, terminal); a thread of its own glides a
hundred times a second while there is something to glide and writes the last state once a second. One lock holds
them apart. Parameters are single cells that everyone may write: a hand on a dial wins over a glide.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from realtime.control.last import LastState
from realtime.control.library import Library
from realtime.control.lookup import VALUES
from realtime.control.names import checked_name
from realtime.control.preset_file import GLIDE, read_preset, to_toml
from realtime.control.recall import Recall
from realtime.control.store import config_folder
from realtime.errors import UserError

if TYPE_CHECKING:
    from realtime.control.namespace import Namespace

__all__ = ["Presets", "default_folder"]

TICK_S = 0.01
IDLE_S = 0.5

_log = logging.getLogger("realtime.presets")


def default_folder() -> Path:
    """Where presets lie unless one says otherwise."""
    return config_folder() / "presets"


class Presets:
    """The presets in `folder` for one session; registers its actions. `start` and `stop` its thread."""

    def __init__(self, namespace: Namespace, folder: Path | None = None) -> None:
        self._namespace = namespace
        self.library = Library(folder or default_folder())
        self._lock = threading.RLock()
        self._recall: Recall | None = None
        self._position = -1  # in the set list; -1 before the first
        self._last = LastState(namespace, self.library.folder)
        self._told = ""
        self._wake, self._stopping = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="presets", daemon=True)
        namespace.actions.update({
            "preset/save": lambda name: self.save(str(name)),
            "preset/load": lambda name: self.load(str(name)),
            "preset/next": lambda _: self.step(1),
            "preset/previous": lambda _: self.step(-1),
        })  # fmt: skip

    @property
    def current(self) -> str:
        """Name of the preset recalled or saved last, "" if none was."""
        return self._namespace.texts["preset"]

    @property
    def crashed(self) -> bool:
        """Whether the session before did not end in order, so that `restore_last` has something to restore."""
        return self._last.crashed

    @property
    def gliding(self) -> bool:
        """Whether a recall is on its way."""
        return self._recall is not None

    def names(self) -> list[str]:
        """All presets, alphabetically."""
        return self.library.names()

    def set_list(self) -> list[str]:
        """The order of the evening; UserError if setlist.toml is broken."""
        return self.library.set_list()

    def save(self, name: str) -> str:
        """Keep all values under that name; returns it. UserError: nothing was written."""
        title = f"Preset {checked_name(name)!r} of umtn-live, kept {time.strftime('%Y-%m-%d %H:%M')}."
        saved = self.library.save(name, to_toml(self._namespace, title))
        self._namespace.texts["preset"] = saved
        return saved

    def save_new(self) -> str:
        """Keep all values under the first free name of `Preset 1`, `Preset 2`..."""
        taken = {name.casefold() for name in self.names()}
        number = next(n for n in range(1, len(taken) + 2) if f"preset {n}" not in taken)
        return self.save(f"Preset {number}")

    def load(self, name: str) -> str:
        """Recall a preset by its name or its number in the set list; returns its name. UserError: no change."""
        name = name.strip()
        if name.isascii() and name.isdecimal():
            return self._load_number(int(name[:9]))
        with self._lock:
            loaded = self._load(name)
            listed = self._listed_or_none()
            here = listed[self._position] if 0 <= self._position < len(listed) else None
            if here != loaded:
                self._position = listed.index(loaded) if loaded in listed else -1
            return loaded

    def step(self, by: int) -> str:
        """Recall the next (1) or previous (-1) of the set list; UserError at its ends."""
        with self._lock:
            listed = self.set_list()
            if not listed:
                raise UserError(f"there are no presets in {self.library.folder} yet; save one first")
            if self._position < 0 and by < 0:
                return self._load_number(len(listed))
            number = min(self._position, len(listed)) + by + 1
            if not 1 <= number <= len(listed):
                raise UserError(f"{listed[-1 if by > 0 else 0]!r} is the {_end(by)} preset of the set list")
            return self._load_number(number)

    def _load_number(self, number: int) -> str:
        with self._lock:
            listed = self.set_list()
            if not 1 <= number <= len(listed):
                has = f"the set list has {len(listed)}" if listed else "there are no presets yet"
                raise UserError(f"there is no preset number {number}; {has}")
            loaded = self._load(listed[number - 1])
            self._position = number - 1
            return loaded

    def _load(self, name: str) -> str:
        path = self.library.existing(name)
        values = read_preset(path, self._namespace)
        self._check_room(path.stem, values)
        glide_ms = values.pop(GLIDE, self._namespace.shared.get(GLIDE))
        self._recall = Recall(self._namespace, values, time.monotonic(), glide_ms / 1000)
        self._namespace.texts["preset"] = path.stem
        self._wake.set()
        return path.stem

    def _check_room(self, name: str, values: Mapping[str, float]) -> None:
        needed = sum(1 for key, value in values.items() if key.startswith("blend/") and value)
        most = self._namespace.shared.status_get("blend_max")
        if needed > most > 0:
            raise UserError(
                f"{name!r} blends {needed} domains, and this machine runs {most:.0f} at once; nothing was changed"
            )

    def _listed_or_none(self) -> list[str]:
        try:
            return self.set_list()
        except UserError:
            return []

    def restore_last(self, except_for: Collection[str] = ()) -> str:
        """Set everything as it last stood, but for these names; a sentence that says so. UserError: no change."""
        with self._lock:
            values, preset = self._last.read()
            shared = self._namespace.shared
            kept = [p for p in self._namespace.parameters if p.name in except_for and p.kind in VALUES]
            values |= {p.name: shared.get(p.stored) for p in kept}
            self._recall = None
            Recall(self._namespace, values, time.monotonic(), 0.0)
            shared.set(GLIDE, values.get(GLIDE, shared.get(GLIDE)))
            self._namespace.texts["preset"] = preset
            self._last.crashed = False
            listed = self._listed_or_none()
            self._position = listed.index(preset) if preset in listed else -1
        return "the session before did not end in order; all parameters are as they last stood"

    def tick(self, now_s: float) -> None:
        """Move a glide on and keep the last state; `start` has a thread do it."""
        with self._lock:
            if self._recall is not None and self._recall.tick(now_s):
                self._recall = None
            self._last.tick(now_s)
        self._tell(self._last.trouble)

    def start(self) -> None:
        """Glide and keep the last state from now on."""
        if self._last.other:
            self._tell(
                f"another session (process {self._last.other}) keeps its state in {self.library.folder}; "
                "this one keeps none"
            )
        self._thread.start()

    def stop(self) -> None:
        """The orderly end; may be called twice, or without `start`."""
        self._stopping.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(2.0)
        with self._lock:
            self._last.close()

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self.tick(time.monotonic())
            except Exception as error:  # the glide ends, the presets stay
                self._recall = None
                self._tell(f"a preset's glide failed ({type(error).__name__}: {error})")
            self._wake.clear()
            self._wake.wait(TICK_S if self._recall is not None else IDLE_S)

    def _tell(self, sentence: str) -> None:
        if sentence and sentence != self._told:
            self._told = sentence
            _log.warning("%s", sentence)


def _end(by: int) -> str:
    return "last" if by > 0 else "first"
