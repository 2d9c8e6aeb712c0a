"""Spectrograms of input, output and true rendering, one picture per pair."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from umtn.evaluation.material import Material
from umtn.evaluation.players import Player

__all__ = ["draw", "draw_pair"]

Audio = NDArray[np.float32]
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
