"""The `live` encoder: a causal net that reads pitches off a causal spectrum.

spectrum -> harmonics stacked as channels (a note's partials meet at its own pitch; Bittner et al. 2017,
"Deep salience", used the same device) -> convolutions over pitch and time with shared weights
-> latent of `umtn.model.config.PitchLatent`. One latent frame per hop, no look-ahead.
"""

import dataclasses
import math
from fractions import Fraction
from typing import Any, Dict, List, Tuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from umtn.model.config import PitchLatent
from umtn.model.layers import CausalConv1d, dilated_residual, split_latent
from umtn.model.pitch_rows import OUTSIDE, HarmonicEntry, PitchResidual, product
from umtn.model.semitone_spectrum import CausalSpectrum
from umtn.model.streaming import (
    Pointwise,
    StreamingModule,
    StreamingSequential,
    parameters,
    smallest,
)

__all__ = [
    "ConditionedEncoder",
    "PitchEncoder",
    "encoder_of",
    "conditioner",
    "conditioner_of",
    "conditioner_parameters",
    "conditioner_weights",
    "opened",
]


HARMONICS = (0.5, 1, 2, 3, 4, 5, 6, 7, 8)


class PitchEncoder(StreamingModule):
    """audio_B1N -> z_BDT, D = layout.channels, T = N / hop."""

    streaming = True

    def __init__(
        self,
        rate: int,
        hop: int,
        layout: PitchLatent,
        channels: int,
        dilations: Tuple[int, ...],
        longest: int,
        top_hz: float = 11000.0,
    ) -> None:
        super().__init__()
        self.block = hop
        self.hop = hop
        self.pitches = layout.pitches
        self.outside = OUTSIDE
        self.spectrum = CausalSpectrum(rate, hop, layout.lowest, longest, top_hz)
        bins, centre = self.spectrum.bins, 3 * layout.pitches
        shifts = [round(36 * math.log2(h)) for h in HARMONICS]
        self.below = -min(shifts)
        self.above = max(0, max(shifts) + centre - bins)
        self.offsets: List[int] = [s + self.below for s in shifts]
        self.centre = centre
        self.body = StreamingSequential(
            HarmonicEntry(channels, layout.pitches, shifts, bins),
            Pointwise(nn.ReLU()),
            *[PitchResidual(channels, layout.pitches, d) for d in dilations],
        )
        self.head = nn.Conv2d(channels, layout.per_pitch, 1)
        self.room = StreamingSequential(
            CausalConv1d(2 * bins, 48, 1),
            Pointwise(nn.ReLU()),
            CausalConv1d(48, 48, 3),
            Pointwise(nn.ReLU()),
            CausalConv1d(48, layout.room, 1),
        )
        self.spectrum_states = len(self.spectrum.state_names())
        self.body_states = len(self.body.state_names())
        nn.init.constant_(self.head.bias[:1], -3.0)  # type: ignore[index]  # most pitches are silent

    @property
    def ratio(self) -> Fraction:
        return Fraction(1, self.hop)

    @property
    def receptive_field(self) -> float:
        frames = max(self.body.receptive_field, self.room.receptive_field)
        return self.spectrum.receptive_field + (frames - 1) * self.hop

    @torch.jit.export
    def init_state(self, streams: int) -> List[Tensor]:
        state = self.spectrum.init_state(streams)
        state.extend(self.body.init_state(streams))
        state.extend(self.room.init_state(streams))
        return state

    @torch.jit.unused
    def state_names(self) -> List[str]:
        parts = {"spectrum": self.spectrum, "body": self.body, "room": self.room}
        return [f"{part}.{name}" for part, module in parts.items() for name in module.state_names()]

    def _stack(self, s_BCFT: Tensor) -> Tensor:
        """[B, 2, bins, T] -> [B, 2 * harmonics, 3 * pitches, T]: bin b of harmonic h lands on its fundamental."""
        padded = F.pad(s_BCFT, [0, 0, self.below, self.above], value=self.outside)
        shifted: List[Tensor] = []
        for offset in self.offsets:
            shifted.append(padded[:, :, offset : offset + self.centre])
        return torch.cat(shifted, dim=1)

    def step(self, x: Tensor, state: List[Tensor]) -> Tuple[Tensor, List[Tensor]]:
        if x.shape[2] == self.hop:
            levels, new = self.spectrum.levels(x, state[: self.spectrum_states])
            z, after = self._read_rows(levels.reshape(x.shape[0], -1), state[self.spectrum_states :])
        else:
            spectrum, new = self.spectrum.step(x, state[: self.spectrum_states])
            z, after = self.read(spectrum, state[self.spectrum_states :])
        new.extend(after)
        return z, new

    @torch.jit.unused
    def told(self, heard_BDT: Tensor) -> Tensor:
        """What decoders get of what it hears: all of it."""
        return heard_BDT

    def read(self, spectrum: Tensor, state: List[Tensor]) -> Tuple[Tensor, List[Tensor]]:
        """Log spectrum [B, 2, bins, T] -> z_BDT: all that is learned, apart from the fixed analysis."""
        b, c, f, t = spectrum.shape[0], spectrum.shape[1], spectrum.shape[2], spectrum.shape[3]
        body, after = self.body.step(self._stack(spectrum), state[: self.body_states])
        new = after
        room, after = self.room.step(spectrum.reshape(b, c * f, t), state[self.body_states :])
        new.extend(after)
        notes = self.head(body)
        return torch.cat([notes.reshape(b, notes.shape[1] * self.pitches, t), room], dim=1), new

    def _read_rows(self, levels: Tensor, state: List[Tensor]) -> Tuple[Tensor, List[Tensor]]:
        """A single frame [B, fine and quick bins] -> z_BD1: as `read`, by the fewest and plainest products."""
        b, bins = levels.shape[0], self.spectrum.bins
        layers = self.body.layers
        rows, carried = layers[0].rows(levels, state[0])  # type: ignore
        new = [carried.contiguous()]
        rows = torch.relu(rows).unsqueeze(1)
        for i, layer in enumerate(layers[2:]):  # type: ignore
            rows, carried = layer.rows(rows, state[1 + i])  # type: ignore
            new.append(carried)
        notes = product(rows.reshape(b * self.pitches, -1), self.head.weight, self.head.bias)
        notes = notes.reshape(b, self.pitches, -1).transpose(1, 2).reshape(b, -1)
        room = self.room.layers
        first, second, third = room[0].conv, room[2].conv, room[4].conv  # type: ignore
        weight = first.weight.squeeze(2)  # type: ignore
        # a semitone's thirds hear the same quick bin
        held = weight[:, bins:].reshape(weight.shape[0], -1, 3).sum(2)
        weight = torch.cat([weight[:, :bins], held], dim=1)
        hidden = torch.relu(product(levels, weight, first.bias))  # type: ignore
        past = torch.cat([state[self.body_states], hidden.unsqueeze(2)], dim=2)
        new.append(past[:, :, 1:].contiguous())
        hidden = torch.relu(product(past.reshape(b, -1), second.weight, second.bias))  # type: ignore
        said = product(hidden, third.weight, third.bias)  # type: ignore
        return torch.cat([notes, said], dim=1).unsqueeze(2), new


