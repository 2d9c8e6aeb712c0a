"""How far audio is from audio, whatever the phases: magnitudes at several resolutions (Yamamoto et al. 2020)."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["MultiResolutionLoss", "magnitudes"]

WINDOWS_S = (0.085, 0.043, 0.021, 0.011, 0.0053)
FLOOR = 1e-4  # of magnitudes, where a sine of amplitude A peaks at A: -80 dB


def magnitudes(audio_BN: Tensor, size: int) -> Tensor:
    """|STFT| [B, K, J] by a Hann window of `size`, four a window; a sine of amplitude A peaks at A."""
    window = torch.hann_window(size, device=audio_BN.device)
    spectrum = torch.stft(
        audio_BN, size, size // 4, window=window, center=True, pad_mode="constant", return_complex=True
    )
    # abs() has no slope at 0
    return (spectrum.real.square() + spectrum.imag.square() + 1e-12).sqrt() * (4 / size)


class MultiResolutionLoss(nn.Module):
    """Mean over windows of the log distance, the distance of log energies, and the spectral convergence of a clip."""

    def __init__(self, rate: int) -> None:
        super().__init__()
        self.sizes = [2 ** round(math.log2(rate * s)) for s in WINDOWS_S]

    def forward(self, given_BN: Tensor, wanted_BN: Tensor, weight_BT: Tensor) -> Tensor:
        """weight_BT: of each of the T stretches of equal length that the audio is made of."""
        loss = torch.zeros((), device=given_BN.device)
        for size in self.sizes:
            given, wanted = magnitudes(given_BN, size), magnitudes(wanted_BN, size)
            w = F.interpolate(weight_BT[:, None], given.shape[2])  # B, 1, J
            apart = ((given + FLOOR).log() - (wanted + FLOOR).log()).abs().mean(dim=1, keepdim=True)
            loss = loss + (apart * w).sum() / w.sum().clamp(min=1.0)
            # the whole frame's energy once more: of all bins most are quiet, and would have the loud ones quiet too
            energy = [(x.square().sum(dim=1, keepdim=True) + 10 * FLOOR**2).log() for x in (given, wanted)]
            loss = loss + ((energy[0] - energy[1]).abs() * w).sum() / w.sum().clamp(min=1.0)
            off = ((given - wanted).square() * w).sum(dim=(1, 2)) + FLOOR**2
            size_of = ((wanted.square() + FLOOR**2) * w).sum(dim=(1, 2)) + FLOOR**2
            # its logarithm: a clip of silence is not to outvote notes
            loss = loss + torch.log1p((off / size_of).sqrt()).mean()
        return loss / len(self.sizes)
