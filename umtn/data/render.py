"""Paired data: the same scores played by every instrument, with the scores kept as ground truth."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from umtn.data.compose import compose
from umtn.data.dataset import MANIFEST, Dataset, Track, save_audio, write_manifest
from umtn.data.instruments import Instrument
from umtn.data.score import Score, read_midi
from umtn.data.soundfont import find_font, render_score
from umtn.data.synthetic import synthesize
from umtn.errors import UserError
from umtn.files import write_atomically

__all__ = ["Plan", "level", "make_scores", "render"]

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
