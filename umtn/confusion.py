"""The domain confusion network: guesses the domain from the latent, so that the encoder learns to hide it."""

import torch
from torch import Tensor, nn

__all__ = ["ConfusionNetwork"]


class ConfusionNetwork(nn.Module):
    """z_BDT -> logits_BK, averaged over time: 3 x (1x1 convolution, ELU), 1x1 (Mor et al. 2018, section 3.3)."""

    def __init__(self, latent_channels: int, channels: int, domains: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for width in (latent_channels, channels, channels):
            layers += [nn.Conv1d(width, channels, 1), nn.ELU()]
        self.net = nn.Sequential(*layers, nn.Conv1d(channels, domains, 1))

    def forward(self, z_BDT: Tensor) -> Tensor:
        return torch.mean(self.net(z_BDT), dim=2)
