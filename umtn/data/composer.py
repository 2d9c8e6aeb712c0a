"""A composer of random scores: phrases of every kind, one after the other, with dynamics and bends."""

from __future__ import annotations

import numpy as np

from umtn.data.phrases import HIGHEST, KINDS, LOWEST, MONOPHONIC, Phrase, random_key
from umtn.data.score import Curve, Note, Score, without_unisons

__all__ = ["compose"]

Rng = np.random.Generator
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
