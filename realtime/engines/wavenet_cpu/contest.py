"""Which sample loop plays a bundle here: everything that could is heard with the bundle's probe, and timed."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from realtime.engines.wavenet_cpu import build
from realtime.engines.wavenet_cpu.calibration import calibrate, divergence, play
from realtime.engines.wavenet_cpu.loops import SampleLoop, make_loop
from realtime.engines.wavenet_cpu.probed import Probed
from realtime.engines.wavenet_cpu.weights import Calibration, WavenetWeights
from realtime.errors import UserError

if TYPE_CHECKING:
    from export.bundle import Bundle

__all__ = ["CHOICES", "Choice", "Contest", "too_slow"]

CHOICES = ("auto", "int8", "bf16", "fp32", "numba")
MOST_NATS = 1e-3
# two decoders sound while one fades into the other: a little more noise is better than blocks that come late
PINCH_RTF, AT_A_PINCH_NATS = 0.25, 5e-3
PROBE_S = 0.05
LEAST_STEPS = 20  # a busy machine interrupts some of them
SAME_SHARE = 0.999  # of the probe's samples that an exact loop must draw alike


@dataclass(frozen=True)
class Choice:
    """How the decoders run here, and what that costs."""

    loop: str  # "native avx512", "numba"
    precision: str
    us_per_sample: float
    rtf: float  # of one decoder
    nats: float  # divergence from fp32, the worst domain's

    def __str__(self) -> str:
        loss = f", {self.nats:.1e} nats from fp32" if self.nats else ""
        return f"{self.loop} {self.precision}: {self.us_per_sample:.1f} us a sample, RTF {self.rtf:.2f}{loss}"


class Contest:
    """The bundle's self-test, heard by every loop that could play it."""

    def __init__(
        self, bundle: Bundle, weights: list[WavenetWeights], probed: list[Probed], cores: int
    ) -> None:
        self.bundle, self.weights, self.probed, self.cores = bundle, weights, probed, cores

    def pick(self, precision: str) -> tuple[Choice, list[SampleLoop]]:
        """The asked one, or the fastest that is true to fp32, or nearly so where that one would barely keep up.

        UserError: the asked one cannot be had.
        """
        wanted = ("int8", "bf16", "fp32") if precision == "auto" else (precision,)
        try:
            exact = [] if precision == "numba" else self._make("native", "fp32")
        except build.CompilerError:
            if precision != "auto":
                raise
            exact, wanted = [], ("numba",)
        if not exact:
            exact = self._make("numba", "fp32")
        for loop, probed, domain in zip(exact, self.probed, self.bundle.manifest.domains, strict=True):
            self._check(loop, probed, domain.id)
        offers, refused = [], ""
        for name in wanted:
            try:
                offers.append(self._offer(name, exact))
            except UserError as error:
                refused = str(error)
        true = [offer for offer in offers if offer[0].nats <= MOST_NATS or precision != "auto"]
        if not true:
            raise UserError(refused)
        best = min(true, key=lambda offer: offer[0].us_per_sample)
        if best[0].rtf > PINCH_RTF:
            true += [offer for offer in offers if offer[0].nats <= AT_A_PINCH_NATS]
        return min(true, key=lambda offer: offer[0].us_per_sample)

    def _offer(self, name: str, exact: list[SampleLoop]) -> tuple[Choice, list[SampleLoop]]:
        if name in ("fp32", "numba"):
            return self._choice(exact, 0.0), exact
        loops = self._make("native", name)
        nats = max(
            divergence(a, b, p.latent, p.noise, p.guide)
            for a, b, p in zip(exact, loops, self.probed, strict=True)
        )
        return self._choice(loops, nats), loops

    def _make(self, kind: str, precision: str) -> list[SampleLoop]:
        return [
            make_loop(w, kind, precision, calibration=self._calibration(w, p, precision), cores=self.cores)
            for w, p in zip(self.weights, self.probed, strict=True)
        ]

    @staticmethod
    def _calibration(weights: WavenetWeights, probed: Probed, precision: str) -> Calibration | None:
        if precision != "int8" or weights.calibration is not None:
            return weights.calibration
        return calibrate(weights, probed.latent, guide=probed.guide)

    def _check(self, loop: SampleLoop, probed: Probed, domain: str) -> None:
        """The probe's noise was chosen so that no draw hangs on the last bits of a sum."""
        loop.reset()
        _, classes, _ = play(loop, probed.latent, probed.noise, guide=probed.guide)
        same = float((classes == probed.classes).mean())
        loop.reset()
        if same < SAME_SHARE:
            raise UserError(
                f"the engine wavenet-cpu ({loop.name}) draws other samples than the probe of "
                f"{self.bundle.path.name} for {domain} ({100 * same:.1f} % alike): weights and graph disagree, "
                "export the bundle again, or use --engine onnx"
            )

    def _choice(self, loops: list[SampleLoop], nats: float) -> Choice:
        """Timed on the first domain; all are of one size."""
        loop = loops[0]
        us = _us_per_sample(loop, self.probed[0].latent)
        return Choice(loop.name, loop.precision, us, us * 1e-6 * self.bundle.manifest.sample_rate, nats)


def _us_per_sample(loop: SampleLoop, latent: np.ndarray) -> float:
    """The least over `PROBE_S` seconds: the rest is other programs'. Leaves the loop reset."""
    w = loop.weights
    arrays = (np.ascontiguousarray(latent[None, :, :1]), np.full((1, w.hop), 0.5, np.float32))
    guide = np.full((1, w.hop), w.classes // 2, np.int32) if w.guided else None
    step = loop.bind(*arrays, np.ones(1, np.float32), np.zeros((1, w.hop), np.float32), guide)
    step()
    times: list[float] = []
    while sum(times) < PROBE_S or len(times) < LEAST_STEPS:
        start = time.perf_counter()
        step()
        times.append(time.perf_counter() - start)
    loop.reset()
    return 1e6 * min(times) / w.hop


def too_slow(choice: Choice, weights: WavenetWeights, bundle: Bundle) -> str:
    """One sentence: the figure, and what would keep up."""
    allowed = 1e6 / bundle.manifest.sample_rate
    if choice.loop == "numba":
        would = "a C++ compiler for the native kernel in int8"
    elif choice.precision != "int8":
        would = "--precision int8"
    else:
        would = "a CPU with wider vectors"
    return (
        f"the decoder {weights.name} of {bundle.path.name} needs {choice.us_per_sample:.0f} us a sample on this "
        f"machine ({choice.loop} {choice.precision}, RTF {choice.rtf:.1f}), but {allowed:.1f} are allowed at "
        f"{bundle.manifest.sample_rate} Hz; what would keep up: {would}, a GPU, or a decoder of at most "
        f"1/{choice.rtf * 1.25:.1f} of its size"
    )
