"""What is evaluated: a bundle or a checkpoint, played block by block with explicit state as on stage."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray

from umtn.config import Config
from umtn.errors import UserError
from umtn.offline import BLOCK_FRAMES
from umtn.translator import Translator

__all__ = ["BundlePlayer", "CheckpointPlayer", "Encoder", "Player", "open_player"]

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
        from export.bundle import Bundle
        from realtime.engines import load_engine
        from realtime.engines.tensors import weights_kind

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
    """A checkpoint's folder or a bundle's file; UserError when it is neither. precision: as in BundlePlayer."""
    if path.is_dir():
        if precision != "auto":
            raise UserError(f"--precision is for bundles; the checkpoint '{path}' plays in float32.")
        from umtn import checkpoint

        config, progress = checkpoint.read_config(path)
        facts: dict[str, float | int | str] = {
            "preset": config.preset,
            "step": progress.step,
            "minutes_trained": round(progress.minutes, 1),
            "hardware": progress.hardware,
        }
        return CheckpointPlayer(checkpoint.load(path), path.name, facts)
    if not path.exists():
        raise UserError(f"'{path}' does not exist; a bundle (NAME.umtn) or a checkpoint's folder is wanted.")
    return BundlePlayer(path, precision)
