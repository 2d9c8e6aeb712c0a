"""A bundle whose decoders draw sample by sample, those on an NVIDIA GPU, the encoder on the CPU.

The CUDA kernel has never run on a GPU (see wavenet_cuda/__init__.py). Threading model: see `Engine`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from realtime.engines.engine import Cost
from realtime.engines.wavenet.autotune import Probed, play
from realtime.engines.wavenet.cuda.device import CudaDevice, Device
from realtime.engines.wavenet.cuda.loop import CudaLoop
from realtime.engines.wavenet.engine import SampledEngine
from realtime.engines.wavenet.sample_loop import SampleLoop
from realtime.shared.saved_classes import saved
from umtn.errors import UserError

if TYPE_CHECKING:
    from export.bundle.bundle import Bundle

__all__ = ["SAME_SHARE", "WavenetCudaEngine"]

# fp16 weights move the borders between classes a little; fp32 that hears the same samples draws the rest alike
SAME_SHARE = 0.97


@saved("wavenet-cuda-engine")
class WavenetCudaEngine(SampledEngine):
    """See `Engine`. Each domain has a loop of its own; they take turns on the GPU.

    UserError: no weights in the bundle, no GPU or one too small or a driver too old, outputs that differ from
    the probe.
    """

    name = "wavenet-cuda"

    def __init__(
        self, bundle: Bundle, seed: int | None = None, device: Callable[[], Device] = CudaDevice
    ) -> None:
        super().__init__(bundle, seed)
        self._take([CudaLoop(w, device=device()) for w in self.weights])
        self._check(bundle)

    def _check(self, bundle: Bundle) -> None:
        """The bundle's own probe, timed on the way. The decoders hear the probe's samples: one that they drew
        otherwise would change all after it, so each sample is a comparison of its own."""
        probe = bundle.probe()
        encode_s = self._check_encoder(bundle, probe)
        self._check_fronts(bundle, probe)
        probed = self._probed(bundle, probe)
        for loop, heard, domain in zip(self._loops, probed, bundle.manifest.domains, strict=True):
            share = _same_share(loop, heard)
            if not share >= SAME_SHARE:
                raise UserError(
                    f"the engine wavenet-cuda draws {100 * share:.1f} % of the probe's samples of {domain.id} in "
                    f"{bundle.path.name}, and {100 * SAME_SHARE:.0f} % was wanted: weights and graph disagree, or "
                    "the kernel does not work on this GPU; use the CPU engine"
                )
        out, decode = np.zeros(self.manifest.block, np.float32), []
        for _ in range(5):
            start = time.perf_counter()
            self.decode(0, out)
            decode.append(time.perf_counter() - start)
        self.reset()
        self.cost = Cost(encode_s, float(np.median(decode)))


def _same_share(loop: SampleLoop, probed: Probed) -> float:
    """Of the samples that were drawn as the probe's; leaves the loop reset."""
    loop.reset()
    _, drawn, _ = play(loop, probed.latent, probed.noise, probed.classes, probed.guide)
    loop.reset()
    return float((drawn == probed.classes).mean())
