"""A few seconds of each target to hear and to look at: input, output and true rendering, and their notes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soxr
from numpy.typing import NDArray

from umtn.evaluation import signal_metrics
from umtn.evaluation.classifiers import RATE, PitchJudge
from umtn.evaluation.material import Material, base_of
from umtn.offline import Player

__all__ = ["CLIP_S", "Clip", "Example", "draw", "draw_pair", "examples"]


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
    return signal_metrics.advance(made, lag_s, player.sample_rate)[:n]


def _active(judge: PitchJudge, audio: Audio, rate: int) -> NDArray[np.bool_]:
    own = audio if rate == RATE else soxr.resample(audio, rate, RATE, quality="HQ")
    transcript = judge.transcribe(own)
    return np.asarray(transcript.active > transcript.active_above)


# Spectrograms of input, output and true rendering, one picture per pair.


SHOWN_S = 12.0


def draw(player: Player, material: Material, folder: Path, only: tuple[str, ...] | None = None) -> list[Path]:
    """A picture for each target, sources taking turns, of the first 12 s; -> paths."""
    folder.mkdir(parents=True, exist_ok=True)
    n, paths = round(SHOWN_S * material.rate), []
    sources = list(material.sources)
    for i, target in enumerate(only or player.domains):
        source = next(s for s in sources[i % len(sources) :] + sources if s != target or len(sources) == 1)
        audio = material.sources[source][:n]
        made = player.play(audio, (target,))[target]
        path = folder / f"{source}-to-{target}.png"
        sounds = {f"input: {source}": audio, f"output: {target}": made, "truth": material.truths[target][:n]}
        draw_pair(path, sounds, material.rate)
        paths.append(path)
    return paths


def draw_pair(path: Path, sounds: dict[str, Audio], rate: int) -> None:
    """Spectrograms one above the other, -100 .. -20 dB, and below them all waveforms."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(len(sounds) + 1, 1, figsize=(16, 3.4 * len(sounds) + 2), sharex=True)
    for axis, (name, audio) in zip(axes, sounds.items(), strict=False):
        _spectrogram(axis, audio, rate)
        axis.set_title(name, loc="left")
    for i, (name, audio) in enumerate(sounds.items()):
        axes[-1].plot(np.arange(len(audio)) / rate, audio - i, lw=0.4, label=name)
    axes[-1].set_xlabel("seconds")
    figure.tight_layout()
    figure.savefig(path, dpi=65)
    plt.close(figure)


def _spectrogram(axis: Any, audio: Audio, rate: int) -> None:
    faint = np.random.default_rng(0).standard_normal(len(audio)) * 1e-6  # digital silence has no logarithm
    axis.specgram(audio + faint, NFFT=2048, Fs=rate, noverlap=1536, vmin=-130, vmax=-40, cmap="magma")
    axis.set_ylim(0, min(8000, rate / 2))
    axis.set_ylabel("Hz")
