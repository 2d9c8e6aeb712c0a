"""The streaming layers: convolutions, pooling, upsampling, a recurrent memory. See `umtn.model.streaming`.

No `from __future__ import annotations` here: TorchScript reads the annotations.
"""

from __future__ import annotations

import math
from fractions import Fraction
from typing import List, Tuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from umtn.model.companding import compand
from umtn.model.streaming import Pointwise, Residual, StreamingModule, StreamingSequential

__all__ = [
    "AveragePool",
    "CausalConv1d",
    "CausalConv2d",
    "CausalConvTranspose1d",
    "PitchGRU",
    "Upsample",
    "WaveEncoder",
    "dilated_residual",
    "split_latent",
]


class _Carrying(StreamingModule):
    """A layer that hands one tensor on to its next block: of this name, and of this shape behind the stream.

    None where the last length is 0.
    """

    def __init__(self, name: str, shape: List[int]) -> None:
        super().__init__()
        self.carried_name = name
        self.carried = shape

    @torch.jit.export
    def init_state(self, streams: int) -> List[Tensor]:
        state: List[Tensor] = []
        if self.carried[-1] > 0:
            state.append(self._anchor.new_zeros([streams] + self.carried))
        return state

    @torch.jit.unused
    def state_names(self) -> List[str]:
        return [self.carried_name] if self.carried[-1] else []


