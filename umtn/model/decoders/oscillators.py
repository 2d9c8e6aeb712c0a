"""A bank of harmonic oscillators with phase memory: held partials stay pure, however cheap the net above.

For every pitch p and partial h the net gives an amplitude once a hop; between hops amplitude ramps linearly,
frequency in two steps, and phase runs on (Engel et al. 2020, DDSP, but polyphonic). Only the loudest pitches of a frame
are computed, so cost does not grow with the keyboard. Legend: V voice, H partial, U unison string, N sample.
"""

import math
from fractions import Fraction
from typing import List, Tuple

import torch
from torch import Tensor

from umtn.model.streaming import StreamingModule

__all__ = ["OscillatorBank", "audible_at", "partial_multiples"]


def partial_multiples(pitches: int, lowest: int, partials: int, inharmonicity: float) -> Tensor:
    """Frequency of partial h over the fundamental's, [P, H] float64: h * sqrt(1 + B h^2) of a stiff string.

    `inharmonicity` is B at A4; it falls by half an octave downwards as on a piano (Fletcher 1964), floor B/8.
    """
    h = torch.arange(1, partials + 1, dtype=torch.float64)
    midi = torch.arange(lowest, lowest + pitches, dtype=torch.float64)
    b = inharmonicity * (2.0 ** ((midi - 69) / 8)).clamp(min=1 / 8)
    return h * torch.sqrt(1 + b[:, None] * h * h) / torch.sqrt(1 + b[:, None])


def audible_at(f0_P: Tensor, multiples_PHU: Tensor) -> Tensor:
    """[P, H]: the partials of which no string folds back at Nyquist, bent or not; f0 in cycles a sample."""
    return (f0_P[:, None, None] * multiples_PHU * 1.03 < 0.48).all(dim=2)


