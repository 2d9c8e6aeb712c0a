"""What a decoder learns from: the distance of a `live` decoder's spectrum, a WaveNet's nats a sample."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from umtn.data.augment import uniform
from umtn.model.companding import leaning, mulaw_encode
from umtn.model.config import Config
from umtn.model.decoders.base import Answer
from umtn.model.decoders.harmonic import LiveDecoder
from umtn.model.decoders.teacher_forcing import sample_loss
from umtn.model.decoders.wavenet import WaveNetDecoder
from umtn.training.spectral_loss import BankSpectrumLoss

__all__ = ["DecoderLosses", "corrupted", "mixed", "own_past"]


# A past that is not to be trusted: what a sample loop hears of itself on stage is never as clean as a recording.
#
# Told the true past, a WaveNet predicts from it alone, does not listen to its latent, and drowns in its own noise as
# soon as it plays. So some of its past is blurred, and some clips begin from silence in the middle of a note, which
# only
# the latent tells of.


TRUE, SILENT = 0.25, 0.3  # shares of clips
NARROW = 0.1  # the least blur of the most


def corrupted(past_BN: Tensor, classes: int, blur: float, generator: torch.Generator) -> Tensor:
    """past_BN with each clip's own blur, and in some clips silence up to a moment in it.

    blur: the largest standard deviation, in 256ths of the classes; a wide one hides what the last few samples tell, so
    that only the long past and the latent help.
    """
    b, n = past_BN.shape
    device = past_BN.device

    def draw(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator, device=device)

    spread = blur * (NARROW + (1 - NARROW) * draw(b, 1)) * classes / 256
    spread = torch.where(draw(b, 1) < TRUE, torch.zeros_like(spread), spread)
    noise = torch.randn(b, n, generator=generator, device=device) * spread
    # class 0 lies below -1: it is never drawn
    heard = (past_BN + noise.round().long()).clamp(1, classes - 1)
    until = torch.where(
        draw(b, 1) < SILENT, n // 4 + draw(b, 1) * (n - n // 4), torch.zeros(b, 1, device=device)
    )
    return torch.where(torch.arange(n, device=device) < until, classes // 2, heard)


# A guided WaveNet's own past: what it would have drawn so far, beside the truth that it ought to go on with.
#
# Its guide has the truth's phases while it learns, so what it draws by itself lies beside the truth, with the faults
# that
# it has on stage. To be told these and asked for the truth teaches it to come back (Ross et al. 2011, "A reduction of
# imitation learning and structured prediction to no-regret online learning").


@torch.no_grad()
def own_past(
    net: WaveNetDecoder, told_BDT: Tensor, guide_BN: Tensor, generator: torch.Generator
) -> Tensor | None:
    """The class before each sample [B, N] of a free run from silence; None where no native sample loop is to be had."""
    # what only plays or exports a model needs none of this
    from realtime.engines.wavenet.native_loop import NativeLoop, supported
    from realtime.engines.wavenet.weights import WavenetWeights
    from umtn.native.build import CompilerError

    try:
        precision = "bf16" if supported("bf16") else "fp32"
    except CompilerError:
        return None
    arrays = {name: value.detach().float().cpu().numpy() for name, value in net.state_dict().items()}
    arrays["leaned"] = leaning(net.classes, 0.0).numpy()  # it leans on stage, and learns to stand
    weights = WavenetWeights.from_arrays(arrays, net.hop, net.dilations.count(1))
    b, n = guide_BN.shape
    loop = NativeLoop(weights, precision, b)
    noise = torch.rand(b, n, generator=generator, device=generator.device).cpu().numpy()
    audio = torch.zeros(b, n)
    told, guide = (x.contiguous().cpu().numpy() for x in (told_BDT.float(), guide_BN.int()))
    loop.decode(told, noise, torch.ones(b).numpy(), audio.numpy(), guide)
    loop.close()
    return net.before(mulaw_encode(audio, net.classes)).to(guide_BN.device)


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
