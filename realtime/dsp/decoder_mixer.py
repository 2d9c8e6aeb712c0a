"""The decoders that sound, added up, and a guard that no bad sample passes.

`Blend` plans which decoders run and with what power; here they are run. Between encoder and decoders the
latent is held, scaled and transposed (`LatentControls`).
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from realtime.dsp.fade import Fade
from realtime.dsp.latent_controls import LatentControls
from realtime.engines.engine import Engine
from realtime.shared.parameters import MAX_DOMAINS, by_name
from realtime.shared.saved_classes import saved
from realtime.shared.scheduling import LEAST

__all__ = ["Blend", "Voices", "powers_of"]


# Which decoders run, and with what power: the plan behind cross-fades and blends, without any sound.
#
# Powers (squared gains) always add up to one. A move goes from `start` to `goal` along
#
#     power = start + (goal - start) sin^2(pi/2 position)
#
# which between two single decoders is the sine and cosine of an equal-power cross-fade. A decoder that was not
# running begins at rest and runs unheard for `WARM_MS`, so that it is in the music before the move begins. Where the
# wish needs more decoders than there is room for, it is reached in stages, each with room enough; only the latest
# wish counts, and a stage in its way ends within `HURRY_MS`.


MIN_FADE_MS = 5.0
WARM_MS = 16.0
HURRY_MS = 20.0
WEIGHT_MS = by_name("blend").smoothing_ms
LINGER_MS = 200.0  # a pad that touches zero comes back: a decoder that fell silent is kept that long
INAUDIBLE = 1e-3  # of the largest weight: -60 dB


def powers_of(weights: np.ndarray, domain: int, room: int) -> list[float]:
    """Weights -> powers w^2 / sum w^2 of the `room` strongest; all weights 0: `domain` alone."""
    largest = float(weights.max()) if len(weights) else 0.0
    if not largest > 0.0:
        return [float(k == domain) for k in range(len(weights))]
    squares = [float(w) ** 2 if w > INAUDIBLE * largest else 0.0 for w in weights]
    kept = set(sorted(range(len(squares)), key=lambda k: -squares[k])[:room])
    total = sum(squares[k] for k in kept)
    return [square / total if k in kept else 0.0 for k, square in enumerate(squares)]


@saved("decoder-blend")
class Blend:
    """`choose` says what is wanted; `begin` and `end` go around each block. `running` are to be decoded.

    `rest(domain)` is called for each decoder that begins to run. Made for one thread.
    """

    def __init__(
        self, count: int, rate_hz: int, block: int, domain: int, room: int, rest: Callable[[int], None]
    ) -> None:
        self._count, self._rate, self._block = count, rate_hz, block
        self._room, self._rest = max(LEAST, room), rest
        self.domain = min(max(0, domain), count - 1)
        self._asked = self.domain
        self._weights = np.zeros(count)
        self._differs = np.zeros(count, np.bool_)
        self._wanted = powers_of(self._weights, self.domain, self._room)
        self.start, self.goal = (
            list(self._wanted),
            list(self._wanted),
        )  # all lists stay, their contents change
        self.running = [self.domain]
        self.cold = [0] * count  # blocks until it may be heard
        self._quiet = [0] * count  # blocks since it was last heard
        self.position, self.slope = 1.0, 0.0  # of the move; a sample
        self._pending, self._fade_ms = False, 0.0
        self._warm_blocks = math.ceil(WARM_MS / 1000 * rate_hz / block)
        self._linger_blocks = math.ceil(LINGER_MS / 1000 * rate_hz / block)

    @property
    def moving(self) -> bool:
        return self.position < 1.0

    @property
    def blending(self) -> bool:
        """Whether weights decide."""
        return bool(self._weights.any())

    def choose(self, domain: int, fade_ms: float, weights: np.ndarray) -> None:
        """Ask for weights [at least one a domain], or where all are 0 for a domain; safe to call every block."""
        domain = min(max(0, domain), self._count - 1)
        self._fade_ms = fade_ms
        weights = weights[: self._count]
        np.not_equal(weights, self._weights, out=self._differs)
        if domain == self._asked and not self._differs.any():
            return
        self._asked = domain
        np.copyto(self._weights, weights)
        self._wanted[:] = powers_of(self._weights, domain, self._room)
        self._pending = self._wanted != self.goal
        if not self._pending:
            self.domain = _strongest(self.goal)[0]

    def settle(self, wanted: bool) -> None:
        """Be at once where the move leads to, or with `wanted` where all moves together would lead to."""
        if wanted:
            self.goal[:] = self._wanted
        self.start[:], self.position = self.goal, 1.0
        self.running[:] = _strongest(self.goal)
        self.cold[:] = [0] * self._count
        self.domain = self.running[0]
        self._pending = self.goal != self._wanted

    def begin(self) -> None:
        """Before a block: take the next step towards what is wanted."""
        if self._pending:
            self._plan()

    def end(self) -> None:
        """After a block: time goes on."""
        if self.moving:
            self.position += self.slope * self._block
            if self.position >= 1.0 - 1e-9:
                self.position, self.start[:] = 1.0, self.goal
        if len(self.running) > 1:
            self._age()

    def _age(self) -> None:
        """Warm up, and let go what has been silent for long enough."""
        for k in self._unheard():
            if self.cold[k] > 0:
                self.cold[k] -= 1
            elif self._wanted[k] == 0.0:
                self._quiet[k] += 1
                if not self.blending or self._quiet[k] > self._linger_blocks:
                    self.running.remove(k)

    def _unheard(self) -> list[int]:
        return [k for k in self.running if self.start[k] == 0.0 == self.goal[k]]

    def _plan(self) -> None:
        need = _strongest(self._wanted)
        missing = [k for k in need if k not in self.running]
        if missing:
            for k in self._unheard():
                if k not in need:
                    self.running.remove(k)
        # a change of domain needs two, however fast the changes come: the room of the rest is for blends
        room = self._room if self.blending else LEAST
        for k in missing[: max(0, room - len(self.running))]:
            self._wake(k, first=k == need[0])
        waiting = any(self.cold[k] > 0 for k in need if k in self.running)
        missing = [k for k in need if k not in self.running]
        if not missing and not waiting:
            self._go(self._wanted, WEIGHT_MS if self.blending else max(MIN_FADE_MS, self._fade_ms))
            self._pending = False
        elif missing and self.moving:
            self.slope = max(self.slope, 1000.0 / (self._rate * HURRY_MS))
        elif missing and not waiting:
            self._make_room(need)

    def _wake(self, k: int, first: bool) -> None:
        self._rest(k)
        self.running.append(k)
        self.cold[k], self._quiet[k] = self._warm_blocks, 0
        if first:
            self.domain = k

    def _make_room(self, need: list[int]) -> None:
        """Go to those of the wanted that run already, or, where none does, to the strongest alone."""
        kept = [self._wanted[k] if k in self.running else 0.0 for k in range(self._count)]
        total = sum(kept)
        if total == 0.0:
            strongest = _strongest(self.goal)[0]
            kept, total = [float(k == strongest) for k in range(self._count)], 1.0
        self._go([power / total for power in kept], HURRY_MS)

    def _go(self, goal: list[float], ms: float) -> None:
        """A new move from the present powers."""
        s = math.sin(math.pi / 2 * self.position) ** 2
        self.start[:] = [a + (b - a) * s for a, b in zip(self.start, self.goal, strict=True)]
        self.goal[:] = goal
        self.domain = _strongest(goal)[0]
        self.position, self.slope = 0.0, 1000.0 / (self._rate * ms)
        for k in self.running:
            self._quiet[k] = 0


def _strongest(powers: list[float]) -> list[int]:
    """Indices of those above 0, the strongest first."""
    return sorted((k for k, power in enumerate(powers) if power > 0.0), key=lambda k: -powers[k])


REPAIR_MS = 5.0
EXPLODED = 8.0  # +18 dB over full scale: no decoder that works says that
_NO_WEIGHTS = np.zeros(MAX_DOMAINS)


@saved("decoder-mixer", renamed={"_repaired": "_back.position", "_repair": "_back.length"})
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
        repair = int(rate * REPAIR_MS / 1000)
        self._gone, self._back = (
            Fade(min(repair, block), block),
            Fade(repair, block),
        )  # out of a repair's way, and in
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
            if not self._back.over:
                out *= self._back.rise(len(out))
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
        self._back.start()
        self._gone.drop(self._last, out)


def _sane(x: np.ndarray, limit: float) -> bool:
    """Finite and below the limit; written so that NaN fails."""
    return -limit < float(x.min()) and float(x.max()) < limit
