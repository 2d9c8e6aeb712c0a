"""`python -m benchmarks --kl`: what int8 and bf16 cost a bundle's WaveNet decoders on real sound, in nats a sample.

Each decoder plays what the bundle's encoder hears in a recording, in fp32, at the bundle's temperature; the others hear
the same samples and say what they would have expected next (Kullback-Leibler divergence from fp32, as trained).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from export.bundle.bundle import Bundle
from realtime.audio.sound_files import DEMO, FileSource
from realtime.engines.wavenet.autotune import divergence
from realtime.engines.wavenet.engine import WavenetCpuEngine
from realtime.engines.wavenet.native_loop import NativeLoop, supported
from umtn.errors import UserError

__all__ = ["divergences"]

PIECES, PIECE_S = 4, 1.0  # spread over the recording, each from a fresh state


def divergences(path: Path, sound: Path | None = None) -> dict[str, Any]:
    """Mean of all pieces and the worst piece's mean, by precision and domain. UserError: no WaveNet decoders."""
    bundle = Bundle.open(path)
    engine = WavenetCpuEngine(bundle, "fp32", refuse_slow=False)
    latents = [_latent_of(engine, piece) for piece in _pieces(sound or DEMO, bundle)]
    random = np.random.default_rng(0)
    figures: dict[str, Any] = {
        "bundle": bundle.manifest.name,
        "sound": f"{len(latents)} x {PIECE_S:g} s of {Path(sound or DEMO).name}",
    }
    for precision in ("int8", "bf16"):
        if not supported(precision):
            figures[precision] = "not to be had on this CPU"
            continue
        found: dict[str, str] = {}
        for number, (weights, domain) in enumerate(zip(engine.weights, bundle.manifest.domains)):
            if precision == "int8" and weights.calibration is None:
                raise UserError(
                    f"{bundle.path.name} holds no calibration for int8; export it again with --calibrate"
                )
            exact, other = NativeLoop(weights, "fp32"), NativeLoop(weights, precision)
            nats = []
            for z in latents:
                told, guide = engine.told(number, z)
                noise = random.random(z.shape[1] * weights.hop, dtype=np.float32)
                nats.append(divergence(exact, other, told, noise, guide, bundle.manifest.temperature))
            found[domain.id] = f"{np.mean(nats):.1e} nats a sample, {max(nats):.1e} in the worst second"
        figures[precision] = found
    return figures


def _pieces(sound: Path, bundle: Bundle) -> list[np.ndarray]:
    """Of whole blocks, at the bundle's rate."""
    manifest = bundle.manifest
    source = FileSource(sound, manifest.sample_rate)
    clip = np.zeros(source.frames, np.float32)
    source.read(clip)
    source.close()
    length = int(PIECE_S * manifest.sample_rate) // manifest.block * manifest.block
    if len(clip) < length:
        raise UserError(
            f"{sound} lasts {len(clip) / manifest.sample_rate:.1f} s, but {PIECE_S:g} s are needed"
        )
    starts = np.linspace(0, len(clip) - length, min(PIECES, len(clip) // length)).astype(int)
    return [clip[at : at + length] for at in starts]


def _latent_of(engine: WavenetCpuEngine, audio: np.ndarray) -> np.ndarray:
    """The latent [D, T] of audio [N] from a fresh state."""
    engine.reset()
    blocks = audio.reshape(-1, engine.manifest.block)
    return np.concatenate([engine.encode(block).copy() for block in blocks], axis=1)
