"""A finished `live` model at twice its rate: what it plays below its old Nyquist stays, the octave above is learned.

The analysis at twice the rate, with twice the hop, says what it said, so the encoder goes on unchanged; oscillators and
noise are tables and nets of controls that come as often as before. New are the noise bands above the old ones and the
partials that would have folded back: these alone learn (the bands' rows of the last layer, the table's entries), from
pairs at the new rate. Nothing flows into anything else.
"""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from umtn import checkpoint
from umtn.config import Config, LiveDecoderConfig, PitchEncoderConfig
from umtn.decoders.live import LiveDecoder
from umtn.decoders.noise import band_edges_hz, mel_of
from umtn.decoders.oscillators import audible_at
from umtn.errors import UserError
from umtn.layers import CausalConv1d
from umtn.spectral import heard_hz
from umtn.translator import Translator

__all__ = ["at_rate", "free_upper_band", "take_lower_band"]

DIMMER = 2.0  # nepers by which new bands begin below the last old one


def at_rate(config: Config, start: Path, rate: int) -> Config:
    """The config of the model in `start` at another rate, whose upper band learns as `config.training` says.

    UserError: a model of another kind, or a rate that is not twice, four times .. the model's.
    """
    known = checkpoint.read_config(start)[0]
    if not isinstance(known.decoder, LiveDecoderConfig) or not isinstance(known.encoder, PitchEncoderConfig):
        raise UserError(
            f"--rate is for models of the preset 'live'; '{start}' was trained with '{known.preset}'."
        )
    factor = rate // known.sample_rate
    if rate % known.sample_rate or factor < 2 or factor & (factor - 1):
        raise UserError(
            f"--rate is {rate}, and '{start}' plays at {known.sample_rate} Hz; it can be taken to "
            f"{2 * known.sample_rate} or {4 * known.sample_rate}."
        )
    decoder = known.decoder
    step = decoder.step_mel or mel_of(known.sample_rate / 2) / (decoder.bands + 1)
    bands = math.floor(mel_of(rate / 2) / step) - 1  # the last one's upper edge is below Nyquist
    return replace(
        known,
        sample_rate=rate,
        hop=factor * known.hop,
        encoder=replace(
            known.encoder,
            longest=factor * known.encoder.longest,
            top_hz=heard_hz(known.encoder.top_hz, known.sample_rate),
        ),
        decoder=replace(decoder, bands=bands, taps=factor * (decoder.taps + 1) - 1, step_mel=step),
        training=replace(
            config.training, learning=known.domains, frozen_ear=True, lower_rate=known.sample_rate
        ),
    )


def take_lower_band(ours: LiveDecoder, given: LiveDecoder, factor: int) -> None:
    """Fill a decoder with one of a `factor` lower rate; new noise bands begin like the last old one, but dimmer."""
    state: dict[str, Tensor] = dict(given.state_dict())
    last = f"hiss.layers.{len(ours.hiss.layers) - 1}.conv"
    more = ours.noise.bands - given.noise.bands
    # as much noise a sample is spread over a wider band
    bias = state[f"{last}.bias"] + 0.5 * math.log(factor)
    state[f"{last}.bias"] = torch.cat([bias, (bias[-1:] - DIMMER).repeat(more)])
    weight = state[f"{last}.weight"]
    state[f"{last}.weight"] = torch.cat([weight, weight[-1:].repeat(more, 1, 1)])
    ours.load_state_dict(state)


def free_upper_band(translator: Translator, lower_rate: int) -> None:
    """Only what no decoder of `lower_rate` could play learns."""
    translator.requires_grad_(False)
    config = translator.config
    assert isinstance(config.decoder, LiveDecoderConfig)
    edges = band_edges_hz(config.decoder.bands, config.sample_rate, config.decoder.step_mel)
    new = torch.tensor(edges[2:]) > lower_rate / 2 + 1.0  # the last old band ends at the old Nyquist
    for decoder in translator.decoders.values():
        assert isinstance(decoder, LiveDecoder)
        bank, last = decoder.oscillators, decoder.hiss.layers[-1]
        assert isinstance(last, CausalConv1d)
        _learn_where(decoder.table, ~audible_at(bank.f0 * config.sample_rate / lower_rate, bank.multiples))
        for parameter in last.parameters():
            _learn_where(parameter, new.reshape(-1, *[1] * (parameter.dim() - 1)))


def _learn_where(parameter: torch.nn.Parameter, where: Tensor) -> None:
    mask = where.to(parameter)
    parameter.requires_grad_(True)
    parameter.register_hook(lambda gradient: gradient * mask)
