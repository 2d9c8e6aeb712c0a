"""A composer of random scores: phrases of every kind, one after the other, with dynamics and bends."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from umtn.data.score import Curve, Note, Score, without_unisons

__all__ = ["HIGHEST", "KINDS", "Key", "LOWEST", "MONOPHONIC", "Phrase", "compose", "random_key"]


# The kinds of phrase that the composer strings together; every phrase starts at 0 s.


LOWEST, HIGHEST = 33, 98
MAJOR, MINOR, DORIAN = (0, 2, 4, 5, 7, 9, 11), (0, 2, 3, 5, 7, 8, 10), (0, 2, 3, 5, 7, 9, 10)
MODES = (MAJOR, MINOR, DORIAN, (0, 2, 4, 7, 9), tuple(range(12)))
MODE_SHARES = (0.35, 0.2, 0.15, 0.1, 0.2)
PROGRESSION = {0: (3, 4, 5, 1), 1: (4, 6), 2: (5, 3), 3: (4, 0, 1), 4: (0, 5), 5: (1, 3, 4), 6: (0,)}
VELOCITY = 80  # placeholder: the composer shapes the dynamics of the whole phrase
Phrase = list[Note]
Rng = np.random.Generator


@dataclass(frozen=True)
class Key:
    """A scale: root pitch class and its steps in semitones."""

    root: int
    steps: tuple[int, ...]

    def pitches(self, low: int, high: int) -> list[int]:
        """All pitches of the scale within low..high."""
        return [p for p in range(low, high + 1) if (p - self.root) % 12 in self.steps]

    def chord(self, degree: int, size: int = 3) -> list[int]:
        """Pitch classes of the chord built in thirds on a degree (seven-note scales)."""
        return [(self.root + self.steps[(degree + 2 * i) % len(self.steps)]) % 12 for i in range(size)]


def random_key(rng: Rng) -> Key:
    """A random root and mode; now and then pentatonic or chromatic."""
    return Key(int(rng.integers(12)), MODES[rng.choice(len(MODES), p=MODE_SHARES)])


def _diatonic(key: Key) -> Key:
    return key if len(key.steps) == 7 else Key(key.root, MAJOR)


def _register(rng: Rng, width: int) -> tuple[int, int]:
    """A random window of `width` semitones, more often in the middle of the range."""
    centre = rng.triangular(LOWEST + width / 2, 66, HIGHEST - width / 2)
    low = int(np.clip(round(centre - width / 2), LOWEST, HIGHEST - width))
    return low, low + width


def _walk(rng: Rng, ladder: list[int], count: int) -> list[int]:
    """Mostly stepwise motion on a ladder of pitches, with leaps that turn back at its ends."""
    at, pitches = int(rng.integers(len(ladder))), []
    for _ in range(count):
        pitches.append(ladder[at])
        size = 1 if rng.random() < 0.65 else int(rng.integers(2, 6))
        step = size * (1 if rng.random() < 0.5 else -1) * (rng.random() > 0.06)
        at = at + step if 0 <= at + step < len(ladder) else at - step
        at = int(np.clip(at, 0, len(ladder) - 1))
    return pitches


def _melody(
    rng: Rng, key: Key, window: tuple[int, int], shortest_s: float, longest_s: float, length_s: float
) -> Phrase:
    """One voice: rhythm of simple ratios of a beat, one articulation per phrase, rests now and then."""
    beat = float(np.exp(rng.uniform(np.log(shortest_s), np.log(longest_s))))
    lengths = np.clip(beat * rng.choice((0.5, 1.0, 1.0, 1.0, 1.5, 2.0), 400), shortest_s, longest_s)
    starts = np.concatenate(((0.0,), np.cumsum(lengths)))
    count = max(3, int(np.searchsorted(starts, length_s)))
    articulation = rng.choice((0.3, 0.6, 0.85, 0.98, 1.04))
    notes = []
    for i, pitch in enumerate(_walk(rng, key.pitches(*window), count)):
        if i and rng.random() < 0.08:
            continue
        end = starts[i] + max(0.07, lengths[i] * articulation)
        notes.append(Note(float(starts[i]), float(end), pitch, VELOCITY))
    return notes


def slow_melody(rng: Rng, key: Key) -> Phrase:
    """One voice, notes of 0.3-1.6 s."""
    return _melody(rng, key, _register(rng, 17), 0.3, 1.6, rng.uniform(4, 9))


def fast_melody(rng: Rng, key: Key) -> Phrase:
    """One voice, notes of 0.08-0.35 s."""
    return _melody(rng, key, _register(rng, 21), 0.08, 0.35, rng.uniform(2.5, 6))


def two_voices(rng: Rng, key: Key) -> Phrase:
    """Two independent melodies, a tenth or so apart."""
    low = int(rng.integers(LOWEST, 66))
    length = rng.uniform(4, 8)
    upper = _melody(rng, key, (low + 15, low + 29), 0.15, 0.9, length)
    return upper + _melody(rng, key, (low, low + 14), 0.2, 1.5, length)


def chorale(rng: Rng, key: Key) -> Phrase:
    """Four voices, voice-led: each chord is the voicing nearest to the one before."""
    key, beat, shift = _diatonic(key), rng.uniform(0.35, 1.1), int(rng.integers(-6, 9))
    degree, time, notes = int(rng.choice((0, 0, 5, 3))), 0.0, []
    upper, bass = (60 + shift, 65 + shift, 72 + shift), 48 + shift
    for _ in range(int(rng.integers(5, 11))):
        tones = key.chord(degree)
        uppers = [
            c
            for c in combinations([p for p in range(53 + shift, 82 + shift) if p % 12 in tones], 3)
            if {p % 12 for p in c} == set(tones) and c[2] - c[0] <= 19
        ]
        before = upper
        upper = min(uppers, key=lambda c: sum(abs(a - b) for a, b in zip(c, before, strict=True)))
        roots = [p for p in range(max(LOWEST, 38 + shift), 57 + shift) if p % 12 == tones[0]]
        bass = min(roots, key=lambda p: abs(p - bass))
        length = beat * float(rng.choice((1, 1, 1, 2)))
        ends = time + length * rng.uniform(0.9, 1.0, 4)
        notes += [Note(time, float(e), p, VELOCITY) for p, e in zip((bass, *upper), ends, strict=True)]
        time, degree = time + length, int(rng.choice(PROGRESSION[degree]))
    return notes


def block_chords(rng: Rng, key: Key) -> Phrase:
    """Chords of 2-5 notes struck together, some short, some held."""
    key, beat, time, notes = _diatonic(key), rng.uniform(0.2, 1.2), 0.0, []
    low, high = _register(rng, 26)
    hold = rng.choice((0.35, 0.7, 0.95))
    for _ in range(int(rng.integers(4, 10))):
        tones = key.chord(int(rng.integers(7)), int(rng.integers(3, 5)))
        ladder = [p for p in range(low, high + 1) if p % 12 in tones]
        size = min(int(rng.integers(2, 6)), len(ladder))
        first = int(rng.integers(len(ladder) - size + 1))
        length = beat * float(rng.choice((0.5, 1, 1, 2)))
        strum = rng.uniform(0, 0.012) if rng.random() < 0.8 else rng.uniform(0.02, 0.06)
        for i, pitch in enumerate(ladder[first : first + size]):
            start = time + min(i * strum, 0.4 * length)
            notes.append(Note(start, max(time + length * hold, start + 0.08), pitch, VELOCITY))
        time += length
    return notes


def arpeggio(rng: Rng, key: Key) -> Phrase:
    """Broken chords, up, down or mixed; the notes ring on or are separate."""
    key, beat, ring = _diatonic(key), rng.uniform(0.09, 0.35), float(rng.choice((0.8, 1.0, 3.0)))
    low, high = _register(rng, 24)
    time, notes = 0.0, []
    for _ in range(int(rng.integers(2, 6))):
        tones = key.chord(int(rng.integers(7)), int(rng.integers(3, 5)))
        ladder = [p for p in range(low, high + 1) if p % 12 in tones]
        orders = (ladder, ladder[::-1], list(rng.permutation(ladder)), ladder + ladder[-2:0:-1])
        for pitch in orders[rng.integers(4)]:
            notes.append(Note(time, time + beat * ring, int(pitch), VELOCITY))
            time += beat
    return notes


def repeated(rng: Rng, key: Key) -> Phrase:
    """The same note again and again, then another."""
    beat, hold, time, notes = rng.uniform(0.1, 0.45), rng.uniform(0.35, 0.92), 0.0, []
    for pitch in _walk(rng, key.pitches(*_register(rng, 15)), int(rng.integers(1, 4))):
        for _ in range(int(rng.integers(3, 9))):
            notes.append(Note(time, time + max(0.06, beat * hold), pitch, VELOCITY))
            time += beat
    return notes


def held(rng: Rng, key: Key) -> Phrase:
    """Long notes to 4 s, one to three at a time, entering one after the other."""
    low, high = _register(rng, 24)
    pitches = rng.choice(key.pitches(low, high), int(rng.integers(1, 4)), replace=False)
    enter = np.cumsum(rng.uniform(0, 0.6, len(pitches))) * (rng.random() < 0.6)
    lengths = rng.uniform(1.5, 4.0, len(pitches))
    entries = zip(enter, lengths, pitches, strict=True)
    return [Note(float(s), float(s + length), int(p), VELOCITY) for s, length, p in entries]


def singles(rng: Rng, key: Key) -> Phrase:
    """Unrelated single notes over the whole range, so that no pitch is rare."""
    time, notes = 0.0, []
    for pitch in rng.integers(LOWEST, HIGHEST + 1, int(rng.integers(5, 11))):
        length = rng.uniform(0.15, 0.9)
        notes.append(Note(time, time + length, int(pitch), VELOCITY))
        time += length + rng.choice((0.0, 0.15))
    return notes


def clusters(rng: Rng, key: Key) -> Phrase:
    """Random pitches struck together: chords that no harmony predicts."""
    time, notes = 0.0, []
    for _ in range(int(rng.integers(2, 6))):
        low, high = _register(rng, int(rng.integers(6, 32)))
        length = rng.uniform(0.25, 1.5)
        chosen = rng.choice(np.arange(low, high + 1), int(rng.integers(2, 6)), replace=False)
        notes += [Note(time, time + length * 0.9, int(p), VELOCITY) for p in chosen]
        time += length
    return notes


KINDS: dict[Callable[[Rng, Key], Phrase], float] = {
    slow_melody: 0.15,
    fast_melody: 0.15,
    two_voices: 0.12,
    chorale: 0.14,
    block_chords: 0.1,
    arpeggio: 0.1,
    repeated: 0.06,
    held: 0.07,
    singles: 0.07,
    clusters: 0.04,
}
MONOPHONIC = (slow_melody, fast_melody, repeated, singles)


Points = list[tuple[float, float]]
LEAD_S = 0.03  # a phrase's curves are set this long before its first note, so that the note starts on them
SWELL_SHARE, BEND_SHARE = 0.4, 0.5
TAIL_S = 1.5  # silence at the end, for the last release


def compose(seed: int, duration_s: float) -> Score:
    """A random score of exactly `duration_s`; the same seed gives the same score."""
    rng = np.random.default_rng(seed)
    kinds, weights = list(KINDS), np.array(list(KINDS.values()))
    notes: list[Note] = []
    bend: Points = [(0.0, 0.0)]
    expression: Points = [(0.0, 110.0)]
    time = 0.25
    while time < duration_s - TAIL_S - 1.0:
        kind = kinds[rng.choice(len(kinds), p=weights / weights.sum())]
        phrase = _fit(kind(rng, random_key(rng)), duration_s - TAIL_S - time)
        phrase = _dynamics(rng, phrase)
        _append(expression, time, _swell(rng, phrase))
        _append(bend, time, _bend(rng, phrase, kind in MONOPHONIC))
        notes += [n._replace(start_s=n.start_s + time, end_s=n.end_s + time) for n in phrase]
        time += _end(phrase) + rng.uniform(0.3, 1.5)
    return Score(duration_s, tuple(notes), Curve(tuple(bend)), Curve(tuple(expression), 127.0))


def _end(phrase: Phrase) -> float:
    return max((n.end_s for n in phrase), default=0.0)


def _fit(phrase: Phrase, room_s: float) -> Phrase:
    """Within the range and the room that is left, and no two of the same pitch at once."""
    notes = [n for n in phrase if LOWEST <= n.pitch <= HIGHEST and n.start_s < room_s - 0.1]
    return without_unisons(n._replace(end_s=min(n.end_s, room_s)) for n in notes)


def _dynamics(rng: Rng, phrase: Phrase) -> Phrase:
    """Velocities 30..125: a level per phrase, an arch or slope over it, accents and jitter."""
    level, arch, slope = rng.uniform(45, 112), rng.uniform(-15, 22), rng.uniform(-18, 18)
    length = max(_end(phrase), 0.1)
    shaped = []
    for note in phrase:
        x = note.start_s / length
        value = level + arch * np.sin(np.pi * x) + slope * (x - 0.5) + rng.normal(0, 5)
        value += 18 * (rng.random() < 0.07)
        shaped.append(note._replace(velocity=int(np.clip(round(value), 30, 125))))
    return shaped


def _append(curve: Points, time: float, points: Points) -> None:
    """Add a phrase's points, jumping from the last value just before the phrase begins."""
    jump = max(time - LEAD_S, curve[-1][0] + 1e-3)
    curve.append((jump, curve[-1][1]))
    curve.append((jump + 1e-3, points[0][1]))
    curve += [(time + t, v) for t, v in points if time + t > jump + 1e-3]


