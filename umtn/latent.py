"""The layout of the pitch encoder's latent: what every channel of z means.

    [ activation P | cents P | free K * P | room G ]

`activation` are logits of "this pitch sounds", `cents` the deviation from equal temperament in semitones,
the free channels carry what the decoders find useful for each pitch (level, attack), `room` what belongs to
no pitch (overall loudness, breath, noise).
"""

from dataclasses import dataclass
from typing import Tuple

from torch import Tensor

__all__ = ["PitchLatent"]


@dataclass(frozen=True)
class PitchLatent:
    """Sizes of the parts; pitches are MIDI note numbers from `lowest`."""

    lowest: int = 28
    pitches: int = 76
    free: int = 2
    room: int = 16

    @property
    def channels(self) -> int:
        return (2 + self.free) * self.pitches + self.room

    @property
    def per_pitch(self) -> int:
        return 2 + self.free


def split_latent(z_BDT: Tensor, pitches: int, per_pitch: int) -> Tuple[Tensor, Tensor]:
    """z -> (per-pitch channels [B, per_pitch, P, T], room channels [B, G, T])."""
    b, t = z_BDT.shape[0], z_BDT.shape[2]
    split = per_pitch * pitches
    return z_BDT[:, :split].reshape(b, per_pitch, pitches, t), z_BDT[:, split:]
