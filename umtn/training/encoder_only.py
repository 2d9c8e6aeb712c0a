"""A finished model's ear learns on alone, from scores: as many clips in minutes as with decoders in an hour.

Which pitches sound and how far they are bent the score says. What else the ear says (level and attack of each pitch,
the room) no score could: there it is kept to what it said before, so that decoders that stay understand it still.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from umtn.errors import UserError
from umtn.model import checkpoint
from umtn.model.config import Config

__all__ = ["hearing_on"]

GENTLE = 0.5  # of the learning rate


def hearing_on(config: Config, start: Path) -> Config:
    """The config of the model in `start`, whose pitch encoder alone learns on; UserError when it has none."""
    known = checkpoint.read_config(start)[0]
    if known.encoder.pitch_layout is None:
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
