"""One encoder, one decoder per domain, one confusion network (Mor et al. 2018), built from a config."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from umtn.errors import UserError
from umtn.model.config import (
    Character,
    ConditionedEncoderConfig,
    Config,
    GuidedConfig,
    LiveDecoderConfig,
    PitchEncoderConfig,
    PitchLatent,
    WaveEncoderConfig,
    WaveNetConfig,
)
from umtn.model.decoders.base import Decoder, fold_noise
from umtn.model.decoders.guided import GuidedDecoder
from umtn.model.decoders.harmonic import LiveDecoder
from umtn.model.decoders.wavenet import WaveNetDecoder
from umtn.model.layers import WaveEncoder
from umtn.model.pitch_encoder import ConditionedEncoder, PitchEncoder
from umtn.model.streaming import StreamingModule

__all__ = ["ConfusionNetwork", "Translator"]


# The domain confusion network: guesses the domain from the latent, so that the encoder learns to hide it.


class ConfusionNetwork(nn.Module):
    """z_BDT -> logits_BK, averaged over time: 3 x (1x1 convolution, ELU), 1x1 (Mor et al. 2018, section 3.3)."""

    def __init__(self, latent_channels: int, channels: int, domains: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for width in (latent_channels, channels, channels):
            layers += [nn.Conv1d(width, channels, 1), nn.ELU()]
        self.net = nn.Sequential(*layers, nn.Conv1d(channels, domains, 1))

    def forward(self, z_BDT: Tensor) -> Tensor:
        return torch.mean(self.net(z_BDT), dim=2)


def _wave(config: Config, e: WaveEncoderConfig) -> WaveEncoder:
    return WaveEncoder(config.hop, e.blocks, e.layers, e.kernel, e.channels, e.latent, e.causal)


def _pitch(config: Config, e: PitchEncoderConfig) -> PitchEncoder:
    return PitchEncoder(
        config.sample_rate, config.hop, e.layout, e.channels, e.dilations, e.longest, e.top_hz
    )


def _conditioned(config: Config, e: ConditionedEncoderConfig) -> ConditionedEncoder:
    return ConditionedEncoder(_pitch(config, e.ear), e.ear.layout, e.channels, e.dilations, e.latent)


def _wavenet(config: Config, d: WaveNetConfig, domain: str) -> WaveNetDecoder:
    return _sample_loop(config, d, config.latent_channels)


def _sample_loop(config: Config, d: WaveNetConfig, latent: int, lean: float | None = None) -> WaveNetDecoder:
    return WaveNetDecoder(latent, config.hop, d.blocks, d.layers, d.residual, d.skip, d.classes, lean)


def _live(config: Config, d: LiveDecoderConfig, domain: str) -> LiveDecoder:
    character = next((c for c in d.characters if c.domain == domain), Character(domain))
    return LiveDecoder(
        config.sample_rate,
        config.hop,
        _layout(config),
        d.hidden,
        d.partials,
        d.bands,
        d.voices,
        character.detune_cents,
        character.inharmonicity,
        d.taps,
        d.step_mel,
    )


def _guided(config: Config, d: GuidedConfig, domain: str) -> GuidedDecoder:
    layout = _layout(config)
    wavenet = _sample_loop(config, d.wavenet, d.latent, d.lean)
    guide = _live(config, d.guide, domain)
    return GuidedDecoder(guide, wavenet, layout, d.channels, d.dilations, d.emphasis)


def _layout(config: Config) -> PitchLatent:
    if config.encoder.pitch_layout is None:
        raise UserError(
            f"A {config.decoder.kind} decoder reads the pitch encoder's latent; give the encoder kind 'pitch'."
        )
    return config.encoder.pitch_layout


# Who builds what of which config: a new kind is one line more, and one in `Config`.
ENCODERS: dict[type, Callable[[Config, Any], StreamingModule]] = {
    WaveEncoderConfig: _wave,
    PitchEncoderConfig: _pitch,
    ConditionedEncoderConfig: _conditioned,
}
DECODERS: dict[type, Callable[[Config, Any, str], Decoder]] = {
    LiveDecoderConfig: _live,
    WaveNetConfig: _wavenet,
    GuidedConfig: _guided,
}


def build_encoder(config: Config) -> StreamingModule:
    """The encoder that a config says, with fresh weights."""
    return ENCODERS[type(config.encoder)](config, config.encoder)


def build_decoder(config: Config, domain: str) -> Decoder:
    """A domain's decoder, with fresh weights; UserError when it cannot read the encoder's latent."""
    return DECODERS[type(config.decoder)](config, config.decoder, domain)


class Translator(nn.Module):
    """encoder: audio_B1N -> z_BDT; decoders[domain]: z_BDT (and noise) -> audio_B1N."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.encoder = build_encoder(config)
        self.decoders = nn.ModuleDict({domain: build_decoder(config, domain) for domain in config.domains})
        self.confusion = ConfusionNetwork(
            config.latent_channels, config.confusion.channels, len(config.domains)
        )

    def decoder(self, domain: str) -> Decoder:
        if domain not in self.decoders:
            raise UserError(
                f"This model has no domain '{domain}'; it knows {', '.join(self.config.domains)}."
            )
        return self.decoders[domain]  # type: ignore[return-value]

    def translate(self, audio_B1N: Tensor, domain: str, noise_B1N: Tensor | None = None) -> Tensor:
        """D_domain(E(audio)), offline; N a multiple of the hop. Noise is drawn when it is not given."""
        decoder = self.decoder(domain)
        z = self.encoder(audio_B1N)
        if decoder.needs_noise:
            noise = torch.rand_like(audio_B1N) if noise_B1N is None else noise_B1N
            z = torch.cat([z, fold_noise(noise, self.config.hop)], dim=1)
        return decoder(z)  # type: ignore[no-any-return]