def _swell(rng: Rng, phrase: Phrase) -> Points:
    """Controller 11 over the phrase: constant, or a crescendo, a diminuendo or swells."""
    end, steady = max(_end(phrase), 0.1), float(rng.uniform(95, 127))
    if rng.random() > SWELL_SHARE:
        return [(0.0, steady)]
    low = float(rng.uniform(45, 85))
    turns = int(rng.choice((1, 1, 2, 2, 3, 4)))
    values = [low, steady] * 3 if rng.random() < 0.6 else [steady, low] * 3
    return [(end * i / turns, values[i]) for i in range(turns + 1)]


def _bend(rng: Rng, phrase: Phrase, monophonic: bool) -> Points:
    """Cents over the phrase: none, vibrato, a constant detune, or (one voice) scoops and slides."""
    if rng.random() > BEND_SHARE:
        return [(0.0, 0.0)]
    detune = float(rng.uniform(-40, 40)) if rng.random() < 0.5 else 0.0
    choice = rng.random()
    if choice < 0.55:
        return _vibrato(rng, _end(phrase), detune)
    if choice < 0.8 and monophonic:
        return _scoops(rng, phrase, detune)
    return [(0.0, detune or float(rng.uniform(-40, 40)))]


def _vibrato(rng: Rng, end_s: float, detune: float) -> Points:
    """A sine of 4-7 Hz that fades in; detune and depth together stay within 40 cents."""
    depth, rate = rng.uniform(8, 40), rng.uniform(4, 7)
    detune = float(np.clip(detune, depth - 40, 40 - depth))
    times = np.arange(0.0, end_s, 1 / 80)
    fade = np.clip(times / rng.uniform(0.05, 0.6), 0, 1)
    values = detune + depth * fade * np.sin(2 * np.pi * rate * times)
    return [(0.0, detune), *((float(t), float(v)) for t, v in zip(times[1:], values[1:], strict=True))]


