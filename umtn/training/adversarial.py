"""Judges that learn to tell the decoders' audio from recordings: multi-period and multi-resolution discriminators.

Periods: audio folded by a prime, so that every residue is a column (HiFi-GAN, Kong et al. 2020). Resolutions:
magnitude spectra (UnivNet, Jang et al. 2021). Least squares (Mao et al. 2017), feature matching (Larsen et al. 2016).
Each judges all domains and has an output for each, so that a fine piano is a bad choir.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from umtn.model.config import AdversaryConfig
from umtn.model.decoders.conv import ConvDecoder
from umtn.training.scheduled_sampling import doubted_sound
from umtn.training.spectral_loss import magnitudes

__all__ = ["Adversary", "PeriodJudge", "Said", "SpectrumJudge", "say"]


SLOPE = 0.1
LEVEL = 0.5  # RMS of what judges hear
QUIET = 1e-3  # clips below -60 dBFS are not made louder any more

Features = list[Tensor]


class _Judge(nn.Module):
    """A picture [B, 1, H, W] of the audio, strided convolutions, one output a domain."""

    def __init__(self, layers: list[nn.Conv2d], domains: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.verdict = nn.Conv2d(layers[-1].out_channels, domains, (3, 1), padding=(1, 0))

    def picture(self, audio_BN: Tensor) -> Tensor:
        """[B, 1, H, W]."""
        raise NotImplementedError

    def forward(self, audio_BN: Tensor, domain_B: Tensor) -> tuple[Tensor, Features]:
        """-> (verdicts of each clip's own domain [B, h, w], what each layer found)."""
        x, found = self.picture(audio_BN), []
        for layer in self.layers:
            x = F.leaky_relu(layer(x), SLOPE)
            found.append(x)
        verdicts = self.verdict(x)
        return verdicts[torch.arange(len(x), device=x.device), domain_B], found


class PeriodJudge(_Judge):
    """Rows of `period` samples; convolutions along the columns."""

    def __init__(self, period: int, channels: int, domains: int) -> None:
        widths = [1, channels, 2 * channels, 4 * channels, 4 * channels]
        pairs = itertools.pairwise(widths)
        super().__init__([nn.Conv2d(a, b, (5, 1), (3, 1), (2, 0)) for a, b in pairs], domains)
        self.period = period

    def picture(self, audio_BN: Tensor) -> Tensor:
        rows = audio_BN.shape[1] // self.period
        return audio_BN[:, : rows * self.period].reshape(-1, 1, rows, self.period)


class SpectrumJudge(_Judge):
    """Magnitudes of one window's size, [B, 1, frames, bins], compressed as loudness is."""

    def __init__(self, window: int, channels: int, domains: int) -> None:
        widths = [1, channels, channels, 2 * channels]
        pairs = itertools.pairwise(widths)
        super().__init__([nn.Conv2d(a, b, (3, 5), (1, 2), (1, 2)) for a, b in pairs], domains)
        self.window = window

    def picture(self, audio_BN: Tensor) -> Tensor:
        return magnitudes(audio_BN, self.window).transpose(1, 2).unsqueeze(1).pow(0.3)


class Adversary(nn.Module):
    """All judges, and what they say: of the decoders, for the decoders; of both, for the judges."""

    def __init__(self, config: AdversaryConfig, domains: int) -> None:
        super().__init__()
        self.config = config
        judges: list[_Judge] = [PeriodJudge(p, config.channels, domains) for p in config.periods]
        judges += [SpectrumJudge(w, config.channels // 2, domains) for w in config.windows]
        self.judges = nn.ModuleList(judges)

    def forward(self, given_BN: Tensor, wanted_BN: Tensor, domain_B: Tensor) -> tuple[Tensor, Tensor]:
        """Audio of decoders and recordings -> (loss of the decoders, loss of the judges).

        Neither reaches the other's weights. Clips are compared at one level, the recording's.
        """
        level = wanted_BN.square().mean(dim=1, keepdim=True).sqrt().clamp(min=QUIET)
        given, wanted = LEVEL * given_BN / level, LEVEL * wanted_BN / level
        for_decoders, for_judges = torch.zeros(2, device=given.device).unbind()
        for judge in self.judges:
            real, real_found = judge(wanted, domain_B)
            fake, _ = judge(given.detach(), domain_B)
            for_judges = for_judges + (1 - real).square().mean() + fake.square().mean()
            frozen = {name: p.detach() for name, p in judge.named_parameters()}
            said, found = torch.func.functional_call(judge, frozen, (given, domain_B))
            for_decoders = for_decoders + self.config.weight * (1 - said).square().mean()
            for_decoders = for_decoders + self.config.feature_weight * _apart(found, real_found)
        return for_decoders / len(self.judges), for_judges / len(self.judges)


def _apart(found: Features, wanted: Features) -> Tensor:
    """Mean over layers of the distance over the size of what was wanted."""
    pairs = [(a.float(), b.detach().float()) for a, b in zip(found, wanted, strict=True)]
    return torch.stack([(a - b).abs().mean() / (b.abs().mean() + 1e-4) for a, b in pairs]).mean()


# What a convolutional decoder says while it learns, and the recording that it should have said.


@dataclass(frozen=True)
class Said:
    """given, wanted [B, N]; weight [B, T] of its frames; `domain` by number."""

    domain: int
    given: Tensor
    wanted: Tensor
    weight: Tensor


def say(
    decoder: ConvDecoder,
    domain: int,
    z_BDT: Tensor,
    target_BN: Tensor,
    weight_BT: Tensor,
    window_s: float,
    rate: int,
    generator: torch.Generator,
) -> Said:
    """The clip's last `window_s` seconds (0: all that has a full past), said from the latent's frames before them."""
    hop, frames = decoder.hop, z_BDT.shape[2]
    window = math.ceil(window_s * rate / hop) or max(1, frames - decoder.frames)
    first = max(0, frames - window - decoder.frames)
    z, target = z_BDT[:, :, first:], target_BN[:, first * hop :]
    noise = torch.rand(len(z), 1, target.shape[1], generator=generator, device=z.device)
    before = F.pad(target[:, :-hop], [hop, 0]).unsqueeze(1)
    if decoder.past:
        with torch.no_grad():  # what it says of a doubtful past is nearest to what it will hear on stage
            doubtful = doubted_sound(before, before, generator)
            own = F.pad(decoder.taught(z, noise, doubtful)[:, :, :-hop], [hop, 0])
        before = doubted_sound(before, own, generator)
    given = decoder.taught(z, noise, before)[:, 0]
    n = min(window, frames) * hop
    return Said(domain, given[:, -n:], target[:, -n:], weight_BT[:, -(n // hop) :])
