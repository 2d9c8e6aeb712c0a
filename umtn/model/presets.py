"""The models that can be trained by name: the instrument's own, the paper's, and tiny ones for tests."""

from __future__ import annotations

from dataclasses import replace

from umtn.errors import UserError, advice
from umtn.model.config import (
    DOMAINS,
    ConditionedEncoderConfig,
    Config,
    GuidedConfig,
    LiveDecoderConfig,
    PitchEncoderConfig,
    PitchLatent,
    TrainingConfig,
    WaveEncoderConfig,
    WaveNetConfig,
)

__all__ = ["PRESETS", "preset", "presets_at"]


_TINY_ENCODER = PitchEncoderConfig(
    layout=PitchLatent(48, 24, 1, 4), channels=8, dilations=(1, 2), longest=512
)


def _tiny_live() -> Config:
    return Config(
        preset="tiny-live",
        sample_rate=8000,
        hop=64,
        encoder=_TINY_ENCODER,
        decoder=LiveDecoderConfig(hidden=8, partials=6, bands=6, voices=4),
        training=TrainingConfig(batch=4, seconds=1.0, warm_up_steps=2),
    )


def _tiny_guided() -> Config:
    live = _tiny_live()
    assert live.live is not None
    small = WaveNetConfig(blocks=2, layers=3, residual=8, skip=8, classes=32)
    return replace(
        live,
        preset="tiny-wavenet-live",
        decoder=GuidedConfig(guide=live.live, wavenet=small, channels=8, dilations=(1, 2), latent=6),
        training=TrainingConfig(
            batch=4, seconds=0.5, warm_up_steps=2, window_s=0.1, shared=True, own_past=0.3
        ),
    )


_SMALL_WAVENET = WaveNetConfig(blocks=2, layers=10, residual=64, skip=128)
_WAVENET_TRAINING = TrainingConfig(
    batch=2,
    seconds=0.9,
    learning_rate=1.5e-3,
    warm_up_steps=50,
    ema=0.999,
    domains_per_step=2,
    window_s=0.25,
    shared=True,
    quietest_db=-12.0,  # mu-law has few classes for whispers
)

PRESETS: dict[str, Config] = {
    "live": Config("live", 24000, 128, PitchEncoderConfig(), LiveDecoderConfig()),
    "paper": Config(
        "paper",
        16000,
        800,
        WaveEncoderConfig(),
        WaveNetConfig(),
        training=TrainingConfig(batch=4, seconds=1.0, share_paired=0.0),
    ),
    "wavenet-plain": Config(
        "wavenet-plain",
        24000,
        128,
        ConditionedEncoderConfig(),
        _SMALL_WAVENET,
        domains=DOMAINS[:5],
        training=replace(_WAVENET_TRAINING, solo_share=0.6),
    ),
    "wavenet-live": Config(
        "wavenet-live",
        24000,
        128,
        PitchEncoderConfig(),
        GuidedConfig(wavenet=_SMALL_WAVENET),
        domains=DOMAINS[:5],
        training=replace(_WAVENET_TRAINING, blur=16.0, own_past=0.3),
    ),
    "tiny-live": _tiny_live(),
    "tiny-paper": Config(
        "tiny-paper",
        8000,
        80,
        WaveEncoderConfig(blocks=2, layers=3, channels=8, latent=6),
        WaveNetConfig(blocks=2, layers=3, residual=8, skip=8, classes=32),
        training=TrainingConfig(batch=4, seconds=0.25, warm_up_steps=2, share_paired=0.0),
    ),
    "tiny-wavenet-plain": Config(
        "tiny-wavenet-plain",
        8000,
        80,
        ConditionedEncoderConfig(ear=_TINY_ENCODER, channels=8, dilations=(1, 2), latent=6),
        WaveNetConfig(blocks=2, layers=3, residual=8, skip=8, classes=32),
        training=TrainingConfig(batch=4, seconds=0.5, warm_up_steps=2, window_s=0.1, shared=True),
    ),
    "tiny-wavenet-live": _tiny_guided(),
}


def preset(name: str) -> Config:
    """The preset of that name; UserError lists the known ones."""
    if name not in PRESETS:
        raise UserError(f"There is no preset '{name}'; {advice(name, PRESETS)}")
    return PRESETS[name]


def presets_at(rate: int) -> str:
    """Which presets learn from data at this rate, for a sentence."""
    fit = [name for name, config in PRESETS.items() if config.sample_rate == rate]
    return (
        f"the presets {', '.join(fit)}" if fit else "no preset as it is, only for `train --extend ... --rate`"
    )


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