class OscillatorBank(StreamingModule):
    """(amplitude_BPHT, semitones_BPT) -> audio_B1N with N = T * hop.

    State: phase of every fundamental in cycles (float64, [B, P]), its frequency at the last frame's end
    (cycles a sample, [B, P]), amplitudes at the last frame's end [B, P, H].
    """

    f0: Tensor
    multiples: Tensor
    offsets: Tensor
    weights: Tensor
    audible: Tensor
    fade: Tensor

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
        self.steps = 64  # in a semitone: 1.6 cents each
        self.chunk = 8  # frames computed at once: offline memory stays flat
        self.voices = min(voices, pitches)
        self.sounding = min(2 * voices, pitches)
        self.unison = len(detune_cents)
        self.doublings = int(math.log2(hop // 16))
        if hop != 16 << self.doublings:
            raise ValueError(f"the oscillators work in halves of a hop of 16 * 2^n samples, not {hop}")
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
        self.register_buffer("audible", audible_at(self.f0, multiples).float(), persistent=False)
        k = torch.arange(1, hop + 1, dtype=torch.float64)
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
        level = (amplitude_BPHT * amplitude_BPHT).sum(dim=2)
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
        t = amplitude.shape[3]
        # in steps: a last bit that differs between engines must not add up in phase
        steps = torch.round(semitones_BPT * self.steps).double() / (12 * self.steps)
        frequency = (self.f0[:, None] * torch.exp2(steps)).to(amplitude.dtype)
        before = torch.cat([state[1].unsqueeze(2), frequency], dim=2)[:, :, :t]
        # float64 phases count cycles without wrapping: after ten hours a 40th partial is still exact to 1e-6
        advance = (before.double() + frequency.double()) * (self.hop / 2)
        reached = state[0].unsqueeze(2) + torch.cumsum(advance, dim=2)
        phase = torch.cat([state[0].unsqueeze(2), reached], dim=2)[:, :, :t]
        start = torch.cat([state[2].unsqueeze(3), amplitude], dim=3)[:, :, :, :t]
        pieces: List[Tensor] = []
        for first in range(0, t, self.chunk):
            last = min(first + self.chunk, t)
            pieces.append(
                self._render(
                    start[:, :, :, first:last],
                    amplitude[:, :, :, first:last],
                    before[:, :, first:last],
                    frequency[:, :, first:last],
                    phase[:, :, first:last],
                )
            )
        return torch.cat(pieces, dim=1).unsqueeze(1), [
            reached[:, :, t - 1].contiguous(),
            frequency[:, :, t - 1].contiguous(),
            amplitude[:, :, :, t - 1].contiguous(),
        ]

    def _render(self, a0: Tensor, a1: Tensor, f0: Tensor, f1: Tensor, phase: Tensor) -> Tensor:
        """One ramp per frame; a0, a1 [B, P, H, T], f0, f1, phase [B, P, T] -> [B, T * hop].

        Frequency is constant over half a hop, so that a partial is a geometric series of complex numbers, and
        sample k = 8 i + j of it a product: z r^(8 i) * r^j. Two short tables and one matrix product over all
        partials replace a cosine per partial and sample.
        """
        b, t, n = a0.shape[0], a0.shape[3], self.sounding * self.partials * self.unison
        louder = torch.maximum(a0, a1)
        level = (louder * louder).sum(dim=2).transpose(1, 2)  # B, T, P
        voice = torch.topk(level, self.sounding, dim=2)[1]  # B, T, V: all that sound or fade
        wide = voice.unsqueeze(3).expand(b, t, self.sounding, self.partials)
        start = torch.gather(a0.permute(0, 3, 1, 2), 2, wide)
        end = torch.gather(a1.permute(0, 3, 1, 2), 2, wide)
        pair = (torch.stack([start, end], dim=2).unsqueeze(5) * self.weights).reshape(b, t, 1, 2, 1, n)
        z, r = self._turns(voice, f0, f1, phase)
        z_re, z_im, r_re, r_im = z[0], z[1], r[0], r[1]
        col_re, col_im = torch.ones_like(r_re), torch.zeros_like(r_im)
        for _ in range(3):  # r^0 .. r^7 by doubling
            col_re, col_im, r_re, r_im = self._double(col_re, col_im, r_re, r_im)
        for _ in range(self.doublings):  # z r^0, z r^8, z r^16 ..
            z_re, z_im, r_re, r_im = self._double(z_re, z_im, r_re, r_im)
        rows = torch.cat([z_re.unsqueeze(3) * pair, z_im.unsqueeze(3) * -pair], dim=5)
        columns = torch.cat([col_re, col_im], dim=4).unsqueeze(3)
        mixed = torch.matmul(rows, columns.transpose(4, 5))  # B, T, half, 2, i, j
        mixed = mixed.transpose(2, 3).reshape(b, t, 2, self.hop)
        return (mixed * self.fade).sum(dim=2).reshape(b, t * self.hop)

    def _turns(self, voice: Tensor, f0: Tensor, f1: Tensor, phase: Tensor) -> Tuple[Tensor, Tensor]:
        """First sample and ratio of every partial's series, each [2 (re, im), B, T, half, 1, V * H * U]."""
        b, t, n = voice.shape[0], voice.shape[1], self.sounding * self.partials * self.unison
        multiples = self.multiples[voice].reshape(b, t, 1, self.sounding, self.partials * self.unison)
        offsets = self.offsets[voice].reshape(b, t, 1, self.sounding, self.partials * self.unison)
        old = torch.gather(f0.transpose(1, 2), 2, voice).double()
        change = torch.gather(f1.transpose(1, 2), 2, voice).double() - old
        cycles = torch.gather(phase.transpose(1, 2), 2, voice)
        halves = torch.stack([old + 0.25 * change, old + 0.75 * change], dim=2)  # B, T, half, V
        first = torch.stack([cycles, cycles + halves[:, :, 0] * (self.hop / 2)], dim=2) + halves
        angle = first.unsqueeze(4) * multiples + offsets
        angle = 6.283185307179586 * (angle - torch.floor(angle)).to(f0.dtype)
        ratio = 6.283185307179586 * (halves.unsqueeze(4) * multiples).to(f0.dtype)
        z = torch.stack([torch.cos(angle), torch.sin(angle)]).reshape(2, b, t, 2, 1, n)
        r = torch.stack([torch.cos(ratio), torch.sin(ratio)]).reshape(2, b, t, 2, 1, n)
        return z, r

    def _double(
        self, x_re: Tensor, x_im: Tensor, r_re: Tensor, r_im: Tensor
    ) -> Tuple[Tensor, Tensor, Tensor, Tensor]:
        """m terms of a series, and the ratio of its m-th to its first term -> 2 m terms, that ratio squared."""
        longer_re = torch.cat([x_re, x_re * r_re - x_im * r_im], dim=3)
        longer_im = torch.cat([x_im, x_re * r_im + x_im * r_re], dim=3)
        return longer_re, longer_im, r_re * r_re - r_im * r_im, 2 * r_re * r_im
