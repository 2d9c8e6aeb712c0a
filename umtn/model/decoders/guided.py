"""A WaveNet that follows oscillators: it draws every sample, told what the `live` decoder's tones would be there.

    latent -> tones of a trained LiveDecoder (no breath) -> pre-emphasis -> class of each sample -> WaveNet -> audio
           -> mouth -> conditioning of each hop -------------------------------------------------------'

A sample loop trained for hours finds no pitches by itself: its own past tells the next sample too well for the latent
to be listened to. The tones have the right pitches; attack, breath, beating and timbre are its own. (Wang et al. 2019,
"Neural source-filter-based waveform model", give a source to a net without a sample loop; here it is one more input.)
"""

import math
from typing import Dict, List, Tuple

import torch
from torch import Tensor

from umtn.model.companding import Emphasis, mulaw_encode
from umtn.model.config import PitchLatent
from umtn.model.decoders.base import Answer, Losses, NativeWeights, SampledDecoder
from umtn.model.decoders.harmonic import LiveDecoder
from umtn.model.decoders.wavenet import WaveNetDecoder
from umtn.model.pitch_encoder import conditioner, conditioner_weights, opened

__all__ = ["GuidedDecoder"]

DRIVE = 2.0  # emphasised sound is quieter: so much louder it goes through mu-law


