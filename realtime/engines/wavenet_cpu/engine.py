"""A bundle whose decoders draw sample by sample: the encoder by ONNX Runtime, the decoders by a sample loop.

Which loop and precision: with "auto" the fastest of what is here (native int8, bf16, fp32; numba), among those
that stay within `MOST_NATS` of fp32, as measured at the start. Threading model: see `Engine`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from realtime.engines.base import Cost
from realtime.engines.onnx import _Stepper
from realtime.engines.wavenet_cpu import build
from realtime.engines.wavenet_cpu.calibration import calibrate, divergence, play
from realtime.engines.wavenet_cpu.loops import SampleLoop, make_loop
from realtime.engines.wavenet_cpu.weights import Calibration, WavenetWeights
from realtime.errors import UserError

if TYPE_CHECKING:
    from export.bundle import Bundle

__all__ = ["CHOICES", "Choice", "WavenetCpuEngine", "is_autoregressive"]

CHOICES = ("auto", "int8", "bf16", "fp32", "numba")
MOST_NATS = 1e-3
PROBE_S = 0.05
SAME_SHARE = 0.999  # of the probe's samples that an exact loop must draw alike


def is_autoregressive(bundle: Bundle) -> bool:
    """Whether every domain brings weights for this engine."""
    return all(_file(domain.id) in bundle.names for domain in bundle.manifest.domains)


def _file(domain: str) -> str:
    return f"weights/{domain}.safetensors"


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


class WavenetCpuEngine:
    """See `Engine`. `choice` says what was picked and at what RTF.

    UserError: no weights in the bundle, weights that disagree with its graphs or its probe, nothing here that
    keeps up.
    """

    name = "wavenet-cpu"

    def __init__(
        self, bundle: Bundle, precision: str = "auto", seed: int | None = None, refuse_slow: bool = True
    ) -> None:
        if precision not in CHOICES:
            raise UserError(f"unknown precision {precision!r}; known are {', '.join(CHOICES)}")
        manifest = self.manifest = bundle.manifest
        self.cost: Cost | None = None
        self._audio = np.zeros((1, 1, manifest.block), np.float32)
        self._latent = np.zeros((1, manifest.latent_channels, manifest.block // manifest.hop), np.float32)
        self.latent = self._latent[0]
        self._noise = np.zeros((1, manifest.block), np.float32)
        self._out = np.zeros((1, manifest.block), np.float32)
        self._temperature = np.ones(1, np.float32)
        self._random = np.random.default_rng(seed)
        weights = [_weights(bundle, domain.id) for domain in manifest.domains]
        self._encoder = _Stepper(
            bundle.read(manifest.encoder),
            manifest.graphs[manifest.encoder],
            {"audio": self._audio},
            {"latent": self._latent},
            False,
        )
        probe = _Probe(bundle, weights)
        self.choice, self._loops = probe.pick(precision)
        if refuse_slow and self.choice.rtf > 1.0:
            raise UserError(_too_slow(self.choice, weights[0], bundle))
        self._decoders = [self._bind(loop) for loop in self._loops]
        self._check_encoder(bundle, probe)

    def _bind(self, loop: SampleLoop) -> Callable[[], None]:
        return loop.bind(self._latent, self._noise, self._temperature, self._out)

    def _check_encoder(self, bundle: Bundle, probe: _Probe) -> None:
        """The bundle's own audio through the encoder; timed on the way, as is one decoder."""
        block, times = self.manifest.block, []
        pieces = probe.arrays["audio"].reshape(-1, block)
        frames = block // self.manifest.hop
        worst = 0.0
        for i, piece in enumerate(pieces):
            start = time.perf_counter()
            latent = self.encode(piece)
            times.append(time.perf_counter() - start)
            wanted = probe.arrays["latent"][:, i * frames : (i + 1) * frames]
            worst = max(worst, float(np.nan_to_num(np.abs(latent - wanted), nan=np.inf).max()))
        if not worst <= self.manifest.probe.tolerance:
            raise UserError(
                f"ONNX Runtime computes the encoder of {bundle.path.name} wrongly on this machine "
                f"(off by {worst:.2g}, allowed {self.manifest.probe.tolerance:.2g}); export the bundle again"
            )
        self.reset()
        self.cost = Cost(float(np.median(times)), self.choice.us_per_sample * 1e-6 * block)

    @property
    def temperature(self) -> float:
        return float(self._temperature[0])

    @temperature.setter
    def temperature(self, value: float) -> None:
        self._temperature[0] = value

    def encode(self, audio: np.ndarray) -> np.ndarray:
        self._audio[0, 0] = audio
        self._encoder.step()
        return self.latent

    def decode(self, domain: int, out: np.ndarray, noise: np.ndarray | None = None) -> None:
        if noise is None:
            self._random.random(out=self._noise[0], dtype=np.float32)
        else:
            self._noise[0] = noise
        self._decoders[domain]()
        out[:] = self._out[0]

    def reset(self, domain: int | None = None) -> None:
        if domain is not None:
            self._loops[domain].reset()
            return
        self._encoder.reset()
        for loop in self._loops:
            loop.reset()