def encoder_of(encoder: nn.Module) -> PitchEncoder | None:
    """The pitch encoder, if it is one or has one for its `ear`."""
    inner = getattr(encoder, "ear", encoder)
    return inner if isinstance(inner, PitchEncoder) else None


def conditioner_of(encoder: nn.Module) -> StreamingSequential | None:
    """What tells decoders of what its ear hears, if anything stands between."""
    return getattr(encoder, "mouth", None)


# A trained ear in front of a narrow latent: what WaveNet decoders listen to.
#
# audio -> umtn.model.pitch_encoder (often taken from a `live` model and frozen) -> each pitch's channels opened by
# its own
# activation, so that silent pitches say nothing -> dilated causal convolutions -> D numbers a hop.
# An autoregressive decoder trained for an hour cannot also learn to hear; one that is told the notes need not.


def opened(z_BDT: Tensor, pitches: int, per_pitch: int) -> Tensor:
    """Pitch latent -> the same layout, every pitch's channels times its activation in [0, 1]; rooms in (-1, 1)."""
    notes, room = split_latent(z_BDT, pitches, per_pitch)
    active = torch.sigmoid(notes[:, :1])
    # the free channels of a trained ear lie around 5 to 7
    told = torch.cat([active, active * notes[:, 1:2], active * notes[:, 2:] * 0.2], dim=1)
    b, t = z_BDT.shape[0], z_BDT.shape[2]
    return torch.cat([told.reshape(b, per_pitch * pitches, t), torch.tanh(room)], dim=1)


