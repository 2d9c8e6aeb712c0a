"""What a bundle's self-test tells of one sample loop."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from realtime.engines.wavenet_cpu.weights import WavenetWeights, mulaw_table
from realtime.errors import UserError

__all__ = ["Probed"]


class Probed(NamedTuple):
    """What it hears, latent [D, T], noise [N] and, if guided, guide [N]; and the classes [N] that it must draw."""

    latent: np.ndarray
    noise: np.ndarray
    guide: np.ndarray | None
    classes: np.ndarray

    @classmethod
    def of(cls, probe: Mapping[str, np.ndarray], domain: str, weights: WavenetWeights, bundle: str) -> Probed:
        """UserError: the probe is of a decoder with a guide and this one has none, or the other way round."""
        if weights.guided != (f"told.{domain}" in probe) or (
            weights.guided and len(probe[f"told.{domain}"]) != weights.latent
        ):
            raise UserError(
                f"{bundle}: the weights of {domain} are not of the decoder that its probe was made with; export the "
                "bundle again"
            )
        if weights.guided:
            told, guide, drawn = (probe[f"{part}.{domain}"] for part in ("told", "guide", "drawn"))
            return cls(told, probe["noise"], guide, drawn)
        table = mulaw_table(weights.classes)[1:]  # class 0 is never drawn
        drawn = np.abs(probe[f"audio.{domain}"][:, None] - table).argmin(axis=1).astype(np.int32) + 1
        return cls(probe["latent"], probe["noise"], None, drawn)
