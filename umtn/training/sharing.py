"""WaveNet decoders that begin as one: what a sample loop must learn first is the same for every domain.

Shared: everything but each decoder's own biases of the conditioning, which say in every layer whose voice it is.
Later each goes on alone from there (`--own-decoders`).
"""

from __future__ import annotations

from collections.abc import Iterable

from umtn.decoders.base import Decoder
from umtn.decoders.guided import GuidedDecoder, net_of
from umtn.decoders.wavenet import WaveNetDecoder
from umtn.errors import UserError

__all__ = ["share"]


def share(decoders: Iterable[Decoder]) -> None:
    """Let all decoders use the first one's parameters, but for their own conditioning biases (and guides)."""
    every = list(decoders)
    guided = [d for d in every if isinstance(d, GuidedDecoder)]
    for decoder in guided:
        decoder.mouth = guided[0].mouth
    nets = [net_of(d) for d in every]
    first = nets[0]
    for net in nets:
        if not isinstance(net, WaveNetDecoder) or not isinstance(first, WaveNetDecoder):
            raise UserError("Only WaveNet decoders can be trained as one; set training.shared to false.")
        net.embed, net.dilated, net.output = first.embed, first.dilated, first.output
        net.head, net.classify = first.head, first.classify
        net.condition.weight = first.condition.weight
