"""The losses of one training step: reconstruction or translation, pitch, confusion."""

from __future__ import annotations

import copy
import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from umtn.data.augment import (
    add_breaths,
    add_knocks,
    add_noise,
    colour,
    frame_level,
    local_pitch_shift,
    swell,
    swing_level,
    uniform,
)
from umtn.model.config import PitchLatent
from umtn.model.decoders.base import Answer
from umtn.model.layers import split_latent
from umtn.model.pitch_encoder import PitchEncoder, encoder_of
from umtn.model.translator import Translator
from umtn.training.batches import Batch
from umtn.training.decoder_losses import DecoderLosses, mixed
from umtn.training.spectral_loss import BankSpectrumLoss

__all__ = ["Objective"]

ATTACK_S = 0.06  # a note's beginning, which its player waits for, counts several times
ATTACK_WEIGHT = 6.0
CENTS_WEIGHT, BEND_WEIGHT = 2.0, 3.0
LOUDEST_DB = 4.0
HUSH_SHARE = 0.06


class Objective(nn.Module):
    """forward(batch, generator) -> (loss of encoder and decoders, loss of the confusion network, figures)."""

    def __init__(self, translator: Translator) -> None:
        super().__init__()
        self.translator = translator
        self.config = translator.config
        self.spectral = BankSpectrumLoss(self.config.sample_rate)
        self.before: PitchEncoder | None = None
        field = getattr(translator.encoder, "history", None) or translator.encoder.receptive_field
        # the first positions have no full receptive field: at most half a clip is given up for them
        self.warm_up = min(int(field) // self.config.hop, int(self._frames() * 0.4))  # type: ignore[arg-type]

    def _frames(self) -> int:
        return int(self.config.training.seconds * self.config.sample_rate) // self.config.hop

    def remember_encoder(self) -> None:
        """What the pitch encoder says now is what it is kept to where no score tells."""
        self.before = copy.deepcopy(encoder_of(self.translator.encoder))
        assert self.before is not None
        self.before.requires_grad_(False)

    @torch.no_grad()
    def prepare(self, batch: Batch, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Augmented source [B, N], level-matched targets [B, K, N] and loss weight of every frame [B, T]."""
        rate, b = self.config.sample_rate, batch.source.shape[0]
        frames = batch.source.shape[1] // self.config.hop
        level = frame_level(batch.source, self.config.hop, frames)
        # where the source has died away although its note is held, nobody could know what to play
        lost = (level < 10 ** (-60 / 20)) & (batch.active.amax(dim=1) > 0) & batch.scored[:, None]
        weight = 1.0 - lost.float()
        weight[:, : self.warm_up] = 0
        gain = 10 ** (uniform(self.config.training.quietest_db, LOUDEST_DB, b, generator) / 20)[:, None]
        hush = (uniform(0, 1, b, generator) < HUSH_SHARE)[
            :, None
        ]  # nothing but the room: nothing must come out
        if self.config.training.augment:
            source = batch.source
            if self.config.ear is None:  # a latent that says the pitch must not be told of another
                own = local_pitch_shift(source, generator, rate)
                source = torch.where(batch.paired[:, None], source, own)
            begins = batch.onset.amax(dim=1)
            source = swing_level(swell(source, begins, generator, rate), generator, rate)
            played = colour(source, generator, rate) * gain
            noisy = add_knocks(played, begins, generator, rate)
            noisy = add_noise(add_breaths(noisy, begins, generator, rate), generator, rate)
            source = torch.where(hush, noisy - played, noisy)
        else:
            source = batch.source * gain
            source = torch.where(hush, 1e-3 * gain * torch.randn_like(source), source)
        targets = batch.targets * torch.where(hush, torch.zeros_like(gain), gain)[:, :, None]
        batch.guides = batch.guides * torch.where(hush, torch.zeros_like(gain), gain)[:, :, None]
        batch.active = torch.where(hush[:, :, None], torch.zeros_like(batch.active), batch.active)
        return source.clamp(-1, 1), targets, weight

    def forward(self, batch: Batch, generator: torch.Generator) -> tuple[Tensor, Tensor, dict[str, float]]:
        source, targets, weight = self.prepare(batch, generator)
        attack = 1 + ATTACK_WEIGHT * self._beginnings(batch)
        z, heard = self._encode(source.unsqueeze(1))
        if self.before is not None:
            return self._hearing(source, z, batch, weight, attack)
        allowed, held = self._allowed(batch), self._frames_of_target(batch.active, 0.0)
        losses = DecoderLosses(self.config, self.spectral, generator)
        loss = torch.zeros((), device=z.device)
        figures: dict[str, float] = {}
        for k, index in enumerate(batch.domains.tolist()):
            rows = torch.nonzero(batch.known[:, k])[:, 0]
            if len(rows):
                domain = self.config.domains[index]
                answer = Answer(
                    targets[rows, k],
                    batch.guides[rows, k],
                    weight[rows],
                    allowed[rows],
                    held[rows],
                    self._frames_of_target(attack.amax(dim=1), 1.0)[rows],
                )
                part = self.translator.decoder(domain).training_loss(z[rows], answer, losses)
                loss = loss + part * len(rows) / int(batch.known.sum())
                figures[domain] = float(part.detach())
        if heard is not None and not self.config.training.frozen_ear:
            pitch = self._pitch_loss(heard, batch, weight, attack)
            figures["pitch"] = float(pitch.detach())
            loss = loss + self.config.training.pitch_weight * pitch
        confused, classifier, accuracy = self._confusion(z, batch.source_domain)
        figures["domain_accuracy"] = accuracy
        return loss - self.config.confusion.weight * confused, classifier, figures

    def _hearing(
        self, source: Tensor, z: Tensor, batch: Batch, weight: Tensor, attack: Tensor
    ) -> tuple[Tensor, Tensor, dict[str, float]]:
        """As `forward`, where the ear learns alone."""
        assert self.before is not None and self.config.ear is not None
        with torch.no_grad():
            before = self._hear(self.before, source.unsqueeze(1))
        pitch = self._pitch_loss(z, batch, weight, attack)
        apart = strayed(self.config.ear.layout, z, before, batch.active)
        figures = {
            "pitch": float(pitch.detach()),
            "strayed": float(apart.detach()),
            "domain_accuracy": math.nan,
        }
        return pitch + apart, torch.zeros((), device=z.device), figures

    def _encode(self, source_B1N: Tensor) -> tuple[Tensor, Tensor | None]:
        """(latent, what the pitch encoder in it says).

        A fixed analysis stays in float32, only what is learned runs in mixed precision.
        """
        encoder = self.translator.encoder
        if (ear := encoder_of(encoder)) is None:
            with mixed(source_B1N):
                return encoder(source_B1N).float(), None
        heard = self._hear(ear, source_B1N)
        with mixed(source_B1N):
            return encoder.told(heard).float(), heard  # type: ignore[operator]  # who has an ear tells of it

    def _hear(self, ear: PitchEncoder, source_B1N: Tensor) -> Tensor:
        state = ear.init_state(len(source_B1N))
        with torch.no_grad():
            spectrum, _ = ear.spectrum.step(source_B1N, state[: ear.spectrum_states])
        learns = torch.is_grad_enabled() and not self.config.training.frozen_ear
        with mixed(source_B1N), torch.set_grad_enabled(learns):
            return ear.read(spectrum, state[ear.spectrum_states :])[0].float()

    def _allowed(self, batch: Batch) -> Tensor:
        """Where a pitch may sound, [B, P, T]: its note, half a second of release, and the octave below (organs)."""
        release = int(0.5 * self.config.sample_rate / self.config.hop)
        ringing = F.max_pool1d(F.pad(batch.active, [release - 1, 0]), release, stride=1)
        below = F.pad(ringing[:, 12:], [0, 0, 0, min(12, ringing.shape[1])])
        return torch.maximum(torch.maximum(ringing, below), (~batch.scored).float()[:, None, None])

    def _beginnings(self, batch: Batch) -> Tensor:
        """Where a note is younger than ATTACK_S, [B, P, T]."""
        span = max(1, round(ATTACK_S * self.config.sample_rate / self.config.hop))
        return F.max_pool1d(F.pad(batch.onset, [span - 1, 0]), span, stride=1)

    def _frames_of_target(self, x_T: Tensor, before: float) -> Tensor:
        """Targets lag the source by a few frames: so must what is said of them, [..., T]."""
        lag = self.config.training.target_lag_frames
        return F.pad(x_T, [lag, 0], value=before)[..., : x_T.shape[-1]]

    def _pitch_loss(self, z: Tensor, batch: Batch, weight: Tensor, attack: Tensor) -> Tensor:
        layout = self.config.ear.layout  # type: ignore[union-attr]
        notes, _ = split_latent(z, layout.pitches, layout.per_pitch)
        w = (weight * batch.scored[:, None]).unsqueeze(1)
        known = w.sum().clamp(min=1.0)
        bce = F.binary_cross_entropy_with_logits(notes[:, 0], batch.active, reduction="none") * attack
        off = (0.6 * torch.tanh(notes[:, 1]) - batch.cents / 100).abs()
        # most notes are in tune: left alone, their zeros would outvote vibrato and slides
        at = batch.active * w * (1 + BEND_WEIGHT * (batch.cents.abs() > 5))
        return 0.2 * (bce * w).sum() / known + CENTS_WEIGHT * (off * at).sum() / at.sum().clamp(min=1.0)

    def _confusion(self, z: Tensor, source_domain: Tensor) -> tuple[Tensor, Tensor, float]:
        """(cross entropy that reaches the encoder, the one that trains C on the detached latent, C's accuracy)."""
        rows = torch.nonzero(source_domain >= 0)[:, 0]
        if not len(rows):
            zero = z.sum() * 0
            return zero, zero, float("nan")
        net, truth = self.translator.confusion, source_domain[rows]
        warm = z[rows][:, :, self.warm_up :]
        logits = net(warm.detach())
        accuracy = float((logits.argmax(dim=1) == truth).float().mean())
        frozen = {name: p.detach() for name, p in net.named_parameters()}
        confused = F.cross_entropy(torch.func.functional_call(net, frozen, (warm,)), truth)
        return confused, F.cross_entropy(logits, truth), accuracy


def strayed(layout: PitchLatent, said_BDT: Tensor, before_BDT: Tensor, active_BPT: Tensor) -> Tensor:
    """How far from before it says what no score tells: mean distance, in standard deviations of each channel."""
    (notes, room), (old_notes, old_room) = (
        split_latent(each, layout.pitches, layout.per_pitch) for each in (said_BDT, before_BDT)
    )
    free, old_free = notes[:, 2:], old_notes[:, 2:]
    weight = (SILENT_SHARE + (1 - SILENT_SHARE) * active_BPT).unsqueeze(1)
    apart = (free - old_free).abs() / (old_free.std(dim=(0, 2, 3), keepdim=True) + 1e-3)
    room_apart = (room - old_room).abs() / (old_room.std(dim=(0, 2), keepdim=True) + 1e-3)
    return (apart * weight).sum() / (weight.sum() * max(1, free.shape[1])) + room_apart.mean()


SILENT_SHARE = 0.1  # of the weight of a pitch that sounds
