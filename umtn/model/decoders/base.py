"""What every decoder offers: latent frames (and uniform noise) in, audio out, state explicit."""

from fractions import Fraction
from typing import List, Tuple

import torch
from torch import Tensor

from umtn.model.streaming import StreamingModule

__all__ = ["Decoder", "fold_noise", "unfold_noise"]


def fold_noise(noise_B1N: Tensor, hop: int) -> Tensor:
    """Noise per sample -> noise per latent frame: [B, 1, T * hop] -> [B, hop, T]."""
    b, n = noise_B1N.shape[0], noise_B1N.shape[2]
    return noise_B1N.reshape(b, n // hop, hop).transpose(1, 2)


def unfold_noise(noise_BHT: Tensor) -> Tensor:
    """The inverse of `fold_noise`."""
    b, h, t = noise_BHT.shape[0], noise_BHT.shape[1], noise_BHT.shape[2]
    return noise_BHT.transpose(1, 2).reshape(b, 1, t * h)


class Decoder(StreamingModule):
    """One domain's voice. `needs_noise`: draws on uniform noise in [0, 1), which is an input, never hidden.

    `step` takes latent and folded noise stacked as channels, so that a decoder is a streaming module like any
    other; hosts call `decode_step`, which takes them apart.
    """

    needs_noise: bool
    __jit_unused_properties__ = ["ratio", "receptive_field"]

    def __init__(self, latent_channels: int, hop: int, needs_noise: bool) -> None:
        super().__init__()
        self.latent_channels = latent_channels
        self.hop = hop
        self.needs_noise = needs_noise

    @property
    def ratio(self) -> Fraction:
        return Fraction(self.hop)

    def decode_step(
        self, latent_BDT: Tensor, noise_B1N: Tensor, temperature: Tensor, state: List[Tensor]
    ) -> Tuple[Tensor, List[Tensor]]:
        """Latent frames -> audio [B, 1, T * hop] and the state after it; temperature is a tensor of shape [1]."""
        raise NotImplementedError

    def step(self, x: Tensor, state: List[Tensor]) -> Tuple[Tensor, List[Tensor]]:
        noise = unfold_noise(x[:, self.latent_channels :])
        return self.decode_step(x[:, : self.latent_channels], noise, torch.ones(1, device=x.device), state)
