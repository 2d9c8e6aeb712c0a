"""WaveNet decoders that begin as one: what a sample loop must learn first is the same for every domain.

Shared: everything but each decoder's own biases of the conditioning, which say in every layer whose voice it is.
Later each goes on alone from there (`--own-decoders`).
"""

from __future__ import annotations

from collections.abc import Iterable

from umtn.decoders.base import Decoder
from umtn.decoders.wavenet import WaveNetDecoder
from umtn.errors import UserError

__all__ = ["share"]


def share(decoders: Iterable[Decoder]) -> None:
    """Let all decoders use the first one's parameters, but for their own conditioning biases."""
    first, *others = decoders
    for decoder in (first, *others):
        if not isinstance(decoder, WaveNetDecoder):
            raise UserError("Only WaveNet decoders can be trained as one; set training.shared to false.")
    assert isinstance(first, WaveNetDecoder)
    for other in others:
        assert isinstance(other, WaveNetDecoder)
        other.embed, other.dilated, other.output = first.embed, first.dilated, first.output
        other.head, other.classify = first.head, first.classify
        other.condition.weight = first.condition.weight
