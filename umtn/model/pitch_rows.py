"""The pitch encoder's layers, which besides pieces of any length can be fed a single frame as rows of pitches.

Shape legend: B stream, C channel, P pitch, T time, F feature. A frame as rows is [B, P, C]: every product is one
matrix by another with the weights to the right, which runtimes do fastest, and the states are kept in that order,
oldest frame first, so that moving them on by a frame is a plain copy. Both ways are the same function: the state after
one fits the other. No `from __future__ import annotations` here: TorchScript reads the annotations.
"""

from typing import List, Tuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from umtn.model.layers import CausalConv2d
from umtn.model.streaming import Pointwise, Residual, StreamingModule, StreamingSequential

__all__ = ["OUTSIDE", "HarmonicEntry", "PitchResidual", "product"]

OUTSIDE = -0.84  # log power of silence: what bins beyond the spectrum's ends say


def product(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """A convolution [out, in, ...] that reads all its inputs at once: x [N, in] -> [N, out]."""
    assert bias is not None  # TorchScript wants to be told
    return torch.addmm(bias, x, weight.reshape(weight.shape[0], -1).t())


class _Convolution(StreamingModule):
    """A convolution [pitch, time] whose state is one tensor [P, C] or [past, P, C]."""

    def __init__(self, conv: nn.Conv2d, name: str, shape: List[int]) -> None:
        super().__init__()
        self.conv = conv
        self.carried_name = name
        self.carried = shape

    @torch.jit.export
    def init_state(self, streams: int) -> List[Tensor]:
        return [self._anchor.new_zeros([streams] + self.carried)]

    @torch.jit.unused
    def state_names(self) -> List[str]:
        return [self.carried_name]


class HarmonicEntry(_Convolution):
    """Stacked harmonics [B, 2 H, 3 P, T] -> [B, C, P, T]: seven thirds around each pitch, now and one frame before.

    State: what this frame adds to the next one's output, [P, C].
    """

    windows: Tensor
    places: Tensor
    outside: Tensor

    def __init__(self, channels: int, pitches: int, shifts: List[int], bins: int) -> None:
        conv = nn.Conv2d(2 * len(shifts), channels, (7, 2), stride=(3, 1), padding=(3, 0))
        super().__init__(conv, "tail", [pitches, channels])
        self.channels = channels
        windows, places = _windows(pitches, shifts, bins)
        self.window = windows.shape[1]
        self.register_buffer("windows", torch.from_numpy(windows.flatten()), persistent=False)
        self.register_buffer("places", torch.from_numpy(places), persistent=False)
        self.register_buffer("outside", torch.tensor([[OUTSIDE, 0.0]]), persistent=False)

    @property
    def receptive_field(self) -> float:
        return 2

    def step(self, x: Tensor, state: List[Tensor]) -> Tuple[Tensor, List[Tensor]]:
        x = F.pad(x, [1, 0])
        tail = F.conv2d(
            x[:, :, :, x.shape[3] - 1 :], self.conv.weight[:, :, :, :1], None, [3, 1], [3, 0]
        )  # not the bias, which its own frame brings
        if self.training:  # the same numbers in another memory order: five times faster on a CPU in bfloat16
            x = x.contiguous(memory_format=torch.channels_last)
        y = self.conv(x)
        before = state[0].transpose(1, 2).unsqueeze(3).to(y.dtype)
        y = y + F.pad(before, [0, y.shape[3] - 1])
        return y, [tail[:, :, :, 0].transpose(1, 2).contiguous()]

    def rows(self, levels: Tensor, tail: Tensor) -> Tuple[Tensor, Tensor]:
        """Log power [B, fine and quick bins] -> [B, P, C], not stacked first: windows that agree are gathered once."""
        b = levels.shape[0]
        known = torch.cat([levels, self.outside.expand(b, 2)], dim=1)
        cut = known.index_select(1, self.windows).reshape(b, -1, self.window)
        inputs = cut.index_select(1, self.places).reshape(b, tail.shape[1], -1)
        weight = self.conv.weight.permute(1, 2, 3, 0).reshape(-1, 2 * self.channels)
        later, now = torch.matmul(inputs, weight).split(self.channels, dim=2)
        bias = self.conv.bias
        assert bias is not None
        return now + (tail + bias), later


def _windows(pitches: int, shifts: List[int], bins: int) -> Tuple[np.ndarray, np.ndarray]:
    """Which bins (`bins` fine ones, a third as many quick ones, then `outside` and the zero beyond the pitches) the
    convolution reads for a pitch and a harmonic: distinct windows [n, 2 * 7], and the number of each in that order."""
    stacked = 3 * np.arange(pitches)[:, None, None] + np.arange(-3, 4)  # [P, 1, 7]
    bin = stacked + np.array(shifts)[:, None]  # [P, H, 7]
    outside = bins + bins // 3
    inside = (bin >= 0) & (bin < bins)
    both = np.stack([np.where(inside, bin, outside), np.where(inside, bins + bin // 3, outside)], axis=2)
    both[np.broadcast_to(((stacked < 0) | (stacked >= 3 * pitches))[:, :, None], both.shape)] = outside + 1
    windows, places = np.unique(both.reshape(-1, 14), axis=0, return_inverse=True)
    return windows, places.reshape(-1)


class _PastFrames(_Convolution):
    """Three taps over time, `dilation` frames apart. State: the frames before, [2 * dilation, P, C]."""

    def __init__(self, channels: int, pitches: int, dilation: int) -> None:
        conv = nn.Conv2d(channels, channels, (1, 3), dilation=(1, dilation))
        super().__init__(conv, "context", [2 * dilation, pitches, channels])
        self.dilation = dilation

    @property
    def receptive_field(self) -> float:
        return 2 * self.dilation + 1

    def step(self, x: Tensor, state: List[Tensor]) -> Tuple[Tensor, List[Tensor]]:
        x = torch.cat([state[0].permute(0, 3, 2, 1).to(x.dtype), x], dim=3)
        kept = x[:, :, :, x.shape[3] - 2 * self.dilation :].permute(0, 3, 2, 1).contiguous()
        if self.training:  # as above
            x = x.contiguous(memory_format=torch.channels_last)
        return self.conv(x), [kept]

    def rows(self, x: Tensor, past: Tensor) -> Tuple[Tensor, Tensor]:
        """[B, 1, P, C] -> [B * P, C], and the state after it."""
        d = self.dilation
        oldest, rest = past.split([1, 2 * d - 1], dim=1)
        taps = torch.cat([oldest, rest[:, d - 1 : d], x], dim=3)
        y = product(taps.reshape(-1, taps.shape[3]), self.conv.weight.permute(0, 3, 1, 2), self.conv.bias)
        return y, torch.cat([rest, x], dim=1)


class PitchResidual(Residual):
    """Time, then an octave up and down, then channels: each cheap, together they see a chord."""

    def __init__(self, channels: int, pitches: int, dilation: int) -> None:
        super().__init__(
            StreamingSequential(
                _PastFrames(channels, pitches, dilation),
                Pointwise(nn.ReLU()),
                CausalConv2d(channels, channels, (25, 1), pitches, groups=channels),
                Pointwise(nn.Conv2d(channels, channels, 1)),
                Pointwise(nn.ReLU()),
                Pointwise(nn.Conv2d(channels, channels, 1)),
            )
        )
        self.channels = channels
        self.pitches = pitches

    @torch.jit.export
    def rows(self, x: Tensor, past: Tensor) -> Tuple[Tensor, Tensor]:
        """[B, 1, P, C] -> the same."""
        layers = self.inner.layers
        heard, kept = layers[0].rows(x, past)  # type: ignore
        octave, first, second = layers[2].conv, layers[3].module, layers[5].module  # type: ignore
        heard = torch.relu(heard).reshape(-1, 1, self.pitches, self.channels).permute(0, 3, 1, 2)
        # along the last axis of an image, where runtimes convolve fastest
        weight = octave.weight.transpose(2, 3)
        heard = F.conv2d(heard, weight, octave.bias, padding=[0, 12], groups=self.channels)
        heard = heard.permute(0, 2, 3, 1).reshape(-1, self.channels)
        heard = product(torch.relu(product(heard, first.weight, first.bias)), second.weight, second.bias)
        return x + heard.reshape(x.shape), kept
