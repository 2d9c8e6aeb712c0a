"""Mu-law companding whose encode and decode agree: silence is a class of its own, and decodes to exactly 0."""

import math
from typing import Tuple

import torch
from torch import Tensor, nn

__all__ = ["Emphasis", "compand", "expand", "leaning", "mulaw_decode", "mulaw_encode"]


def compand(x: Tensor, classes: int = 256) -> Tensor:
    """Audio in [-1, 1] -> companded in [-1, 1] (ITU-T G.711, mu = classes - 1)."""
    mu = float(classes - 1)
    x = x.clamp(-1.0, 1.0)
    return torch.sign(x) * torch.log1p(mu * x.abs()) / math.log1p(mu)


def expand(y: Tensor, classes: int = 256) -> Tensor:
    """The inverse of `compand`."""
    mu = float(classes - 1)
    return torch.sign(y) * (torch.exp(y.abs() * math.log1p(mu)) - 1.0) / mu


def mulaw_encode(x: Tensor, classes: int = 256) -> Tensor:
    """Audio -> class (int64). Class classes/2 is silence; class 0 is never used, so that both signs are alike."""
    half = classes // 2
    return torch.round(compand(x, classes) * (half - 1)).long() + half


def mulaw_decode(c: Tensor, classes: int = 256) -> Tensor:
    """Class -> audio (float32)."""
    half = classes // 2
    return expand((c - half).to(torch.float32) / (half - 1), classes)


def leaning(classes: int, lean: float) -> Tensor:
    """[A, A]: the class nearest to (1 - lean) of the second index' sound and lean of the first's; bytes if they do."""
    audio = mulaw_decode(torch.arange(classes), classes).double()
    wanted = lean * audio[:, None] + (1 - lean) * audio[None, :]
    borders = (audio[1:-1] + audio[2:]) / 2
    return (torch.bucketize(wanted, borders) + 1).to(torch.uint8 if classes <= 256 else torch.int32)


# Pre-emphasis: a sample loop draws sound with its treble lifted, so that mu-law's noise falls with music's spectrum.
#
# e[n] = x[n] - a x[n - 1] going in, y[n] = e[n] + a y[n - 1] coming out (as in LPCNet, Valin and Skoglund 2019).


class Emphasis(nn.Module):
    """Both filters, a hop at a time: the recursion is a triangular matrix, so that every runtime can do it."""

    answer: Tensor
    decay: Tensor

    def __init__(self, hop: int, amount: float) -> None:
        super().__init__()
        if not 0 <= amount < 1:
            raise ValueError(f"an emphasis of 0 to below 1 was wanted, not {amount:g}")
        self.hop = hop
        self.amount = amount
        n = torch.arange(hop, dtype=torch.float64)
        lag = n[:, None] - n
        answer = torch.where(lag >= 0, amount ** lag.clamp(min=0), torch.zeros_like(lag))
        self.register_buffer("answer", answer.T.contiguous().float(), persistent=False)
        self.register_buffer("decay", (amount ** (n + 1)).float(), persistent=False)

    def lift(self, x_BN: Tensor, last_B1: Tensor) -> Tuple[Tensor, Tensor]:
        """Emphasised x, and its last sample for the next call."""
        before = torch.cat([last_B1, x_BN[:, : x_BN.shape[1] - 1]], dim=1)
        return x_BN - self.amount * before, x_BN[:, x_BN.shape[1] - 1 :]

    def settle(self, e_BN: Tensor, last_B1: Tensor) -> Tuple[Tensor, Tensor]:
        """The inverse of `lift`; N = T * hop."""
        pieces = []
        for first in range(0, e_BN.shape[1], self.hop):
            y = torch.matmul(e_BN[:, first : first + self.hop], self.answer) + last_B1 * self.decay
            last_B1 = y[:, self.hop - 1 :]
            pieces.append(y)
        return torch.cat(pieces, dim=1), last_B1
