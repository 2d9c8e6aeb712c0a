"""The decoders that sound, added up, and a guard that no bad sample passes.

`Blend` plans which decoders run and with what power; here they are run. Between encoder and decoders the
latent is held, scaled and transposed (`LatentControls`).
"""

from __future__ import annotations

import math

import numpy as np

from realtime.audio.blend import Blend
from realtime.audio.latent import LatentControls
from realtime.engines.base import Engine
from realtime.parameters import MAX_DOMAINS

__all__ = ["Voices"]

REPAIR_MS = 5.0
EXPLODED = 8.0  # +18 dB over full scale: no decoder that works says that
_NO_WEIGHTS = np.zeros(MAX_DOMAINS)


class Voices:
    """Model-rate blocks in, model-rate blocks out; `resets` counts repairs. `room`: decoders at once."""

    def __init__(self, engine: Engine, domain: int = 0, room: int = MAX_DOMAINS) -> None:
        manifest = engine.manifest
        self._engine = engine
        rate, block = manifest.sample_rate, manifest.block
        self._blend = Blend(len(manifest.domains), rate, block, domain, room, engine.rest)
        engine.rest()
        self.latent = LatentControls(engine)
        self.resets = 0
        self._last = 0.0
        self._repair = int(rate * REPAIR_MS / 1000)
        self._repaired = self._repair  # samples since the last repair; the fade-in ends at _repair
        self._steps = np.arange(1, block + 1, dtype=np.float32)
        self._curve = np.empty(block, np.float32)
        self._gain = np.empty(block, np.float32)
        self._other = np.empty(block, np.float32)

    @property
    def domain(self) -> int:
        """What sounds, or is about to; in a blend the loudest."""
        return self._blend.domain

    @property
    def running(self) -> list[int]:
        """Domains whose decoders are computed now."""
        return self._blend.running

    def choose(self, domain: int, fade_ms: float, weights: np.ndarray = _NO_WEIGHTS) -> None:
        """Ask for a domain, or for a blend by weights; safe to call every block."""
        self._blend.choose(domain, fade_ms, weights)

    def reset(self) -> None:
        """Forget everything at once; what is wanted sounds from now on."""
        self._engine.rest()
        self._blend.settle(wanted=True)
        self.latent.reset()
        self._last = 0.0

    def process(self, audio: np.ndarray, out: np.ndarray) -> None:
        """One model block."""
        latent = self._engine.encode(audio)
        healthy = _sane(latent, np.inf)
        if healthy:
            self.latent.process(latent)
            self._decode(out)
            healthy = _sane(out, EXPLODED)
        if healthy:
            self._fade_in(out)
        else:
            self._fail(out)
        self._last = float(out[-1])

    def _decode(self, out: np.ndarray) -> None:
        blend = self._blend
        blend.begin()
        if blend.moving:
            self._draw_curve(blend.position, blend.slope)
        heard = False
        for k in blend.running:
            before, after = blend.start[k], blend.goal[k]
            if before == 0.0 == after:
                self._engine.decode(k, self._other)  # it is getting warm, or may be wanted again
                continue
            piece = self._other if heard else out
            self._engine.decode(k, piece)
            if before != after:
                np.multiply(self._curve, after - before, out=self._gain)
                self._gain += before
                np.sqrt(self._gain, out=self._gain)
                piece *= self._gain
            elif after != 1.0:
                piece *= math.sqrt(after)
            if heard:
                out += piece
            heard = True
        blend.end()

    def _draw_curve(self, position: float, slope: float) -> None:
        """How far the move has come at each sample, 0 .. 1."""
        curve = self._curve
        np.multiply(self._steps, slope, out=curve)
        curve += position
        np.minimum(curve, 1.0, out=curve)
        curve *= np.pi / 2
        np.sin(curve, out=curve)
        np.multiply(curve, curve, out=curve)

    def _fail(self, out: np.ndarray) -> None:
        """Start everything that ran anew; let the last good sample glide to zero instead of breaking off."""
        self._engine.rest()
        self._blend.settle(wanted=False)
        self.resets += 1
        self._repaired = 0
        np.multiply(self._steps, 1.0 / min(self._repair, len(out)), out=out)
        np.subtract(1.0, out, out=out)
        np.maximum(out, 0.0, out=out)
        out *= self._last

    def _fade_in(self, out: np.ndarray) -> None:
        if self._repaired >= self._repair:
            return
        curve = self._curve
        np.add(self._steps, self._repaired, out=curve)
        curve *= 1.0 / self._repair
        np.minimum(curve, 1.0, out=curve)
        out *= curve
        self._repaired += len(out)


def _sane(x: np.ndarray, limit: float) -> bool:
    """Finite and below the limit; written so that NaN fails."""
    return -limit < float(x.min()) and float(x.max()) < limit
