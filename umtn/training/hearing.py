"""A finished model's ear learns on alone, from scores: as many clips in minutes as with decoders in an hour.

Which pitches sound and how far they are bent the score says. What else the ear says (level and attack of each pitch,
the room) no score could: there it is kept to what it said before, so that decoders that stay understand it still.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from torch import Tensor

from umtn import checkpoint
from umtn.config import Config, PitchEncoderConfig
from umtn.errors import UserError
from umtn.latent import PitchLatent, split_latent

__all__ = ["hearing_on", "strayed"]

GENTLE = 0.5  # of the learning rate
SILENT_SHARE = 0.1  # of the weight of a pitch that sounds


def hearing_on(config: Config, start: Path) -> Config:
    """The config of the model in `start`, whose pitch encoder alone learns on; UserError when it has none."""
    known = checkpoint.read_config(start)[0]
    if not isinstance(known.encoder, PitchEncoderConfig):
        raise UserError(
            f"--ear is for models with a pitch encoder (preset 'live'); '{start}' was trained with '{known.preset}'."
        )
    training = replace(
        config.training,
        ear_alone=True,
        extended=True,
        learning_rate=GENTLE * config.training.learning_rate,
        domains_per_step=1,  # nobody plays: targets would be read for nothing
        share_paired=1.0,
    )
    return replace(known, training=training)


def strayed(layout: PitchLatent, said_BDT: Tensor, before_BDT: Tensor, active_BPT: Tensor) -> Tensor:
    """How far from before it says what no score tells: mean distance, in standard deviations of each channel."""
    (notes, room), (old_notes, old_room) = (
        split_latent(each, layout.pitches, layout.per_pitch) for each in (said_BDT, before_BDT)
    )
    free, old_free = notes[:, 2:], old_notes[:, 2:]
    weight = (SILENT_SHARE + (1 - SILENT_SHARE) * active_BPT).unsqueeze(1)
    apart = (free - old_free).abs() / (old_free.std(dim=(0, 2, 3), keepdim=True) + 1e-3)
    room_apart = (room - old_room).abs() / (old_room.std(dim=(0, 2), keepdim=True) + 1e-3)
    return (apart * weight).sum() / (weight.sum() * max(1, free.shape[1])) + room_apart.mean()
