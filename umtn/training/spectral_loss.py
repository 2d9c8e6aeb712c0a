"""What the live decoder is trained on: the power spectrum its controls *would* give, against the target's.

The bank's spectrum is known in closed form (a line of the window's shape per partial, band-shaped noise), so
nothing has to be synthesised while training: a step costs a scatter and two matrix products instead of
hundreds of millions of cosines, and the random phases of the target do not disturb the gradient. Two
resolutions: narrow bins (2,048 samples) for partials, mel bands of short windows (512) for attacks. Where the score
is known, the bins on its notes' partials count once more, each note alike: nine bins in ten lie between the partials,
and by them alone an inner voice of a chord may as well be left out. The quick one lets an attack come up to 32 ms late,
at a price: where a bow is heard only slowly, a hammer that hedges is worse than one that strikes when it knows.
Legend: P pitch, H partial, T control frame, J spectrum frame, K bin.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from umtn.model.decoders.harmonic import LiveDecoder

__all__ = ["BankSpectrumLoss", "mel_matrix"]


FLOOR = 1e-8
FINE = 4  # lines are placed to a quarter of a bin
NOTE_PARTIALS = 8
HELD = 0.9  # of the window
LATEST, LATE_COST = 6, 0.03  # hops by which the quick one's target may be read late, and what each costs
FITS_HOPS = 31  # over which it is judged which reading fits best


def mel_matrix(bins: int, rate: int, bands: int) -> Tensor:
    """Triangular mel filters [bins, bands] that keep power (columns of a narrow line sum to about 1)."""
    f = torch.linspace(0, rate / 2, bins)
    top = 2595 * math.log10(1 + rate / 2 / 700)
    edges = 700 * (10 ** (torch.linspace(0, top, bands + 2) / 2595) - 1)
    low, centre, high = edges[:-2], edges[1:-1], edges[2:]
    up = (f[:, None] - low) / (centre - low)
    down = (high - f[:, None]) / (high - centre)
    return torch.minimum(up, down).clamp(min=0)


def _window_line(size: int) -> Tensor:
    """Power of a Hann window's main lobe at quarter bins from -2 to 2."""
    d = torch.arange(-2 * FINE, 2 * FINE + 1, dtype=torch.float64) / FINE
    lobe = torch.sinc(d) / (1 - d * d)
    lobe[d.abs() == 1] = 0.5
    return lobe.square().float()


