"""A bundle whose decoders draw sample by sample: the encoder by ONNX Runtime, the decoders by a sample loop.

Which loop and precision: with "auto" the fastest of what is here (native int8, bf16, fp32; numba), among those
that stay within a thousandth of a nat of fp32, as measured at the start. Threading model: see `Engine`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from realtime.engines.base import Cost
from realtime.engines.onnx import GraphStepper
from realtime.engines.wavenet_cpu.contest import CHOICES, Choice, Contest, too_slow
from realtime.engines.wavenet_cpu.loops import SampleLoop
from realtime.engines.wavenet_cpu.weights import WavenetWeights
from realtime.errors import UserError

if TYPE_CHECKING:
    from export.bundle import Bundle

__all__ = ["CHOICES", "Choice", "WavenetCpuEngine", "domain_weights", "is_autoregressive"]


def is_autoregressive(bundle: Bundle) -> bool:
    """Whether every domain brings weights for this engine."""
    return all(_file(domain.id) in bundle.names for domain in bundle.manifest.domains)


def _file(domain: str) -> str:
    return f"weights/{domain}.safetensors"


class WavenetCpuEngine:
    """See `Engine`. `choice` says what was picked and at what RTF.

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
        manifest = self.manifest = bundle.manifest
        self.cost: Cost | None = None
        self._audio = np.zeros((1, 1, manifest.block), np.float32)
        self._latent = np.zeros((1, manifest.latent_channels, manifest.block // manifest.hop), np.float32)
        self.latent = self._latent[0]
        self._noise = np.zeros((1, manifest.block), np.float32)
        self._out = np.zeros((1, manifest.block), np.float32)
        self._temperature = np.ones(1, np.float32)
        self._random = np.random.default_rng(seed)
        weights = [domain_weights(bundle, domain.id) for domain in manifest.domains]
        self._encoder = GraphStepper(
            bundle.read(manifest.encoder),
            manifest.graphs[manifest.encoder],
            {"audio": self._audio},
            {"latent": self._latent},
            False,
        )
        contest = Contest(bundle, weights, cores)
        self.choice, self._loops = contest.pick(precision)
        if refuse_slow and self.choice.rtf > 1.0:
            raise UserError(too_slow(self.choice, weights[0], bundle))
        self._decoders = [self._bind(loop) for loop in self._loops]
        self._first = cores > 1
        self._check_encoder(bundle, contest)

    def _bind(self, loop: SampleLoop) -> Callable[[], None]:
        return loop.bind(self._latent, self._noise, self._temperature, self._out)

    def _check_encoder(self, bundle: Bundle, contest: Contest) -> None:
        """The bundle's own audio through the encoder; timed on the way, as is one decoder."""
        block, times = self.manifest.block, []
        pieces = contest.arrays["audio"].reshape(-1, block)
        frames = block // self.manifest.hop
        worst = 0.0
        for i, piece in enumerate(pieces):
            start = time.perf_counter()
            latent = self.encode(piece)
            times.append(time.perf_counter() - start)
            wanted = contest.arrays["latent"][:, i * frames : (i + 1) * frames]
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
        if self._first:  # this is the thread that makes the audio
            self._first = False
            self._loops[domain].stay_off()
        self._decoders[domain]()
        out[:] = self._out[0]

    def reset(self, domain: int | None = None) -> None:
        if domain is not None:
            self._loops[domain].reset()
            return
        self._encoder.reset()
        for loop in self._loops:
            loop.reset()


def domain_weights(bundle: Bundle, domain: str) -> WavenetWeights:
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
