"""What a model is judged on: one stretch of one score, by every instrument that plays it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import soxr
from numpy.typing import NDArray

from umtn.data.dataset import Dataset, Track, floats
from umtn.data.instruments import DOMAINS
from umtn.data.score import Score
from umtn.errors import UserError

__all__ = ["ROOM", "Material", "base_of", "in_a_room"]

Audio = NDArray[np.float32]
ROOM = "+room"
ROOM_SNR_DB = 20.0


def base_of(source: str) -> str:
    """The instrument of a source, with or without a room's noise."""
    return source.removesuffix(ROOM)


def in_a_room(audio: Audio, seed: int = 0) -> Audio:
    """Audio [N] and the noise of a room, 20 dB below its RMS: 1/f in power, and as loud in silence."""
    rng = np.random.default_rng(seed)
    n = len(audio)
    colour = 1 / np.sqrt(np.maximum(1, np.arange(n // 2 + 1) * 1.0))
    colour[0] = 0
    noise = np.fft.irfft(np.fft.rfft(rng.standard_normal(n)) * colour, n)
    rms = [float(np.sqrt(np.mean(np.square(x, dtype=np.float64)))) for x in (audio, noise)]
    return np.asarray(audio + noise * (rms[0] / max(rms[1], 1e-12) * 10 ** (-ROOM_SNR_DB / 20)), np.float32)


@dataclass(frozen=True)
class Material:
    """start_s .. start_s + len/rate of a score; `sources` by instrument, `truths` by domain; all [N]."""

    score_id: str
    score: Score
    start_s: float
    rate: int
    sources: dict[str, Audio]
    truths: dict[str, Audio]
    never_trained: frozenset[str]

    @staticmethod
    def choose(
        data: Dataset,
        start_s: float,
        length_s: float,
        only: tuple[str, ...] | None = None,
        rate: int | None = None,
    ) -> Material:
        """The first score of a paired data folder, at `rate` (the data's own where none is given); UserError when it or
        an instrument named is not there.

        `NAME+room` is an instrument in a noisy room. When none is named, all are taken, and one in a room.
        """
        if data.kind != "paired":
            raise UserError("evaluation wants paired data with scores, made by `umtn render`")
        score_id = data.all_tracks[0].score
        tracks = {t.domain: t for t in reversed(data.all_tracks) if t.score == score_id}  # the first of each
        if unknown := [s for s in only or () if base_of(s) not in tracks]:
            raise UserError(
                f"the data have no instrument '{unknown[0]}'; they have {', '.join(sorted(tracks))}"
            )
        score = data.score(score_id)
        if not 0 <= start_s < score.duration_s - 1 or length_s <= 0:
            raise UserError(
                f"second {start_s:g} and {length_s:g} s of it do not lie in a score of {score.duration_s:g} s"
            )
        domains = {d.id for d in DOMAINS}

        def cut(track: Track) -> Audio:
            return _clip(data, track, start_s, length_s, rate or data.sample_rate)

        names = list(only or _all(list(reversed(tracks)), domains))
        return Material(
            score_id,
            score,
            start_s,
            rate or data.sample_rate,
            {n: _source(cut(tracks[base_of(n)]), n.endswith(ROOM)) for n in names},
            {n: cut(tracks[n]) for n in tracks if n in domains},
            frozenset(n for n in names if tracks[base_of(n)].role == "evaluation"),
        )

    @property
    def samples(self) -> int:
        return len(next(iter(self.truths.values())))


def _all(names: list[str], domains: set[str]) -> list[str]:
    """All instruments, and the first that is no domain's (or else the first) in a room."""
    return names + [next((n for n in names if n not in domains), names[0]) + ROOM]


def _source(audio: Audio, room: bool) -> Audio:
    return in_a_room(audio) if room else audio


def _clip(data: Dataset, track: Track, start_s: float, length_s: float, rate: int) -> Audio:
    first, stop = (round(s * data.sample_rate) for s in (start_s, start_s + length_s))
    audio = floats(data.audio(track)[first:stop])
    return audio if rate == data.sample_rate else soxr.resample(audio, data.sample_rate, rate, quality="HQ")
