"""What a decoder learns from: the distance of a `live` decoder's spectrum, a WaveNet's nats a sample."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from umtn.data.augment import uniform
from umtn.model.config import Config
from umtn.model.decoders.base import Answer
from umtn.model.decoders.harmonic import LiveDecoder
from umtn.model.decoders.teacher_forcing import sample_loss
from umtn.model.decoders.wavenet import WaveNetDecoder
from umtn.training.scheduled_sampling import corrupted, own_past
from umtn.training.spectral_loss import BankSpectrumLoss

__all__ = ["DecoderLosses", "mixed"]


def mixed(like: Tensor) -> torch.autocast:
    """bfloat16 for convolutions: on GPUs, and five times faster on CPUs that have it too."""
    return torch.autocast(like.device.type, torch.bfloat16)


@dataclass(frozen=True)
class DecoderLosses:
    """umtn.model.decoders.base.Losses, weighed as the config's training says; the generator draws what is doubted."""

    config: Config
    spectral: BankSpectrumLoss
    generator: torch.Generator

    def mixed(self, like: Tensor) -> torch.autocast:
        """See `mixed`."""
        return mixed(like)

    def of_controls(
        self,
        decoder: LiveDecoder,
        amplitude_BPHT: Tensor,
        semitones_BPT: Tensor,
        gains_BMT: Tensor,
        answer: Answer,
    ) -> Tensor:
        """Log-spectral distance of what the controls would sound like, and what no score asked for."""
        controls = (amplitude_BPHT, semitones_BPT, gains_BMT)
        distance = self.spectral(decoder, *controls, answer.sound, answer.weight, answer.attack, answer.held)
        ghosts = _ghosts(amplitude_BPHT, answer.allowed, answer.weight)
        return distance + self.config.training.ghost_weight * ghosts  # type: ignore[no-any-return]

    def of_samples(
        self,
        net: WaveNetDecoder,
        z_BDT: Tensor,
        classes_BN: Tensor,
        guide_BN: Tensor | None,
        weight_BT: Tensor,
    ) -> Tensor:
        """Nats per sample over positions with a full receptive field; of the clip's end where a window is set."""
        training, z, classes, guide, weight = (
            self.config.training,
            z_BDT,
            classes_BN,
            guide_BN,
            weight_BT,
        )
        hop, window = self.config.hop, round(training.window_s * self.config.sample_rate)
        history = math.ceil(net.history / hop)
        if window:
            frames = min(history + math.ceil(window / hop), z.shape[2])
            z, weight = z[:, :, -frames:], weight[:, -frames:].clone()
            classes = classes[:, -frames * hop :]
            guide = None if guide is None else guide[:, -frames * hop :]
            weight[:, : min(history, frames // 2)] = 0
        past = corrupted(net.before(classes), net.classes, training.blur, self.generator)
        if guide is not None:
            self._put_own(past, net, z, guide)
        return sample_loss(net, z, past, classes, weight, guide_BN=guide)

    def _put_own(self, past_BN: Tensor, net: WaveNetDecoder, z: Tensor, guide: Tensor) -> None:
        """In some clips the decoder's own draws take the place of what came before, in place."""
        chosen = uniform(0, 1, len(past_BN), self.generator) < self.config.training.own_past
        rows = torch.nonzero(chosen)[:, 0]
        own = own_past(net, z[rows], guide[rows], self.generator) if len(rows) else None
        if own is not None:
            past_BN[rows] = own


def _ghosts(amplitude_BPHT: Tensor, allowed_BPT: Tensor, weight_BT: Tensor) -> Tensor:
    """Share of the power that pitches outside the score take: width of a line painted with wrong notes."""
    power = amplitude_BPHT.square().sum(dim=2)
    share = (power * (1 - allowed_BPT)).sum(dim=1) / (power.sum(dim=1) + 1e-7)
    return (share * weight_BT).sum() / weight_BT.sum().clamp(min=1.0)
