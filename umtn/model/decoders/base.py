"""What every decoder offers: latent frames (and uniform noise) in, audio out, state explicit; a loss to learn from, and
what native engines are given of it. A new kind is a file with a class, its config, and a line in `translator.DECODERS`.
"""

from contextlib import AbstractContextManager
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Dict, List, NamedTuple, Protocol, Tuple

import torch
from torch import Tensor

from umtn.errors import UserError
from umtn.model.pitch_encoder import PitchLatent
from umtn.model.streaming import StreamingModule

__all__ = [
    "Answer",
    "Decoder",
    "Losses",
    "NativeWeights",
    "SampledDecoder",
    "fold_noise",
    "unfold_noise",
]


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


class Losses(Protocol):
    """What training offers a decoder for its loss, each a scalar."""

    def mixed(self, like: Tensor) -> AbstractContextManager[Any]:
        """bfloat16 for what is learned."""
        ...

    def of_controls(
        self, decoder: Any, amplitude_BPHT: Tensor, semitones_BPT: Tensor, gains_BMT: Tensor, answer: Answer
    ) -> Tensor:
        """How far the spectrum that a `live` decoder's controls would give is from the answer's."""
        ...

    def of_samples(
        self, net: Any, z_BDT: Tensor, classes_BN: Tensor, guide_BN: Tensor | None, weight_BT: Tensor
    ) -> Tensor:
        """Nats a sample of a WaveNet that is told its past."""
        ...


class NativeWeights(NamedTuple):
    """A file for native engines: tensors by PyTorch's names, and what they are of, JSON by name. `beside_ear`: it is
    played by the engine that has the native encoder, and worth nothing without that."""

    tensors: Dict[str, Tensor]
    about: Dict[str, Dict[str, Any]]
    beside_ear: bool


def fold_noise(noise_B1N: Tensor, hop: int) -> Tensor:
    """Noise per sample -> noise per latent frame: [B, 1, T * hop] -> [B, hop, T]."""
    b, n = noise_B1N.shape[0], noise_B1N.shape[2]
    return noise_B1N.reshape(b, n // hop, hop).transpose(1, 2)


def unfold_noise(noise_BHT: Tensor) -> Tensor:
    """The inverse of `fold_noise`."""
    b, h, t = noise_BHT.shape[0], noise_BHT.shape[1], noise_BHT.shape[2]
    return noise_BHT.transpose(1, 2).reshape(b, 1, t * h)


class Decoder(StreamingModule):
    """One domain's voice. `needs_noise`: draws on uniform noise in [0, 1), which is an input, never hidden.

    `step` takes latent and folded noise stacked as channels, so that a decoder is a streaming module like any
    other; hosts call `decode_step`, which takes them apart.
    """

    needs_noise: bool
    __jit_unused_properties__ = ["ratio", "receptive_field", "reads_pitches", "sampled", "tones", "net"]

    def __init__(self, latent_channels: int, hop: int, needs_noise: bool) -> None:
        super().__init__()
        self.latent_channels = latent_channels
        self.hop = hop
        self.needs_noise = needs_noise

    @property
    def ratio(self) -> Fraction:
        return Fraction(self.hop)

    @property
    def reads_pitches(self) -> bool:
        """Whether it takes the latent for a `PitchLatent`."""
        return False

    @property
    def sampled(self) -> "SampledDecoder | None":
        """Itself, if it draws one sample after the other."""
        return None

    @property
    def tones(self) -> "Decoder | None":
        """The decoder whose tones it follows, if any."""
        return None

    @torch.jit.unused
    def training_loss(self, z_BDT: Tensor, answer: Answer, losses: Losses) -> Tensor:
        """How far from the answer it is, a scalar."""
        raise NotImplementedError

    @torch.jit.unused
    def share_with(self, first: Any) -> None:
        """Use the parameters of `first`, which is of the same kind, but for what says whose voice it is."""
        raise UserError("Only WaveNet decoders can be trained as one; set training.shared to false.")

    @torch.jit.unused
    def native_weights(self, rate: int, layout: PitchLatent | None) -> Dict[str, NativeWeights]:
        """The files of its parts, itself by the empty name; none: no native engine plays it. layout: of the latent,
        which `reads_pitches` need."""
        return {}

    def decode_step(
        self, latent_BDT: Tensor, noise_B1N: Tensor, temperature: Tensor, state: List[Tensor]
    ) -> Tuple[Tensor, List[Tensor]]:
        """Latent frames -> audio [B, 1, T * hop] and the state after it; temperature is a tensor of shape [1]."""
        raise NotImplementedError

    def step(self, x: Tensor, state: List[Tensor]) -> Tuple[Tensor, List[Tensor]]:
        noise = unfold_noise(x[:, self.latent_channels :])
        return self.decode_step(x[:, : self.latent_channels], noise, torch.ones(1, device=x.device), state)


class SampledDecoder(Decoder):
    """A decoder whose `net` draws classes, one sample after the other, which become its sound."""

    @property
    def sampled(self) -> "SampledDecoder":
        return self

    @property
    def net(self) -> Any:
        """The WaveNet that draws: itself, or one inside it."""
        raise NotImplementedError

    @torch.jit.unused
    def hears(self, latent_BDT: Tensor) -> Tuple[Tensor, Tensor | None, Tensor | None]:
        """The latent as its net hears it, and what it follows: tones and their classes [B, N]. From a fresh state, hop
        by hop as `decode_step` of one hop does it: to the last bit."""
        raise NotImplementedError

    @torch.jit.unused
    def sound_classes(self, audio_BN: Tensor, off: float = 0.0) -> Tensor:
        """Sound from its first sample on, as the net would have drawn it. off: added just before it becomes classes."""
        raise NotImplementedError

    @torch.jit.unused
    def sound_of(self, drawn_BN: Tensor, state: List[Tensor]) -> Tuple[Tensor, List[Tensor]]:
        """What the net drew, as sound; state: what is kept for this alone (of none: from silence)."""
        raise NotImplementedError
