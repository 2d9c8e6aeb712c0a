"""Paired data: the same scores played by every instrument, with the scores kept as ground truth."""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from umtn.data.compose import compose
from umtn.data.dataset import MANIFEST, Dataset, Track, save_audio, write_manifest
from umtn.data.instruments import Instrument
from umtn.data.score import Note, Score, read_midi
from umtn.data.soundfont import find_font, render_score
from umtn.errors import UserError
from umtn.files import write_atomically

__all__ = ["Plan", "VOICES", "level", "make_scores", "render", "synthesize"]


# Sources made by numpy from the same notes as the sound fonts: tones, a whistle and a singing vowel.
#
# Each note reads two or more wavetables, made for its own pitch (so no partial passes the Nyquist frequency),
# along one phase that follows the score's bend curve; the mix of the tables moves over the note.
# The whistle and the singer add a small vibrato and, the singer, scoops of their own, as people do:
# these are not in the score.


TABLE = 4096  # points of a wavetable
RELEASE_S = 0.06
Array = NDArray[np.float64]
Rng = np.random.Generator
# Formants of a, e, i, o, u for a tenor: (frequency, bandwidth, level in dB); figures of the kind given in
# the appendix of the Csound manual, rounded.
VOWELS = (
    ((650, 80, 0), (1080, 90, -6), (2650, 120, -7), (2900, 130, -8)),
    ((400, 70, 0), (1700, 80, -14), (2600, 100, -12), (3200, 120, -14)),
    ((290, 40, 0), (1870, 90, -15), (2800, 100, -18), (3250, 120, -20)),
    ((400, 40, 0), (800, 80, -10), (2600, 100, -12), (2800, 120, -12)),
    ((350, 40, 0), (600, 60, -20), (2700, 100, -17), (2900, 120, -14)),
)


def synthesize(score: Score, voice: str, rate: int, seed: int = 0) -> NDArray[np.float32]:
    """Mono audio [T] of a score at `rate` by one of VOICES; the same arguments give the same audio."""
    rng = np.random.default_rng((seed, zlib.crc32(voice.encode()), len(score.notes)))
    audio = np.zeros(round(score.duration_s * rate))
    play = VOICES[voice](rng)
    for note in score.notes:
        start = round(note.start_s * rate)
        count = min(round((note.end_s - note.start_s + RELEASE_S) * rate), len(audio) - start)
        if count > 1:
            tone = play(score, note, count, rate)
            audio[start : start + count] += tone * _loudness(score, note, start, count, rate)
    return audio.astype(np.float32)


def _loudness(score: Score, note: Note, start: int, count: int, rate: int) -> Array:
    """Velocity and controller 11 as General MIDI scales them: the square of each."""
    knots = np.arange(0, count + 256, 256)
    expression = np.interp(np.arange(count), knots, score.expression.at((start + knots) / rate))
    return np.asarray((note.velocity / 127) ** 2 * (expression / 127) ** 2)


def _phase(score: Score, note: Note, count: int, rate: int, own_cents: Array | float = 0.0) -> Array:
    """Cycles [count] of the note's fundamental, bent by the score and by the voice itself."""
    knots = np.arange(0, count + 64, 64)
    cents = score.bend.at(note.start_s + knots / rate)
    cents = np.interp(np.arange(count), knots, cents) + own_cents
    return np.cumsum(_hz(note.pitch) / rate * np.exp2(cents / 1200))


def _hz(pitch: int) -> float:
    return float(440 * 2 ** ((pitch - 69) / 12))


