"""A bundle whose decoders draw sample by sample: each by a sample loop, the encoder natively or by ONNX Runtime.

Guided decoders have more before and behind the loop: see `realtime.engines.wavenet.guided`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from realtime.engines.engine import BufferedEngine, Cost, Part, StreamBuffers
from realtime.engines.live.engine import conditioned_part
from realtime.engines.wavenet.autotune import CHOICES, Autotune, Choice, Probed, play, too_slow
from realtime.engines.wavenet.cuda.device import CudaDevice, Device
from realtime.engines.wavenet.cuda.loop import CudaLoop
from realtime.engines.wavenet.guided import Front, GuidedVoice, GuideWeights
from realtime.engines.wavenet.sample_loop import LoopMemory, SampleLoop
from realtime.engines.wavenet.weights import WavenetWeights
from realtime.shared.saved_classes import saved
from umtn.errors import UserError

if TYPE_CHECKING:
    from export.bundle.bundle import Bundle

__all__ = [
    "CHOICES",
    "Choice",
    "SAME_SHARE",
    "SampledEngine",
    "WavenetCpuEngine",
    "WavenetCudaEngine",
    "domain_weights",
]


TIMED_STEPS = 50


def _file(domain: str) -> str:
    return f"weights/{domain}.safetensors"


@saved("wavenet-decoder")
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
        self._encoder = conditioned_part(bundle, self.buffers) or _by_onnx(bundle, self.buffers)
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


# A bundle whose decoders draw sample by sample, those on the CPU.
#
# Which loop and precision: with "auto" the fastest of what is here (native int8, bf16, fp32; numba), among those
# that stay within a thousandth of a nat of fp32 (five thousandths where those barely keep up), as measured at the
# start. Threading model: see `Engine`.


@saved("wavenet-engine")
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
        contest = Autotune(bundle, self.weights, self._probed(bundle, probe), cores)
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


# A bundle whose decoders draw sample by sample, those on an NVIDIA GPU, the encoder on the CPU.
#
# The CUDA kernel has never run on a GPU (see wavenet_cuda/__init__.py). Threading model: see `Engine`.


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
