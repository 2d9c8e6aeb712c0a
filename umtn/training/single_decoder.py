"""One decoder learns alone from plain recordings, the encoder frozen: a domain of one's own.

What is learned from is what the frozen encoder says of each recording (its latent) and the recording itself:
the reconstruction objective of Mor et al. 2018, without pairs and without the confusion network, because the
latent no longer moves.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from umtn.model.decoders.harmonic import LiveDecoder, live_of
from umtn.model.translator import Translator
from umtn.training.ema import Average
from umtn.training.spectral_loss import BankSpectrumLoss

__all__ = ["Heard", "learn", "listed", "nearest", "reconstruction_loss"]

Floats = NDArray[np.float32]
BATCH, SECONDS, RATE, WARM_UP, CLIP_NORM, EMA = 8, 2.4, 3e-3, 20, 1.0, 0.999
LAG_FRAMES = 2  # as the other decoders: a note is said two frames after it was heard
LOUDEST, WARM_UP_S = 4.0, 0.3


@dataclass(frozen=True)
class Heard:
    """One recording as the encoder heard it: audio [N], latent [D, N / hop]."""

    audio: Floats
    latent: Floats


def reconstruction_loss(
    decoder: LiveDecoder, spectral: BankSpectrumLoss, z_BDT: torch.Tensor, audio_BN: torch.Tensor
) -> torch.Tensor:
    """Distance of what the decoder's controls would sound like from the recording; the first 0.3 s warm it up."""
    weight = torch.ones(len(z_BDT), z_BDT.shape[2])
    weight[:, : round(WARM_UP_S * spectral.rate / decoder.hop)] = 0
    with torch.autocast(z_BDT.device.type, torch.bfloat16):
        amplitude, semitones, gains, _ = decoder.controls(z_BDT, decoder.init_state(len(z_BDT)))
    return spectral(decoder, amplitude.float(), semitones.float(), gains.float(), audio_BN, weight)  # type: ignore[no-any-return]


@torch.no_grad()
def nearest(
    translator: Translator, domains: Iterable[str], z_BDT: torch.Tensor, audio_BN: torch.Tensor
) -> tuple[str, dict[str, float]]:
    """The domain whose decoder says what is most like `audio` already, and the losses of all that were asked."""
    spectral, losses = BankSpectrumLoss(translator.config.sample_rate), {}
    for domain in domains:
        decoder = live_of(translator.decoder(domain))
        losses[domain] = float(reconstruction_loss(decoder, spectral, z_BDT, audio_BN))
    return min(losses, key=losses.__getitem__), losses


def listed(losses: dict[str, float]) -> str:
    """What `nearest` found, for people."""
    return ", ".join(f"{name} {loss:.2f}" for name, loss in losses.items())


class _Clips:
    """Clips drawn by duration from recordings that are longer than a clip (shorter ones are padded)."""

    def __init__(self, heard: list[Heard], rate: int, hop: int, seed: int) -> None:
        self.frames, self.hop = round(SECONDS * rate) // hop, hop
        self.heard = heard
        lengths = np.array([max(1, h.latent.shape[1] - self.frames) for h in heard], float)
        self.shares = lengths / lengths.sum()
        self.rng = np.random.default_rng(seed)

    def draw(self) -> tuple[torch.Tensor, torch.Tensor]:
        latents, audios = [], []
        for index in self.rng.choice(len(self.heard), BATCH, p=self.shares):
            h = self.heard[index]
            first = int(self.rng.integers(0, max(1, h.latent.shape[1] - self.frames + 1)))
            latent = h.latent[:, first : first + self.frames]
            start = (first - LAG_FRAMES) * self.hop
            audio = h.audio[max(0, start) : max(0, start + self.frames * self.hop)]
            audio = np.pad(audio, (max(0, -start), 0))
            latents.append(np.pad(latent, ((0, 0), (0, self.frames - latent.shape[1])), mode="edge"))
            audios.append(np.pad(audio, (0, self.frames * self.hop - len(audio))))
        return torch.from_numpy(np.stack(latents)), torch.from_numpy(np.stack(audios))


def learn(
    decoder: LiveDecoder,
    heard: list[Heard],
    rate: int,
    minutes: float,
    report: Callable[[int, float, float], None] = lambda step, loss, share: None,
    seed: int = 0,
    max_steps: int | None = None,
) -> int:
    """Train `decoder` in place for `minutes`; its weights end as their running average; -> steps taken.

    Ctrl-C ends the training early and keeps what was learned. report(step, loss, share of the time).
    """
    clips, spectral = _Clips(heard, rate, decoder.hop, seed), BankSpectrumLoss(rate)
    parameters = list(decoder.parameters())
    optimiser = torch.optim.Adam(parameters, lr=RATE, betas=(0.9, 0.99))
    average, start, step = Average(decoder, EMA), time.monotonic(), 0
    decoder.train()
    try:
        while max_steps is None or step < max_steps:
            share = (time.monotonic() - start) / (60 * minutes)
            if share >= 1:
                break
            pace = min(1.0, (step + 1) / WARM_UP) * (0.03 + 0.97 * 0.5 * (1 + math.cos(math.pi * share)))
            optimiser.param_groups[0]["lr"] = RATE * pace
            loss = reconstruction_loss(decoder, spectral, *clips.draw())
            optimiser.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(parameters, CLIP_NORM)
            optimiser.step()
            average.update(decoder)
            step += 1
            report(step, float(loss.detach()), share)
    except KeyboardInterrupt:
        pass
    if step:
        decoder.load_state_dict(average.weights)
    decoder.eval()
    return step
