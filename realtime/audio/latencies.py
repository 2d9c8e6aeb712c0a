"""The three latencies that are shown, in one place.

    sound in -> [device] -> [block gathered] -> [resampler, model's block] -> [blocks ahead] -> [device] -> sound out
    model        what no faster machine and no smaller block takes away: the block the model must hear, and its lag
    software     from the first sample of a block to where it comes out: block, resampler, re-blocking, blocks ahead
    device       the same with all that lies between the program and the plugs

They tell where a sound *stands* at the output, which is where the dry signal is mixed in. A model answers a
change at sample p of its hop from the hop's first sample on, so its answer begins up to a hop earlier than that,
and never later than the manifest's lag; how long it takes to swell is the model's own doing and no latency.
"""

from __future__ import annotations

from dataclasses import dataclass

from export.bundle.manifest import Manifest

__all__ = ["Latencies", "algorithmic_ms"]


@dataclass(frozen=True)
class Latencies:
    """All in ms. model: see above, as `algorithmic_ms` has it.

    path: the signal path's resampler, re-blocking and model; slack: blocks ahead; block: what an input gathers
    before it calls (0: it need not); io: what the device takes both ways, that block among it.
    """

    model: float
    path: float
    slack: float
    block: float
    io: float

    @property
    def software(self) -> float:
        """See above."""
        return self.block + self.path + self.slack

    @property
    def device(self) -> float:
        """See above. No device is quicker than its block, whatever it says."""
        return max(self.io, self.block) + self.path + self.slack

    @property
    def outside(self) -> float:
        """From when the model's path has made a sound to the plug, counted from when its input came in."""
        return self.device - self.path

    def shown(self) -> dict[str, float]:
        """The three, for people and messages."""
        figures = {"model": self.model, "software": self.software, "device": self.device}
        return {name: round(value, 3) for name, value in figures.items()}


def algorithmic_ms(manifest: Manifest) -> float:
    """The block that must be full before the model can answer its first sample, and the lag that was measured."""
    return 1000.0 * (manifest.block + manifest.latency_samples) / manifest.sample_rate
