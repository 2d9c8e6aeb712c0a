"""A trained pitch encoder for a new model: it need not learn to hear again."""

from __future__ import annotations

from pathlib import Path

from umtn import checkpoint
from umtn.errors import UserError
from umtn.heard_encoder import HeardEncoder
from umtn.translator import Translator

__all__ = ["take_ear"]


def take_ear(translator: Translator, folder: Path) -> None:
    """Copy the pitch encoder of the checkpoint in `folder`; UserError when one of the two has none, or another."""
    wanted = translator.config
    if not isinstance(translator.encoder, HeardEncoder):
        raise UserError(
            f"--encoder is for presets with a pitch encoder inside (wavenet-live); '{wanted.preset}' is not."
        )
    given = checkpoint.load(folder)
    if given.config.ear is None:
        raise UserError(
            f"'{folder}' (preset '{given.config.preset}') has no pitch encoder; a `live` model has."
        )
    theirs, ours = ((c.sample_rate, c.hop, c.ear) for c in (given.config, wanted))
    if theirs != ours:
        raise UserError(
            f"'{folder}' hears at {theirs[0]} Hz with a hop of {theirs[1]}, '{wanted.preset}' at {ours[0]} Hz with "
            f"{ours[1]}" + ("." if theirs[:2] != ours[:2] else ", and their pitch encoders have other sizes.")
        )
    source = given.encoder.ear if isinstance(given.encoder, HeardEncoder) else given.encoder
    translator.encoder.ear.load_state_dict(source.state_dict())
