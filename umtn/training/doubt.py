"""A past that is not to be trusted: what a sample loop hears of itself on stage is never as clean as a recording.

Told the true past, a WaveNet predicts from it alone, does not listen to its latent, and drowns in its own noise as
soon as it plays. So some of its past is blurred, and some clips begin from silence in the middle of a note, which only
the latent tells of.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["doubted", "doubted_sound"]

TRUE, SILENT = 0.25, 0.3  # shares of clips
NARROW = 0.1  # the least blur of the most
OWN, EMPTY = 0.5, 0.4  # shares of clips whose past audio is the decoder's, or silence for a while
NOISE_DB = (-50.0, 15.0)  # against the clip's level: a memory must also be able to be worth nothing


def doubted(past_BN: Tensor, classes: int, blur: float, generator: torch.Generator) -> Tensor:
    """past_BN with each clip's own blur, and in some clips silence up to a moment in it.

    blur: the largest standard deviation, in 256ths of the classes; a wide one hides what the last few samples tell, so
    that only the long past and the latent help.
    """
    b, n = past_BN.shape
    device = past_BN.device

    def draw(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator, device=device)

    spread = blur * (NARROW + (1 - NARROW) * draw(b, 1)) * classes / 256
    spread = torch.where(draw(b, 1) < TRUE, torch.zeros_like(spread), spread)
    noise = torch.randn(b, n, generator=generator, device=device) * spread
    # class 0 lies below -1: it is never drawn
    heard = (past_BN + noise.round().long()).clamp(1, classes - 1)
    until = torch.where(
        draw(b, 1) < SILENT, n // 4 + draw(b, 1) * (n - n // 4), torch.zeros(b, 1, device=device)
    )
    return torch.where(torch.arange(n, device=device) < until, classes // 2, heard)


def doubted_sound(past_B1N: Tensor, own_B1N: Tensor, generator: torch.Generator) -> Tensor:
    """The same for past audio: noise on each clip's, some clips' replaced by what the decoder said itself (one round
    of Mihaylova & Martins 2019, "Scheduled sampling for transformers"), some begun in silence.
    """
    b, _, n = past_B1N.shape
    device = past_B1N.device

    def draw() -> Tensor:
        return torch.rand(b, 1, 1, generator=generator, device=device)

    past = torch.where(draw() < OWN, own_B1N, past_B1N)
    level = past.square().mean(dim=2, keepdim=True).sqrt()
    noise = torch.randn(b, 1, n, generator=generator, device=device)
    low, high = NOISE_DB
    heard = past + noise * level * 10 ** ((low + (high - low) * draw()) / 20)
    until = torch.where(draw() < EMPTY, n * draw(), torch.zeros(b, 1, 1, device=device))
    return torch.where(torch.arange(n, device=device) < until, torch.zeros_like(heard), heard)
