"""The `live-conv` decoders: causal convolutions from the latent to sub-bands, with or without their own past.

The latent (opened by its activations) passes dilated convolutions at the hop's rate, is upsampled, and becomes
sub-bands of tone and gains of sub-bands of noise, which a filter bank joins (as in RAVE, Caillon & Esling 2021).
With `past` the decoder also hears its own last samples, hop by hop (CARGAN, Morrison et al. 2022): a convolution
has no memory of phase and cannot hold a partial by itself.
"""

import math
from typing import List, Tuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from umtn.model.config import PitchLatent
from umtn.model.decoders.base import Decoder, fold_noise
from umtn.model.layers import CausalConv1d, CausalConvTranspose1d, dilated_residual
from umtn.model.pitch_encoder import opened
from umtn.model.streaming import Pointwise, StreamingModule, StreamingSequential

__all__ = ["ConvDecoder", "subband_filters", "subband_synthesis"]


# Sub-bands to audio: a cosine-modulated synthesis filter bank that may learn on.


BETA = 9.0  # of the prototype's Kaiser window
OVERLAP = 16  # taps for each band
EDGE = 1.136  # where the prototype has fallen by half, in half a band's width (Yang et al. 2021)


def subband_filters(bands: int) -> Tensor:
    """Near-perfect reconstruction filters [bands, taps], taps = 16 * bands, each with a delay of half of them.

    Band k holds the frequencies from k / bands to (k + 1) / bands of Nyquist (Nguyen 1994; the cut-off for four bands
    of Yang et al. 2021, "Multi-band MelGAN").
    """
    taps = OVERLAP * bands
    n = torch.arange(taps, dtype=torch.float64) - (taps - 1) / 2
    cutoff = EDGE / (2 * bands)
    window = torch.kaiser_window(taps, periodic=False, beta=BETA, dtype=torch.float64)
    prototype = cutoff * torch.sinc(cutoff * n) * window
    k = torch.arange(bands, dtype=torch.float64)[:, None]
    phase = (1 - 2 * (k % 2)) * math.pi / 4
    return (2 * bands * prototype * torch.cos((2 * k + 1) * math.pi / (2 * bands) * n - phase)).float()


def subband_synthesis(bands: int) -> CausalConvTranspose1d:
    """Critically sampled sub-bands [B, bands, T / bands] -> audio [B, 1, T]; it begins as the bank above."""
    filters = subband_filters(bands)
    layer = CausalConvTranspose1d(bands, 1, filters.shape[1], bands)
    with torch.no_grad():
        layer.conv.weight.copy_(filters.unsqueeze(1))
    return layer


