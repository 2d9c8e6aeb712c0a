"""Sub-bands to audio: a cosine-modulated synthesis filter bank that may learn on."""

import math

import torch
from torch import Tensor

from umtn.layers import CausalConvTranspose1d

__all__ = ["subband_filters", "subband_synthesis"]

BETA = 9.0  # of the prototype's Kaiser window
OVERLAP = 16  # taps for each band
EDGE = 1.136  # where the prototype has fallen by half, in half a band's width (Yang et al. 2021)


def subband_filters(bands: int) -> Tensor:
    """Near-perfect reconstruction filters [bands, taps], taps = 16 * bands, each with a delay of half of them.

    Band k holds the frequencies from k / bands to (k + 1) / bands of Nyquist (Nguyen 1994; the cut-off for four bands
    of Yang et al. 2021, "Multi-band MelGAN").
    """
    taps = OVERLAP * bands
    n = torch.arange(taps, dtype=torch.float64) - (taps - 1) / 2
    cutoff = EDGE / (2 * bands)
    window = torch.kaiser_window(taps, periodic=False, beta=BETA, dtype=torch.float64)
    prototype = cutoff * torch.sinc(cutoff * n) * window
    k = torch.arange(bands, dtype=torch.float64)[:, None]
    phase = (1 - 2 * (k % 2)) * math.pi / 4
    return (2 * bands * prototype * torch.cos((2 * k + 1) * math.pi / (2 * bands) * n - phase)).float()


def subband_synthesis(bands: int) -> CausalConvTranspose1d:
    """Critically sampled sub-bands [B, bands, T / bands] -> audio [B, 1, T]; it begins as the bank above."""
    filters = subband_filters(bands)
    layer = CausalConvTranspose1d(bands, 1, filters.shape[1], bands)
    with torch.no_grad():
        layer.conv.weight.copy_(filters.unsqueeze(1))
    return layer
