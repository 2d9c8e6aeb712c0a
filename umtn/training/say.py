"""What a convolutional decoder says while it learns, and the recording that it should have said."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from umtn.decoders.conv import ConvDecoder
from umtn.training.doubt import doubted_sound

__all__ = ["Said", "say"]


@dataclass(frozen=True)
class Said:
    """given, wanted [B, N]; weight [B, T] of its frames; `domain` by number."""

    domain: int
    given: Tensor
    wanted: Tensor
    weight: Tensor


def say(
    decoder: ConvDecoder,
    domain: int,
    z_BDT: Tensor,
    target_BN: Tensor,
    weight_BT: Tensor,
    window_s: float,
    rate: int,
    generator: torch.Generator,
) -> Said:
    """The clip's last `window_s` seconds (0: all that has a full past), said from the latent's frames before them."""
    hop, frames = decoder.hop, z_BDT.shape[2]
    window = math.ceil(window_s * rate / hop) or max(1, frames - decoder.frames)
    first = max(0, frames - window - decoder.frames)
    z, target = z_BDT[:, :, first:], target_BN[:, first * hop :]
    noise = torch.rand(len(z), 1, target.shape[1], generator=generator, device=z.device)
    before = F.pad(target[:, :-hop], [hop, 0]).unsqueeze(1)
    if decoder.past:
        with torch.no_grad():  # what it says of a doubtful past is nearest to what it will hear on stage
            doubtful = doubted_sound(before, before, generator)
            own = F.pad(decoder.taught(z, noise, doubtful)[:, :, :-hop], [hop, 0])
        before = doubted_sound(before, own, generator)
    given = decoder.taught(z, noise, before)[:, 0]
    n = min(window, frames) * hop
    return Said(domain, given[:, -n:], target[:, -n:], weight_BT[:, -(n // hop) :])
