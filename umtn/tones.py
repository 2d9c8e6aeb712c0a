"""A `live` bundle's tones without its breath: what guided WaveNets follow."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from umtn.config import TrainingConfig
from umtn.errors import UserError
from umtn.evaluation.players import Audio, BundlePlayer

__all__ = ["TonePlayer"]

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
