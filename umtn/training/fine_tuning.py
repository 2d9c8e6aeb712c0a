"""A trained pitch encoder for a new model, which need not learn to hear again; and trained guides for WaveNets."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from umtn.data.dataset import Dataset
from umtn.errors import UserError
from umtn.model import checkpoint
from umtn.model.config import Config, LiveDecoderConfig, TrainingConfig
from umtn.model.decoders.base import Decoder
from umtn.model.pitch_encoder import encoder_of
from umtn.model.translator import Translator
from umtn.training.band_extension import take_lower_band
from umtn.training.batches import BatchSource
from umtn.training.single_decoder import listed, nearest

__all__ = [
    "freeze_all_but",
    "encoder_alone",
    "learning_on",
    "with_encoder_of",
    "share",
    "take_encoder",
    "take_guides",
    "take_model",
    "whole_on",
    "widened",
]


def take_encoder(translator: Translator, folder: Path) -> None:
    """Copy the pitch encoder of the checkpoint in `folder`; UserError when one of the two has none, or another."""
    wanted = translator.config
    ours = encoder_of(translator.encoder)
    if ours is None:
        raise UserError(
            f"--encoder is for presets with a pitch encoder inside (live, wavenet-live); '{wanted.preset}' has none."
        )
    given = checkpoint.load(folder)
    theirs = encoder_of(given.encoder)
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
    if wanted.guide is None:
        return
    if given.config.decoder != wanted.guide:
        raise UserError(
            f"'{folder}' (preset '{given.config.preset}') has no decoders of the kind that guides "
            f"'{translator.config.preset}'; a `live` model has."
        )
    for domain in translator.config.domains:
        tones = translator.decoder(domain).tones
        assert tones is not None
        tones.load_state_dict(given.decoder(domain).state_dict())


def with_encoder_of(model: Path, live: Path, out: Path) -> None:
    """Write the finished model in `model` to `out` with the ear and the guides of the `live` model in `live`.

    Nothing is trained: for a `live` that has learned on since and still says what it said, only better. UserError when
    `out` holds a checkpoint, or for models without an ear.
    """
    if (out / "checkpoint.json").exists():
        raise UserError(f"'{out}' already holds a checkpoint; choose another --out.")
    config, progress = checkpoint.read_config(model)
    translator = checkpoint.load(model)
    take_encoder(translator, live)
    take_guides(translator, live)
    checkpoint.save(out, config, checkpoint.shipped(config, translator.state_dict()), {}, progress)


# New domains for a finished model, or old ones that learn on: their decoders learn, all else stays; or all does.
#
# A new decoder begins as a copy of the nearest that the model has. Where domains are named nothing flows into the
# encoder
# and nobody is confused, so those that are not named sound as they did, to the bit.


CLIPS = 8  # by which the nearest decoder is found
GENTLE = 0.4  # of the learning rate: what is already good is not to be shaken
# pairs taught the timbre; their attacks are never at the same time, those of a domain's own recordings are
PAIRED_AGAIN = 0.5


def _live(config: Config, start: Path, option: str) -> tuple[Config, LiveDecoderConfig, LiveDecoderConfig]:
    """The config of the model in `start`, its decoders' and `config`'s; UserError unless both are of `live`'s kind."""
    known = checkpoint.read_config(start)[0]
    if known.live is None or config.live is None:
        raise UserError(
            f"{option} trains decoders of the preset 'live'; '{start}' was trained with '{known.preset}'."
        )
    return known, known.live, config.live


def _gently(training: TrainingConfig) -> TrainingConfig:
    """For decoders that go on: small steps, often, by what they played themselves more than by pairs."""
    return replace(
        training,
        extended=True,
        learning_rate=GENTLE * training.learning_rate,
        share_paired=PAIRED_AGAIN,
        domains_per_step=1,
    )


def whole_on(config: Config, start: Path) -> Config:
    """The config of the model in `start`, all of which learns on as `config.training` says, gently."""
    known, _, _ = _live(config, start, "--whole")
    return replace(known, training=_gently(config.training))


def learning_on(config: Config, start: Path, names: Sequence[str]) -> Config:
    """The config of the model in `start`, of whose domains those named learn on as `config.training` says."""
    known, _, _ = _live(config, start, "--again")
    if missing := [n for n in names if n not in known.domains]:
        raise UserError(
            f"'{start}' has no domain '{missing[0]}' to learn on; it has {', '.join(known.domains)}. "
            "New ones are named by --new-domains."
        )
    training = replace(_gently(config.training), learning=tuple(names), frozen_ear=True)
    return replace(known, training=training)


