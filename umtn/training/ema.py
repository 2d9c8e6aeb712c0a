"""A running average of the weights, with a warm-up so that short runs are not held back by their start."""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["Average"]


class Average:
    """w <- d * w + (1 - d) * new, d = min(decay, (1 + n) / (20 + n)) after n updates."""

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.decay = decay
        self.updates = 0
        self.weights = {k: v.detach().clone() for k, v in module.state_dict().items()}

    @torch.no_grad()
    def update(self, module: nn.Module) -> None:
        self.updates += 1
        d = min(self.decay, (1 + self.updates) / (20 + self.updates))
        for name, value in module.state_dict().items():
            if value.dtype.is_floating_point:
                self.weights[name].lerp_(value, 1 - d)
            else:
                self.weights[name].copy_(value)

    def load(self, weights: dict[str, Tensor], updates: int) -> None:
        self.updates = updates
        for name, value in weights.items():
            self.weights[name].copy_(value)
