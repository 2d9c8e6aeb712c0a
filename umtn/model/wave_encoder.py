"""The paper's encoder on samples, and its causal twin that can be played live."""

from typing import List, Tuple

import torch
from torch import Tensor, nn

from umtn.model.companding import compand
from umtn.model.layers import AveragePool, CausalConv1d
from umtn.model.streaming import Pointwise, Residual, StreamingModule, StreamingSequential

__all__ = ["WaveEncoder"]


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
