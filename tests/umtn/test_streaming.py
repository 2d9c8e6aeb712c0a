"""Every layer of `umtn/model/streaming.py` keeps the contract, nested or alone, and scripts."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from tests.contract import check_contract, stream
from umtn.model.layers import (
    AveragePool,
    CausalConv1d,
    CausalConv2d,
    CausalConvTranspose1d,
    PitchGRU,
    Upsample,
)
from umtn.model.streaming import Delay, Pointwise, Residual, State, StreamingModule, StreamingSequential

Make = Callable[[], StreamingModule]


def nested() -> StreamingModule:
    """Down by 6, a residual stack with a lag inside, up by 6: what a small translator is made of."""
    lagging = StreamingSequential(
        CausalConv1d(6, 6, 3, dilation=2, groups=3), Delay(6, 2), Pointwise(nn.Tanh())
    )
    return StreamingSequential(
        CausalConv1d(2, 6, 4, stride=2),
        Pointwise(nn.ELU()),
        AveragePool(3),
        Residual(lagging, channels=6),
        Residual(StreamingSequential(Residual(CausalConv1d(6, 6, 2)), Pointwise(nn.Conv1d(6, 6, 1)))),
        Upsample(3),
        CausalConvTranspose1d(6, 2, 5, stride=2),
    )


def folded_pitch() -> StreamingModule:
    return StreamingSequential(
        CausalConv2d(2, 4, (3, 2), pitches=6, pitch_stride=2),
        Pointwise(nn.ELU()),
        CausalConv2d(4, 2, (1, 3), pitches=3),
    )


LAYERS: dict[str, tuple[Make, tuple[int, ...]]] = {
    "conv": (lambda: CausalConv1d(2, 3, 5), (2, 40)),
    "conv 1x1": (lambda: CausalConv1d(2, 3, 1), (2, 24)),
    "conv stride": (lambda: CausalConv1d(2, 3, 7, stride=3), (2, 48)),
    "conv kernel = stride": (lambda: CausalConv1d(2, 3, 4, stride=4), (2, 48)),
    "conv dilation": (lambda: CausalConv1d(2, 3, 3, dilation=4), (2, 40)),
    "conv stride dilation": (lambda: CausalConv1d(2, 3, 3, stride=2, dilation=3), (2, 40)),
    "conv groups": (lambda: CausalConv1d(4, 4, 3, groups=2, bias=False), (4, 24)),
    "conv depthwise": (lambda: CausalConv1d(4, 8, 3, stride=2, groups=4), (4, 24)),
    "conv 2d": (lambda: CausalConv2d(2, 3, (3, 4), pitches=5), (2, 5, 24)),
    "conv 2d dilation": (lambda: CausalConv2d(2, 4, (5, 3), pitches=6, dilation=3, groups=2), (2, 6, 32)),
    "conv 2d pitch stride": (lambda: CausalConv2d(2, 3, (3, 2), pitches=7, pitch_stride=2), (2, 7, 24)),
    "conv 2d pointwise": (lambda: CausalConv2d(2, 3, (1, 1), pitches=4), (2, 4, 24)),
    "transposed": (lambda: CausalConvTranspose1d(2, 3, 4, stride=2), (2, 24)),
    "transposed ragged": (lambda: CausalConvTranspose1d(2, 3, 7, stride=3), (2, 24)),
    "transposed kernel = stride": (lambda: CausalConvTranspose1d(2, 3, 3, stride=3), (2, 24)),
    "pool": (lambda: AveragePool(4), (2, 48)),
    "upsample": (lambda: Upsample(3), (2, 24)),
    "delay": (lambda: Delay(2, 5), (2, 40)),
    "pointwise": (lambda: Pointwise(nn.Sequential(nn.Conv1d(2, 5, 1), nn.Tanh())), (2, 24)),
    "gru": (lambda: PitchGRU(2, 4, pitches=3), (2, 3, 24)),
    "residual": (lambda: Residual(CausalConv1d(2, 2, 3, dilation=2)), (2, 24)),
    "residual with a lag": (
        lambda: Residual(StreamingSequential(CausalConv1d(2, 2, 3), Delay(2, 3)), channels=2), (2, 24)
    ),
    "empty": (lambda: StreamingSequential(), (2, 24)),
    "pool after delay": (lambda: StreamingSequential(Delay(2, 1), AveragePool(2)), (2, 24)),
    "upsample then conv": (lambda: StreamingSequential(Upsample(2), CausalConv1d(2, 3, 2)), (2, 24)),
    "pool then upsample": (lambda: StreamingSequential(AveragePool(4), Upsample(4)), (2, 48)),
    "nested": (nested, (2, 144)),
    "folded pitch": (folded_pitch, (2, 6, 24)),
}  # fmt: skip


def build(name: str) -> tuple[StreamingModule, Tensor]:
    torch.manual_seed(1)
    make, shape = LAYERS[name]
    module = make()
    for parameter in module.parameters():  # biases that start at zero would hide a fault in them
        nn.init.normal_(parameter, std=0.5)
    return module, torch.randn(2, *shape)


@pytest.mark.parametrize("name", LAYERS)
def test_contract(name: str) -> None:
    check_contract(*build(name))


@pytest.mark.filterwarnings("ignore:.*torch.jit.script.*:DeprecationWarning")
@pytest.mark.parametrize("name", LAYERS)
def test_scripted_equals_eager(name: str) -> None:
    module, x = build(name)
    scripted = torch.jit.script(module)
    torch.testing.assert_close(scripted(x), module(x), rtol=0, atol=1e-6)
    state = scripted.init_state(2)
    streamed = []
    for piece in x.split(module.block, -1):
        y, state = scripted.step(piece, state)
        streamed.append(y)
    torch.testing.assert_close(torch.cat(streamed, -1), module(x), rtol=0, atol=1e-5)


def test_convolutions_equal_padded_ones() -> None:
    """The reference is torch's own convolution over an input padded on the left by span - stride."""
    torch.manual_seed(0)
    x = torch.randn(1, 2, 30)
    layer = CausalConv1d(2, 3, 4, stride=3, dilation=2)
    wanted = layer.conv(nn.functional.pad(x, (layer.span - 3, 0)))
    torch.testing.assert_close(layer(x), wanted)
    up = CausalConvTranspose1d(2, 3, 5, stride=2)
    torch.testing.assert_close(up(x), up.conv(x)[..., :60] + up.bias[:, None])


