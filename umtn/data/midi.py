"""Scores to and from standard MIDI files."""

from __future__ import annotations

from pathlib import Path

import mido
import numpy as np

from umtn.data.instruments import Instrument
from umtn.data.score import BEND_RANGE_CENTS, Curve, Note, Score, without_unisons
from umtn.errors import UserError

__all__ = ["read_midi", "write_midi"]

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
