"""The encoder that WaveNet decoders listen to, as native code: a `live` model's ear, and a mouth that tells them.

Guided decoders have mouths of their own: theirs is the ear alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from realtime.engines.buffers import Part, StreamBuffers, Together
from realtime.engines.live_cpu import build
from realtime.engines.live_cpu.engine import ENCODER, BoundPart, check_model, ear_part
from realtime.engines.live_cpu.library import NativePart
from realtime.engines.live_cpu.weights import EncoderWeights, MouthWeights
from realtime.errors import UserError

if TYPE_CHECKING:
    from export.bundle import Bundle

__all__ = ["HeardPart", "heard_part"]


class HeardPart(Together):
    """See `Part`: audio -> the ear's latent -> the latent. `isa`: as of `LiveCpuEngine`.

    UserError: weights that contradict themselves, each other or the manifest.
    """

    noisy = False

    def __init__(self, bundle: Bundle, buffers: StreamBuffers, isa: str | None = None) -> None:
        manifest, data, name = bundle.manifest, bundle.read(ENCODER), f"{bundle.path.name}/{ENCODER}"
        ear, mouth = EncoderWeights.from_safetensors(data, name), MouthWeights.from_safetensors(data, name)
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


def heard_part(bundle: Bundle, buffers: StreamBuffers) -> Part | None:
    """None where the bundle has no such weights, or the kernel is not compiled: nobody waits a minute on stage."""
    if ENCODER not in bundle.names:
        return None
    try:
        if build.ready() is None:
            return None
        told_pitches = bundle.manifest.pitch_latent is not None
        return ear_part(bundle, buffers)[0] if told_pitches else HeardPart(bundle, buffers)
    except build.CompilerError:
        return None