def test_bad_layers_are_refused() -> None:
    with pytest.raises(ValueError, match="skips input"):
        CausalConv1d(1, 1, 2, stride=3)
    with pytest.raises(ValueError, match="leaves gaps"):
        CausalConvTranspose1d(1, 1, 2, stride=3)
    with pytest.raises(ValueError, match="keeps the rate"):
        Residual(AveragePool(2))


# The check itself must fail where it ought to: one deliberate fault per clause.


class Faulty(StreamingModule):
    """A two-tap filter with one fault."""

    def __init__(self, fault: str) -> None:
        super().__init__()
        self.fault = fault
        self.hidden = torch.zeros(1)
        if fault == "latency":
            self.latency = 1

    @property
    def receptive_field(self) -> float:
        return 3 if self.fault == "receptive field" else 2

    def init_state(self, streams: int) -> State:
        return [torch.zeros(streams, 1, 1)]

    def state_names(self) -> list[str]:
        return ["a", "a"] if self.fault == "names" else ["a"]

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        past = torch.cat([state[0], x], -1)
        y = past[..., 1:] + 0.5 * past[..., :-1]
        after = past[..., -1:].contiguous()
        if self.fault == "hidden":
            y = y + self.hidden
            self.hidden = self.hidden + 1
        elif self.fault == "impure":
            state[0].add_(1)
        elif self.fault == "not causal":
            y = y + x.mean(-1, keepdim=True)
        elif self.fault == "forgets":
            after = after * 0.9
        elif self.fault == "shared":
            after = after.mean(0, keepdim=True).expand(len(x), 1, 1).contiguous()
        elif self.fault == "gradient":
            after = after.detach()
        elif self.fault == "shape":
            after = past[..., -2:].contiguous()
        return y, [after]


@pytest.mark.parametrize(
    ("fault", "match"),
    [
        ("latency", "latency 1 declared, 0 measured"),
        ("receptive field", "receptive field 3 declared, 2 measured"),
        ("names", "not unique"),
        ("hidden", "hidden in the module"),
        ("impure", "changed its input"),
        ("not causal", "differs|not causal"),
        ("forgets", "differs by"),
        ("shared", "differs by"),
        ("gradient", "gradient: differs"),
        ("shape", "became"),
    ],
)
def test_the_check_finds_a_fault(fault: str, match: str) -> None:
    check_contract(Faulty(""), torch.randn(1, 1, 24))
    with pytest.raises(AssertionError, match=match):
        check_contract(Faulty(fault), torch.randn(1, 1, 24))


def test_stream_covers_a_ragged_tail() -> None:
    y, _ = stream(Delay(1, 1), torch.arange(7.0).view(1, 1, 7), [3])
    assert y.flatten().tolist() == [0, 0, 1, 2, 3, 4, 5]
    assert math.isinf(StreamingSequential(PitchGRU(1, 1, 1), AveragePool(2)).receptive_field)
