"""A bundle whose decoders draw sample by sample, those on the CPU.

Which loop and precision: with "auto" the fastest of what is here (native int8, bf16, fp32; numba), among those
that stay within a thousandth of a nat of fp32 (five thousandths where those barely keep up), as measured at the
start. Threading model: see `Engine`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from realtime.engines.base import Cost
from realtime.engines.sampled import SampledEngine
from realtime.engines.wavenet_cpu.contest import CHOICES, Choice, Contest, too_slow
from realtime.errors import UserError

if TYPE_CHECKING:
    from export.bundle import Bundle

__all__ = ["CHOICES", "Choice", "WavenetCpuEngine"]


class WavenetCpuEngine(SampledEngine):
    """See `Engine`. `choice` says what was picked and at what RTF, `precision` how to ask for it again.

    UserError: no weights in the bundle, weights that disagree with its graphs or its probe, nothing here that
    keeps up.
    """

    name = "wavenet-cpu"

    def __init__(
        self,
        bundle: Bundle,
        precision: str = "auto",
        cores: int = 1,
        seed: int | None = None,
        refuse_slow: bool = True,
    ) -> None:
        if precision not in CHOICES:
            raise UserError(f"unknown precision {precision!r}; known are {', '.join(CHOICES)}")
        super().__init__(bundle, seed)
        probe = bundle.probe()
        contest = Contest(bundle, self.weights, self._probed(bundle, probe), cores)
        self.choice, loops = contest.pick(precision)
        self.precision = "numba" if self.choice.loop == "numba" else self.choice.precision
        if refuse_slow and self.choice.rtf > 1.0:
            raise UserError(too_slow(self.choice, self.weights[0], bundle))
        self._take(loops)
        encode_s, front_s = self._check_encoder(bundle, probe), self._check_fronts(bundle, probe)
        self.cost = Cost(encode_s, front_s + self.choice.us_per_sample * 1e-6 * self.manifest.block)
        self._first, self._cores = False, cores

    def settle(self) -> None:
        super().settle()  # by the thread that loads
        self._first = self._cores > 1

    def decode(self, domain: int, out: np.ndarray, noise: np.ndarray | None = None) -> None:
        if self._first:  # this is the thread that makes the audio
            self._first = False
            self._loops[domain].stay_off()
        super().decode(domain, out, noise)
