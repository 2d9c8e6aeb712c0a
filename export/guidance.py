"""What a sample loop is told, before it draws: by a WaveNet's latent as it is, by a guided one's guide and mouth."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from umtn.decoders.guided import GuidedDecoder
from umtn.decoders.wavenet import WaveNetDecoder
from umtn.mulaw import mulaw_encode

__all__ = ["NEAR", "Sampled", "Told", "sound_classes", "told"]

Sampled = WaveNetDecoder | GuidedDecoder
# two engines' tones differ by up to 1e-6 (of the bundled `live` model at -3 dBFS), their emphasised ones by 1.9e-6
NEAR = 2e-6
MIXED = 2


class Told(NamedTuple):
    """latent [B, D, T]; of a guided net also tones [B, N], the guide's classes [B, N], and `likely` [R, B, N]: classes
    that another engine may have, for rounding decides where tones lie beside a border: the guide itself, the lower
    class everywhere, the upper one, and mixtures."""

    latent: Tensor
    tones: Tensor | None = None
    guide: Tensor | None = None
    likely: Tensor | None = None


@torch.no_grad()
def told(decoder: Sampled, latent_BDT: Tensor) -> Told:
    """From a fresh state, hop by hop as `decode_step` of one hop does it: to the last bit."""
    if not isinstance(decoder, GuidedDecoder):
        return Told(latent_BDT)
    state, pieces = decoder.init_state(latent_BDT.shape[0]), []
    last = state[decoder.guide_states + decoder.mouth_states]
    for frame in latent_BDT.split(1, dim=2):
        *heard, state = decoder.hear(frame, state)
        pieces.append(heard)
    z, tones, guide = (torch.cat(part, dim=-1) for part in zip(*pieces, strict=True))
    return Told(z, tones, guide, _likely(decoder, tones, guide, last))


def _likely(decoder: GuidedDecoder, tones_BN: Tensor, guide_BN: Tensor, last_B1: Tensor) -> Tensor:
    lifted = decoder.emphasis.lift(tones_BN, last_B1)[0]
    classes = decoder.wavenet.classes
    lower, upper = (mulaw_encode(decoder.drive * (lifted + x), classes) for x in (-NEAR, NEAR))
    random = torch.Generator().manual_seed(0)
    mixed = [torch.rand(guide_BN.shape, generator=random) < 0.5 for _ in range(MIXED)]
    return torch.stack([guide_BN, lower, upper, *(torch.where(m, lower, upper) for m in mixed)])


def sound_classes(decoder: Sampled, audio_BN: Tensor) -> Tensor:
    """Sound from its first sample on, as the net would have drawn it."""
    if isinstance(decoder, GuidedDecoder):
        return decoder.classes_of(audio_BN, audio_BN.new_zeros([len(audio_BN), 1]))[0]
    return mulaw_encode(audio_BN, decoder.classes)
