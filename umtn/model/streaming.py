"""Streaming modules and their containers: state goes in and comes out, nothing is hidden in the module.

Shape legend: B stream, C channel, P pitch, T time (always last). A `State` is a flat list of contiguous
tensors, stream first, in module order. `forward` is `step` from a zero state, so that streamed and offline
audio are one code path. No `from __future__ import annotations` here: TorchScript reads the annotations.
"""

import math
from fractions import Fraction
from typing import Dict, List, Tuple

import torch
from torch import Tensor, nn

__all__ = [
    "Delay",
    "Pointwise",
    "Residual",
    "State",
    "StreamingModule",
    "StreamingSequential",
    "parameters",
    "smallest",
]

State = List[Tensor]


class StreamingModule(nn.Module):
    """Base of every layer that can be fed piece by piece.

    Class attributes a layer overrides:
      block            `step` takes T = n * block input steps
      latency          output steps by which the layer lags a look-ahead-free one
      ratio            output steps per input step
      receptive_field  input steps, the current block's last one included, that reach one output step
    """

    block: int
    latency: int
    _anchor: Tensor
    # exact fractions and infinities are for people and tests; TorchScript need not compile them
    __jit_unused_properties__ = ["ratio", "receptive_field"]

    def __init__(self) -> None:
        super().__init__()
        self.block = 1
        self.latency = 0
        self.register_buffer("_anchor", torch.zeros(0), persistent=False)

    @property
    def ratio(self) -> Fraction:
        return Fraction(1)

    @property
    def receptive_field(self) -> float:
        return 1

    @torch.jit.export
    def init_state(self, streams: int) -> List[Tensor]:
        """A zero state for `streams` independent streams."""
        empty: List[Tensor] = []
        return empty

    @torch.jit.unused
    def state_names(self) -> List[str]:
        """One name per state tensor, in order; they become the ONNX names."""
        return []

    def step(self, x: Tensor, state: List[Tensor]) -> Tuple[Tensor, List[Tensor]]:
        """Consume n blocks of x, return what they give and the state after them. Pure."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        """Offline: the same arithmetic from a zero state."""
        y, _ = self.step(x, self.init_state(x.shape[0]))
        return y


class Delay(StreamingModule):
    """Holds x_BCT back by `steps`; what aligns a skip connection with a layer that lags."""

    def __init__(self, channels: int, steps: int) -> None:
        super().__init__()
        self.channels = channels
        self.steps = steps
        self.latency = steps

    @torch.jit.export
    def init_state(self, streams: int) -> List[Tensor]:
        return [self._anchor.new_zeros([streams, self.channels, self.steps])]

    @torch.jit.unused
    def state_names(self) -> List[str]:
        return ["delayed"]

    def step(self, x: Tensor, state: List[Tensor]) -> Tuple[Tensor, List[Tensor]]:
        x = torch.cat([state[0], x], dim=2)
        return x[:, :, : x.shape[2] - self.steps], [x[:, :, x.shape[2] - self.steps :].contiguous()]


class Pointwise(StreamingModule):
    """Wraps a module that works on every time step alone (activation, 1x1 convolution, norm over channels)."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def step(self, x: Tensor, state: List[Tensor]) -> Tuple[Tensor, List[Tensor]]:
        new: List[Tensor] = []
        return self.module(x), new


class StreamingSequential(StreamingModule):
    """Layers one after the other; states are listed in layer order."""

    def __init__(self, *layers: StreamingModule) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.counts: List[int] = [len(layer.state_names()) for layer in layers]
        self.block = self._find_block(list(layers))
        latency = Fraction(0)
        for layer in layers:
            latency = latency * layer.ratio + layer.latency
        self.latency = math.ceil(latency)

    @staticmethod
    def _find_block(layers: List[StreamingModule]) -> int:
        block, ratio = 1, Fraction(1)
        for layer in layers:
            needed = Fraction(layer.block) / ratio
            block = math.lcm(block, needed.numerator)
            ratio *= layer.ratio
        return block

    @property
    def ratio(self) -> Fraction:
        return math.prod((layer.ratio for layer in self.layers), start=Fraction(1))  # type: ignore

    @property
    def receptive_field(self) -> float:
        """From one output step back to the input; where an upsampled stretch begins is taken at its worst."""
        needed = 1
        for layer in reversed(self.layers):
            field: float = layer.receptive_field  # type: ignore[assignment]
            if math.isinf(field):
                return math.inf
            ratio: Fraction = layer.ratio  # type: ignore[assignment]
            if ratio <= 1:
                before = int((needed - 1) / ratio)
            else:
                before = (needed - 2) // int(ratio) + 1 if needed > 1 else 0
            needed = before + int(field)
        return needed

    @torch.jit.export
    def init_state(self, streams: int) -> List[Tensor]:
        state: List[Tensor] = []
        for layer in self.layers:
            state.extend(layer.init_state(streams))  # type: ignore[operator]
        return state

    @torch.jit.unused
    def state_names(self) -> List[str]:
        return [f"{i}.{name}" for i, layer in enumerate(self.layers) for name in layer.state_names()]  # type: ignore[operator]

    def step(self, x: Tensor, state: List[Tensor]) -> Tuple[Tensor, List[Tensor]]:
        new: List[Tensor] = []
        first = 0
        for i, layer in enumerate(self.layers):
            x, after = layer.step(x, state[first : first + self.counts[i]])  # type: ignore[operator]
            first += self.counts[i]
            new.extend(after)
        return x, new


class Residual(StreamingModule):
    """x + inner(x), the skip delayed by as much as the inner layer lags."""

    def __init__(self, inner: StreamingModule, channels: int = 0) -> None:
        super().__init__()
        if inner.ratio != 1:
            raise ValueError(f"a residual layer keeps the rate; this one changes it by {inner.ratio}")
        self.inner = inner
        self.block = inner.block
        self.latency = inner.latency
        self.skip = StreamingSequential(*([Delay(channels, inner.latency)] if inner.latency else []))
        self.skip_count = len(self.skip.state_names())

    @property
    def receptive_field(self) -> float:
        return self.inner.receptive_field

    @torch.jit.export
    def init_state(self, streams: int) -> List[Tensor]:
        state = self.skip.init_state(streams)
        state.extend(self.inner.init_state(streams))
        return state

    @torch.jit.unused
    def state_names(self) -> List[str]:
        skip = [f"skip.{name}" for name in self.skip.state_names()]
        return skip + [f"inner.{name}" for name in self.inner.state_names()]

    def step(self, x: Tensor, state: List[Tensor]) -> Tuple[Tensor, List[Tensor]]:
        skip, new = self.skip.step(x, state[: self.skip_count])
        y, after = self.inner.step(x, state[self.skip_count :])
        new.extend(after)
        return skip + y, new


# How weights are written for those who play without PyTorch.


def parameters(module: StreamingModule) -> Dict[str, Tensor]:
    """A module's, as they are written."""
    return {name: value.detach().contiguous() for name, value in module.state_dict().items()}


def smallest(value: Tensor) -> Tensor:
    """In 16 bits if it loses nothing there."""
    if not value.is_floating_point():
        return value
    half = value.half()
    return half if torch.equal(half.float(), value) else value
