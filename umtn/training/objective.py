"""The losses of one training step: reconstruction or translation, pitch, confusion."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass

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
from umtn.model.companding import mulaw_encode
from umtn.model.config import ConvDecoderConfig, LiveDecoderConfig
from umtn.model.decoders.base import Decoder
from umtn.model.decoders.conv import ConvDecoder
from umtn.model.decoders.guided import GuidedDecoder
from umtn.model.decoders.harmonic import LiveDecoder
from umtn.model.decoders.teacher_forcing import sample_loss
from umtn.model.decoders.wavenet import WaveNetDecoder
from umtn.model.pitch_encoder import HeardEncoder, PitchEncoder, PitchLatent, ear_of, split_latent
from umtn.model.translator import Translator
from umtn.training.adversarial import Adversary, Said, say
from umtn.training.batches import Batch
from umtn.training.scheduled_sampling import doubted, own_past
from umtn.training.spectral_loss import BankSpectrumLoss, MultiResolutionLoss

__all__ = ["Objective"]

ATTACK_S = 0.06  # a note's beginning, which its player waits for, counts several times
ATTACK_WEIGHT = 6.0
CENTS_WEIGHT, BEND_WEIGHT = 2.0, 3.0
LOUDEST_DB = 4.0
HUSH_SHARE = 0.06


@dataclass
class Answer:
    """What one domain ought to say: its sound and its guide's [B, N], the weight of every frame [B, T], where pitches
    may sound and which the score holds [B, P, T], what an attack counts [B, T]."""

    sound: Tensor
    guide: Tensor
    weight: Tensor
    allowed: Tensor
    held: Tensor
    attack: Tensor


class Objective(nn.Module):
    """forward(batch, generator, share of the minutes gone) -> (loss of encoder and decoders, loss of the confusion
    network and of the adversary, figures)."""

    def __init__(self, translator: Translator) -> None:
        super().__init__()
        self.translator = translator
        self.config = translator.config
        kind, rate = self.config.decoder, self.config.sample_rate
        self.spectral = BankSpectrumLoss(rate) if isinstance(kind, LiveDecoderConfig) else None
        self.sound = MultiResolutionLoss(rate) if isinstance(kind, ConvDecoderConfig) else None
        opponent = self.config.adversary
        self.adversary = Adversary(opponent, len(self.config.domains)) if opponent else None
        self.before: PitchEncoder | None = None
        field = getattr(translator.encoder, "history", None) or translator.encoder.receptive_field
        # the first positions have no full receptive field: at most half a clip is given up for them
        self.warm_up = min(int(field) // self.config.hop, int(self._frames() * 0.4))  # type: ignore[arg-type]

    def _frames(self) -> int:
        return int(self.config.training.seconds * self.config.sample_rate) // self.config.hop

    def remember_ear(self) -> None:
        """What the pitch encoder says now is what it is kept to where no score tells."""
        self.before = copy.deepcopy(ear_of(self.translator.encoder))
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

    def forward(
        self, batch: Batch, generator: torch.Generator, share: float = 1.0
    ) -> tuple[Tensor, Tensor, dict[str, float]]:
        source, targets, weight = self.prepare(batch, generator)
        attack = 1 + ATTACK_WEIGHT * self._beginnings(batch)
        z, heard = self._encode(source.unsqueeze(1))
        if self.before is not None:
            return self._hearing(source, z, batch, weight, attack)
        allowed, held = self._allowed(batch), self._frames_of_target(batch.active, 0.0)
        loss = torch.zeros((), device=z.device)
        figures: dict[str, float] = {}
        said: list[Said] = []
        for k, index in enumerate(batch.domains.tolist()):
            rows = torch.nonzero(batch.known[:, k])[:, 0]
            if len(rows):
                domain = self.config.domains[index]
                decoder = self.translator.decoders[domain]
                if isinstance(decoder, ConvDecoder) and self.sound is not None:
                    clips = (z[rows], targets[rows, k], weight[rows])
                    window_s, rate = self.config.training.window_s, self.config.sample_rate
                    said.append(say(decoder, index, *clips, window_s, rate, generator))
                    part = self.sound(said[-1].given, said[-1].wanted, said[-1].weight)
                else:
                    answer = Answer(
                        targets[rows, k],
                        batch.guides[rows, k],
                        weight[rows],
                        allowed[rows],
                        held[rows],
                        self._frames_of_target(attack.amax(dim=1), 1.0)[rows],
                    )
                    part = self._decode_loss(decoder, z[rows], answer, generator)  # type: ignore[arg-type]
                loss = loss + part * len(rows) / int(batch.known.sum())
                figures[domain] = float(part.detach())
        if heard is not None and not self.config.training.frozen_ear:
            pitch = self._pitch_loss(heard, batch, weight, attack)
            figures["pitch"] = float(pitch.detach())
            loss = loss + self.config.training.pitch_weight * pitch
        convincing, judges = self._judged(said, share)
        loss = loss + convincing
        figures["judges"] = float(judges.detach()) if self.adversary else math.nan
        confused, classifier, accuracy = self._confusion(z, batch.source_domain)
        figures["domain_accuracy"] = accuracy
        return loss - self.config.confusion.weight * confused, classifier + judges, figures

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

    def _judged(self, said: list[Said], share: float) -> tuple[Tensor, Tensor]:
        """What the adversary says for the decoders, and for itself; nothing before it joins."""
        adversary = self.adversary
        if adversary is None or not said or share < adversary.config.joins:
            return torch.zeros(()), torch.zeros(())
        given, wanted = torch.cat([s.given for s in said]), torch.cat([s.wanted for s in said])
        domains = torch.cat([torch.full((len(s.given),), s.domain, device=given.device) for s in said])
        with self._mixed(given):
            return adversary(given, wanted, domains)  # type: ignore[no-any-return]

    def _encode(self, source_B1N: Tensor) -> tuple[Tensor, Tensor | None]:
        """(latent, what the pitch encoder in it says).

        A fixed analysis stays in float32, only what is learned runs in mixed precision.
        """
        encoder = self.translator.encoder
        if isinstance(encoder, PitchEncoder):
            heard = self._hear(encoder, source_B1N)
            return heard, heard
        if isinstance(encoder, HeardEncoder):
            heard = self._hear(encoder.ear, source_B1N)
            with self._mixed(source_B1N):
                return encoder.say(heard, encoder.mouth.init_state(len(heard)))[0].float(), heard
        with self._mixed(source_B1N):
            return encoder(source_B1N).float(), None

    def _hear(self, ear: PitchEncoder, source_B1N: Tensor) -> Tensor:
        state = ear.init_state(len(source_B1N))
        with torch.no_grad():
            spectrum, _ = ear.spectrum.step(source_B1N, state[: ear.spectrum_states])
        learns = torch.is_grad_enabled() and not self.config.training.frozen_ear
        with self._mixed(source_B1N), torch.set_grad_enabled(learns):
            return ear.read(spectrum, state[ear.spectrum_states :])[0].float()

    @staticmethod
    def _mixed(like: Tensor) -> torch.autocast:
        """bfloat16 for convolutions: on GPUs, and five times faster on CPUs that have it too."""
        return torch.autocast(like.device.type, torch.bfloat16)

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

    def _decode_loss(self, decoder: Decoder, z: Tensor, answer: Answer, generator: torch.Generator) -> Tensor:
        if isinstance(decoder, WaveNetDecoder):
            classes = mulaw_encode(answer.sound, decoder.classes)
            return self._sample_loss(decoder, z, classes, None, answer.weight, generator)
        if isinstance(decoder, GuidedDecoder):
            with self._mixed(z):
                told = decoder.told(z, decoder.mouth.init_state(len(z)))[0].float()
            start = z.new_zeros(len(z), 1)
            classes, guide = (decoder.classes_of(x, start)[0] for x in (answer.sound, answer.guide))
            return self._sample_loss(decoder.wavenet, told, classes, guide, answer.weight, generator)
        assert isinstance(decoder, LiveDecoder) and self.spectral is not None
        with self._mixed(z):
            amplitude, semitones, gains, _ = decoder.controls(z, decoder.init_state(len(z)))
        controls = (amplitude.float(), semitones.float(), gains.float())
        distance = self.spectral(decoder, *controls, answer.sound, answer.weight, answer.attack, answer.held)
        ghosts = self._ghosts(controls[0], answer.allowed, answer.weight)
        return distance + self.config.training.ghost_weight * ghosts  # type: ignore[no-any-return]

    def _sample_loss(
        self,
        decoder: WaveNetDecoder,
        z: Tensor,
        classes: Tensor,
        guide: Tensor | None,
        weight: Tensor,
        generator: torch.Generator,
    ) -> Tensor:
        """Nats per sample over positions with a full receptive field; of the clip's end where a window is set."""
        hop, window = self.config.hop, round(self.config.training.window_s * self.config.sample_rate)
        history = math.ceil(decoder.history / hop)
        if window:
            frames = min(history + math.ceil(window / hop), z.shape[2])
            z, weight = z[:, :, -frames:], weight[:, -frames:].clone()
            classes = classes[:, -frames * hop :]
            guide = None if guide is None else guide[:, -frames * hop :]
            weight[:, : min(history, frames // 2)] = 0
        past = doubted(decoder.before(classes), decoder.classes, self.config.training.blur, generator)
        if guide is not None:
            self._put_own(past, decoder, z, guide, generator)
        return sample_loss(decoder, z, past, classes, weight, guide_BN=guide)

    def _put_own(
        self, past_BN: Tensor, decoder: WaveNetDecoder, z: Tensor, guide: Tensor, generator: torch.Generator
    ) -> None:
        """In some clips the decoder's own draws take the place of what came before, in place."""
        chosen = uniform(0, 1, len(past_BN), generator) < self.config.training.own_past
        rows = torch.nonzero(chosen)[:, 0]
        own = own_past(decoder, z[rows], guide[rows], generator) if len(rows) else None
        if own is not None:
            past_BN[rows] = own

    @staticmethod
    def _ghosts(amplitude_BPHT: Tensor, allowed_BPT: Tensor, weight_BT: Tensor) -> Tensor:
        """Share of the power that pitches outside the score take: width of a line painted with wrong notes."""
        power = amplitude_BPHT.square().sum(dim=2)
        share = (power * (1 - allowed_BPT)).sum(dim=1) / (power.sum(dim=1) + 1e-7)
        return (share * weight_BT).sum() / weight_BT.sum().clamp(min=1.0)

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