def widened(config: Config, start: Path, names: Sequence[str]) -> Config:
    """The config of the model in `start` with more domains, which alone learn as `config.training` says."""
    known, old, new = _live(config, start, "--new-domains")
    if not names:
        raise UserError("--extend wants --new-domains too: the names of the domains that are to be learned.")
    if twice := [n for n in names if n in known.domains or list(names).count(n) > 1]:
        raise UserError(f"'{twice[0]}' is no new domain: '{start}' has {', '.join(known.domains)}.")
    theirs = {c.domain for c in old.characters}
    characters = tuple(c for c in new.characters if c.domain in names and c.domain not in theirs)
    return replace(
        known,
        decoder=replace(old, characters=(*old.characters, *characters)),
        domains=(*known.domains, *names),
        training=replace(config.training, learning=tuple(names), frozen_ear=True, extended=True),
    )


def take_model(translator: Translator, start: Path, data: Dataset, seed: int) -> list[dict[str, Any]]:
    """Fill the translator with the model in `start`; new decoders begin as the nearest; -> how it was trained."""
    config, given = translator.config, checkpoint.load(start)
    translator.encoder.load_state_dict(given.encoder.state_dict())
    factor = config.sample_rate // given.config.sample_rate
    for domain in given.config.domains:
        take_lower_band(translator.decoders[domain], given.decoder(domain), factor)  # type: ignore[arg-type]
    _take_confusion(translator, given)
    for domain in config.training.learning:
        if domain in given.config.domains:
            continue
        first, losses = nearest(given, given.config.domains, *_encoded(translator, data, domain, seed))
        translator.decoders[domain].load_state_dict(given.decoder(first).state_dict())
        print(f"'{domain}' begins with the decoder of '{first}', the nearest ({listed(losses)})", flush=True)
    progress = checkpoint.read_config(start)[1]
    return [*progress.earlier, {k: v for k, v in progress.__dict__.items() if k != "earlier"}]


def _take_confusion(translator: Translator, given: Translator) -> None:
    """What it knew of the old domains; it never learned the new ones, which are its last rows."""
    ours = translator.confusion.state_dict()
    for name, theirs in given.confusion.state_dict().items():
        ours[name][: len(theirs)] = theirs
    translator.confusion.load_state_dict(ours)


@torch.no_grad()
def _encoded(
    translator: Translator, data: Dataset, domain: str, seed: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """(latent [B, D, T], what `domain` makes of it [B, N]) of a few clips."""
    config = translator.config
    alone = replace(config, training=replace(config.training, batch=CLIPS, learning=(domain,)))
    batch = next(iter(BatchSource(data, alone, "train", seed)))
    return translator.encoder(batch.source.unsqueeze(1)), batch.targets[:, 0]


def freeze_all_but(translator: Translator, learning: Sequence[str]) -> None:
    """Only the decoders of the domains named learn."""
    translator.requires_grad_(False)
    for domain in learning:
        translator.decoder(domain).requires_grad_(True)


# WaveNet decoders that begin as one: what a sample loop must learn first is the same for every domain.
#
# Shared: everything but each decoder's own biases of the conditioning, which say in every layer whose voice it is.
# Later each goes on alone from there (`--own-decoders`).


def share(decoders: Iterable[Decoder]) -> None:
    """Let all decoders use the first one's parameters, but for their own conditioning biases (and guides)."""
    every = list(decoders)
    for decoder in every:
        decoder.share_with(every[0])


# A finished model's ear learns on alone, from scores: as many clips in minutes as with decoders in an hour.
#
# Which pitches sound and how far they are bent the score says. What else the ear says (level and attack of each
# pitch,
# the room) no score could: there it is kept to what it said before, so that decoders that stay understand it still.


GENTLE_ENCODER = 0.5  # of the learning rate


def encoder_alone(config: Config, start: Path) -> Config:
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
        learning_rate=GENTLE_ENCODER * config.training.learning_rate,
        domains_per_step=1,  # nobody plays: targets would be read for nothing
        share_paired=1.0,
    )
    return replace(known, training=training)
