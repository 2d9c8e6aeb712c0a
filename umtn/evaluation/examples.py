"""A few seconds of each target to hear and to look at: input, output and true rendering, and their notes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import soxr
from numpy.typing import NDArray

from umtn.evaluation import level
from umtn.evaluation.material import Material, base_of
from umtn.evaluation.pitch_judge import PitchJudge
from umtn.evaluation.players import Player
from umtn.evaluation.spectra import RATE

__all__ = ["CLIP_S", "Clip", "Example", "examples"]

Audio = NDArray[np.float32]
CLIP_S = 8.0
AUDIO_BYTES = 9_000_000  # of 16-bit samples in one page, before they are packed


@dataclass(frozen=True)
class Clip:
    """A sound [N], and which semitones from pitch_judge.LOWEST it plays in each 10 ms [P, T]."""

    label: str
    audio: Audio
    active: NDArray[np.bool_]


@dataclass(frozen=True)
class Example:
    """One source to one target: clips input, output (lag removed), truth."""

    source: str
    target: str
    clips: tuple[Clip, ...]


def examples(
    player: Player, material: Material, targets: tuple[str, ...], lags_s: dict[str, float]
) -> list[Example]:
    """One example for each target from the start of the material, sources taking turns, 8 s at the most."""
    most = AUDIO_BYTES / (2 * 3 * len(targets))
    n = min(round(CLIP_S * material.rate), material.samples, round(most))
    sources, judge, found = list(material.sources), PitchJudge.load(), []
    for i, target in enumerate(targets):
        turn = sources[i % len(sources) :] + sources[: i % len(sources)]
        source = next((s for s in turn if base_of(s) != target), turn[0])
        sounds = {
            f"input: {source}": material.sources[source][:n],
            f"output: {target}": _output(player, material.sources[source], n, target, lags_s[target]),
            f"true rendering: {target}": material.truths[target][:n],
        }
        clips = tuple(Clip(k, a, _active(judge, a, material.rate)) for k, a in sounds.items())
        found.append(Example(source, target, clips))
    return found


def _output(player: Player, audio: Audio, n: int, target: str, lag_s: float) -> Audio:
    late = round(lag_s * player.sample_rate)
    made = player.play(audio[: n + late], (target,))[target]
    return level.advance(made, lag_s, player.sample_rate)[:n]


def _active(judge: PitchJudge, audio: Audio, rate: int) -> NDArray[np.bool_]:
    own = audio if rate == RATE else soxr.resample(audio, rate, RATE, quality="HQ")
    transcript = judge.transcribe(own)
    return np.asarray(transcript.active > transcript.active_above)
