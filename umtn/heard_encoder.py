"""A trained ear in front of a narrow latent: what WaveNet decoders listen to.

audio -> umtn.pitch_encoder (often taken from a `live` model and frozen) -> each pitch's channels opened by its own
activation, so that silent pitches say nothing -> dilated causal convolutions -> D numbers a hop.
An autoregressive decoder trained for an hour cannot also learn to hear; one that is told the notes need not.
"""

from fractions import Fraction
from typing import List, Tuple

import torch
from torch import Tensor, nn

from umtn.latent import PitchLatent, split_latent
from umtn.layers import CausalConv1d, dilated_residual
from umtn.pitch_encoder import PitchEncoder
from umtn.streaming import Pointwise, StreamingModule, StreamingSequential

__all__ = ["HeardEncoder", "mouth", "opened"]


def opened(z_BDT: Tensor, pitches: int, per_pitch: int) -> Tensor:
    """Pitch latent -> the same layout, every pitch's channels times its activation in [0, 1]; rooms in (-1, 1)."""
    notes, room = split_latent(z_BDT, pitches, per_pitch)
    active = torch.sigmoid(notes[:, :1])
    # the free channels of a trained ear lie around 5 to 7
    told = torch.cat([active, active * notes[:, 1:2], active * notes[:, 2:] * 0.2], dim=1)
    b, t = z_BDT.shape[0], z_BDT.shape[2]
    return torch.cat([told.reshape(b, per_pitch * pitches, t), torch.tanh(room)], dim=1)


def mouth(layout: PitchLatent, channels: int, dilations: Tuple[int, ...], latent: int) -> StreamingSequential:
    """What the ear heard (`opened`) -> `latent` numbers a hop for a WaveNet."""
    return StreamingSequential(
        CausalConv1d(layout.channels, channels, 1),
        *[dilated_residual(channels, d) for d in dilations],
        Pointwise(nn.ReLU()),
        CausalConv1d(channels, latent, 1),
    )


class HeardEncoder(StreamingModule):
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
        self.mouth = mouth(layout, channels, dilations, latent)
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

    def say(self, heard_BDT: Tensor, state: List[Tensor]) -> Tuple[Tensor, List[Tensor]]:
        """The ear's latent -> z_BDT."""
        return self.mouth.step(opened(heard_BDT, self.pitches, self.per_pitch), state)

    def step(self, x: Tensor, state: List[Tensor]) -> Tuple[Tensor, List[Tensor]]:
        heard, new = self.ear.step(x, state[: self.ear_states])
        z, after = self.say(heard, state[self.ear_states :])
        new.extend(after)
        return z, new
