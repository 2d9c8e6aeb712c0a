"""Which decoder sounds: equal-power cross-fades, and a guard that no bad sample passes.

A newly chosen domain starts from a reset state and runs unheard for `WARM_MS`, so that its layers are filled
before it is faded in. A choice made during a fade waits for its end, which then comes within `HURRY_MS`; only
the latest choice counts. So there are never more than two decoders to pay for, however fast the choices come.
"""

from __future__ import annotations

import math

import numpy as np

from realtime.engines.base import Engine

__all__ = ["Voices"]

MIN_FADE_MS = 5.0
WARM_MS = 16.0
HURRY_MS = 20.0
REPAIR_MS = 5.0
EXPLODED = 8.0  # +18 dB over full scale: no decoder that works says that


class Voices:
    """Model-rate blocks in, model-rate blocks out; `domain` sounds, `resets` counts repairs."""

    def __init__(self, engine: Engine, domain: int = 0) -> None:
        manifest = engine.manifest
        self._engine = engine
        self._rate, block = manifest.sample_rate, manifest.block
        self._count = len(manifest.domains)
        self.domain = self._wanted = min(max(0, domain), self._count - 1)
        self._old: int | None = None
        self._position = 0.0  # of the fade, 0 .. 1
        self._slope = 0.0
        self._warm_blocks = math.ceil(WARM_MS / 1000 * self._rate / block)
        self._cold = 0  # blocks until the new decoder may be heard
        self.resets = 0
        self._last = 0.0
        self._repair = int(self._rate * REPAIR_MS / 1000)
        self._repaired = self._repair  # samples since the last repair; the fade-in ends at _repair
        self._steps = np.arange(1, block + 1, dtype=np.float32)
        self._curve = np.empty(block, np.float32)
        self._other = np.empty(block, np.float32)

    def choose(self, domain: int, fade_ms: float) -> None:
        """Ask for a domain; safe to call every block."""
        self._wanted = min(max(0, domain), self._count - 1)
        if self._old is not None and self._wanted != self.domain:
            self._slope = max(self._slope, 1000.0 / (self._rate * HURRY_MS))
        elif self._old is None and self._wanted != self.domain:
            self._start(fade_ms)

    def _start(self, fade_ms: float) -> None:
        self._old, self.domain = self.domain, self._wanted
        self._engine.reset(self.domain)
        self._position = 0.0
        self._cold = self._warm_blocks
        self._slope = 1000.0 / (self._rate * max(MIN_FADE_MS, fade_ms))

    def reset(self) -> None:
        """Forget everything at once; the wanted domain sounds from now on."""
        self._engine.reset()
        self.domain, self._old = self._wanted, None
        self._last = 0.0

    def process(self, audio: np.ndarray, out: np.ndarray) -> None:
        """One model block."""
        latent = self._engine.encode(audio)
        healthy = _sane(latent, np.inf)
        if healthy:
            self._decode(out)
            healthy = _sane(out, EXPLODED)
        if healthy:
            self._fade_in(out)
        else:
            self._fail(out)
        self._last = float(out[-1])

    def _decode(self, out: np.ndarray) -> None:
        self._engine.decode(self.domain, out)
        if self._old is None:
            return
        self._engine.decode(self._old, self._other)
        if self._cold > 0:
            self._cold -= 1
            np.copyto(out, self._other)
            return
        curve = self._curve
        np.multiply(self._steps, self._slope, out=curve)
        curve += self._position
        np.minimum(curve, 1.0, out=curve)
        self._position = float(curve[-1])
        curve *= np.pi / 2
        # sine in, cosine out: the powers add up to one
        np.sin(curve, out=curve)
        out *= curve
        np.multiply(curve, curve, out=curve)
        np.subtract(1.0, curve, out=curve)
        np.sqrt(curve, out=curve)
        np.multiply(self._other, curve, out=self._other)
        out += self._other
        if self._position >= 1.0:
            self._old = None

    def _fail(self, out: np.ndarray) -> None:
        """Start everything that ran anew; let the last good sample glide to zero instead of breaking off."""
        self._engine.reset()
        self._old = None
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