class CausalConv1d(_Carrying):
    """Causal convolution, stride and dilation allowed; output n sees input up to (n + 1) * stride - 1.

    stride 2, kernel 4:    past . . | a b | c d |      y0 <- . . a b     y1 <- a b c d
                           context ^^^
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int,
        stride: int = 1,
        dilation: int = 1,
        groups: int = 1,
        bias: bool = True,
    ) -> None:
        span = (kernel - 1) * dilation + 1
        if span < stride:
            raise ValueError(f"a kernel that spans {span} steps skips input at stride {stride}")
        super().__init__("context", [in_channels, span - stride])
        self.conv = nn.Conv1d(
            in_channels, out_channels, kernel, stride=stride, dilation=dilation, groups=groups, bias=bias
        )
        self.stride = stride
        self.span = span
        self.context = span - stride
        self.block = stride

    @property
    def ratio(self) -> Fraction:
        return Fraction(1, self.stride)

    @property
    def receptive_field(self) -> float:
        return self.span

    def step(self, x: Tensor, state: List[Tensor]) -> Tuple[Tensor, List[Tensor]]:
        new: List[Tensor] = []
        if self.context > 0:
            x = torch.cat([state[0], x], dim=2)
            new.append(x[:, :, x.shape[2] - self.context :].contiguous())
        return self.conv(x), new


class CausalConv2d(_Carrying):
    """Convolution over pitch (centred, zero-padded, strided) and time (causal); x_BCPT.

    `pitches` is the length of the incoming pitch axis. `kernel` = (pitch, time), pitch odd.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: Tuple[int, int],
        pitches: int,
        dilation: int = 1,
        groups: int = 1,
        pitch_stride: int = 1,
    ) -> None:
        context = (kernel[1] - 1) * dilation
        super().__init__("context", [in_channels, pitches, context])
        self.conv = nn.Conv2d(
            in_channels,
            out_channels,
            kernel,
            stride=(pitch_stride, 1),
            padding=(kernel[0] // 2, 0),
            dilation=(1, dilation),
            groups=groups,
        )
        self.context = context

    @property
    def receptive_field(self) -> float:
        return self.context + 1

    def step(self, x: Tensor, state: List[Tensor]) -> Tuple[Tensor, List[Tensor]]:
        new: List[Tensor] = []
        if self.context > 0:
            x = torch.cat([state[0].to(x.dtype), x], dim=3)
            new.append(x[:, :, :, x.shape[3] - self.context :].contiguous())
        if self.training:  # the same numbers in another memory order: five times faster on a CPU in bfloat16
            x = x.contiguous(memory_format=torch.channels_last)
        return self.conv(x), new


def dilated_residual(channels: int, dilation: int) -> Residual:
    """x + (ReLU, dilated causal convolution of three taps, ReLU, 1x1)(x)."""
    return Residual(
        StreamingSequential(
            Pointwise(nn.ReLU()),
            CausalConv1d(channels, channels, 3, dilation=dilation),
            Pointwise(nn.ReLU()),
            Pointwise(nn.Conv1d(channels, channels, 1)),
        )
    )


class CausalConvTranspose1d(_Carrying):
    """Transposed convolution whose kernel's tail is carried to the next block (overlap-add).

    Output block n starts where input n arrives: no latency. kernel >= stride.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel: int, stride: int) -> None:
        if kernel < stride:
            raise ValueError(f"a kernel of {kernel} leaves gaps at stride {stride}")
        super().__init__("tail", [out_channels, kernel - stride])
        self.conv = nn.ConvTranspose1d(in_channels, out_channels, kernel, stride=stride, bias=False)
        self.bias = nn.Parameter(torch.zeros(out_channels))
        self.stride = stride
        self.tail = kernel - stride

    @property
    def ratio(self) -> Fraction:
        return Fraction(self.stride)

    @property
    def receptive_field(self) -> float:
        return 1 + math.ceil(self.tail / self.stride)

    def step(self, x: Tensor, state: List[Tensor]) -> Tuple[Tensor, List[Tensor]]:
        new: List[Tensor] = []
        y = self.conv(x)
        if self.tail > 0:
            length = x.shape[2] * self.stride
            y = y + F.pad(state[0], [0, length])
            new.append(y[:, :, length:].contiguous())
            y = y[:, :, :length]
        return y + self.bias[:, None], new


class AveragePool(StreamingModule):
    """Mean over blocks of `size` steps; x_BCT -> x_BC(T/size)."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.block = size
        self.size = size

    @property
    def ratio(self) -> Fraction:
        return Fraction(1, self.size)

    @property
    def receptive_field(self) -> float:
        return self.size

    def step(self, x: Tensor, state: List[Tensor]) -> Tuple[Tensor, List[Tensor]]:
        new: List[Tensor] = []
        return F.avg_pool1d(x, self.size), new


class Upsample(StreamingModule):
    """Nearest-neighbour upsampling: every step is repeated `factor` times."""

    def __init__(self, factor: int) -> None:
        super().__init__()
        self.factor = factor

    @property
    def ratio(self) -> Fraction:
        return Fraction(self.factor)

    def step(self, x: Tensor, state: List[Tensor]) -> Tuple[Tensor, List[Tensor]]:
        new: List[Tensor] = []
        b, c, t = x.shape[0], x.shape[1], x.shape[2]
        return x.unsqueeze(3).expand(b, c, t, self.factor).reshape(b, c, t * self.factor), new


class PitchGRU(_Carrying):
    """One GRU, run over time for every pitch with shared weights: x_BCPT -> y_BHPT.

    The memory of a note: how long ago it began, how it has decayed. State [B, P, H].
    """

    def __init__(self, in_channels: int, hidden: int, pitches: int) -> None:
        super().__init__("hidden", [pitches, hidden])
        self.gru = nn.GRU(in_channels, hidden, batch_first=True)
        # chrono initialisation (Tallec & Ollivier 2018): memories from one frame to a thousand, not all of two
        with torch.no_grad():
            spans = torch.exp(torch.linspace(0, math.log(1000.0), hidden))
            self.gru.bias_hh_l0[hidden : 2 * hidden] = torch.log(spans)  # type: ignore[operator]
            self.gru.bias_ih_l0[hidden : 2 * hidden] = 0  # type: ignore[operator]
        self.hidden = hidden

    @property
    def receptive_field(self) -> float:
        return math.inf

    def step(self, x: Tensor, state: List[Tensor]) -> Tuple[Tensor, List[Tensor]]:
        b, c, p, t = x.shape[0], x.shape[1], x.shape[2], x.shape[3]
        rows = x.permute(0, 2, 3, 1).reshape(b * p, t, c)
        y, h = self.gru(rows, state[0].reshape(1, b * p, self.hidden))
        return y.reshape(b, p, t, self.hidden).permute(0, 3, 1, 2), [h.reshape(b, p, self.hidden)]


def split_latent(z_BDT: Tensor, pitches: int, per_pitch: int) -> Tuple[Tensor, Tensor]:
    """z -> (per-pitch channels [B, per_pitch, P, T], room channels [B, G, T])."""
    b, t = z_BDT.shape[0], z_BDT.shape[2]
    split = per_pitch * pitches
    return z_BDT[:, :split].reshape(b, per_pitch, pitches, t), z_BDT[:, split:]


# The paper's encoder on samples, and its causal twin that can be played live.


class _Compand(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return compand(x, 256)


def _dilated(channels: int, kernel: int, dilation: int, causal: bool) -> StreamingModule:
    if causal:
        return CausalConv1d(channels, channels, kernel, dilation=dilation)
    return Pointwise(nn.Conv1d(channels, channels, kernel, dilation=dilation, padding="same"))


class WaveEncoder(StreamingModule):
    """audio_B1N -> z_BDT: blocks of dilated residual layers (1, 2, 4, ...), 1x1 to the latent, average pool.

    ReLU - dilated convolution - ReLU - 1x1 - add, as in Mor et al. 2018, figure 1. Non-causal (`streaming`
    False) it needs the whole recording; causal, every layer looks back only and it streams hop by hop.
    """

    def __init__(
        self, hop: int, blocks: int, layers: int, kernel: int, channels: int, latent: int, causal: bool
    ) -> None:
        super().__init__()
        self.streaming = causal
        self.block = hop
        parts: List[StreamingModule] = [Pointwise(_Compand()), Pointwise(nn.Conv1d(1, channels, 1))]
        for _ in range(blocks):
            for i in range(layers):
                inner = [Pointwise(nn.ReLU()), _dilated(channels, kernel, 2**i, causal)]
                inner += [Pointwise(nn.ReLU()), Pointwise(nn.Conv1d(channels, channels, 1))]
                parts.append(Residual(StreamingSequential(*inner)))
        parts += [Pointwise(nn.Conv1d(channels, latent, 1)), AveragePool(hop)]
        self.net = StreamingSequential(*parts)
        self.look_ahead = 0 if causal else blocks * (kernel - 1) // 2 * (2**layers - 1)
        self.history = blocks * (kernel - 1) * (2**layers - 1) - self.look_ahead

    @property
    def ratio(self):  # type: ignore[no-untyped-def]
        return self.net.ratio

    @property
    def receptive_field(self) -> float:
        return self.history + self.block

    @torch.jit.export
    def init_state(self, streams: int) -> List[Tensor]:
        return self.net.init_state(streams)

    @torch.jit.unused
    def state_names(self) -> List[str]:
        return [f"net.{name}" for name in self.net.state_names()]

    def step(self, x: Tensor, state: List[Tensor]) -> Tuple[Tensor, List[Tensor]]:
        return self.net.step(x, state)
