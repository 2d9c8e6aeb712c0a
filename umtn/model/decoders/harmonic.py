"""The `live` decoder: a small net plays an oscillator bank and a noise bank, one control frame per hop.

Per pitch, a GRU with shared weights remembers how long a note has lasted and how it began; a table per pitch
and partial holds the instrument's timbre over the keyboard, the net bends it over time. Breath, bow and hammer
are bands of noise. No sample loop: one network step per hop.
"""

import dataclasses
import math
from typing import Dict, List, Tuple

import torch
from torch import Tensor, nn

from umtn.model.config import PitchLatent
from umtn.model.decoders.base import Answer, Decoder, Losses, NativeWeights
from umtn.model.decoders.noise import NoiseBank
from umtn.model.decoders.oscillators import OscillatorBank
from umtn.model.layers import CausalConv1d, PitchGRU, split_latent
from umtn.model.streaming import Pointwise, StreamingSequential, parameters

__all__ = ["LiveDecoder", "live_of"]


class LiveDecoder(Decoder):
    """latent_BDT (PitchLatent) and uniform noise -> audio_B1N."""

    def __init__(
        self,
        rate: int,
        hop: int,
        layout: PitchLatent,
        hidden: int,
        partials: int,
        bands: int,
        voices: int,
        detune_cents: Tuple[float, ...],
        inharmonicity: float,
        taps: int = 127,
        step_mel: float = 0.0,
    ) -> None:
        super().__init__(layout.channels, hop, needs_noise=True)
        p = layout.pitches
        self.pitches = p
        self.per_pitch = layout.per_pitch
        self.partials = partials
        self.silent = (
            2e-5  # -94 dB: below it partials and bands vanish quadratically, so that silence is silence
        )
        self.place = nn.Parameter(0.1 * torch.randn(8, p))  # where on the keyboard
        self.room_in = nn.Conv1d(layout.room, 8, 1)
        inputs = layout.per_pitch + 8 + 8
        self.memory = PitchGRU(inputs, hidden, p)
        self.shape = nn.Sequential(
            nn.Conv2d(hidden + inputs, 48, 1), nn.ReLU(), nn.Conv2d(48, 48, (3, 1), padding=(1, 0)), nn.ReLU()
        )
        self.level = nn.Conv2d(48, 1, 1)
        self.timbre = nn.Conv2d(48, partials, 1)
        h = torch.arange(1, partials + 1).float()
        # a note's row learns only while that note sounds: it takes bigger steps than the rest
        self.stride = 4.0
        self.table = nn.Parameter((-1.5 * torch.log(h) / self.stride).repeat(p, 1))
        self.keys = nn.Conv2d(48, 4, 1)
        self.hiss = StreamingSequential(
            CausalConv1d(4 * p + layout.room, 64, 1),
            Pointwise(nn.ReLU()),
            CausalConv1d(64, 64, 3),
            Pointwise(nn.ReLU()),
            CausalConv1d(64, bands, 1),
        )
        nn.init.constant_(self.level.bias, -4.0)  # type: ignore[arg-type]
        with torch.no_grad():
            self.timbre.weight.mul_(0.3)
        self.oscillators = OscillatorBank(
            rate, hop, layout.lowest, p, partials, voices, detune_cents, inharmonicity
        )
        self.noise = NoiseBank(rate, hop, bands, taps, step_mel)
        self.hiss_states = len(self.hiss.state_names())

    @property
    def receptive_field(self) -> float:
        return math.inf

    @property
    def reads_pitches(self) -> bool:
        return True

    @torch.jit.unused
    def training_loss(self, z_BDT: Tensor, answer: Answer, losses: Losses) -> Tensor:
        """Of the spectrum that its controls would give: nothing is synthesised."""
        with losses.mixed(z_BDT):
            amplitude, semitones, gains, _ = self.controls(z_BDT, self.init_state(len(z_BDT)))
        return losses.of_controls(self, amplitude.float(), semitones.float(), gains.float(), answer)

    @torch.jit.unused
    def native_weights(self, rate: int, layout: PitchLatent | None) -> Dict[str, NativeWeights]:
        """Its parameters and the tables of its banks."""
        assert layout is not None
        bank, noise = self.oscillators, self.noise
        tables = {
            "oscillators.f0": bank.f0,
            "oscillators.multiples": bank.multiples,
            "oscillators.offsets": bank.offsets,
            "oscillators.weights": bank.weights,
            "oscillators.audible": bank.audible,
            "noise.filters": noise.filters,
        }
        about = {
            "kind": "live",
            "rate": rate,
            "hop": self.hop,
            "layout": dataclasses.asdict(layout),
            "latent_channels": self.latent_channels,
            "hidden": self.memory.hidden,
            "partials": self.partials,
            "bands": noise.bands,
            "voices": bank.voices,
            "sounding": bank.sounding,
            "silent": self.silent,
            "stride": self.stride,
        }
        tensors = parameters(self) | {name: value.contiguous() for name, value in tables.items()}
        return {"": NativeWeights(tensors, {"decoder": about}, beside_ear=True)}

    @torch.jit.export
    def init_state(self, streams: int) -> List[Tensor]:
        state = self.memory.init_state(streams)
        state.extend(self.hiss.init_state(streams))
        state.extend(self.oscillators.init_state(streams))
        state.extend(self.noise.init_state(streams))
        return state

    @torch.jit.unused
    def state_names(self) -> List[str]:
        parts = {
            "memory": self.memory,
            "hiss": self.hiss,
            "oscillators": self.oscillators,
            "noise": self.noise,
        }
        return [f"{part}.{name}" for part, module in parts.items() for name in module.state_names()]

    def _gate(self, log_level: Tensor) -> Tensor:
        """exp(x), but exp(2 x) below the silent level: what went quiet can still learn to come back."""
        level = torch.exp(log_level.clamp(max=0.5))
        return level * level / (level + self.silent)

    def _played(
        self, latent_BDT: Tensor, memory: List[Tensor]
    ) -> Tuple[Tensor, Tensor, Tensor, Tensor, List[Tensor]]:
        """-> amplitudes [B, P, H, T], pitch deviation in semitones [B, P, T], hidden, the room's channels, memory."""
        b, t = latent_BDT.shape[0], latent_BDT.shape[2]
        notes, room = split_latent(latent_BDT, self.pitches, self.per_pitch)
        active = torch.sigmoid(notes[:, :1])
        cents = notes[:, 1:2]
        x = torch.cat(
            [
                active,
                0.1 * notes[:, :1],
                notes[:, 2:],
                self.place[None, :, :, None].expand(b, 8, self.pitches, t),
                self.room_in(room).unsqueeze(2).expand(b, 8, self.pitches, t),
            ],
            dim=1,
        )
        remembered, new = self.memory.step(x, memory)
        hidden = self.shape(torch.cat([remembered, x], dim=1))
        log_amplitude = (
            self.level(hidden) + self.timbre(hidden) + (self.stride * self.table).T[None, :, :, None]
        )
        amplitude = self._gate(log_amplitude)  # B, H, P, T
        semitones = 0.6 * torch.tanh(cents[:, 0])
        return amplitude.transpose(1, 2), semitones, hidden, room, new

    def controls(
        self, latent_BDT: Tensor, state: List[Tensor]
    ) -> Tuple[Tensor, Tensor, Tensor, List[Tensor]]:
        """-> amplitudes [B, P, H, T], pitch deviation in semitones [B, P, T], noise gains [B, M, T], state."""
        amplitude, semitones, hidden, room, new = self._played(latent_BDT, state[:1])
        keys = self.keys(hidden).reshape(latent_BDT.shape[0], 4 * self.pitches, latent_BDT.shape[2])
        hiss, after = self.hiss.step(torch.cat([keys, room], dim=1), state[1 : 1 + self.hiss_states])
        new.extend(after)
        return amplitude, semitones, self._gate(hiss - 8), new

    @torch.jit.export
    def sing(self, latent_BDT: Tensor, state: List[Tensor]) -> Tuple[Tensor, List[Tensor]]:
        """The oscillators alone: what breathes is not computed, and its states fade (a graph must answer each)."""
        first = 1 + self.hiss_states
        amplitude, semitones, _, _, new = self._played(latent_BDT, state[:1])
        tones, after = self.oscillators.run(amplitude, semitones, state[first : first + 3])
        for kept in state[1:first]:
            new.append(0.5 * kept)
        new.extend(after)
        for kept in state[first + 3 :]:
            new.append(0.5 * kept)
        return tones, new

    def decode_step(
        self, latent_BDT: Tensor, noise_B1N: Tensor, temperature: Tensor, state: List[Tensor]
    ) -> Tuple[Tensor, List[Tensor]]:
        first = 1 + self.hiss_states
        amplitude, semitones, gains, new = self.controls(latent_BDT, state[:first])
        tones, after = self.oscillators.run(amplitude, semitones, state[first : first + 3])
        new.extend(after)
        breath, after = self.noise.run(gains, noise_B1N, state[first + 3 :])
        new.extend(after)
        return tones + breath, new


def live_of(decoder: nn.Module) -> LiveDecoder:
    """The decoder, known to be one of these; TypeError where it is not."""
    if not isinstance(decoder, LiveDecoder):
        raise TypeError(f"a `live` decoder was wanted, not {type(decoder).__name__}")
    return decoder
