"""The smallest translator: a codec that hands audio through, and can be told to be late."""

from __future__ import annotations

from fractions import Fraction

import torch
from torch import Tensor

from umtn.decoders.base import Decoder, fold_noise, unfold_noise
from umtn.streaming import Delay, State, StreamingModule

HOP = 8


class Fold(StreamingModule):
    """Audio -> a channel per sample of the hop."""

    def __init__(self) -> None:
        super().__init__()
        self.block = HOP

    @property
    def ratio(self) -> Fraction:
        return Fraction(1, HOP)

    @property
    def receptive_field(self) -> float:
        return HOP

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        return fold_noise(x, HOP), []


class Unfold(Decoder):
    """The inverse, `late` samples later; `dead` ones say nothing."""

    def __init__(self, late: int = 0, dead: bool = False) -> None:
        super().__init__(HOP, HOP, needs_noise=False)
        self.delay = Delay(1, late)
        self.dead = dead

    def init_state(self, streams: int) -> State:
        return self.delay.init_state(streams)

    def state_names(self) -> list[str]:
        return self.delay.state_names()

    def decode_step(
        self, latent_BDT: Tensor, noise_B1N: Tensor, temperature: Tensor, state: State
    ) -> tuple[Tensor, State]:
        audio, after = self.delay.step(unfold_noise(latent_BDT), state)
        return torch.zeros_like(audio) if self.dead else audio, after
