"""See the package. The engine is exact to the last bits: what differs from ONNX Runtime is the order of sums."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from realtime.engines.engine import BufferedEngine, Part, StreamBuffers, Together
from realtime.engines.live import kernel
from realtime.engines.live.kernel import NativePart
from realtime.engines.live.weights import ConditionerWeights, DecoderWeights, EncoderWeights
from realtime.engines.state import Kept
from realtime.shared.saved_classes import saved
from umtn.errors import UserError

if TYPE_CHECKING:
    import numpy as np

    from export.bundle.bundle import Bundle, Manifest

__all__ = [
    "BoundPart",
    "ENCODER",
    "ConditionedPart",
    "LiveCpuEngine",
    "check_model",
    "encoder_part",
    "conditioned_part",
]


ENCODER = "weights/encoder.safetensors"


@saved("native-part")
class BoundPart:
    """See `Part`: a native part on the engine's buffers.

    A snapshot of the engine (realtime.recording.snapshot) takes `state` and leaves alone what knows addresses.
    """

    def __init__(
        self,
        part: NativePart,
        given: NDArray[np.float32],
        noise: NDArray[np.float32] | None,
        out: NDArray[np.float32],
        frames: int,
    ) -> None:
        self.noisy = noise is not None
        self.step = part.bind(given, noise, out, frames)
        self.reset = part.reset
        self.state = part.state()
        kept = Kept(self.state)
        self.keep, self.rest = kept.keep, kept.restore


@saved("live-engine")
class LiveCpuEngine(BufferedEngine):
    """See `Engine`. `isa`: one of `library.ISAS`, or None for the fastest here.

    UserError: a bundle without the weights, weights that disagree with its manifest, no kernel.
    """

    name = "live-cpu"

    def __init__(self, bundle: Bundle, seed: int | None = None, isa: str | None = None) -> None:
        super().__init__(bundle.manifest, seed)
        manifest, buffers = self.manifest, self.buffers
        frames = manifest.block // manifest.hop
        self._encoder, self.isa = encoder_part(bundle, buffers, isa)
        self._decoders = []
        for domain in manifest.domains:
            file = f"weights/{domain.id}.safetensors"
            weights = DecoderWeights.from_safetensors(_read(bundle, file), f"{bundle.path.name}/{file}")
            check_model(weights.rate, weights.hop, weights.layout.channels, manifest, file)
            part = NativePart(weights, isa)
            self._decoders.append(BoundPart(part, buffers.latent, buffers.noise, buffers.out, frames))


def encoder_part(bundle: Bundle, buffers: StreamBuffers, isa: str | None = None) -> tuple[BoundPart, str]:
    """The encoder of a bundle whose latent is a pitch encoder's, and the instruction set that it got."""
    manifest = bundle.manifest
    weights = EncoderWeights.from_safetensors(_read(bundle, ENCODER), f"{bundle.path.name}/{ENCODER}")
    check_model(weights.rate, weights.hop, weights.layout.channels, manifest, ENCODER)
    part = NativePart(weights, isa)
    return BoundPart(part, buffers.audio, None, buffers.latent, manifest.block // manifest.hop), part.isa


def _read(bundle: Bundle, file: str) -> bytes:
    if file not in bundle.names:
        raise UserError(
            f"{bundle.path.name} holds no {file}, which the engine live-cpu plays from: it is no `live` model, or "
            "was exported before there was this engine; use --engine onnx, or export it again"
        )
    return bundle.read(file)


def check_model(rate: int, hop: int, channels: int, manifest: Manifest, file: str) -> None:
    """UserError: weights of another model than the manifest's."""
    for what, came, wanted in (
        ("sample rate", rate, manifest.sample_rate),
        ("hop", hop, manifest.hop),
        ("number of latent channels", channels, manifest.latent_channels),
    ):
        if came != wanted:
            raise UserError(
                f"the {what} of {file} is {came}, but the manifest's is {wanted}; weights and graphs are of "
                "different models, export the bundle again"
            )


# The encoder that WaveNet decoders listen to, as native code: a `live` model's ear, and a mouth that tells them.
#
# Guided decoders have mouths of their own: theirs is the ear alone.


@saved("two-part-encoder")
class ConditionedPart(Together):
    """See `Part`: audio -> the ear's latent -> the latent. `isa`: as of `LiveCpuEngine`.

    UserError: weights that contradict themselves, each other or the manifest.
    """

    noisy = False

    def __init__(self, bundle: Bundle, buffers: StreamBuffers, isa: str | None = None) -> None:
        manifest, data, name = bundle.manifest, bundle.read(ENCODER), f"{bundle.path.name}/{ENCODER}"
        ear, mouth = (
            EncoderWeights.from_safetensors(data, name),
            ConditionerWeights.from_safetensors(data, name),
        )
        check_model(ear.rate, ear.hop, mouth.latent, manifest, ENCODER)
        if ear.layout != mouth.layout:
            raise UserError(f"{name}: its two parts have other layouts; export the bundle again")
        frames = manifest.block // manifest.hop
        between = np.zeros((1, ear.layout.channels, frames), np.float32)
        first = NativePart(ear, isa)
        self.isa = first.isa
        self._ear = BoundPart(first, buffers.audio, None, between, frames)
        self._mouth = BoundPart(NativePart(mouth, isa), between, None, buffers.latent, frames)
        super().__init__(self._ear, self._mouth)

    def step(self) -> None:
        self._ear.step()
        self._mouth.step()


def conditioned_part(bundle: Bundle, buffers: StreamBuffers) -> Part | None:
    """None where the bundle has no such weights, or the kernel is not compiled: nobody waits a minute on stage."""
    if ENCODER not in bundle.names:
        return None
    try:
        if kernel.ready() is None:
            return None
        told_pitches = bundle.manifest.pitch_latent is not None
        return encoder_part(bundle, buffers)[0] if told_pitches else ConditionedPart(bundle, buffers)
    except kernel.CompilerError:
        return None