def conditioner(
    layout: PitchLatent, channels: int, dilations: Tuple[int, ...], latent: int
) -> StreamingSequential:
    """What the ear heard (`opened`) -> `latent` numbers a hop for a WaveNet."""
    return StreamingSequential(
        CausalConv1d(layout.channels, channels, 1),
        *[dilated_residual(channels, d) for d in dilations],
        Pointwise(nn.ReLU()),
        CausalConv1d(channels, latent, 1),
    )


def conditioner_parameters(mouth: StreamingModule) -> Dict[str, Tensor]:
    """As native engines are given them."""
    return {f"mouth.{name}": smallest(value) for name, value in parameters(mouth).items()}


def conditioner_weights(
    mouth: StreamingSequential, layout: PitchLatent
) -> Tuple[Dict[str, Tensor], Dict[str, Dict[str, Any]]]:
    """What native engines are given of it: tensors, and its sizes."""
    layers: List[Any] = list(mouth.layers)
    first, *between, _, last = layers
    about = {
        "kind": "heard",
        "channels": first.conv.out_channels,
        "dilations": [residual.inner.layers[1].conv.dilation[0] for residual in between],
        "latent": last.conv.out_channels,
        "layout": dataclasses.asdict(layout),
    }
    return conditioner_parameters(mouth), {"mouth": about}


class ConditionedEncoder(StreamingModule):
    """audio_B1N -> z_BDT, D = latent, T = N / hop. `ear` is the pitch encoder, `mouth` tells the decoders."""

    streaming = True

    def __init__(
        self, ear: PitchEncoder, layout: PitchLatent, channels: int, dilations: Tuple[int, ...], latent: int
    ) -> None:
        super().__init__()
        self.block = ear.hop
        self.hop = ear.hop
        self.pitches = layout.pitches
        self.per_pitch = layout.per_pitch
        self.ear = ear
        self.mouth = conditioner(layout, channels, dilations, latent)
        self.ear_states = len(ear.state_names())

    @property
    def ratio(self) -> Fraction:
        return Fraction(1, self.hop)

    @property
    def receptive_field(self) -> float:
        return self.ear.receptive_field + (self.mouth.receptive_field - 1) * self.hop

    @torch.jit.export
    def init_state(self, streams: int) -> List[Tensor]:
        state = self.ear.init_state(streams)
        state.extend(self.mouth.init_state(streams))
        return state

    @torch.jit.unused
    def state_names(self) -> List[str]:
        parts = {"ear": self.ear, "mouth": self.mouth}
        return [f"{part}.{name}" for part, module in parts.items() for name in module.state_names()]

    @torch.jit.unused
    def told(self, heard_BDT: Tensor) -> Tensor:
        """What decoders get of what the ear hears, from a fresh state."""
        return self.say(heard_BDT, self.mouth.init_state(len(heard_BDT)))[0]

    def say(self, heard_BDT: Tensor, state: List[Tensor]) -> Tuple[Tensor, List[Tensor]]:
        """The ear's latent -> z_BDT."""
        return self.mouth.step(opened(heard_BDT, self.pitches, self.per_pitch), state)

    def step(self, x: Tensor, state: List[Tensor]) -> Tuple[Tensor, List[Tensor]]:
        heard, new = self.ear.step(x, state[: self.ear_states])
        z, after = self.say(heard, state[self.ear_states :])
        new.extend(after)
        return z, new
