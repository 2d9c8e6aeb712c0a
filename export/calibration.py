"""How large a WaveNet decoder's signals become while it says real sound: what int8 engines scale by.

The decoder hears the recording as its own past (teacher forcing) and the encoder's latent of it, so that one
parallel pass sees every layer at work; a guided one also its guide's answer to it. Legend: L layer, R residual, S skip.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from export.guidance import Sampled, sound_classes, told
from umtn.decoders.guided import net_of
from umtn.decoders.wavenet import WaveNetDecoder
from umtn.streaming import StreamingModule

__all__ = ["activation_maxima"]

PIECE = 1 << 16  # samples at once, each such piece after silence: all layers' signals lie in memory


@torch.no_grad()
def activation_maxima(encoder: StreamingModule, decoder: Sampled, audio: np.ndarray) -> dict[str, Tensor]:
    """audio [N] at the model's rate -> `calibration.input` and `.gated` [L, R], `.head` and `.classify` [S]."""
    n = len(audio) // encoder.block * encoder.block
    heard = torch.from_numpy(np.ascontiguousarray(audio[:n], np.float32))[None, None]
    latent, _ = encoder.step(heard, encoder.init_state(1))
    frames = max(1, PIECE // decoder.hop)
    found: dict[str, Tensor] = {}
    for z, x in zip(latent.split(frames, dim=2), heard[:, 0].split(frames * decoder.hop, dim=1), strict=True):
        hears = told(decoder, z)
        maxima = _maxima(net_of(decoder), hears.latent, sound_classes(decoder, x), hears.guide)
        for name, largest in maxima.items():
            found[name] = torch.maximum(found.get(name, largest), largest)
    return found


def _maxima(
    decoder: WaveNetDecoder, latent_BDT: Tensor, classes_BN: Tensor, guide_BN: Tensor | None
) -> dict[str, Tensor]:
    seen: dict[str, list[Tensor]] = {"input": [], "gated": [], "head": [], "classify": []}

    def watch(name: str, x_BNC: Tensor) -> None:
        seen[name].append(x_BNC.abs().amax(dim=(0, 1)))

    decoder.logits(latent_BDT, classes_BN, watch, guide_BN=guide_BN)
    return {
        f"calibration.{name}": torch.stack(layers) if name in ("input", "gated") else layers[0]
        for name, layers in seen.items()
    }