class GuidedDecoder(SampledDecoder):
    """latent_BDT (PitchLatent) and uniform noise -> audio_B1N. `guide` came trained and stays as it is."""

    def __init__(
        self,
        guide: LiveDecoder,
        wavenet: WaveNetDecoder,
        layout: PitchLatent,
        channels: int,
        dilations: Tuple[int, ...],
        emphasis: float,
    ) -> None:
        super().__init__(layout.channels, wavenet.hop, needs_noise=True)
        if not wavenet.guided or guide.hop != wavenet.hop:
            raise ValueError("a guided WaveNet with the guide's hop was wanted")
        self.pitches = layout.pitches
        self.per_pitch = layout.per_pitch
        self.guide = guide.requires_grad_(False)
        self.mouth = conditioner(layout, channels, dilations, wavenet.latent_channels)
        self.wavenet = wavenet
        self.emphasis = Emphasis(wavenet.hop, emphasis)
        self.drive = DRIVE
        self.guide_states = len(guide.state_names())
        self.mouth_states = len(self.mouth.state_names())

    @property
    def receptive_field(self) -> float:
        return math.inf

    @property
    def reads_pitches(self) -> bool:
        return True

    @property
    def tones(self) -> LiveDecoder:
        return self.guide

    @property
    def net(self) -> WaveNetDecoder:
        return self.wavenet

    @torch.jit.unused
    def training_loss(self, z_BDT: Tensor, answer: Answer, losses: Losses) -> Tensor:
        """Nats a sample, told the past and the guide beside the truth."""
        with losses.mixed(z_BDT):
            told = self.told(z_BDT, self.mouth.init_state(len(z_BDT)))[0].float()
        classes, guide = (self.sound_classes(x) for x in (answer.sound, answer.guide))
        return losses.of_samples(self.wavenet, told, classes, guide, answer.weight)

    @torch.jit.unused
    def share_with(self, first: "GuidedDecoder") -> None:
        """The mouth, and of the net what WaveNets share; the guide stays its own."""
        self.mouth = first.mouth
        self.wavenet.share_with(first.wavenet)

    @torch.jit.unused
    def native_weights(self, rate: int, layout: PitchLatent | None) -> Dict[str, NativeWeights]:
        """Of `guide`, of `mouth`, and of the net."""
        assert layout is not None
        own = self.wavenet.native_weights(rate, layout)[""]
        told = {"kind": "live", "emphasis": self.emphasis.amount, "drive": self.drive}
        return {
            "guide": self.guide.native_weights(rate, layout)[""],
            "mouth": NativeWeights(*conditioner_weights(self.mouth, layout), beside_ear=True),
            "": own._replace(about={**own.about, "guide": told}),
        }

    @torch.jit.unused
    def hears(self, latent_BDT: Tensor) -> Tuple[Tensor, Tensor | None, Tensor | None]:
        state, pieces = self.init_state(len(latent_BDT)), []
        for frame in latent_BDT.split(1, dim=2):
            *heard, state = self.hear(frame, state)
            pieces.append(heard)
        z, tones, classes = (torch.cat(part, dim=-1) for part in zip(*pieces, strict=True))
        return z, tones, classes

    @torch.jit.unused
    def sound_classes(self, audio_BN: Tensor, off: float = 0.0) -> Tensor:
        lifted, _ = self.emphasis.lift(audio_BN, audio_BN.new_zeros(len(audio_BN), 1))
        return mulaw_encode(self.drive * (lifted + off if off else lifted), self.wavenet.classes)

    @torch.jit.unused
    def sound_of(self, drawn_BN: Tensor, state: List[Tensor]) -> Tuple[Tensor, List[Tensor]]:
        before = state[0] if state else drawn_BN.new_zeros(len(drawn_BN), 1)
        audio, last = self.emphasis.settle(drawn_BN / self.drive, before)
        return audio, [last]

    @torch.jit.export
    def init_state(self, streams: int) -> List[Tensor]:
        state = self.guide.init_state(streams)
        state.extend(self.mouth.init_state(streams))
        state.append(self._anchor.new_zeros([streams, 1]))
        state.append(self._anchor.new_zeros([streams, 1]))
        state.extend(self.wavenet.init_state(streams))
        return state

    @torch.jit.unused
    def state_names(self) -> List[str]:
        inner = {"guide": self.guide, "mouth": self.mouth}
        names = [f"{part}.{name}" for part, module in inner.items() for name in module.state_names()]
        return [*names, "lifted", "settled", *(f"wavenet.{name}" for name in self.wavenet.state_names())]

    def told(self, latent_BDT: Tensor, state: List[Tensor]) -> Tuple[Tensor, List[Tensor]]:
        """The latent as the WaveNet hears it, and the mouth's state."""
        return self.mouth.step(opened(latent_BDT, self.pitches, self.per_pitch), state)

    def classes_of(self, audio_BN: Tensor, last_B1: Tensor) -> Tuple[Tensor, Tensor]:
        """Sound as the sample loop knows it: emphasised, mu-law classes; and its last sample."""
        lifted, last = self.emphasis.lift(audio_BN, last_B1)
        return mulaw_encode(self.drive * lifted, self.wavenet.classes), last

    @torch.jit.export
    def hear(self, latent_BDT: Tensor, state: List[Tensor]) -> Tuple[Tensor, Tensor, Tensor, List[Tensor]]:
        """-> the latent as the WaveNet hears it, tones [B, N], the guide's classes [B, N], and the states after it of
        guide, mouth and emphasis, which are the first of `init_state`."""
        g, m = self.guide_states, self.guide_states + self.mouth_states
        sung, new = self.guide.sing(latent_BDT, state[:g])
        z, after = self.told(latent_BDT, state[g:m])
        classes, lifted = self.classes_of(sung[:, 0], state[m])
        new.extend(after)
        new.append(lifted)
        return z, sung[:, 0], classes, new

    def decode_step(
        self, latent_BDT: Tensor, noise_B1N: Tensor, temperature: Tensor, state: List[Tensor]
    ) -> Tuple[Tensor, List[Tensor]]:
        z, _, classes, new = self.hear(latent_BDT, state)
        settled = len(new)
        drawn, rings = self.wavenet.say(z, noise_B1N, temperature, state[settled + 1 :], classes)
        audio, last = self.emphasis.settle(drawn[:, 0] / self.drive, state[settled])
        new.append(last)
        new.extend(rings)
        return audio.unsqueeze(1), new
