"""Offline translation: a file in, a file out, block by block with explicit state, so that length costs no memory."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import soundfile
import soxr
import torch
from numpy.typing import NDArray
from torch import Tensor

from umtn.errors import UserError
from umtn.translator import Translator

__all__ = ["read_mono", "translate_array", "translate_blocks", "write_wav"]

BLOCK_FRAMES = 64  # latent frames a call: long enough for speed, short enough for a smooth progress bar


def read_mono(path: Path, rate: int) -> NDArray[np.float32]:
    """An audio file, mixed to mono and resampled to `rate`; UserError when it holds no sound."""
    try:
        audio, file_rate = soundfile.read(str(path), dtype="float32", always_2d=True)
    except (soundfile.LibsndfileError, OSError, RuntimeError) as error:
        raise UserError(f"'{path}' cannot be read as audio: {error}") from None
    if len(audio) < 2:
        raise UserError(f"'{path}' holds {len(audio)} samples; there is nothing to translate.")
    mono = np.nan_to_num(audio.mean(axis=1))
    return np.asarray(soxr.resample(mono, file_rate, rate, quality="HQ"), dtype=np.float32)


def write_wav(path: Path, audio: NDArray[np.float32], rate: int) -> None:
    """Write 24-bit WAV by way of a file beside it: an interrupted write leaves what was there before."""
    beside = path.with_name(path.name + ".part")
    try:
        soundfile.write(str(beside), audio, rate, subtype="PCM_24", format="WAV")
        beside.replace(path)
    except (soundfile.LibsndfileError, OSError) as error:
        beside.unlink(missing_ok=True)
        raise UserError(f"'{path}' cannot be written: {error}") from None


@torch.inference_mode()
def translate_blocks(
    translator: Translator, audio: NDArray[np.float32], domain: str, seed: int = 0, temperature: float = 1.0
) -> Iterator[Tensor]:
    """Yields translated pieces [n]; together as long as the input padded to whole hops."""
    hop, decoder = translator.config.hop, translator.decoder(domain)
    padded = torch.from_numpy(np.pad(audio, (0, -len(audio) % hop)))[None, None]
    generator = torch.Generator().manual_seed(seed)
    warmth = torch.tensor([temperature])
    state = decoder.init_state(1)
    for latent in _latents(translator, padded):
        noise = torch.rand(1, 1, latent.shape[2] * hop, generator=generator)
        piece, state = decoder.decode_step(latent, noise, warmth, state)
        yield piece[0, 0]


def _latents(translator: Translator, padded_11N: Tensor) -> Iterator[Tensor]:
    encoder, hop = translator.encoder, translator.config.hop
    if not encoder.streaming:  # it looks ahead: it must see the whole recording at once
        yield from encoder(padded_11N).split(BLOCK_FRAMES, dim=2)
        return
    state = encoder.init_state(1)  # type: ignore[operator]
    for block in padded_11N.split(BLOCK_FRAMES * hop, dim=2):
        latent, state = encoder.step(block, state)  # type: ignore[operator]
        yield latent


def translate_array(
    translator: Translator, audio: NDArray[np.float32], domain: str, seed: int = 0
) -> NDArray[np.float32]:
    """The whole translation of audio [n] at the model's rate, [n]."""
    return torch.cat(list(translate_blocks(translator, audio, domain, seed))).numpy()[: len(audio)]
