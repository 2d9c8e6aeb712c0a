"""What a model is: frozen dataclasses and a reader that names the nearest known key."""

from __future__ import annotations

import dataclasses
import json
import typing
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from umtn.errors import UserError, advice

__all__ = [
    "Character",
    "Config",
    "ConfusionConfig",
    "DOMAINS",
    "GuidedConfig",
    "ConditionedEncoderConfig",
    "LiveDecoderConfig",
    "PitchEncoderConfig",
    "PitchLatent",
    "TrainingConfig",
    "WaveEncoderConfig",
    "WaveNetConfig",
]

DOMAINS = ("strings", "piano", "winds", "organ", "voice", "brass", "plucked", "mallets")


# The layout of the pitch encoder's latent: what every channel of z means.
#
#     [ activation P | cents P | free K * P | room G ]
#
# `activation` are logits of "this pitch sounds", `cents` the deviation from equal temperament in semitones,
# the free channels carry what the decoders find useful for each pitch (level, attack), `room` what belongs to
# no pitch (overall loudness, breath, noise).


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


@dataclass(frozen=True)
class PitchEncoderConfig:
    """umtn.model.pitch_encoder: `longest` is the longest analysis window in samples, `top_hz` what is heard at most."""

    kind: str = "pitch"
    layout: PitchLatent = field(default_factory=PitchLatent)
    channels: int = 32
    dilations: tuple[int, ...] = (1, 2, 4, 8, 16)
    longest: int = 4096
    top_hz: float = 11000.0

    @property
    def ear(self) -> PitchEncoderConfig:
        return self

    @property
    def pitch_layout(self) -> PitchLatent | None:
        """What the latent's channels mean, if they mean pitches."""
        return self.layout

    @property
    def latent_channels(self) -> int:
        return self.layout.channels


@dataclass(frozen=True)
class WaveEncoderConfig:
    """umtn.model.layers: dilated convolutions on samples; `causal` decides whether it can stream."""

    kind: str = "wave"
    causal: bool = False
    blocks: int = 3
    layers: int = 10
    kernel: int = 3
    channels: int = 128
    latent: int = 64
    ear = None  # of this kind, no setting
    pitch_layout = None

    @property
    def latent_channels(self) -> int:
        return self.latent


@dataclass(frozen=True)
class ConditionedEncoderConfig:
    """umtn.model.pitch_encoder: a pitch encoder, then convolutions down to `latent` channels for WaveNet decoders."""

    kind: str = "heard"
    ear: PitchEncoderConfig = field(default_factory=PitchEncoderConfig)
    channels: int = 128
    dilations: tuple[int, ...] = (1, 2, 4, 8, 16)
    latent: int = 96
    pitch_layout = None  # of this kind, no setting

    @property
    def latent_channels(self) -> int:
        return self.latent


@dataclass(frozen=True)
class Character:
    """What a spectrum alone does not tell of a domain: the detuning of its unison and its strings' stiffness."""

    domain: str
    detune_cents: tuple[float, ...] = (0.0,)
    inharmonicity: float = 0.0


@dataclass(frozen=True)
class LiveDecoderConfig:
    """umtn.model.decoders.harmonic: oscillators and noise, one network step per hop. `taps`: of the noise's
    filters; `step_mel`:
    from one to the next (0: so that they reach Nyquist)."""

    kind: str = "live"
    hidden: int = 32
    partials: int = 40
    bands: int = 24
    taps: int = 127
    step_mel: float = 0.0
    voices: int = 10
    characters: tuple[Character, ...] = (
        Character("strings", (0.0, 5.0, -6.0)),
        Character("piano", (0.0, 0.9), 3.5e-4),
        Character("voice", (0.0, 6.0, -5.0)),
        Character("brass", (0.0, 4.0, -4.7)),
    )
    sampled = False  # of this kind, no settings
    guide = None


@dataclass(frozen=True)
class WaveNetConfig:
    """umtn.model.decoders.wavenet: autoregressive, one sample after the other."""

    kind: str = "wavenet"
    blocks: int = 4
    layers: int = 10
    residual: int = 128
    skip: int = 128
    classes: int = 256
    sampled = True  # of this kind, no settings
    guide = None


@dataclass(frozen=True)
class GuidedConfig:
    """umtn.model.decoders.guided: a WaveNet that hears the tones of a `live` decoder, and the latent through a
    mouth that
    says `latent` numbers a hop; `emphasis` of the sound that it draws; `lean`: the guide's share of what the WaveNet
    hears as its own past."""

    kind: str = "guided"
    guide: LiveDecoderConfig = field(default_factory=LiveDecoderConfig)
    wavenet: WaveNetConfig = field(default_factory=WaveNetConfig)
    channels: int = 128
    dilations: tuple[int, ...] = (1, 2, 4, 8, 16)
    latent: int = 96
    emphasis: float = 0.85
    lean: float = 0.7
    sampled = True  # of this kind, no setting


@dataclass(frozen=True)
class ConfusionConfig:
    """The domain classifier on the latent: its width, and the weight of the encoder's wish to leave it guessing."""

    channels: int = 100
    weight: float = 1e-2


