"""What a part of the objective is worth is known by leaving it out."""

from __future__ import annotations

from dataclasses import replace

from umtn.config import Config
from umtn.errors import UserError
from umtn.words import advice

__all__ = ["ABLATIONS", "without"]

ABLATIONS = ("confusion", "augmentation", "pairs", "reconstruction")


def without(config: Config, part: str) -> Config:
    """The config with one of ABLATIONS left out; UserError for another name.

    confusion: the domain classifier still learns, but nobody works against it. augmentation: sources come as they
    were rendered, only their level changes. pairs: every clip comes back as its own domain alone (the paper).
    reconstruction: every clip is another instrument's.
    """
    training = config.training
    if part == "confusion":
        return replace(config, confusion=replace(config.confusion, weight=0.0))
    if part == "augmentation":
        return replace(config, training=replace(training, augment=False))
    if part == "pairs":
        return replace(config, training=replace(training, pairs=False))
    if part == "reconstruction":
        return replace(config, training=replace(training, share_paired=1.0))
    raise UserError(f"--without '{part}' is nothing that can be left out; {advice(part, ABLATIONS)}")
