"""Offline translation: a file in, a file out, block by block with explicit state, so that length costs no memory."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
import soundfile
import soxr
import torch
from numpy.typing import NDArray
from torch import Tensor

from realtime.shared.audio_config import bundle_named
from umtn.errors import UserError
from umtn.model.config import Config, TrainingConfig
from umtn.model.translator import Translator

__all__ = [
    "BundlePlayer",
    "CheckpointPlayer",
    "Encoder",
    "Player",
    "TonePlayer",
    "open_player",
    "read_mono",
    "translate_array",
    "translate_blocks",
    "write_wav",
]


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


# What is evaluated: a bundle or a checkpoint, played block by block with explicit state as on stage.


Audio = NDArray[np.float32]


class Player(Protocol):
    """A model that translates: its domains, rate, and the lag it says it has."""

    name: str
    domains: tuple[str, ...]
    sample_rate: int
    declared_lag_s: float
    facts: dict[str, float | int | str]

    def play(self, audio: Audio, targets: tuple[str, ...]) -> dict[str, Audio]:
        """Translations of audio [N] from a fresh state, each [N]."""
        ...


@runtime_checkable
class Encoder(Protocol):
    """A player whose latent can be had."""

    def latent(self, audio: Audio) -> Audio:
        """The latent [D, T] of audio [N] from a fresh state."""
        ...


class CheckpointPlayer:
    """Encoder once, then every decoder asked for, on the same latent."""

    def __init__(self, translator: Translator, name: str, facts: dict[str, float | int | str]) -> None:
        self.translator, self.name, self.facts = translator, name, facts
        config: Config = translator.config
        self.domains, self.sample_rate = tuple(config.domains), config.sample_rate
        self.declared_lag_s = config.training.target_lag_frames * config.hop / config.sample_rate

    def _latents(self, audio: Audio) -> Iterator[torch.Tensor]:
        encoder, hop = self.translator.encoder, self.translator.config.hop
        if not getattr(encoder, "streaming", True):
            raise UserError(f"'{self.name}' has an encoder that looks ahead and cannot be played live.")
        padded = torch.from_numpy(np.pad(audio, (0, -len(audio) % hop)))[None, None]
        heard = encoder.init_state(1)  # type: ignore[operator]
        for block in padded.split(BLOCK_FRAMES * hop, dim=2):
            latent, heard = encoder.step(block, heard)  # type: ignore[operator]
            yield latent

    @torch.inference_mode()
    def latent(self, audio: Audio) -> Audio:
        return torch.cat([z[0] for z in self._latents(audio)], dim=1).numpy()

    @torch.inference_mode()
    def play(self, audio: Audio, targets: tuple[str, ...]) -> dict[str, Audio]:
        decoders = {t: self.translator.decoder(t) for t in targets}
        said = {t: d.init_state(1) for t, d in decoders.items()}
        generator, warmth = torch.Generator().manual_seed(0), torch.ones(1)
        pieces: dict[str, list[torch.Tensor]] = {t: [] for t in targets}
        hop = self.translator.config.hop
        for latent in self._latents(audio):
            noise = torch.rand((1, 1, latent.shape[2] * hop), generator=generator)
            for t, decoder in decoders.items():
                piece, said[t] = decoder.decode_step(latent, noise, warmth, said[t])
                pieces[t].append(piece[0, 0])
        return {t: torch.cat(p).numpy()[: len(audio)] for t, p in pieces.items()}


class BundlePlayer:
    """A bundle one block at a time, on the engine that a performer would get."""

    def __init__(self, path: Path, precision: str = "auto") -> None:
        """precision: of the native engine of WaveNet decoders; UserError where there are none."""
        from export.bundle.bundle import Bundle
        from export.bundle.safetensors import weights_kind
        from realtime.engines import load_engine

        try:
            bundle = Bundle.open(path)
            if precision != "auto" and weights_kind(bundle) != "wavenet":
                raise UserError(f"--precision is for WaveNet decoders, and '{path.name}' has none.")
            self._engine = load_engine(bundle, seed=0, precision=precision, live=False)
        except ValueError as error:  # of the bundle or of the engine: both are sentences
            raise UserError(str(error)) from None
        self.bundle = bundle
        manifest = bundle.manifest
        self.name, self.sample_rate = path.name, manifest.sample_rate
        self.domains = tuple(d.id for d in manifest.domains)
        self.declared_lag_s = manifest.latency_samples / manifest.sample_rate
        self.facts: dict[str, float | int | str] = {
            "bundle": path.name,
            "engine": self._engine.name,
            "notes": manifest.notes,
        }
        if chosen := getattr(self._engine, "precision", ""):
            self.facts["precision"] = chosen
        self._block = manifest.block

    def latent(self, audio: Audio) -> Audio:
        self._engine.rest()
        blocks = np.pad(audio, (0, -len(audio) % self._block)).reshape(-1, self._block)
        return np.concatenate([self._engine.encode(block).copy() for block in blocks], axis=1)

    def play(self, audio: Audio, targets: tuple[str, ...], noise: Audio | None = None) -> dict[str, Audio]:
        """noise: the same for every block; None: drawn."""
        self._engine.rest()
        padded = np.pad(audio, (0, -len(audio) % self._block))
        out = {t: np.zeros(len(padded), np.float32) for t in targets}
        numbers = {t: self.domains.index(t) for t in targets}
        for first in range(0, len(padded), self._block):
            here = slice(first, first + self._block)
            self._engine.encode(padded[here])
            for t, number in numbers.items():
                self._engine.decode(number, out[t][here], noise)
        return {t: o[: len(audio)] for t, o in out.items()}


def open_player(path: Path, precision: str = "auto") -> Player:
    """A checkpoint's folder, a bundle's file or a shipped one's name; UserError when it is none of them.

    precision: as in BundlePlayer.
    """
    if path.is_dir():
        if precision != "auto":
            raise UserError(f"--precision is for bundles; the checkpoint '{path}' plays in float32.")
        from umtn.model import checkpoint

        config, progress = checkpoint.read_config(path)
        facts: dict[str, float | int | str] = {
            "preset": config.preset,
            "step": progress.step,
            "minutes_trained": round(progress.minutes, 1),
            "hardware": progress.hardware,
        }
        return CheckpointPlayer(checkpoint.load(path), path.name, facts)
    return BundlePlayer(bundle_named(path), precision)


# A `live` bundle's tones without its breath: what guided WaveNets follow.


SILENT = 0.5  # half way between 0 and 1: noise without a swing


class TonePlayer(BundlePlayer):
    """`tones(audio, domain)` from a fresh state. `lag`: samples by which answers were trained to follow."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        manifest = self.bundle.manifest
        if manifest.sampled or manifest.pitch_latent is None:
            raise UserError(f"'{path}' is no bundle of a `live` model; only those have tones that can guide.")
        self.lag = TrainingConfig().target_lag_frames * manifest.hop
        self._noise = np.full(manifest.block, SILENT, np.float32)

    def check(self, rate: int, domains: tuple[str, ...]) -> None:
        """UserError where the bundle cannot guide data of this rate, or in one of these domains."""
        if rate != self.sample_rate:
            raise UserError(f"The data are at {rate} Hz, but '{self.name}' plays at {self.sample_rate} Hz.")
        if missing := [d for d in domains if d not in self.domains]:
            raise UserError(f"'{self.name}' has no domain '{missing[0]}'; it has {', '.join(self.domains)}.")

    def tones(self, audio: Audio, domain: str) -> Audio:
        """[N] -> [N]."""
        return self.play(audio, (domain,), self._noise)[domain]
