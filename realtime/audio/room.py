"""How many decoders fit into one block: a pure sum, so that the control process can say it in figures too.

    encoder + n decoders <= HEADROOM of the time there is

The rest of the time is for resampling, for a block that takes longer than the median, and for the system.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["HEADROOM", "LEAST", "Room", "blend_room"]

HEADROOM = 0.7
LEAST = 2  # a cross-fade needs two, whatever it costs


def blend_room(encode_s: float, decode_s: float, block_s: float) -> int:
    """Decoders that may run at once, `LEAST` at least; `decode_s` is the slowest decoder's step."""
    return Room(encode_s / block_s, decode_s / block_s).decoders


@dataclass(frozen=True)
class Room:
    """Shares of the time that there is for one block: the encoder's and the slowest decoder's."""

    encoder: float
    decoder: float

    @property
    def decoders(self) -> int:
        """How many may run at once."""
        # a hair above, or three decoders of 0.2 beside an encoder of 0.1 would not fit into 0.7
        return max(LEAST, int((HEADROOM - self.encoder) / max(self.decoder, 1e-9) + 1e-9))

    def refusal(self, wanted: int) -> str | None:
        """What to tell whoever asks for that many; None if they fit."""
        held = self.decoders
        if wanted <= held:
            return None
        share = self.encoder + wanted * self.decoder
        return (
            f"{wanted} decoders need {100 * share:.0f} % of a block (up to {100 * HEADROOM:.0f} % is safe), "
            f"this machine holds {held}"
        )
