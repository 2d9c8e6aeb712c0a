"""Filtered noise: breath, bow and hammer. White noise split into bands, each with a gain that ramps per hop."""

import math
from fractions import Fraction
from typing import List, Tuple

import torch
import torch.nn.functional as F
from torch import Tensor

from umtn.model.decoders.base import unfold_noise
from umtn.model.streaming import StreamingModule

__all__ = ["NoiseBank", "band_edges_hz", "band_filters", "mel_of"]


def mel_of(hz: float) -> float:
    """The mel of a frequency (O'Shaughnessy 1987)."""
    return 2595 * math.log10(1 + hz / 700)


def band_edges_hz(bands: int, rate: int, step_mel: float = 0.0) -> List[float]:
    """Mel-spaced edges from 0, `bands` + 2 of them (triangles overlap by half); step_mel 0: up to Nyquist."""
    step = step_mel or mel_of(rate / 2) / (bands + 1)
    return [700 * (10 ** (step * i / 2595) - 1) for i in range(bands + 2)]


def band_filters(bands: int, taps: int, rate: int, step_mel: float = 0.0) -> Tensor:
    """FIR band passes [bands, taps]: triangles on the mel scale that sum to one, all with a delay of taps/2.

    Equal gains thus give white noise: neighbouring bands share one noise and add in amplitude, not in power.
    """
    edges = band_edges_hz(bands, rate, step_mel)
    size = 16 * (taps + 1)
    f = torch.arange(size // 2 + 1, dtype=torch.float64) * rate / size
    window = torch.hann_window(taps + 2, periodic=False, dtype=torch.float64)[1:-1]
    filters = []
    for low, centre, high in zip(edges, edges[1:], edges[2:]):
        shape = torch.minimum((f - low) / (centre - low), (high - f) / (high - centre)).clamp(min=0)
        response = torch.fft.irfft(shape.to(torch.complex128), size).roll(taps // 2)[:taps]
        filters.append(response * window)
    return torch.stack(filters).float()


class NoiseBank(StreamingModule):
    """(gains [B, M, T], uniform noise [B, 1, T * hop]) -> audio [B, 1, T * hop].

    State: the noise still inside the filters, and the gains at the last frame's end.
    """

    filters: Tensor
    fade: Tensor

    def __init__(self, rate: int, hop: int, bands: int, taps: int = 127, step_mel: float = 0.0) -> None:
        super().__init__()
        self.hop = hop
        self.bands = bands
        self.taps = taps
        self.register_buffer(
            "filters", band_filters(bands, taps, rate, step_mel).unsqueeze(1), persistent=False
        )
        k = torch.arange(1, hop + 1, dtype=torch.float32) / hop
        self.register_buffer("fade", torch.stack([1 - k, k]), persistent=False)

    @property
    def ratio(self) -> Fraction:
        return Fraction(self.hop)

    @property
    def receptive_field(self) -> float:
        return 1 + math.ceil((self.taps - 1) / self.hop)

    @torch.jit.export
    def init_state(self, streams: int) -> List[Tensor]:
        return [
            self._anchor.new_zeros([streams, 1, self.taps - 1]),
            self._anchor.new_zeros([streams, self.bands]),
        ]

    @torch.jit.unused
    def state_names(self) -> List[str]:
        return ["white", "gain"]

    def step(self, x: Tensor, state: List[Tensor]) -> Tuple[Tensor, List[Tensor]]:
        """x_BCT: a channel per gain, then the noise folded by hop."""
        return self.run(x[:, : self.bands], unfold_noise(x[:, self.bands :]), state)

    def run(self, gain_BMT: Tensor, noise_B1N: Tensor, state: List[Tensor]) -> Tuple[Tensor, List[Tensor]]:
        b, m, t = gain_BMT.shape[0], self.bands, gain_BMT.shape[2]
        white = torch.cat([state[0], (noise_B1N - 0.5) * math.sqrt(12.0)], dim=2)  # unit variance, zero mean
        banded = F.conv1d(white, self.filters).reshape(b, m, t, self.hop)
        start = torch.cat([state[1].unsqueeze(2), gain_BMT], dim=2)[:, :, :t]
        ramp = start.unsqueeze(3) * self.fade[0] + gain_BMT.unsqueeze(3) * self.fade[1]
        audio = (banded * ramp).sum(dim=1).reshape(b, 1, t * self.hop)
        after = [
            white[:, :, white.shape[2] - self.taps + 1 :].contiguous(),
            gain_BMT[:, :, t - 1].contiguous(),
        ]
        return audio, after
