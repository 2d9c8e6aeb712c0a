"""Presets and set lists: `preset/save`, `load`, `next`, `delete`, `undo`..., the glide to them, and the last state.

Threading model: actions come from any control thread (OSC, MIDI, page, terminal); a thread of its own glides a
hundred times a second while there is something to glide and writes the last state once a second. One lock holds
them apart. Parameters are single cells that everyone may write: a hand on a dial wins over a glide.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from realtime.control.config_files import config_folder
from realtime.control.namespace import VALUES, family_members
from realtime.control.presets.autosave import LastState
from realtime.control.presets.files import GLIDE, Library, read_preset, to_toml
from realtime.control.presets.names import checked_name
from realtime.control.presets.trash import Trashed
from realtime.shared.memory import PARAMETER_INDEX, SharedState
from realtime.shared.parameters import Parameter
from umtn.errors import UserError

if TYPE_CHECKING:
    from realtime.control.namespace import Namespace

__all__ = ["Glide", "Move", "Presets", "Recall", "default_folder"]


# Moves many values to their targets in one time, each along its own dial.
#
# Threading model: `tick` is called by one thread; the hands of others (OSC, MIDI, the page) may write the same
# cells at any moment, and win.


_EXPONENT = {"linear": 1.0, "square": 2.0}


@dataclass(frozen=True)
class Move:
    """One value on its way: from where it is to `target`."""

    parameter: Parameter
    target: float


class Glide:
    """All moves of one recall. A value that somebody else sets on the way is let go, the others arrive."""

    def __init__(self, shared: SharedState, moves: Sequence[Move], began_s: float, seconds: float) -> None:
        self._shared, self._began_s, self._seconds = shared, began_s, seconds
        parameters = [m.parameter for m in moves]
        self._index = [PARAMETER_INDEX[p.stored] for p in parameters]
        self._written = [shared.get(p.stored) for p in parameters]
        self._targets = [m.target for m in moves]
        self._names = [p.name for p in parameters]
        self._live = list(range(len(moves)))
        self._low = np.array([p.low for p in parameters])
        self._span = np.array([p.high - p.low for p in parameters])
        self._exponent = np.array([_EXPONENT[p.curve] for p in parameters])
        self._from = np.array([p.normalize(v) for p, v in zip(parameters, self._written)])
        self._way = np.array([p.normalize(t) for p, t in zip(parameters, self._targets)]) - self._from

    @property
    def moving(self) -> set[str]:
        """Names of the values that are still on their way."""
        return {self._names[i] for i in self._live}

    def drop(self, names: set[str]) -> None:
        """Let go of these."""
        self._live = [i for i in self._live if self._names[i] not in names]

    def tick(self, now_s: float) -> bool:
        """Move on; True once all have arrived or been let go."""
        share = 1.0 if self._seconds <= 0 else (now_s - self._began_s) / self._seconds
        if share >= 1.0:
            values = self._targets
        else:
            dial = self._from + self._way * max(share, 0.0)
            values = (self._low + self._span * dial**self._exponent).tolist()
        cells, written, stay = self._shared.parameters, self._written, []
        for i in self._live:
            cell, old, new = self._index[i], written[i], values[i]
            # No call stands between look and write, so that the interpreter lets no other thread in between
            # and a hand's value cannot be lost.
            if cells[cell] == old:
                cells[cell] = new
                written[i] = new
                stay.append(i)
        self._live = stay
        return share >= 1.0 or not stay


# Carries a preset's values into a session: what can glide does, the rest switches at the start.
#
# Threading model: see presets.py; everything here runs under its lock.
#
# Weights of domains need care. While any is above 0 they decide and `to` does not, so that on the way from one
# domain to a blend or to another domain `to` stands for a weight of 1: taken at the start, given back on arrival.
# Two single domains are cross-faded over the glide's time by this, where `to` alone would only take `crossfade_ms`.


_BLEND = "blend/"


class Recall:
    """One recall from its start to its arrival; `values` by name, defaults where none."""

    def __init__(
        self, namespace: Namespace, values: Mapping[str, float], now_s: float, glide_s: float
    ) -> None:
        self._namespace, self._shared = namespace, namespace.shared
        self._domains = namespace.domains
        self._blends = [p for p in namespace.parameters if p.name.startswith(_BLEND)]
        self._landing = False
        glide = glide_s > 0
        moves = self._switch(values, glide)
        self._to = values.get("to", 0.0)
        # Audio may look at any moment, and must never see weights or domain of another state in between.
        if self._sounding():
            self._shared.set("to", self._to)
            moves += self._blend_moves(values, glide)
        else:
            moves += self._blend_moves(values, glide)
            self._shared.set("to", self._to)
        self._glide = Glide(self._shared, moves, now_s, glide_s)
        self.tick(now_s)

    def tick(self, now_s: float) -> bool:
        """Move on; True once it has arrived."""
        self._yield_blends()
        if not self._glide.tick(now_s):
            return False
        if self._landing:
            self._land()
        return True

    def _switch(self, values: Mapping[str, float], glide: bool) -> list[Move]:
        """Bools and choices change now; the rest is to glide, as far as it has anywhere to go."""
        moves = []
        for p in [*self._namespace.parameters, *family_members(self._namespace.latent_channels)]:
            if p.kind not in VALUES or p.name in ("to", "glide_ms") or p.name.startswith(_BLEND):
                continue
            target = values.get(p.name, p.default)
            if p.kind != "float" or not glide:
                self._shared.set(p.stored, target)
            elif self._shared.get(p.stored) != target:
                moves.append(Move(p, target))
        return moves

    def _blend_moves(self, values: Mapping[str, float], glide: bool) -> list[Move]:
        here = [self._shared.get(p.stored) for p in self._blends]
        there = [values.get(p.name, 0.0) for p in self._blends]
        blended, will_blend = any(here), any(there)
        sounds = here if blended else self._alone(self._shared.get("to"))
        will_sound = there if will_blend else self._alone(values.get("to", 0.0))
        stays = not (blended or will_blend) and sounds == will_sound
        if not glide or stays or self._too_many(sounds, will_sound):
            self._weigh(there)
            return []
        if not blended:
            self._weigh(sounds)
        self._landing = not will_blend
        return [Move(p, weight) for p, weight in zip(self._blends, will_sound)]

    def _alone(self, domain: float) -> list[float]:
        """A single domain as weights: the same sound, ready to glide."""
        return [float(i == int(domain)) for i in range(len(self._blends))]

    def _weigh(self, weights: Sequence[float]) -> None:
        """Set them, the large ones first: all at 0 in between would be a single domain."""
        for p, weight in sorted(zip(self._blends, weights), key=lambda pair: -pair[1]):
            self._shared.set(p.stored, weight)

    def _too_many(self, sounds: Sequence[float], will_sound: Sequence[float]) -> bool:
        """Whether all decoders of both ends are more than this machine runs at once: then it switches."""
        most = self._shared.status_get("blend_max")
        return 0 < most < sum(1 for now, then in zip(sounds, will_sound) if now or then)

    def _yield_blends(self) -> None:
        """A domain chosen by hand ends a blend, and so the way to one; so does another bundle."""
        moving = {name for name in self._glide.moving if name.startswith(_BLEND)}
        if not moving:
            return
        changed = self._namespace.domains != self._domains
        if changed or self._shared.get("to") != self._to or not self._sounding():
            self._glide.drop(moving)
            self._landing = False

    def _sounding(self) -> bool:
        return any(self._shared.get(p.stored) for p in self._blends)

    def _land(self) -> None:
        """Arrived at a single domain: `to` takes over from its weight, unless a hand is on the weights."""
        weights = [self._shared.get(p.stored) for p in self._blends]
        if weights == self._alone(self._to):
            self._weigh([0.0] * len(weights))


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
            "preset/delete": lambda name: self.delete(str(name)),
            "preset/undo": lambda _: self.undo(),
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

    def delete(self, name: str) -> str:
        """Put a preset away, for `undo` to bring back; returns its name. UserError: it is still there."""
        deleted = self.library.delete(name)
        if self.current == deleted:
            self._namespace.texts["preset"] = ""
        return deleted

    def undoable(self) -> Trashed | None:
        """What `undo` would bring back, or None."""
        return self.library.undoable()

    def undo(self) -> str:
        """Bring back the preset that was saved over or deleted last, as it was; returns its name. No sound changes."""
        return self.library.undo()

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