class ConvDecoder(Decoder):
    """latent_BDT (PitchLatent) and uniform noise -> audio_B1N.

    channels: of the stage at the hop's rate and after each of the `strides`; dilations: of the residual layers of the
    first stage, `later` of the others'; strides and `bands` multiply to the hop. past: how many of its own last
    samples it hears, at least a hop (0: none).
    """

    def __init__(
        self,
        hop: int,
        layout: PitchLatent,
        channels: Tuple[int, ...],
        strides: Tuple[int, ...],
        dilations: Tuple[int, ...],
        later: Tuple[int, ...],
        bands: int,
        past: int,
    ) -> None:
        super().__init__(layout.channels, hop, needs_noise=True)
        if math.prod(strides) * bands != hop or len(channels) != len(strides) + 1:
            raise ValueError(f"strides {strides} and {bands} bands do not make a hop of {hop} samples")
        self.pitches, self.per_pitch = layout.pitches, layout.per_pitch
        self.bands, self.past = bands, past
        self.hushed = -5.0  # noise begins 43 dB down
        self.faint = 1e-3  # a past below -60 dBFS tells nothing
        width = channels[0]
        self.entry = nn.Conv1d(layout.channels, width, 1)
        self.ear, self.recall = nn.Sequential(), nn.Sequential()
        if past:
            self.ear = nn.Sequential(nn.Conv1d(1, width, past, stride=hop, bias=False))
            self.recall = nn.Sequential(nn.Conv1d(width, width, 1), nn.ReLU(), nn.Conv1d(width, width, 1))
        layers: List[StreamingModule] = [dilated_residual(width, d) for d in dilations]
        for before, after, stride in zip(channels, channels[1:], strides):
            layers += [Pointwise(nn.ReLU()), CausalConvTranspose1d(before, after, 2 * stride, stride)]
            layers += [dilated_residual(after, d) for d in later]
        layers += [Pointwise(nn.ReLU()), CausalConv1d(channels[-1], 2 * bands, 3)]
        with torch.no_grad():
            layers[-1].conv.weight.mul_(0.1)  # type: ignore[union-attr, operator]  # it begins near silence
        self.body = StreamingSequential(*layers)
        self.synthesis = subband_synthesis(bands)
        self.body_states = len(self.body.state_names())

    @property
    def receptive_field(self) -> float:
        return math.inf if self.past else self.frames

    @property
    @torch.jit.unused
    def frames(self) -> int:
        """Latent frames that reach one sample other than by way of past samples."""
        return int(StreamingSequential(self.body, self.synthesis).receptive_field)

    @torch.jit.export
    def init_state(self, streams: int) -> List[Tensor]:
        state: List[Tensor] = []
        if self.past > 0:
            state.append(self._anchor.new_zeros([streams, 1, self.past]))
        state.extend(self._fresh(streams))
        return state

    def _fresh(self, streams: int) -> List[Tensor]:
        state = self.body.init_state(streams)
        state.extend(self.synthesis.init_state(streams))
        return state

    @torch.jit.unused
    def state_names(self) -> List[str]:
        parts = {"body": self.body, "synthesis": self.synthesis}
        names = [f"{part}.{name}" for part, module in parts.items() for name in module.state_names()]
        return ["past", *names] if self.past else names

    @torch.jit.unused
    def taught(self, latent_BDT: Tensor, noise_B1N: Tensor, before_B1N: Tensor) -> Tensor:
        """Audio [B, 1, N] from a fresh state when `before_B1N` is what it is told that it said, one hop earlier."""
        heard = F.pad(before_B1N, [self.past - self.hop, 0]) if self.past else before_B1N
        return self._say(latent_BDT, noise_B1N, heard, self._fresh(len(latent_BDT)))[0]

    def _say(
        self, latent_BDT: Tensor, noise_B1N: Tensor, heard_B1L: Tensor, state: List[Tensor]
    ) -> Tuple[Tensor, List[Tensor]]:
        """heard_B1L: from `past` samples before the first frame to the last frame's beginning (unused without one)."""
        x = self.entry(opened(latent_BDT, self.pitches, self.per_pitch))
        if self.past > 0:
            # all but its level: trusted with that too, what began softly stayed soft
            power = F.avg_pool1d(heard_B1L * heard_B1L, self.past, self.hop)
            x = x + self.recall(self.ear(heard_B1L) / torch.sqrt(power + self.faint * self.faint))
        y, new = self.body.step(x, state[: self.body_states])
        # white noise's sub-bands are white
        white = (fold_noise(noise_B1N, self.bands) - 0.5) * math.sqrt(12.0)
        bands = y[:, : self.bands] + F.softplus(y[:, self.bands :] + self.hushed) * white
        audio, after = self.synthesis.step(bands, state[self.body_states :])
        new.extend(after)
        return torch.tanh(audio), new  # bounded: what comes back as its past cannot grow for ever

    def decode_step(
        self, latent_BDT: Tensor, noise_B1N: Tensor, temperature: Tensor, state: List[Tensor]
    ) -> Tuple[Tensor, List[Tensor]]:
        if self.past == 0:
            return self._say(latent_BDT, noise_B1N, noise_B1N, state)
        pieces: List[Tensor] = []
        for t in range(latent_BDT.shape[2]):
            noise = noise_B1N[:, :, t * self.hop : (t + 1) * self.hop]
            said, after = self._say(latent_BDT[:, :, t : t + 1], noise, state[0], state[1:])
            pieces.append(said)
            state = [torch.cat([state[0][:, :, self.hop :], said], dim=2)]
            state.extend(after)
        return torch.cat(pieces, dim=2), state