@dataclass(frozen=True)
class TrainingConfig:
    """`batch` clips of `seconds`, each said by `domains_per_step` decoders; `share_paired` of the clips ask for a
    translation, the others for their own domain; weights of the objectives. `window_s`: the end of a clip that a
    decoder of samples learns from (0: all of it). `shared`: the decoders are one, but for their biases.
    `frozen_ear`: the pitch encoder came trained and stays as it is. `ear_alone`: it alone learns on
    (umtn.training.fine_tuning). `learning`: the domains whose decoders learn, while encoder, confusion network and all
    other decoders stay as they are (none named: everything learns). `extended`: it began as a finished model, and
    keeps these settings when resumed. `augment`: sources are detuned, coloured and made noisy. `pairs`: other
    instruments' renderings of the same bars are known. `quietest_db`: the lowest gain that a clip is given.
    `solo_share`: clips drawn for one voice alone. `blur`: the most noise on a WaveNet's past, in 256ths of its classes
    (umtn.training.decoder_losses). `own_past`: the share of clips whose past is what a guided WaveNet draws by
    itself
    (umtn.training.decoder_losses). `lower_rate`: of the model whose band `live` decoders keep; what lies above
    alone is
    learned (0: there is none; umtn.training.band_extension)."""

    batch: int = 4
    seconds: float = 2.4
    learning_rate: float = 4e-3
    warm_up_steps: int = 20
    ema: float = 0.9999
    clip_norm: float = 1.0
    share_paired: float = 0.8
    domains_per_step: int = 5
    pitch_weight: float = 1.0
    ghost_weight: float = 1.0
    target_lag_frames: int = 2
    window_s: float = 0.0
    shared: bool = False
    frozen_ear: bool = False
    ear_alone: bool = False
    learning: tuple[str, ...] = ()
    augment: bool = True
    pairs: bool = True
    quietest_db: float = -22.0
    solo_share: float = 0.0
    blur: float = 4.0
    own_past: float = 0.0
    lower_rate: int = 0
    extended: bool = False


@dataclass(frozen=True)
class Config:
    """One model: its rate in Hz, its hop in samples, its encoder, decoders, domains, and how it is trained."""

    preset: str
    sample_rate: int
    hop: int
    encoder: PitchEncoderConfig | WaveEncoderConfig | ConditionedEncoderConfig
    decoder: LiveDecoderConfig | WaveNetConfig | GuidedConfig
    domains: tuple[str, ...] = DOMAINS
    confusion: ConfusionConfig = ConfusionConfig()
    training: TrainingConfig = TrainingConfig()

    @property
    def ear(self) -> PitchEncoderConfig | None:
        """The pitch encoder's, if there is one in it."""
        return self.encoder.ear

    @property
    def latent_channels(self) -> int:
        return self.encoder.latent_channels

    @property
    def pitch_layout(self) -> PitchLatent | None:
        """What the latent's channels mean, if they mean pitches."""
        return self.encoder.pitch_layout

    @property
    def live(self) -> LiveDecoderConfig | None:
        """The decoders', if they are of `live`'s kind."""
        return self.decoder if isinstance(self.decoder, LiveDecoderConfig) else None

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self), indent=1)

    @staticmethod
    def from_json(text: str) -> Config:
        try:
            data = json.loads(text)
        except json.JSONDecodeError as error:
            raise UserError(f"The model's configuration is not JSON: {error}.") from None
        if isinstance(data, dict):
            data = _without_convolutions(data)
        return typing.cast(Config, _build(Config, data, "config"))


_PLAIN: dict[Any, Callable[[Any], bool]] = {
    bool: lambda value: isinstance(value, bool),
    int: lambda value: type(value) is int,
    float: lambda value: type(value) in (int, float) and abs(value) < 1e300,  # not NaN, not true
    str: lambda value: isinstance(value, str),
}
_NAMED = {bool: "true or false", int: "a whole number", float: "a finite number", str: "a text"}


def _without_convolutions(data: dict[str, Any]) -> dict[str, Any]:
    """A config as it was written while there were convolutional decoders; UserError for a model that has them."""
    decoder = data.get("decoder")
    if data.get("adversary") or (isinstance(decoder, dict) and decoder.get("kind") == "conv"):
        raise UserError(
            f"This model (preset {data.get('preset')!r}) has convolutional decoders, which this version no longer "
            "has; train the preset 'live' instead, or open the model with the version that made it."
        )
    return {key: value for key, value in data.items() if key != "adversary"}


def _build(cls: Any, data: Any, where: str) -> Any:
    """A dataclass from plain JSON; an unknown key is an error that names the nearest known one."""
    if not isinstance(data, dict):
        raise UserError(f"{where} should be a table of settings, not {type(data).__name__}.")
    hints = typing.get_type_hints(cls)
    unknown = sorted(set(data) - set(hints))
    if unknown:
        raise UserError(f"{where} has no setting '{unknown[0]}'; {advice(unknown[0], hints)}")
    try:
        return cls(**{key: _value(hints[key], value, f"{where}.{key}") for key, value in data.items()})
    except TypeError as error:
        raise UserError(f"{where} is incomplete: {error}.") from None


def _value(hint: Any, value: Any, where: str) -> Any:
    choices = [c for c in typing.get_args(hint) if dataclasses.is_dataclass(c)]
    if dataclasses.is_dataclass(hint):
        return _build(hint, value, where)
    if len(choices) > 1:  # told apart by their `kind`
        kinds = {c().kind: c for c in choices}  # type: ignore[operator, union-attr]
        kind = value.get("kind") if isinstance(value, dict) else None
        if kind not in kinds:
            raise UserError(f"{where}.kind is {kind!r}; known are {', '.join(sorted(kinds))}.")
        return _build(kinds[kind], value, where)
    if choices and isinstance(value, dict):  # or nothing
        return _build(choices[0], value, where)
    if hint in _PLAIN and not _PLAIN[hint](value):
        raise UserError(f"{where} should be {_NAMED[hint]}, but is {str(value)[:60]}.")
    if isinstance(value, list):
        return tuple(_build(choices[0], item, where) if choices else item for item in value)
    return value
