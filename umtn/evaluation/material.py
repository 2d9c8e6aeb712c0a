"""What a model is judged on: one stretch of one score, by every instrument that plays it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from umtn.data.instruments import DOMAINS
from umtn.data.score import Score
from umtn.data.store import Dataset, Track
from umtn.errors import UserError

__all__ = ["Material"]

Audio = NDArray[np.float32]


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
        data: Dataset, start_s: float, length_s: float, only: tuple[str, ...] | None = None
    ) -> Material:
        """The first score of a paired data folder; UserError when it or an instrument named is not there."""
        if data.kind != "paired":
            raise UserError("evaluation wants paired data with scores, made by `umtn render`")
        score_id = data.all_tracks[0].score
        tracks = {t.domain: t for t in reversed(data.all_tracks) if t.score == score_id}  # the first of each
        if unknown := [s for s in only or () if s not in tracks]:
            raise UserError(
                f"the data have no instrument '{unknown[0]}'; they have {', '.join(sorted(tracks))}"
            )
        score = data.score(score_id)
        if not 0 <= start_s < score.duration_s - 1 or length_s <= 0:
            raise UserError(
                f"second {start_s:g} and {length_s:g} s of it do not lie in a score of {score.duration_s:g} s"
            )
        domains = {d.id for d in DOMAINS}
        names = [n for n in reversed(tracks) if only is None or n in only]
        return Material(
            score_id,
            score,
            start_s,
            data.sample_rate,
            {n: _clip(data, tracks[n], start_s, length_s) for n in names},
            {n: _clip(data, tracks[n], start_s, length_s) for n in tracks if n in domains},
            frozenset(n for n, t in tracks.items() if t.role == "evaluation"),
        )

    @property
    def samples(self) -> int:
        return len(next(iter(self.truths.values())))


def _clip(data: Dataset, track: Track, start_s: float, length_s: float) -> Audio:
    first, stop = (round(s * data.sample_rate) for s in (start_s, start_s + length_s))
    return np.asarray(data.audio(track)[first:stop], dtype=np.float32) / np.float32(32768)
