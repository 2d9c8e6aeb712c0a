"""How long things took, cheap enough for the audio thread."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

__all__ = ["Timing"]

HISTOGRAM_US = 10  # width of a bin
BINS = 4096


@dataclass
class Timing:
    """How long blocks took, as a histogram; percentiles cost the audio thread nothing."""

    counts: np.ndarray = field(default_factory=lambda: np.zeros(BINS, np.int64))
    longest_us: float = 0.0
    total_us: float = 0.0

    def add(self, us: float) -> None:
        self.counts[min(int(us) // HISTOGRAM_US, BINS - 1)] += 1
        self.total_us += us
        if us > self.longest_us:
            self.longest_us = us

    def percentile_us(self, share: float) -> float:
        """Upper edge of the bin below which `share` (0..1) of the blocks lie."""
        total = int(self.counts.sum())
        if total == 0:
            return 0.0
        index = int(np.searchsorted(np.cumsum(self.counts), share * total))
        return min((index + 1.0) * HISTOGRAM_US, self.longest_us)

    def figures(self) -> dict[str, float]:
        blocks = int(self.counts.sum())
        return {
            "blocks": blocks,
            "mean_us": round(self.total_us / max(1, blocks), 1),
            "p50_us": self.percentile_us(0.5),
            "p99_us": self.percentile_us(0.99),
            "p999_us": self.percentile_us(0.999),
            "max_us": round(self.longest_us, 1),
        }
