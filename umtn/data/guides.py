"""What the `live` decoders' tones would be beside the true renderings: what guided WaveNets are told while they learn.

DATA/guides/<domain>/<score>.npy   int16 mono, in the time of the source that was played

On stage the tones have phases of their own, and the WaveNet's sound takes them over. A true rendering has others,
and beside it a guide as it is would be worth nothing: each bin of its short spectrum gets the rendering's phase.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from umtn.data.dataset import Dataset, Track, floats, one_voice, save_audio
from umtn.errors import UserError

__all__ = ["guide_of", "make_guides", "with_phases_of"]

Audio = NDArray[np.float32]
Play = Callable[[Audio, str], Audio]  # (input, domain) -> tones, from a fresh state
WINDOW, HOP = 2048, 256
SWITCH_S = 20.0  # how long one source plays
OTHERS = 0.6  # share of the time in which the source is not the domain itself


def _path(data: Dataset, domain: str, score: str) -> Path:
    return data.root / "guides" / domain / f"{score}.npy"


def guide_of(data: Dataset, track: Track) -> NDArray[np.int16]:
    """The guide beside a domain's track, memory-mapped; UserError where none was made."""
    path = _path(data, track.domain, track.score)
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)  # type: ignore[no-any-return]
    except (OSError, ValueError):
        raise UserError(
            f"'{data.root}' has no guide for '{track.domain}' in '{track.score}'; make them with "
            "python -m umtn guide"
        ) from None


def with_phases_of(tones: Audio, truth: Audio) -> Audio:
    """The magnitudes of `tones` with the phases of `truth`, both [N]."""
    window = torch.hann_window(WINDOW)
    given, wanted = (
        torch.stft(torch.from_numpy(x), WINDOW, HOP, window=window, return_complex=True)
        for x in (tones, truth)
    )
    turned = torch.polar(given.abs(), wanted.angle())
    return torch.istft(turned, WINDOW, HOP, window=window, length=len(tones)).numpy()


def make_guides(
    data: Dataset, play: Play, domains: tuple[str, ...], lag: int, seed: int = 0
) -> Iterator[Track]:
    """Write the guides that are missing; -> each domain's track as its guide is there.

    lag: samples by which a decoder's answer was trained to follow its input.
    """
    rng = np.random.default_rng(seed)
    for domain in domains:
        for split in ("train", "valid"):
            for track in one_voice(data.tracks(split, domain, "domain")):
                path = _path(data, domain, track.score)
                if not path.exists():
                    tones = play(_sources(data, split, track, rng), domain)
                    truth = floats(data.audio(track)[: len(tones)])
                    late = np.concatenate([np.zeros(lag, np.float32), truth])[: len(tones)]
                    save_audio(path, _whole(with_phases_of(tones, late)))
                yield track


def _sources(data: Dataset, split: str, track: Track, rng: np.random.Generator) -> Audio:
    """What the track plays, by itself and by other instruments in turns."""
    audio = floats(data.audio(track))
    others = [t for t in data.tracks(split) if t.score == track.score and t.role != "evaluation"]
    span = round(SWITCH_S * data.sample_rate)
    for first in range(0, len(audio), span):
        if rng.random() < OTHERS:
            part = floats(data.audio(others[rng.integers(len(others))])[first : first + span])
            audio[first : first + len(part)] = part[: len(audio) - first]
    return audio


def _whole(audio: Audio) -> NDArray[np.int16]:
    return np.clip(np.rint(audio * 32768), -32767, 32767).astype(np.int16)