def _weights(bundle: Bundle, domain: str) -> WavenetWeights:
    """One domain's, of the sizes that the manifest promises."""
    if _file(domain) not in bundle.names:
        raise UserError(
            f"{bundle.path.name} holds no {_file(domain)}: its decoder does not draw sample by sample, so "
            "wavenet-cpu cannot play it; use --engine onnx"
        )
    weights = WavenetWeights.from_safetensors(
        bundle.read(_file(domain)), f"{bundle.path.name}/{_file(domain)}"
    )
    manifest = bundle.manifest
    for what, came, wanted in (
        ("hop", weights.hop, manifest.hop),
        ("latent channels", weights.latent, manifest.latent_channels),
    ):
        if came != wanted:
            raise UserError(
                f"{bundle.path.name}: {_file(domain)} has {came} {what}, but the manifest says {wanted}; "
                "weights and graph are of different models, export the bundle again"
            )
    return weights


class _Probe:
    """The bundle's self-test, heard by every loop that could play it."""

    def __init__(self, bundle: Bundle, weights: list[WavenetWeights]) -> None:
        self.bundle, self.weights = bundle, weights
        self.arrays = bundle.probe()
        self.latent, self.noise = self.arrays["latent"], self.arrays["noise"]

    def pick(self, precision: str) -> tuple[Choice, list[SampleLoop]]:
        """The asked one, or the fastest that is true to fp32. UserError where the asked one cannot be had."""
        wanted = ("int8", "bf16", "fp32") if precision == "auto" else (precision,)
        try:
            exact = [] if precision == "numba" else [make_loop(w, "native", "fp32") for w in self.weights]
        except build.CompilerError:
            if precision != "auto":
                raise
            exact, wanted = [], ("numba",)
        if not exact:
            exact = [make_loop(w, "numba", "fp32") for w in self.weights]
        for loop, domain in zip(exact, self.bundle.manifest.domains):
            self._check(loop, domain.id)
        offers, refused = [], ""
        for name in wanted:
            try:
                offers.append(self._offer(name, exact))
            except UserError as error:
                refused = str(error)
        true = [offer for offer in offers if offer[0].nats <= MOST_NATS or precision != "auto"]
        if not true:
            raise UserError(refused)
        return min(true, key=lambda offer: offer[0].us_per_sample)

    def _offer(self, name: str, exact: list[SampleLoop]) -> tuple[Choice, list[SampleLoop]]:
        if name in ("fp32", "numba"):
            return self._choice(exact, 0.0), exact
        loops: list[SampleLoop] = []
        for w in self.weights:
            loops.append(make_loop(w, "native", name, calibration=self._calibration(w, name)))
        nats = max(divergence(a, b, self.latent, self.noise) for a, b in zip(exact, loops))
        return self._choice(loops, nats), loops

    def _calibration(self, weights: WavenetWeights, precision: str) -> Calibration | None:
        if precision != "int8" or weights.calibration is not None:
            return weights.calibration
        return calibrate(weights, self.latent)

    def _check(self, loop: SampleLoop, domain: str) -> None:
        """The probe's noise was chosen so that no draw hangs on the last bits of a sum."""
        loop.reset()
        audio, _, _ = play(loop, self.latent, self.noise)
        same = float((np.abs(audio - self.arrays[f"audio.{domain}"]) <= 1e-4).mean())
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
        us = _us_per_sample(loop, self.latent)
        return Choice(loop.name, loop.precision, us, us * 1e-6 * self.bundle.manifest.sample_rate, nats)


def _us_per_sample(loop: SampleLoop, latent: np.ndarray) -> float:
    """Median over `PROBE_S` seconds; leaves the loop reset."""
    w = loop.weights
    arrays = (np.ascontiguousarray(latent[None, :, :1]), np.full((1, w.hop), 0.5, np.float32))
    step = loop.bind(*arrays, np.ones(1, np.float32), np.zeros((1, w.hop), np.float32))
    step()
    times: list[float] = []
    while sum(times) < PROBE_S or len(times) < 3:
        start = time.perf_counter()
        step()
        times.append(time.perf_counter() - start)
    loop.reset()
    return 1e6 * float(np.median(times)) / w.hop


def _too_slow(choice: Choice, weights: WavenetWeights, bundle: Bundle) -> str:
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
