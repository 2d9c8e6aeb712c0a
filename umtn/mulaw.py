"""Mu-law companding whose encode and decode agree: silence is a class of its own, and decodes to exactly 0."""

import math

import torch
from torch import Tensor

__all__ = ["compand", "expand", "leaning", "mulaw_decode", "mulaw_encode"]


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
