"""A score as ground truth: notes in seconds, one bend curve and one expression curve for all of them."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import mido
import numpy as np
from numpy.typing import NDArray

from umtn.data.instruments import Instrument
from umtn.errors import UserError

__all__ = [
    "BEND_RANGE_CENTS",
    "Curve",
    "Note",
    "Score",
    "rasterize",
    "read_midi",
    "without_unisons",
    "write_midi",
]


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


# A score as piano rolls: what sounds at which frame, pitch by pitch.


Roll = NDArray[np.float32]


def rasterize(
    score: Score, start_s: float, n_frames: int, frame_s: float, low_pitch: int, n_pitches: int
) -> tuple[Roll, Roll, Roll, Roll]:
    """Rolls (active, onset, velocity, cents), each [n_pitches, n_frames]; row 0 is `low_pitch`.

    Frame t covers start_s + [t, t + 1) * frame_s. A note is active from the frame its start falls in to the
    last frame whose middle it reaches, at least one frame; its onset is 1 in its first frame (and nowhere if
    it began before start_s). Velocity is velocity/127 * controller 11/127; cents is the bend. Both are 0
    where nothing is active, and are read at the middle of the frame.
    """
    active, onset, velocity, cents = (np.zeros((n_pitches, n_frames), np.float32) for _ in range(4))
    notes = score.table
    near = (notes[:, 0] < start_s + n_frames * frame_s) & (notes[:, 1] > start_s)
    near &= (notes[:, 2] >= low_pitch) & (notes[:, 2] < low_pitch + n_pitches)
    notes = notes[near]
    # 1e-6 of a frame: a start that stands on a frame's edge belongs to the frame that begins there.
    first = np.floor((notes[:, 0] - start_s) / frame_s + 1e-6).astype(int)
    stop = np.maximum(np.floor((notes[:, 1] - start_s) / frame_s + 0.5).astype(int), first + 1)
    rows = notes[:, 2].astype(int) - low_pitch
    for row, begin, end, loud in zip(rows, first, stop, notes[:, 3] / 127, strict=True):
        active[row, max(begin, 0) : end] = 1
        velocity[row, max(begin, 0) : end] = loud
        if 0 <= begin < n_frames:
            onset[row, begin] = 1
    middles = np.asarray(start_s + (np.arange(n_frames) + 0.5) * frame_s, dtype=np.float64)
    velocity *= (score.expression.at(middles) / 127).astype(np.float32)
    cents[:] = active * score.bend.at(middles).astype(np.float32)
    return active, onset, velocity, cents


# Scores to and from standard MIDI files.


TICKS_PER_BEAT = 960
TEMPO_US = 500_000
TICKS_PER_S = TICKS_PER_BEAT * 1e6 / TEMPO_US
CURVE_STEP_S = 0.008  # a bend curve is sent this often: 18 points for each cycle of a 7 Hz vibrato
DRUM_CHANNEL = 9
TAIL_S = 1.5  # silence after the last note of a file that was read, for its release
Event = tuple[int, int, mido.Message]  # tick, order within the tick, message


def write_midi(path: Path, score: Score, instrument: Instrument) -> None:
    """Write a score for one instrument; curves go to every channel of its section."""
    events: list[Event] = []
    for channel, (_, _, program) in enumerate(instrument.section):
        events += _set_up(channel, program)
        events += _curve_events(score, channel)
    for note in score.notes:
        channel = instrument.channel_of(note.pitch)
        on = mido.Message("note_on", channel=channel, note=note.pitch, velocity=note.velocity)
        off = mido.Message("note_off", channel=channel, note=note.pitch, velocity=0)
        events += [(_tick(note.start_s), 3, on), (_tick(note.end_s), 1, off)]
    file = mido.MidiFile(type=0, ticks_per_beat=TICKS_PER_BEAT)
    file.tracks.append(_track(events, _tick(score.duration_s)))
    file.save(str(path))


def _tick(time_s: float) -> int:
    return max(0, round(time_s * TICKS_PER_S))


def _set_up(channel: int, program: int) -> list[Event]:
    """Program, bend range of 2 semitones (RPN 0), full volume, centre."""
    controls = ((101, 0), (100, 0), (6, round(BEND_RANGE_CENTS / 100)), (38, 0), (7, 127), (10, 64))
    messages = [mido.Message("control_change", channel=channel, control=c, value=v) for c, v in controls]
    messages.append(mido.Message("program_change", channel=channel, program=program))
    return [(0, 0, m) for m in messages]


def _curve_events(score: Score, channel: int) -> list[Event]:
    """Controller 11 and pitch bend, sampled every CURVE_STEP_S and sent where they change."""
    times = np.arange(0.0, score.duration_s, CURVE_STEP_S)
    levels = np.clip(np.round(score.expression.at(times)), 0, 127).astype(int)
    wheel = np.round(score.bend.at(times) / BEND_RANGE_CENTS * 8192)
    wheels = np.clip(wheel, -8192, 8191).astype(int)
    events: list[Event] = []
    for i in _changes(levels):
        message = mido.Message("control_change", channel=channel, control=11, value=int(levels[i]))
        events.append((_tick(times[i]), 2, message))
    for i in _changes(wheels):
        message = mido.Message("pitchwheel", channel=channel, pitch=int(wheels[i]))
        events.append((_tick(times[i]), 2, message))
    return events


def _changes(values: np.ndarray) -> np.ndarray:
    return np.flatnonzero(np.diff(values, prepend=values[0] + 1 if len(values) else 0))


def _track(events: list[Event], end_tick: int) -> mido.MidiTrack:
    track = mido.MidiTrack([mido.MetaMessage("set_tempo", tempo=TEMPO_US, time=0)])
    now = 0
    for tick, _, message in sorted(events, key=lambda e: e[:2]):
        track.append(message.copy(time=tick - now))
        now = tick
    # The player stops at the last event: it must stand where the score ends, not where its last note does.
    track.append(mido.MetaMessage("end_of_track", time=max(0, end_tick - now)))
    return track


def read_midi(path: Path) -> Score:
    """Notes of a MIDI file, drums left out, and its curves where all channels have the same ones."""
    try:
        file = mido.MidiFile(str(path), clip=True)
        messages = list(file)
    except FileNotFoundError as error:
        raise UserError(f"no MIDI file '{path}'") from error
    except (OSError, EOFError, ValueError, TypeError, KeyError, IndexError) as error:
        reason = str(error) or "it ends too early"
        raise UserError(f"'{path}' is not a readable MIDI file: {reason}") from error
    reader = _Reader()
    for message in messages:
        reader.hear(message)
    if not reader.notes:
        raise UserError(f"'{path}' holds no notes (drums are left out); a melodic MIDI file is wanted")
    notes = without_unisons(reader.notes)
    last = max(n.end_s for n in notes) + TAIL_S
    bend, expression = reader.shared(reader.bends), reader.shared(reader.levels)
    return Score(max(reader.time, last), tuple(notes), Curve(bend), Curve(expression, 127.0))


class _Reader:
    """Collects notes and curves from messages in time order, each timed from the one before."""

    def __init__(self) -> None:
        self.time = 0.0
        self.notes: list[Note] = []
        self.bends: dict[int, list[tuple[float, float]]] = {}
        self.levels: dict[int, list[tuple[float, float]]] = {}
        self._open: dict[tuple[int, int], tuple[float, int]] = {}

    def hear(self, message: mido.Message) -> None:
        """Take in one message."""
        self.time += message.time
        if message.is_meta or getattr(message, "channel", DRUM_CHANNEL) == DRUM_CHANNEL:
            return
        if message.type in ("note_on", "note_off"):
            self._close(message.channel, message.note)
            if message.type == "note_on" and message.velocity > 0:
                self._open[message.channel, message.note] = (self.time, message.velocity)
        elif message.type == "pitchwheel":
            self._step(self.bends, message.channel, message.pitch / 8192 * BEND_RANGE_CENTS)
        elif message.type == "control_change" and message.control == 11:
            self._step(self.levels, message.channel, float(message.value))

    def _close(self, channel: int, pitch: int) -> None:
        start, velocity = self._open.pop((channel, pitch), (self.time, 0))
        if velocity and self.time > start:
            self.notes.append(Note(start, self.time, pitch, velocity))

    def _step(self, curves: dict[int, list[tuple[float, float]]], channel: int, value: float) -> None:
        """Values of a MIDI file hold until the next: two points make the step."""
        points = curves.setdefault(channel, [])
        if points and self.time > points[-1][0]:
            points.append((self.time - min(1e-4, (self.time - points[-1][0]) / 2), points[-1][1]))
        points.append((self.time, value))

    @staticmethod
    def shared(curves: dict[int, list[tuple[float, float]]]) -> tuple[tuple[float, float], ...]:
        """The one curve of all channels, or none when they differ."""
        distinct = {tuple(points) for points in curves.values()}
        return distinct.pop() if len(distinct) == 1 else ()
