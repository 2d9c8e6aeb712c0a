"""Tiny checkpoints, and the smallest translator: a codec that hands audio through, late if told to."""

from __future__ import annotations

import dataclasses
from fractions import Fraction
from pathlib import Path

import torch
from torch import Tensor

from export.__main__ import main
from umtn.model.checkpoint import Progress, save
from umtn.model.decoders.base import Decoder, fold_noise, unfold_noise
from umtn.model.presets import preset
from umtn.model.streaming import Delay, State, StreamingModule
from umtn.model.translator import Translator

HOP = 8


def make_checkpoint(
    folder: Path, name: str, domains: tuple[str, ...], seed: int = 0, hop: int | None = None
) -> Path:
    """Random weights, so that no bias is zero and no domain like another. hop: another than the preset's."""
    torch.manual_seed(seed)
    known = preset(name)
    config = dataclasses.replace(known, domains=domains, hop=hop or known.hop)
    save(folder, config, Translator(config).state_dict(), {}, Progress())
    return folder


@dataclasses.dataclass(frozen=True)
class Exported:
    checkpoint: Path
    bundle: Path


def export_toy(
    folder: Path, name: str, domains: tuple[str, ...], *words: str, hop: int | None = None
) -> Exported:
    """A checkpoint of that preset and the bundle that the command line makes of it, words added."""
    checkpoint = make_checkpoint(folder / "checkpoint", name, domains, hop=hop)
    assert main([str(checkpoint), "-o", str(folder / "toy.umtn"), *words]) == 0
    return Exported(checkpoint, folder / "toy.umtn")


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
