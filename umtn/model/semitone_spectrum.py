"""A causal spectrum in semitone thirds: the ear of the pitch encoder.

Every analysis window ends at the newest sample and leans towards it (a quarter rise, three quarters fall,
seen from now backwards), so that a new note shows within milliseconds although the window is long enough to
tell neighbouring semitones apart. Two resolutions: `fine` (three bins a semitone, Q about 68) resolves chords,
`quick` (one bin a semitone, two to eight hops) shows attacks. At twice the rate, with twice the hop and the longest
window twice as long, it says the same.
"""

import math
from fractions import Fraction
from typing import List, Tuple

import torch
from torch import Tensor, nn

from umtn.model.streaming import StreamingModule

__all__ = ["CausalSpectrum", "heard_hz", "leaning_window"]

QUALITY = 68.0


def leaning_window(length: int) -> Tensor:
    """Asymmetric raised-cosine window [length] over past samples, oldest first, peak at a quarter from now."""
    rise = max(1, length // 4)
    fall = length - rise
    old = 0.5 - 0.5 * torch.cos(math.pi * (torch.arange(fall, dtype=torch.float64) + 0.5) / fall)
    new = 0.5 + 0.5 * torch.cos(math.pi * (torch.arange(rise, dtype=torch.float64) + 0.5) / rise)
    return torch.cat([old, new])


def heard_hz(top_hz: float, rate: int) -> float:
    """The highest frequency that is analysed: the asked one, or what the rate can carry."""
    return min(top_hz, 0.46 * rate)


def _kernels(frequencies_hz: List[float], lengths: List[int], size: int, rate: int) -> Tensor:
    """Windowed complex sinusoids [size, 2 * bins]; a full-scale sine on a bin gives magnitude 1."""
    age = torch.arange(size - 1, -1, -1, dtype=torch.float64)
    columns = torch.zeros(2, len(lengths), size, dtype=torch.float64)
    for i, (f, length) in enumerate(zip(frequencies_hz, lengths)):
        window = leaning_window(length)
        angle = 2 * math.pi * f / rate * age[size - length :]
        columns[0, i, size - length :] = 2 / window.sum() * window * torch.cos(angle)
        columns[1, i, size - length :] = 2 / window.sum() * window * torch.sin(angle)
    return columns.reshape(2 * len(lengths), size).T.float().contiguous()


class _KernelGroup(nn.Module):
    """Analysis bins whose windows fit in the same size: short windows are not padded to the longest."""

    def __init__(self, kernel: Tensor) -> None:
        super().__init__()
        self.size = kernel.shape[0]
        self.register_buffer("kernel", kernel, persistent=False)

    def forward(self, frames_BTL: Tensor) -> Tensor:
        y = torch.matmul(frames_BTL[:, :, frames_BTL.shape[2] - self.size :], self.kernel)  # type: ignore[arg-type]
        re, im = y.chunk(2, dim=2)
        return 0.1 * torch.log(re * re + im * im + 1e-8) + 1.0


def _size(length: int) -> int:
    """A power of two, or three quarters of one, that holds so much."""
    power = 1 << (length - 1).bit_length()
    return 3 * power // 4 if length <= 3 * power // 4 else power


def _groups(f_hz: List[float], quality: float, least: int, most: int, rate: int) -> nn.ModuleList:
    """Bins in ascending frequency, so that concatenating the groups keeps their order."""
    lengths = [int(min(most, max(least, quality * rate / f))) for f in f_hz]
    sizes = [_size(n) for n in lengths]
    groups = nn.ModuleList()
    for size in sorted(set(sizes), reverse=True):
        members = [i for i, s in enumerate(sizes) if s == size]
        groups.append(
            _KernelGroup(_kernels([f_hz[i] for i in members], [lengths[i] for i in members], size, rate))
        )
    return groups


class CausalSpectrum(StreamingModule):
    """audio_B1N -> log power [B, 2, bins, N / hop]: channel 0 fine, channel 1 quick (held over three bins).

    Scaled so that -80 dBFS is about -0.84 and a full-scale sine 1. State: the last `longest - hop` samples.
    """

    def __init__(
        self, rate: int, hop: int, lowest: int, longest: int = 4096, top_hz: float = 11000.0
    ) -> None:
        super().__init__()
        self.block = hop
        self.hop = hop
        self.longest = longest
        self.context = longest - hop
        top_hz = heard_hz(top_hz, rate)
        self.semitones = int(12 * math.log2(top_hz / 440.0) + 69) - lowest + 1
        self.bins = 3 * self.semitones
        fine = [440.0 * 2 ** ((lowest + (b - 1) / 3 - 69) / 12) for b in range(self.bins)]
        quick = [440.0 * 2 ** ((lowest + s - 69) / 12) for s in range(self.semitones)]
        self.fine = _groups(fine, QUALITY, min(4 * hop, longest), longest, rate)
        self.quick = _groups(quick, QUALITY / 4, min(2 * hop, longest), min(8 * hop, longest), rate)

    @property
    def ratio(self) -> Fraction:
        return Fraction(1, self.hop)

    @property
    def receptive_field(self) -> float:
        return self.longest

    @torch.jit.export
    def init_state(self, streams: int) -> List[Tensor]:
        return [self._anchor.new_zeros([streams, 1, self.context])]

    @torch.jit.unused
    def state_names(self) -> List[str]:
        return ["context"]

    def step(self, x: Tensor, state: List[Tensor]) -> Tuple[Tensor, List[Tensor]]:
        x = torch.cat([state[0], x], dim=2)
        after = x[:, :, x.shape[2] - self.context :].contiguous()
        if x.shape[2] == self.longest:  # one frame: nothing to gather, and the exported graph stays small
            frames = x
        else:
            frames = x[:, 0].unfold(1, self.longest, self.hop)
        fine: List[Tensor] = []
        for group in self.fine:
            fine.append(group(frames))
        quick: List[Tensor] = []
        for group in self.quick:
            quick.append(group(frames))
        fine_BTF = torch.cat(fine, dim=2)
        quick_BTS = torch.cat(quick, dim=2)
        b, t = fine_BTF.shape[0], fine_BTF.shape[1]
        held_BTF = quick_BTS.unsqueeze(3).expand(b, t, self.semitones, 3).reshape(b, t, self.bins)
        return torch.stack([fine_BTF, held_BTF], dim=1).transpose(2, 3), [after]