def _scoops(rng: Rng, phrase: Phrase, detune: float) -> Points:
    """Notes that are reached from below or above, or that slide away at their end."""
    points: Points = [(0.0, detune)]
    for note, after in zip(phrase, [*phrase[1:], None], strict=True):
        length = min(note.end_s, after.start_s if after else note.end_s) - note.start_s
        if length < 0.2 or rng.random() > 0.6:
            continue
        glide, start = min(rng.uniform(0.06, 0.25), 0.45 * length), note.start_s
        if rng.random() < 0.75:
            offset = float(rng.choice((-1, -1, 1)) * rng.uniform(40, 150))
            points += [
                (start - 0.012, points[-1][1]),
                (start - 0.01, detune + offset),
                (start + glide, detune),
            ]
        else:
            offset = float(rng.choice((-1, 1)) * rng.uniform(40, 150))
            stop = start + length - 0.014
            points += [(stop - glide, detune), (stop, detune + offset), (stop + 0.001, detune)]
    return _rising(points)


def _rising(points: Points) -> Points:
    """Points in strictly rising time from 0; a point that would go back is moved just after its elder."""
    rising = points[:1] if points[0][0] >= 0 else [(0.0, points[0][1])]
    for time, value in points[1:]:
        if time <= 0:
            rising[0] = (0.0, value)  # a scoop on the very first note
        else:
            rising.append((max(time, rising[-1][0] + 1e-4), value))
    return rising
