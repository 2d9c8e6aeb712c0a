"""A bundle whose decoders draw sample by sample: each by a sample loop, the encoder natively or by ONNX Runtime.

Guided decoders have more before and behind the loop: see `realtime.engines.guided`.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from realtime.engines.buffers import BufferedEngine, Part, StreamBuffers
from realtime.engines.guided import Front, GuidedVoice, GuideWeights
from realtime.engines.live_cpu.heard import heard_part
from realtime.engines.wavenet_cpu.loops import LoopMemory, SampleLoop
from realtime.engines.wavenet_cpu.probed import Probed
from realtime.engines.wavenet_cpu.weights import WavenetWeights
from realtime.errors import UserError

if TYPE_CHECKING:
    from export.bundle import Bundle

__all__ = ["SampledEngine", "domain_weights"]

TIMED_STEPS = 50


def _file(domain: str) -> str:
    return f"weights/{domain}.safetensors"


class _Voice(LoopMemory):
    """See `Part`: a loop of one stream."""

    noisy = True

    def __init__(self, loop: SampleLoop, buffers: StreamBuffers) -> None:
        super().__init__(loop)
        self.step = loop.bind(buffers.latent, buffers.noise[0], buffers.temperature, buffers.out[0])


class SampledEngine(BufferedEngine):
    """See `Engine`. A subclass says which loops, of `weights`, one for each domain.

    UserError: no weights in the bundle, or some that disagree with its manifest.
    """

    def __init__(self, bundle: Bundle, seed: int | None = None) -> None:
        super().__init__(bundle.manifest, seed)
        self.weights = [domain_weights(bundle, domain.id) for domain in self.manifest.domains]
        self._encoder = heard_part(bundle, self.buffers) or _by_onnx(bundle, self.buffers)
        self._fronts = [
            Front(GuideWeights.from_bundle(bundle, domain.id, net), net, self.buffers.latent)
            if net.guided
            else None
            for domain, net in zip(self.manifest.domains, self.weights, strict=True)
        ]

    def _take(self, loops: Sequence[SampleLoop]) -> None:
        self._loops = loops
        self._decoders = [
            GuidedVoice(front, loop, self.buffers) if front else _Voice(loop, self.buffers)
            for front, loop in zip(self._fronts, loops, strict=True)
        ]

    def told(self, domain: int, latent: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        """What a domain's loop is told of a latent [D, T], whole blocks from a fresh state: [D', T] and, if guided, its
        guide's classes [N]."""
        front = self._fronts[domain]
        return (latent, None) if front is None else front.tell(self.buffers.latent, latent)

    def _probed(self, bundle: Bundle, probe: dict[str, np.ndarray]) -> list[Probed]:
        """What the probe tells of each domain's loop."""
        return [
            Probed.of(probe, domain.id, net, bundle.path.name)
            for domain, net in zip(self.manifest.domains, self.weights, strict=True)
        ]

    def _check_fronts(self, bundle: Bundle, probe: dict[str, np.ndarray]) -> float:
        """The probe's latent through all that is before the loops; -> seconds of the slowest's step (lower quartile), 0
        where there is nothing. Leaves the engine reset."""
        slowest = 0.0
        for front, domain in zip(self._fronts, self.manifest.domains, strict=True):
            if front is None:
                continue
            wrong = front.check(probe, domain.id, self.buffers.latent, self.manifest.probe.tolerance)
            if wrong:
                raise UserError(
                    f"{self.name} computes {wrong} of {domain.id} in {bundle.path.name} wrongly: weights and graph "
                    "disagree, export the bundle again, or use --engine onnx"
                )
            times = []
            for _ in range(TIMED_STEPS):
                start = time.perf_counter()
                front.step()
                times.append(time.perf_counter() - start)
            slowest = max(slowest, float(np.quantile(times, 0.25)))
        self.reset()
        return slowest

    def _check_encoder(self, bundle: Bundle, probe: dict[str, np.ndarray]) -> float:
        """The probe's audio through the encoder; -> seconds of a step (lower quartile). Leaves the engine reset."""
        block, tolerance = self.manifest.block, self.manifest.probe.tolerance
        frames = block // self.manifest.hop
        worst, times = 0.0, []
        for i, piece in enumerate(probe["audio"].reshape(-1, block)):
            start = time.perf_counter()
            latent = self.encode(piece)
            times.append(time.perf_counter() - start)
            wanted = probe["latent"][:, i * frames : (i + 1) * frames]
            worst = max(worst, float(np.nan_to_num(np.abs(latent - wanted), nan=np.inf).max()))
        if not worst <= tolerance:
            raise UserError(
                f"{self.name} computes the encoder of {bundle.path.name} wrongly on this machine "
                f"(off by {worst:.2g}, allowed {tolerance:.2g}); export the bundle again"
            )
        self.reset()
        return float(np.quantile(times, 0.25))


def _by_onnx(bundle: Bundle, buffers: StreamBuffers) -> Part:
    """Imported only where it plays: that takes half a second."""
    from realtime.engines.onnx import encoder_stepper

    return encoder_stepper(bundle, buffers)


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
    # what a guided one is told has a width of its own
    latent = weights.latent if weights.guided else manifest.latent_channels
    for what, came, wanted in (
        ("hop", weights.hop, manifest.hop),
        ("latent channels", weights.latent, latent),
    ):
        if came != wanted:
            raise UserError(
                f"{bundle.path.name}: {_file(domain)} has {came} {what}, but the manifest says {wanted}; "
                "weights and graph are of different models, export the bundle again"
            )
    return weights