class BankSpectrumLoss(nn.Module):
    """Distance between the spectrum of a LiveDecoder's controls and that of target audio."""

    bin_weight: Tensor
    line: Tensor
    mel: Tensor
    window: Tensor
    short_window: Tensor

    def __init__(self, rate: int, bands: int = 64) -> None:
        super().__init__()
        self.rate = rate
        longer = max(1, round(rate / 24000))  # as long at every rate, but 2,048 and 512 samples at least
        self.size, self.short = size, short = 2048 * longer, 512 * longer
        bins = size // 2 + 1
        f = torch.linspace(0, rate / 2, bins)
        weight = 1 / (1 + f / 1500)
        self.register_buffer("bin_weight", weight / weight.mean(), persistent=False)
        self.register_buffer("line", _window_line(size)[None, None], persistent=False)
        self.register_buffer("mel", mel_matrix(short // 2 + 1, rate, bands), persistent=False)
        self.register_buffer("window", torch.hann_window(size), persistent=False)
        self.register_buffer("short_window", torch.hann_window(short), persistent=False)

    def power(self, audio_BN: Tensor, size: int, hop: int, window: Tensor) -> Tensor:
        """|STFT|^2 [B, J, K], scaled so that a sine of amplitude A peaks at A^2; frame j is centred on j * hop."""
        spectrum = torch.stft(
            audio_BN, size, hop, window=window, center=True, pad_mode="constant", return_complex=True
        )
        return spectrum.abs().square().transpose(1, 2) * (4 / size) ** 2

    def _lines(self, cycles: Tensor, power: Tensor, size: int) -> Tensor:
        """Lines of `power` at `cycles` a sample, both [B, J, L] -> spectrum [B, J, K]."""
        bins = size // 2 + 1
        index = torch.round(cycles * size * FINE).long().clamp(0, bins * FINE - 1)
        fine = torch.zeros(*power.shape[:2], bins * FINE, device=power.device, dtype=power.dtype)
        fine = fine.scatter_add(2, index, power)
        b, j = fine.shape[:2]
        spread = F.conv1d(fine.reshape(b * j, 1, -1), self.line, stride=FINE, padding=2 * FINE)
        return spread.reshape(b, j, -1)[:, :, :bins]

    def _noise_shapes(self, decoder: LiveDecoder, size: int) -> Tensor:
        """Amplitude each band of unit gain leaves in each bin, [M, K]; bands share a phase, so amplitudes add."""
        taps = decoder.noise.filters[:, 0]
        centred = F.pad(taps, [0, size - taps.shape[1]]).roll(-(decoder.noise.taps // 2), dims=1)
        return torch.fft.rfft(centred).real * math.sqrt(6 / size)

    def _smoothing(self, frames: int, hop: int, count: int, jump: int, size: int) -> Tensor:
        """[T, J]: how the analysis window averages what the controls ramp to at each hop's end."""
        t = (torch.arange(frames) + 1.0) * hop
        c = torch.arange(count) * float(jump)
        offset = ((t[:, None] - c[None]) / size).clamp(-0.5, 0.5)
        w = torch.cos(math.pi * offset).square()
        return w / w.sum(dim=0, keepdim=True).clamp(min=1e-6)

    def forward(
        self,
        decoder: LiveDecoder,
        amplitude_BPHT: Tensor,
        semitones_BPT: Tensor,
        gains_BMT: Tensor,
        target_BN: Tensor,
        weight_BT: Tensor,
        attack_BT: Tensor | None = None,
        held_BPT: Tensor | None = None,
    ) -> Tensor:
        """Mean log-spectral distance over frames of non-zero weight; `attack_BT` weighs the quick one once more.

        held_BPT: the score's notes, in the target's time; none known (default): their partials count as other bins.
        """
        bank = decoder.oscillators
        amplitude = amplitude_BPHT * bank.audible[:, :, None]
        cycles = (bank.f0[:, None, None] * bank.multiples).float()  # P, H, U: every string of a unison
        narrow = self._narrow(
            decoder, amplitude, semitones_BPT, gains_BMT, target_BN, weight_BT, cycles, held_BPT
        )
        quick = weight_BT if attack_BT is None else weight_BT * attack_BT
        return narrow + self._attack(decoder, amplitude, gains_BMT, target_BN, quick, cycles)

    def _narrow(
        self,
        decoder: LiveDecoder,
        amplitude: Tensor,
        semitones: Tensor,
        gains: Tensor,
        target: Tensor,
        weight: Tensor,
        cycles_PHU: Tensor,
        held: Tensor | None,
    ) -> Tensor:
        jump = 4 * decoder.hop
        wanted = self.power(target, self.size, jump, self.window)
        b, p, h, t = amplitude.shape
        smooth = self._smoothing(t, decoder.hop, wanted.shape[1], jump, self.size).to(target)
        lines = torch.matmul(amplitude.reshape(b, p * h, t), smooth).square().transpose(1, 2)
        lines = (lines.unsqueeze(3) * decoder.oscillators.weights.square()).flatten(2)
        bend = torch.matmul(torch.exp2(semitones / 12), smooth).transpose(1, 2)  # B, J, P
        cycles = (bend[:, :, :, None, None] * cycles_PHU).flatten(2)
        mean_gains = torch.matmul(gains, smooth).transpose(1, 2)
        hiss = torch.matmul(mean_gains, self._noise_shapes(decoder, self.size)).square()
        given = self._lines(cycles.detach(), lines, self.size) + hiss
        distance = (torch.log(given + FLOOR) - torch.log(wanted + FLOOR)).abs()
        w = torch.matmul(weight, smooth)
        shape = ((distance * self.bin_weight).mean(dim=2) * w).sum() / w.sum().clamp(min=1.0)
        loss = shape + self._convergence(given, wanted, w)
        if held is None:
            return loss
        sounding = (torch.matmul(held, smooth) > HELD).float() * w[:, None]  # B, P, J
        each = torch.matmul(distance, self._combs(cycles_PHU)).transpose(1, 2)
        return loss + (each * sounding).sum() / sounding.sum().clamp(min=1.0)

    @staticmethod
    def _quick_logs(power: Tensor) -> tuple[Tensor, Tensor]:
        """Of mel powers [B, T, bands]: each, and the whole frame's energy [B, T, 1], which a player hears first."""
        return torch.log(power + FLOOR), torch.log(power.sum(dim=2, keepdim=True) + 10 * FLOOR)

    @staticmethod
    def _quick_distance(given: tuple[Tensor, Tensor], wanted: tuple[Tensor, Tensor]) -> Tensor:
        """[B, T] between `_quick_logs`: shape and energy, each counting once."""
        return torch.stack([(g - w).abs().mean(dim=2) for g, w in zip(given, wanted, strict=True)]).sum(dim=0)

    @torch.no_grad()
    def _read_late(self, given: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
        """The target [B, T, bands] read up to LATEST hops late, wherever what is given fits it best, and how late."""
        t = given.shape[1]
        padded = F.pad(wanted.transpose(1, 2), [LATEST, 0], mode="replicate").transpose(1, 2)
        given_logs, padded_logs = self._quick_logs(given), self._quick_logs(padded)

        def late_by(hops: int) -> Tensor:
            begin = LATEST - hops
            bands, energy = (x[:, begin : begin + t] for x in padded_logs)
            return self._quick_distance(given_logs, (bands, energy))

        cost = torch.stack([late_by(hops) for hops in range(LATEST + 1)])
        cost = F.avg_pool1d(cost, FITS_HOPS, stride=1, padding=FITS_HOPS // 2, count_include_pad=False)
        cost = cost + LATE_COST * torch.arange(LATEST + 1, device=given.device)[:, None, None]
        late = cost.argmin(dim=0)
        at = torch.arange(t, device=given.device) + LATEST - late
        return padded.gather(1, at[:, :, None].expand(-1, -1, wanted.shape[2])), late.float()

    def _combs(self, cycles_PHU: Tensor) -> Tensor:
        """[K, P]: the bins on each pitch's first partials and their neighbours, summing to one."""
        bins = (cycles_PHU[:, :NOTE_PARTIALS, 0] * self.size).round().long()
        near = (bins[:, :, None] + torch.tensor([-1, 0, 1], device=bins.device)).flatten(1)
        last = self.size // 2
        comb = torch.zeros(len(near), last + 1, device=near.device)
        comb.scatter_(1, near.clamp(0, last), (near < last).float())
        return (comb / comb.sum(dim=1, keepdim=True)).T

    @staticmethod
    def _convergence(given: Tensor, wanted: Tensor, weight: Tensor) -> Tensor:
        """Root mean square distance of magnitudes over the target's, per clip: peaks and level before gaps."""
        apart = ((given + FLOOR).sqrt() - (wanted + FLOOR).sqrt()).square().sum(dim=2) * weight
        size = (wanted + FLOOR).sum(dim=2) * weight
        return ((apart.sum(dim=1) + FLOOR).sqrt() / (size.sum(dim=1) + FLOOR).sqrt()).mean()

    def _attack(
        self,
        decoder: LiveDecoder,
        amplitude: Tensor,
        gains: Tensor,
        target: Tensor,
        weight: Tensor,
        cycles_PHU: Tensor,
    ) -> Tensor:
        hop, p, h = decoder.hop, amplitude.shape[1], amplitude.shape[2]
        b, t = amplitude.shape[0], amplitude.shape[3]
        wanted = torch.matmul(self.power(target, self.short, hop, self.short_window)[:, 1 : t + 1], self.mel)
        unit = torch.ones(1, 1, 1, device=target.device).expand(p * h, 1, 1)
        table = torch.matmul(
            self._lines(cycles_PHU[:, :, 0].reshape(p * h, 1, 1), unit, self.short)[:, 0], self.mel
        )
        hiss = torch.matmul(gains.transpose(1, 2), self._noise_shapes(decoder, self.short)).square()
        lines = torch.matmul(amplitude.reshape(b, p * h, t).square().transpose(1, 2), table)
        given = lines + torch.matmul(hiss, self.mel)  # B, T, bands
        padded = F.pad(given, [0, 0, 1, 1])
        given = (
            0.5 * given + 0.25 * padded[:, :-2] + 0.25 * padded[:, 2:]
        )  # the window spans two hops each side
        wanted, late = self._read_late(given, wanted)
        distance = self._quick_distance(self._quick_logs(given), self._quick_logs(wanted)) + LATE_COST * late
        return (distance * weight).sum() / weight.sum().clamp(min=1.0) + self._convergence(
            given, wanted, weight
        )