def _table(levels: Array, rng: Rng) -> Array:
    """One cycle [TABLE] with the given levels of its partials, at random phases, RMS 0.2."""
    spectrum = np.zeros(TABLE // 2 + 1, dtype=complex)
    spectrum[1 : len(levels) + 1] = levels * np.exp(2j * np.pi * rng.random(len(levels)))
    cycle = np.fft.irfft(spectrum)
    return 0.2 * cycle / max(float(np.sqrt(np.mean(cycle**2))), 1e-9)


def _read(table: Array, phase: Array) -> Array:
    """The wavetable at a phase in cycles, linearly interpolated."""
    position = (phase % 1.0) * TABLE
    index = position.astype(np.int64)
    closed = np.concatenate((table, table[:2]))
    value = closed[index] + (position - index) * (closed[index + 1] - closed[index])
    return np.asarray(value, dtype=np.float64)


def _partials(pitch: int, rate: int) -> Array:
    """Numbers of the partials below 0.46 of the rate: room for bends of two semitones is left."""
    highest = int(0.46 * rate / (_hz(pitch) * 1.13))
    return np.arange(1, max(1, highest) + 1, dtype=np.float64)


def _envelope(
    count: int, rate: int, attack_s: float, release_s: float = RELEASE_S, decay_s: float = 0.0
) -> Array:
    """Attack, optional exponential decay, release over the last `release_s`; cosine-shaped ends."""
    time = np.arange(count) / rate
    shape = np.minimum(np.clip(time / attack_s, 0, 1), np.clip((count / rate - time) / release_s, 0, 1))
    shape = 0.5 - 0.5 * np.cos(np.pi * shape)
    return shape * np.exp(-time / decay_s) if decay_s else shape


def _noise(rng: Rng, count: int, width: int) -> Array:
    """Low-passed white noise [count]: a moving average of `width` samples, RMS about 1."""
    total = np.cumsum(rng.standard_normal(count + width))
    return (total[width:] - total[:-width]) / np.sqrt(width)


def _wobble(rng: Rng, count: int, rate: int, depth_cents: float) -> Array:
    """A voice's own vibrato: 4.5-6.5 Hz, fading in after a quarter of a second."""
    time = np.arange(count) / rate
    fade = np.clip((time - 0.15) / 0.25, 0, 1)
    return depth_cents * fade * np.sin(2 * np.pi * (rng.uniform(4.5, 6.5) * time + rng.random()))


Player = Callable[[Score, Note, int, int], Array]


def sine(rng: Rng) -> Player:
    """Pure tones, with now and then a weak second partial."""

    def play(score: Score, note: Note, count: int, rate: int) -> Array:
        second = rng.uniform(0, 0.2) * (rng.random() < 0.4) * (len(_partials(note.pitch, rate)) > 1)
        table = _table(np.array([1.0, second]), rng)
        shape = _envelope(count, rate, rng.uniform(0.005, 0.04))
        return shape * _read(table, _phase(score, note, count, rate))

    return play


def analog(rng: Rng) -> Player:
    """Saw, square, triangle or pulse through a low-pass filter that moves from one cut-off to another."""

    def play(score: Score, note: Note, count: int, rate: int) -> Array:
        n = _partials(note.pitch, rate)
        pulse = np.sin(np.pi * n * rng.uniform(0.08, 0.4)) / n
        levels = (1 / n, (n % 2) / n, (n % 2) / n**2, pulse)[rng.integers(4)]
        cutoffs = np.exp(rng.uniform(np.log(2), np.log(60), 2))  # in partials
        state = rng.bit_generator.state
        tables = []
        for cutoff in cutoffs:
            rng.bit_generator.state = state  # the same phases, so that the mix of the two does not cancel
            tables.append(_table(levels / np.sqrt(1 + (n / cutoff) ** 4), rng))
        phase = _phase(score, note, count, rate)
        mix = np.exp(-np.arange(count) / rate / rng.uniform(0.05, 0.8))
        tone = mix * _read(tables[0], phase) + (1 - mix) * _read(tables[1], phase)
        decay = rng.uniform(0.3, 1.5) if rng.random() < 0.4 else 0.0
        attack = float(np.exp(rng.uniform(np.log(0.003), np.log(0.08))))
        return _envelope(count, rate, attack, decay_s=decay) * tone

    return play


def whistling(rng: Rng) -> Player:
    """A whistler: nearly a sine, with vibrato and breath."""

    def play(score: Score, note: Note, count: int, rate: int) -> Array:
        phase = _phase(score, note, count, rate, _wobble(rng, count, rate, rng.uniform(0, 20)))
        tone = _read(_table(np.array([1.0, 0.03]), rng), phase)
        breath = rng.uniform(0.02, 0.12)
        near = tone * _noise(rng, count, rate // 400) * breath * 1.5  # noise beside the tone
        wide = 0.2 * breath * rng.standard_normal(count)
        return _envelope(count, rate, rng.uniform(0.02, 0.06)) * (tone + near + 0.3 * wide)

    return play


def _formant_gain(frequency_hz: Array, vowel: int, shift: float) -> Array:
    """Gain of a vowel's formants, as the magnitude of parallel resonances."""
    gain = np.full(len(frequency_hz), 1e-3)
    for centre, width, level_db in VOWELS[vowel]:
        offset = (frequency_hz - centre * shift) / (0.5 * width * shift * 1.6)
        gain += 10 ** (level_db / 20) / np.sqrt(1 + offset**2)
    return gain


def singing(rng: Rng) -> Player:
    """A sung vowel that turns into another: glottal pulses, formants, vibrato, scoops and breath."""
    shift = rng.uniform(0.95, 1.25)  # size of the head

    def play(score: Score, note: Note, count: int, rate: int) -> Array:
        n = _partials(note.pitch, rate)
        glottal = n ** -rng.uniform(1.0, 1.6)
        state, tables = rng.bit_generator.state, []
        for vowel in rng.integers(0, len(VOWELS), 2):
            generator = np.random.default_rng()
            generator.bit_generator.state = state  # equal phases: see analog
            tables.append(_table(glottal * _formant_gain(n * _hz(note.pitch), int(vowel), shift), generator))
        rng.random(len(n))
        time = np.arange(count) / rate
        scoop = -rng.uniform(30, 120) * np.exp(-time / 0.035) * (rng.random() < 0.4)
        phase = _phase(score, note, count, rate, scoop + _wobble(rng, count, rate, rng.uniform(0, 35)))
        mix = np.clip(time / max(time[-1], 1e-3) * rng.uniform(1, 2) - rng.uniform(0, 0.5), 0, 1)
        tone = (1 - mix) * _read(tables[0], phase) + mix * _read(tables[1], phase)
        breath = rng.uniform(0.001, 0.01) * rng.standard_normal(count)
        breath += 0.08 * tone * _noise(rng, count, rate // 300)
        return _envelope(count, rate, rng.uniform(0.02, 0.09)) * (tone + breath)

    return play


VOICES: dict[str, Callable[[Rng], Player]] = {
    "sine": sine,
    "analog": analog,
    "whistling": whistling,
    "singing": singing,
}


TARGET_RMS_DB = -23.0  # over sounding parts
PEAK = 0.98
SYNTHETIC_FONT = "synthetic"
Scores = dict[str, Score]
Advance = Callable[[float], object]  # told the seconds of audio that were just finished


@dataclass(frozen=True)
class Plan:
    """What is to be rendered, and how."""

    instruments: tuple[Instrument, ...]
    fonts: tuple[str, ...]
    sample_rate: int = 24_000
    jobs: int = 2
    valid_share: float = 0.1
    seed: int = 0


def make_scores(
    minutes: float, seed: int, files: Sequence[Path] = (), longest_minutes: float = 6.0
) -> Scores:
    """Random scores of `minutes` in all, equal parts of at most `longest_minutes`; then the given files."""
    count = math.ceil(minutes / longest_minutes - 1e-9) if minutes > 0 else 0
    scores = {
        f"random-{seed}-{i:03d}": compose(_seed_of(seed, i), round(60 * minutes / count, 3))
        for i in range(count)
    }
    for file in files:
        name = f"file-{file.stem}"
        if name in scores:
            raise UserError(f"two score files are called '{file.stem}'; rename one of them")
        scores[name] = read_midi(file)
    return scores


def _seed_of(seed: int, index: int) -> int:
    return int(np.random.SeedSequence((seed, index)).generate_state(1)[0])


def split_of(names: Sequence[str], valid_share: float) -> dict[str, str]:
    """Split of each score: the last ones are for validation, at least one if there are two or more."""
    count = 0 if len(names) < 2 or valid_share <= 0 else max(1, round(valid_share * len(names)))
    count = min(count, max(0, len(names) - 1))
    return {name: "valid" if i >= len(names) - count else "train" for i, name in enumerate(names)}


def render(out: Path, scores: Scores, plan: Plan, advance: Advance = lambda seconds: None) -> Dataset:
    """Render all scores into OUT; tracks that stand there already are kept, so a stopped run can go on.

    The manifest is rewritten after each track, in one piece; domains come first.
    """
    if not scores:
        raise UserError("nothing to render: give --minutes above 0 or a --score FILE.mid")
    tracks = _resume(out, scores, plan.sample_rate)
    splits = split_of(list(scores), plan.valid_share)
    splits.update((t.score, t.split) for t in tracks.values())  # a score never changes sides
    for name, score in scores.items():
        write_atomically(out / "scores" / f"{name}.json", score.to_json().encode())
    wanted = [(f"audio/{s}/{_label(f)}.{i.id}.npy", s, i, f) for i, f in _jobs(plan) for s in scores]
    order = [job[0] for job in wanted]
    for path, score_id, _, _ in wanted:
        if path in tracks:
            advance(scores[score_id].duration_s)
    wanted = [job for job in wanted if job[0] not in tracks]
    with ThreadPoolExecutor(plan.jobs) as pool:  # threads: the work is in FluidSynth and numpy
        running = [
            pool.submit(_render_one, out, path, s, scores[s], splits[s], instrument, font, plan)
            for path, s, instrument, font in wanted
        ]
        try:
            for done in as_completed(running):
                track = done.result()
                tracks[track.path] = track
                write_manifest(out, plan.sample_rate, "paired", _in_order(tracks, order))
                advance(scores[track.score].duration_s)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return Dataset.open(out)


def _in_order(tracks: dict[str, Track], order: list[str]) -> list[Track]:
    """Tracks in the order of the plan, not of their completion; those of an earlier run come last."""
    return [tracks[p] for p in order if p in tracks] + [t for p, t in tracks.items() if p not in set(order)]


def _jobs(plan: Plan) -> list[tuple[Instrument, str]]:
    """(instrument, font) in the order of rendering: domains with every font, then the rest font by font."""
    domains = [i for i in plan.instruments if i.role == "domain"]
    sampled = [i for i in plan.instruments if i.role != "domain" and not i.synthetic]
    synthetic = [(i, SYNTHETIC_FONT) for i in plan.instruments if i.synthetic]
    if (domains or sampled) and not plan.fonts:
        raise UserError("no sound font named; give --fonts, for example fluidr3")
    first = [(i, f) for f in plan.fonts for i in domains]
    return first + synthetic + [(i, f) for f in plan.fonts for i in sampled]


def _label(font: str) -> str:
    """A font's name in paths: the given name, or that of the given file."""
    return Path(font).stem if font.lower().endswith((".sf2", ".sf3")) else font


def _resume(out: Path, scores: Scores, sample_rate: int) -> dict[str, Track]:
    """Tracks that OUT has already; UserError when they are of another rate, kind or score."""
    if not (out / MANIFEST).exists():
        return {}
    old = Dataset.open(out)
    if old.kind != "paired" or old.sample_rate != sample_rate:
        raise UserError(f"'{out}' holds {old.kind} data at {old.sample_rate} Hz already; name another folder")
    for name in {t.score for t in old.all_tracks} & set(scores):
        if old.score(name).to_json() != Score.from_json(scores[name].to_json()).to_json():
            raise UserError(f"'{out}' holds another score called '{name}' already; name another folder")
    return {t.path: t for t in old.all_tracks if (out / t.path).is_file()}


def _render_one(
    out: Path,
    path: str,
    score_id: str,
    score: Score,
    split: str,
    instrument: Instrument,
    font: str,
    plan: Plan,
) -> Track:
    """Render, level and store one track."""
    if instrument.synthetic:
        audio = synthesize(score, instrument.id, plan.sample_rate, plan.seed)
    else:
        audio = render_score(score, instrument, find_font(font), plan.sample_rate)
    samples, gain_db = level(audio, plan.sample_rate)
    save_audio(out / path, samples)
    return Track(
        path,
        split,
        instrument.id,
        instrument.role,
        len(samples),
        score_id,
        _label(font),
        gain_db,
        highest=instrument.highest,
    )


def level(audio: NDArray[np.float32], rate: int) -> tuple[NDArray[np.int16], float]:
    """Audio at -23 dBFS RMS over its sounding parts, or as near as its peak allows; samples and gain in dB.

    Sounding: 50 ms frames within 40 dB of the loudest one. One gain for the whole track, so that the
    loudness of its notes relative to each other stays what the font made it.
    """
    width = max(1, rate // 20)
    whole = len(audio) // width * width
    frames = audio[:whole].reshape(-1, width) if whole else audio[None, :]
    power = np.mean(frames.astype(np.float64) ** 2, axis=1) if audio.size else np.zeros(1)
    peak = float(np.abs(audio).max()) if audio.size else 0.0
    if peak == 0.0:
        return np.zeros(len(audio), np.int16), 0.0
    rms = math.sqrt(float(power[power > power.max() * 1e-4].mean()))
    gain = min(10 ** (TARGET_RMS_DB / 20) / rms, PEAK / peak)
    return np.round(audio * np.float32(gain * 32767)).astype(np.int16), round(20 * math.log10(gain), 2)
