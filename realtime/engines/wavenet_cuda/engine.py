"""A bundle whose decoders draw sample by sample, those on an NVIDIA GPU, the encoder by ONNX Runtime on the CPU.

The CUDA kernel has never run on a GPU (see wavenet_cuda/__init__.py). Threading model: see `Engine`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from realtime.engines.base import Cost
from realtime.engines.onnx import GraphStepper
from realtime.engines.wavenet_cpu.calibration import play
from realtime.engines.wavenet_cpu.engine import domain_weights
from realtime.engines.wavenet_cpu.weights import mulaw_table
from realtime.engines.wavenet_cuda.device import CudaDevice, Device
from realtime.engines.wavenet_cuda.loop import CudaLoop
from realtime.errors import UserError

if TYPE_CHECKING:
    from export.bundle import Bundle

__all__ = ["SAME_SHARE", "WavenetCudaEngine"]

# fp16 weights move the borders between classes a little; fp32 that hears the same samples draws the rest alike
SAME_SHARE = 0.97


class WavenetCudaEngine:
    """See `Engine`. Each domain has a loop of its own; they take turns on the GPU.

    UserError: no weights in the bundle, no GPU or one too small or a driver too old, outputs that differ from
    the probe.
    """

    name = "wavenet-cuda"

    def __init__(
        self, bundle: Bundle, seed: int | None = None, device: Callable[[], Device] = CudaDevice
    ) -> None:
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
        self._loops = [CudaLoop(w, device=device()) for w in weights]
        self._encoder = GraphStepper(
            bundle.read(manifest.encoder),
            manifest.graphs[manifest.encoder],
            {"audio": self._audio},
            {"latent": self._latent},
            False,
        )
        self._check(bundle)

    def _check(self, bundle: Bundle) -> None:
        """The bundle's own probe, timed on the way. The decoders hear the probe's samples: one that they drew
        otherwise would change all after it, so each sample is a comparison of its own."""
        manifest, probe = self.manifest, bundle.probe()
        block, frames = manifest.block, manifest.block // manifest.hop
        worst, times = 0.0, []
        for i, piece in enumerate(probe["audio"].reshape(-1, block)):
            start = time.perf_counter()
            latent = self.encode(piece)
            times.append(time.perf_counter() - start)
            wanted = probe["latent"][:, i * frames : (i + 1) * frames]
            worst = max(worst, float(np.nan_to_num(np.abs(latent - wanted), nan=np.inf).max()))
        if not worst <= manifest.probe.tolerance:
            raise UserError(
                f"ONNX Runtime computes the encoder of {bundle.path.name} wrongly on this machine (off by "
                f"{worst:.2g}, allowed {manifest.probe.tolerance:.2g}); export the bundle again"
            )
        for loop, domain in zip(self._loops, manifest.domains):
            share = _same_share(loop, probe["latent"], probe["noise"], probe[f"audio.{domain.id}"])
            if not share >= SAME_SHARE:
                raise UserError(
                    f"the engine wavenet-cuda draws {100 * share:.1f} % of the probe's samples of {domain.id} in "
                    f"{bundle.path.name}, and {100 * SAME_SHARE:.0f} % was wanted: weights and graph disagree, or "
                    "the kernel does not work on this GPU; use the CPU engine"
                )
        self.reset()
        decode = []
        for _ in range(5):
            start = time.perf_counter()
            self.decode(0, self._out[0])
            decode.append(time.perf_counter() - start)
        self.reset()
        self.cost = Cost(float(np.median(times)), float(np.median(decode)))

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
        self._loops[domain].decode(self._latent, self._noise, self._temperature, self._out)
        out[:] = self._out[0]

    def reset(self, domain: int | None = None) -> None:
        if domain is not None:
            self._loops[domain].reset()
            return
        self._encoder.reset()
        for loop in self._loops:
            loop.reset()


def _same_share(loop: CudaLoop, latent: np.ndarray, noise: np.ndarray, audio: np.ndarray) -> float:
    """Of the samples that were drawn as the probe's; leaves the loop reset."""
    table = mulaw_table(loop.weights.classes)
    classes = np.abs(audio[:, None] - table[None, 1:]).argmin(axis=1).astype(np.int32) + 1
    loop.reset()
    _, drawn, _ = play(loop, latent, noise, classes)
    loop.reset()
    return float((drawn == classes).mean())
