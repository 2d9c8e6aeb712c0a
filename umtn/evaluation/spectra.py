"""Offline spectra that the judges hear by. Windows are centred on their frame: nothing here is causal.

Legend: B clip, N sample, R resolution, F bin, T frame (10 ms).
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["FRAME_S", "HOP", "RATE", "BandSpectrum", "LogMel"]

RATE = 24_000  # the judges' own sample rate; other material is resampled to it
HOP = 240
FRAME_S = HOP / RATE
FLOOR_DB = -80.0


def _filters(edges_hz: list[tuple[float, float, float]], size: int) -> Tensor:
    """Triangles (low, middle, high) over the bins of an FFT of `size`, each summing to 1, sparse [F, bins].

    No triangle is narrower than a bin to either side, so narrow bands interpolate between two bins.
    """
    bin_hz = RATE / size
    axis = torch.arange(size // 2 + 1, dtype=torch.float64) * bin_hz
    rows = []
    for low, middle, high in edges_hz:
        up = (axis - middle) / max(middle - low, bin_hz) + 1
        down = 1 - (axis - middle) / max(high - middle, bin_hz)
        row = torch.minimum(up, down).clamp(min=0)
        rows.append((row / row.sum()).float())
    table = torch.stack(rows)
    return table[:, : int(table.any(dim=0).nonzero().max()) + 1].to_sparse()


def _filtered(audio_BN: Tensor, window: Tensor, filters_FK: Tensor) -> Tensor:
    """Power in each band [B, F, N / HOP + 1]; a full-scale sine on a band's middle is about 1."""
    size, (_, k) = len(window), filters_FK.shape
    spectrum = torch.stft(
        audio_BN, size, HOP, window=window, center=True, pad_mode="constant", return_complex=True
    )
    b, _, t = spectrum.shape
    lower = torch.view_as_real(spectrum[:, :k].transpose(0, 1).reshape(k, b * t))
    power = lower.square().sum(dim=2) * (2 / window.sum()) ** 2
    return torch.sparse.mm(filters_FK, power).reshape(-1, b, t).transpose(0, 1)


class BandSpectrum(nn.Module):
    """audio_BN -> log power [B, R, F, T]: three bins a semitone, from `lowest` - 1/3, at three resolutions.

    The finest sees nothing above 3 kHz: there the middle one tells semitones apart well enough.
    """

    sizes = (8192, 4096, 1024)
    finest_top_hz = 3000.0

    def __init__(self, lowest: int, semitones: int) -> None:
        super().__init__()
        centres = [440 * 2 ** ((lowest + (i - 1) / 3 - 69) / 12) for i in range(3 * semitones)]
        step = 2 ** (1 / 36)
        edges = [(f / step, f, f * step) for f in centres]
        self.bands = len(edges)
        for size in self.sizes:
            self.register_buffer(f"window{size}", torch.hann_window(size), persistent=False)
            top_hz = self.finest_top_hz if size == max(self.sizes) else RATE
            used = [e for e in edges if e[2] < top_hz]
            self.register_buffer(f"filters{size}", _filters(used, size), persistent=False)

    def forward(self, audio_BN: Tensor) -> Tensor:
        found = []
        for size in self.sizes:
            power = _filtered(audio_BN, getattr(self, f"window{size}"), getattr(self, f"filters{size}"))
            found.append(F.pad(power, (0, 0, 0, self.bands - power.shape[1])))
        return 0.1 * torch.log(torch.stack(found, dim=1) + 1e-8) + 1.0


class LogMel(nn.Module):
    """audio_BN -> mel spectrum in dBFS [B, 64, T], never below -80."""

    bands, size = 64, 1024

    window: Tensor
    filters: Tensor

    def __init__(self) -> None:
        super().__init__()
        low, high = (2595 * math.log10(1 + f / 700) for f in (40.0, 11_500.0))
        points = [low + (high - low) * i / (self.bands + 1) for i in range(self.bands + 2)]
        hz = [700 * (10 ** (m / 2595) - 1) for m in points]
        edges = [(hz[i], hz[i + 1], hz[i + 2]) for i in range(self.bands)]
        self.register_buffer("window", torch.hann_window(self.size), persistent=False)
        self.register_buffer("filters", _filters(edges, self.size), persistent=False)

    def forward(self, audio_BN: Tensor) -> Tensor:
        power = _filtered(audio_BN, self.window, self.filters)
        return 10 * torch.log10(power.clamp(min=10 ** (FLOOR_DB / 10)))
