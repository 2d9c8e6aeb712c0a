"""A bank of harmonic oscillators with phase memory: held partials stay pure, however cheap the net above.

For every pitch p and partial h the net gives an amplitude once a hop; between hops amplitude and frequency
ramp linearly, and phase runs on (Engel et al. 2020, DDSP, but polyphonic). Only the loudest pitches of a frame
are computed, so cost does not grow with the keyboard. Legend: V voice, H partial, U unison string, N sample.
"""

import math
from fractions import Fraction
from typing import List, Tuple

import torch
from torch import Tensor

from umtn.streaming import StreamingModule

__all__ = ["OscillatorBank", "partial_multiples"]


def partial_multiples(pitches: int, lowest: int, partials: int, inharmonicity: float) -> Tensor:
    """Frequency of partial h over the fundamental's, [P, H] float64: h * sqrt(1 + B h^2) of a stiff string.

    `inharmonicity` is B at A4; it falls by half an octave downwards as on a piano (Fletcher 1964), floor B/8.
    """
    h = torch.arange(1, partials + 1, dtype=torch.float64)
    midi = torch.arange(lowest, lowest + pitches, dtype=torch.float64)
    b = inharmonicity * (2.0 ** ((midi - 69) / 8)).clamp(min=1 / 8)
    return h * torch.sqrt(1 + b[:, None] * h * h) / torch.sqrt(1 + b[:, None])


