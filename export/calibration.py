"""How large a WaveNet decoder's signals become while it says real sound: what int8 engines scale by.

The decoder hears the recording as its own past (teacher forcing) and the encoder's latent of it, so that one
parallel pass sees every layer at work. Legend: L layer, R residual, S skip.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from umtn.decoders.wavenet import WaveNetDecoder
from umtn.mulaw import mulaw_encode
from umtn.streaming import StreamingModule

__all__ = ["activation_maxima"]


class _Largest:
    """A hook that keeps the largest magnitude of each channel that a module is given."""

    def __init__(self, module: nn.Module) -> None:
        self.value: Tensor | None = None
        self._handle = module.register_forward_pre_hook(self._look)

    def _look(self, module: nn.Module, arguments: tuple[Tensor, ...]) -> None:
        seen = arguments[0].abs().amax(dim=(0, 2))
        self.value = seen if self.value is None else torch.maximum(self.value, seen)

    def close(self) -> Tensor:
        self._handle.remove()
        assert self.value is not None
        return self.value


@torch.no_grad()
def activation_maxima(
    encoder: StreamingModule, decoder: WaveNetDecoder, audio: np.ndarray
) -> dict[str, Tensor]:
    """audio [N] at the model's rate -> `calibration.input` and `.gated` [L, R], `.head` and `.classify` [S]."""
    n = len(audio) // encoder.block * encoder.block
    heard = torch.from_numpy(np.ascontiguousarray(audio[:n], np.float32))[None, None]
    latent, _ = encoder.step(heard, encoder.init_state(1))
    groups: dict[str, list[nn.Module]] = {
        "input": list(decoder.dilated),
        "gated": list(decoder.output),
        "head": [decoder.head],
        "classify": [decoder.classify],
    }
    hooks = {name: [_Largest(module) for module in modules] for name, modules in groups.items()}
    decoder.logits(latent, mulaw_encode(heard[:, 0], decoder.classes))
    found = {name: torch.stack([hook.close() for hook in list_]) for name, list_ in hooks.items()}
    return {
        f"calibration.{name}": (value if name in ("input", "gated") else value[0]).contiguous()
        for name, value in found.items()
    }
