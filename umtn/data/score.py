"""A score as ground truth: notes in seconds, one bend curve and one expression curve for all of them."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from umtn.errors import UserError

__all__ = ["BEND_RANGE_CENTS", "Curve", "Note", "Score", "without_unisons"]

BEND_RANGE_CENTS = 200.0
MIN_NOTE_S = 0.03
Array = NDArray[np.float64]


class Note(NamedTuple):
    """One note; times in seconds from the start of the score, MIDI pitch and velocity."""

    start_s: float
    end_s: float
    pitch: int
    velocity: int


@dataclass(frozen=True)
class Curve:
    """Points joined by straight lines, held before the first and after the last; empty means `default`."""

    points: tuple[tuple[float, float], ...] = ()
    default: float = 0.0

    @cached_property
    def arrays(self) -> tuple[Array, Array]:
        """Times in seconds and values, both [N]."""
        table = np.array(self.points or ((0.0, self.default),), dtype=np.float64)
        return table[:, 0], table[:, 1]

    def at(self, times_s: Array) -> Array:
        """Values at `times_s`, same shape."""
        return np.interp(times_s, *self.arrays)


@dataclass(frozen=True)
class Score:
    """Notes sorted by start; `bend` in cents; `expression` is MIDI controller 11 (0..127)."""

    duration_s: float
    notes: tuple[Note, ...]
    bend: Curve = field(default_factory=Curve)
    expression: Curve = field(default_factory=lambda: Curve(default=127.0))

    @cached_property
    def table(self) -> Array:
        """Notes as [N, 4]: start, end, pitch, velocity."""
        return np.array(self.notes, dtype=np.float64).reshape(-1, 4)

    def detuned(self, cents: float) -> Score:
        """The same with another tuning, as far as the bend's range goes."""
        points = self.bend.points or ((0.0, self.bend.default),)
        low, high = -BEND_RANGE_CENTS, BEND_RANGE_CENTS
        return replace(self, bend=Curve(tuple((t, min(max(v + cents, low), high)) for t, v in points)))

    def transposed(self, semitones: int) -> Score:
        """The same notes so many semitones higher."""
        return replace(self, notes=tuple(n._replace(pitch=n.pitch + semitones) for n in self.notes))

    def to_json(self) -> str:
        """The score as readable JSON, exact to 0.1 ms."""
        return json.dumps(
            {
                "duration_s": self.duration_s,
                "note_fields": list(Note._fields),
                "notes": [[round(n.start_s, 4), round(n.end_s, 4), n.pitch, n.velocity] for n in self.notes],
                "bend_cents": [[round(t, 4), round(v, 2)] for t, v in self.bend.points],
                "expression": [[round(t, 4), round(v, 2)] for t, v in self.expression.points],
            }
        )

    @staticmethod
    def from_json(text: str) -> Score:
        """Read what to_json wrote; UserError when it is something else."""
        try:
            raw = json.loads(text)
            return Score(
                duration_s=float(raw["duration_s"]),
                notes=tuple(Note(float(a), float(b), int(p), int(v)) for a, b, p, v in raw["notes"]),
                bend=Curve(tuple((float(t), float(v)) for t, v in raw["bend_cents"])),
                expression=Curve(tuple((float(t), float(v)) for t, v in raw["expression"]), 127.0),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(f"this is not a score written by `umtn render`: {error}") from error


def without_unisons(notes: Iterable[Note], gap_s: float = 0.02) -> list[Note]:
    """Notes sorted by start, each cut short where the same pitch starts again (MIDI cannot hold both)."""
    kept: list[Note] = []
    last: dict[int, int] = {}
    for note in sorted(notes):
        before = last.get(note.pitch)
        if before is not None and kept[before].end_s > note.start_s - gap_s:
            cut = kept[before]._replace(end_s=note.start_s - gap_s)
            if cut.end_s - cut.start_s < MIN_NOTE_S:
                continue  # a unison of the note that already sounds
            kept[before] = cut
        last[note.pitch] = len(kept)
        kept.append(note)
    return kept