class OscillatorBank(StreamingModule):
    """(amplitude_BPHT, semitones_BPT) -> audio_B1N with N = T * hop.

    State: phase of every fundamental in cycles (float64, [B, P]), its frequency at the last frame's end
    (cycles a sample, [B, P]), amplitudes at the last frame's end [B, P, H].
    """

    def __init__(
        self,
        rate: int,
        hop: int,
        lowest: int,
        pitches: int,
        partials: int,
        voices: int,
        detune_cents: Tuple[float, ...],
        inharmonicity: float,
    ) -> None:
        super().__init__()
        self.hop = hop
        self.pitches = pitches
        self.partials = partials
        self.chunk = 8  # frames computed at once: offline memory stays flat
        self.voices = min(voices, pitches)
        self.sounding = min(2 * voices, pitches)
        self.unison = len(detune_cents)
        midi = torch.arange(lowest, lowest + pitches, dtype=torch.float64)
        self.register_buffer("f0", 440.0 * 2 ** ((midi - 69) / 12) / rate, persistent=False)
        multiples = partial_multiples(pitches, lowest, partials, inharmonicity)
        ratio = 2.0 ** (torch.tensor(detune_cents, dtype=torch.float64) / 1200)
        multiples = multiples[:, :, None] * ratio  # P, H, U
        self.register_buffer("multiples", multiples, persistent=False)
        generator = torch.Generator().manual_seed(7)
        self.register_buffer(
            "offsets", torch.rand(multiples.shape, generator=generator, dtype=torch.float64), persistent=False
        )
        side = 0.42  # the outer strings of a unison: they beat against the middle one, never cancel it
        weights = torch.full([self.unison], side)
        weights[0] = math.sqrt(max(0.0, 1 - side * side * (self.unison - 1)))
        self.register_buffer("weights", weights, persistent=False)
        audible = (self.f0[:, None, None] * multiples * 1.03 < 0.48).float()  # no partial folds back at Nyquist
        self.register_buffer("audible", audible.amin(dim=2), persistent=False)
        k = torch.arange(1, hop + 1, dtype=torch.float64)
        ramp = torch.stack([k, k * (k + 1) / (2 * hop)])  # phase of the old frequency and of its change
        self.register_buffer("ramp", 2 * math.pi * ramp.float(), persistent=False)
        self.register_buffer("fade", torch.stack([1 - k / hop, k / hop]).float(), persistent=False)

    @property
    def ratio(self) -> Fraction:
        return Fraction(self.hop)

    @property
    def receptive_field(self) -> float:
        return math.inf

    @torch.jit.export
    def init_state(self, streams: int) -> List[Tensor]:
        return [
            torch.zeros([streams, self.pitches], dtype=torch.float64, device=self._anchor.device),
            self._anchor.new_zeros([streams, self.pitches]),
            self._anchor.new_zeros([streams, self.pitches, self.partials]),
        ]

    @torch.jit.unused
    def state_names(self) -> List[str]:
        return ["phase", "frequency", "amplitude"]

    def _loudest(self, amplitude_BPHT: Tensor) -> Tensor:
        """Silences all but the `voices` loudest pitches of each frame."""
        level = amplitude_BPHT.square().sum(dim=2)
        least = torch.topk(level, self.voices, dim=1)[0][:, self.voices - 1 : self.voices]
        return amplitude_BPHT * (level >= least).to(amplitude_BPHT.dtype).unsqueeze(2)

    def step(self, x: Tensor, state: List[Tensor]) -> Tuple[Tensor, List[Tensor]]:
        """x_BCPT: a channel per partial's amplitude, then one of semitones."""
        return self.run(x[:, : self.partials].transpose(1, 2), x[:, self.partials], state)

    def run(
        self, amplitude_BPHT: Tensor, semitones_BPT: Tensor, state: List[Tensor]
    ) -> Tuple[Tensor, List[Tensor]]:
        """Amplitudes at each frame's end and the pitch deviation -> audio, state."""
        amplitude = self._loudest(amplitude_BPHT * self.audible.unsqueeze(2))
        frequency = (self.f0.float()[:, None] * torch.exp2(semitones_BPT / 12)).to(amplitude.dtype)
        # float64 phases count cycles without wrapping: after ten hours a 40th partial is still exact to 1e-6
        before = torch.cat([state[1].unsqueeze(2), frequency], dim=2)[:, :, : frequency.shape[2]]
        advance = (before * self.hop + (frequency - before) * (self.hop + 1) / 2).double()
        reached = state[0].unsqueeze(2) + torch.cumsum(advance, dim=2)
        phase = torch.cat([state[0].unsqueeze(2), reached], dim=2)[:, :, : frequency.shape[2]]
        start = torch.cat([state[2].unsqueeze(3), amplitude], dim=3)[:, :, :, : frequency.shape[2]]
        pieces: List[Tensor] = []
        for first in range(0, amplitude.shape[3], self.chunk):
            last = min(first + self.chunk, amplitude.shape[3])
            pieces.append(
                self._render(
                    start[:, :, :, first:last],
                    amplitude[:, :, :, first:last],
                    before[:, :, first:last],
                    frequency[:, :, first:last],
                    phase[:, :, first:last],
                )
            )
        audio = torch.cat(pieces, dim=1)
        t = amplitude.shape[3]
        return audio.unsqueeze(1), [
            reached[:, :, t - 1].contiguous(),
            frequency[:, :, t - 1].contiguous(),
            amplitude[:, :, :, t - 1].contiguous(),
        ]

    def _render(self, a0: Tensor, a1: Tensor, f0: Tensor, f1: Tensor, phase: Tensor) -> Tensor:
        """One ramp per frame; a0, a1 [B, P, H, T], f0, f1, phase [B, P, T] -> [B, T * hop]."""
        b, h, t = a0.shape[0], self.partials, a0.shape[3]
        level = torch.maximum(a0, a1).square().sum(dim=2).transpose(1, 2)  # B, T, P
        voice = torch.topk(level, self.sounding, dim=2)[1]  # B, T, V: all that sound or fade
        wide = voice.unsqueeze(3).expand(b, t, self.sounding, h)
        start = torch.gather(a0.permute(0, 3, 1, 2), 2, wide)
        end = torch.gather(a1.permute(0, 3, 1, 2), 2, wide)
        multiples = self.multiples[voice]  # B, T, V, H, U
        cycles = torch.gather(phase.transpose(1, 2), 2, voice)[:, :, :, None, None] * multiples
        cycles = cycles + self.offsets[voice]
        turn = (2 * math.pi * (cycles - torch.floor(cycles))).to(a0.dtype)
        slope = torch.stack([f0, f1 - f0], dim=3).transpose(1, 2)  # B, T, P, 2
        slope = torch.gather(slope, 2, voice.unsqueeze(3).expand(b, t, self.sounding, 2))
        bend = torch.matmul(slope, self.ramp).reshape(b, t, self.sounding, 1, 1, self.hop)
        angle = turn.unsqueeze(5) + multiples.to(a0.dtype).unsqueeze(5) * bend
        wave = torch.cos(angle).reshape(b, t, self.sounding * h * self.unison, self.hop)
        pair = torch.stack([start, end], dim=2).unsqueeze(5) * self.weights
        mixed = torch.matmul(pair.reshape(b, t, 2, self.sounding * h * self.unison), wave)
        return (mixed * self.fade).sum(dim=2).reshape(b, t * self.hop)
