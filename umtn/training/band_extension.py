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

from umtn.errors import UserError
from umtn.model import checkpoint
from umtn.model.config import Config
from umtn.model.decoders.harmonic import LiveDecoder, live_of
from umtn.model.decoders.noise import band_edges_hz, mel_of
from umtn.model.decoders.oscillators import audible_at
from umtn.model.layers import CausalConv1d
from umtn.model.semitone_spectrum import audible_hz
from umtn.model.translator import Translator

__all__ = ["at_rate", "free_upper_band", "scaled", "take_lower_band"]

EAGER = (
    8.0  # times the learning rate: what learns does so while its note sounds, and nothing else can be shaken
)
DIMMER = 2.0  # nepers by which new bands begin below the last old one


def scaled(config: Config, rate: int) -> Config:
    """A `live` model's config at another rate, with all that it hears and plays below its own Nyquist as it was.

    UserError: a model of another kind, or a rate that is not twice, four times .. its own.
    """
    encoder, decoder, own = config.ear, config.live, config.sample_rate
    if decoder is None or encoder is None or config.encoder.pitch_layout is None:
        raise UserError(f"another rate is for models of the preset 'live'; this is '{config.preset}'.")
    factor = rate // own
    if rate % own or factor < 2 or factor & (factor - 1):
        raise UserError(
            f"{rate} Hz was asked for, and the model plays at {own} Hz; it can be taken to {2 * own} or {4 * own}."
        )
    step = decoder.step_mel or mel_of(own / 2) / (decoder.bands + 1)
    bands = math.floor(mel_of(rate / 2) / step) - 1  # the last one's upper edge is below Nyquist
    return replace(
        config,
        sample_rate=rate,
        hop=factor * config.hop,
        encoder=replace(encoder, longest=factor * encoder.longest, top_hz=audible_hz(encoder.top_hz, own)),
        decoder=replace(decoder, bands=bands, taps=factor * (decoder.taps + 1) - 1, step_mel=step),
    )


def at_rate(config: Config, start: Path, rate: int) -> Config:
    """The config of the model in `start` at another rate, whose upper band learns as `config.training` says.

    UserError: as of `scaled`.
    """
    known = checkpoint.read_config(start)[0]
    training = replace(
        config.training,
        learning=known.domains,
        frozen_ear=True,
        extended=True,
        lower_rate=known.sample_rate,
        learning_rate=EAGER * config.training.learning_rate,
    )
    return replace(scaled(known, rate), training=training)


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
    assert config.live is not None
    edges = band_edges_hz(config.live.bands, config.sample_rate, config.live.step_mel)
    new = torch.tensor(edges[2:]) > lower_rate / 2 + 1.0  # the last old band ends at the old Nyquist
    for decoder in map(live_of, translator.decoders.values()):
        bank, last = decoder.oscillators, decoder.hiss.layers[-1]
        assert isinstance(last, CausalConv1d)
        _learn_where(decoder.table, ~audible_at(bank.f0 * config.sample_rate / lower_rate, bank.multiples))
        for parameter in last.parameters():
            _learn_where(parameter, new.reshape(-1, *[1] * (parameter.dim() - 1)))


def _learn_where(parameter: torch.nn.Parameter, where: Tensor) -> None:
    mask = where.to(parameter)
    parameter.requires_grad_(True)
    parameter.register_hook(lambda gradient: gradient * mask)
