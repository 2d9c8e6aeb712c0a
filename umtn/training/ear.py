"""A trained pitch encoder for a new model, which need not learn to hear again; and trained guides for WaveNets."""

from __future__ import annotations

from pathlib import Path

from umtn import checkpoint
from umtn.config import GuidedConfig
from umtn.decoders.guided import GuidedDecoder
from umtn.errors import UserError
from umtn.pitch_encoder import ear_of
from umtn.translator import Translator

__all__ = ["rehear", "take_ear", "take_guides"]


def take_ear(translator: Translator, folder: Path) -> None:
    """Copy the pitch encoder of the checkpoint in `folder`; UserError when one of the two has none, or another."""
    wanted = translator.config
    ours = ear_of(translator.encoder)
    if ours is None:
        raise UserError(
            f"--encoder is for presets with a pitch encoder inside (live, wavenet-live); '{wanted.preset}' has none."
        )
    given = checkpoint.load(folder)
    theirs = ear_of(given.encoder)
    if theirs is None:
        raise UserError(
            f"'{folder}' (preset '{given.config.preset}') has no pitch encoder; a `live` model has."
        )
    given_as, wanted_as = ((c.sample_rate, c.hop, c.ear) for c in (given.config, wanted))
    if given_as != wanted_as:
        raise UserError(
            f"'{folder}' hears at {given_as[0]} Hz with a hop of {given_as[1]}, '{wanted.preset}' at {wanted_as[0]} Hz "
            f"with {wanted_as[1]}"
            + ("." if given_as[:2] != wanted_as[:2] else ", and their pitch encoders have other sizes.")
        )
    ours.load_state_dict(theirs.state_dict())


def take_guides(translator: Translator, folder: Path) -> None:
    """Give guided decoders the decoders of the `live` model in `folder`; UserError when it lacks one, or of others."""
    given, wanted = checkpoint.load(folder), translator.config.decoder
    if not isinstance(wanted, GuidedConfig):
        return
    if given.config.decoder != wanted.guide:
        raise UserError(
            f"'{folder}' (preset '{given.config.preset}') has no decoders of the kind that guides "
            f"'{translator.config.preset}'; a `live` model has."
        )
    for domain, decoder in translator.decoders.items():
        assert isinstance(decoder, GuidedDecoder)
        decoder.guide.load_state_dict(given.decoder(domain).state_dict())


def rehear(model: Path, live: Path, out: Path) -> None:
    """Write the finished model in `model` to `out` with the ear and the guides of the `live` model in `live`.

    Nothing is trained: for a `live` that has learned on since and still says what it said, only better. UserError when
    `out` holds a checkpoint, or for models without an ear.
    """
    if (out / "checkpoint.json").exists():
        raise UserError(f"'{out}' already holds a checkpoint; choose another --out.")
    config, progress = checkpoint.read_config(model)
    translator = checkpoint.load(model)
    take_ear(translator, live)
    take_guides(translator, live)
    checkpoint.save(out, config, checkpoint.shipped(config, translator.state_dict()), {}, progress)
