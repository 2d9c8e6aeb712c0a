"""Carries a preset's values into a session: what can glide does, the rest switches at the start.

Threading model: see presets.py; everything here runs under its lock.

Weights of domains need care. While any is above 0 they decide and `to` does not, so that on the way from one
domain to a blend, or back, `to` stands for a weight of 1: taken at the start, given back on arrival.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from realtime.control.glide import Glide, Move
from realtime.control.lookup import VALUES, family_members

if TYPE_CHECKING:
    from realtime.control.namespace import Namespace

__all__ = ["Recall"]

_BLEND = "blend/"


class Recall:
    """One recall from its start to its arrival; `values` by name, defaults where none."""

    def __init__(
        self, namespace: Namespace, values: Mapping[str, float], now_s: float, glide_s: float
    ) -> None:
        self._namespace, self._shared = namespace, namespace.shared
        self._domains = namespace.domains
        self._blends = [p for p in namespace.parameters if p.name.startswith(_BLEND)]
        self._landing = False
        glide = glide_s > 0
        moves = self._switch(values, glide)
        self._to = values.get("to", 0.0)
        # Audio may look at any moment, and must never see weights or domain of another state in between.
        if self._sounding():
            self._shared.set("to", self._to)
            moves += self._blend_moves(values, glide)
        else:
            moves += self._blend_moves(values, glide)
            self._shared.set("to", self._to)
        self._glide = Glide(self._shared, moves, now_s, glide_s)
        self.tick(now_s)

    def tick(self, now_s: float) -> bool:
        """Move on; True once it has arrived."""
        self._yield_blends()
        if not self._glide.tick(now_s):
            return False
        if self._landing:
            self._land()
        return True

    def _switch(self, values: Mapping[str, float], glide: bool) -> list[Move]:
        """Bools and choices change now; the rest is to glide, as far as it has anywhere to go."""
        moves = []
        for p in [*self._namespace.parameters, *family_members(self._namespace.latent_channels)]:
            if p.kind not in VALUES or p.name in ("to", "glide_ms") or p.name.startswith(_BLEND):
                continue
            target = values.get(p.name, p.default)
            if p.kind != "float" or not glide:
                self._shared.set(p.stored, target)
            elif self._shared.get(p.stored) != target:
                moves.append(Move(p, target))
        return moves

    def _blend_moves(self, values: Mapping[str, float], glide: bool) -> list[Move]:
        here = [self._shared.get(p.stored) for p in self._blends]
        there = [values.get(p.name, 0.0) for p in self._blends]
        blended, will_blend = any(here), any(there)
        sounds = here if blended else self._alone(self._shared.get("to"))
        will_sound = there if will_blend else self._alone(values.get("to", 0.0))
        if not glide or not (blended or will_blend) or self._too_many(sounds, will_sound):
            self._weigh(there)
            return []
        if not blended:
            self._weigh(sounds)
        self._landing = not will_blend
        return [Move(p, weight) for p, weight in zip(self._blends, will_sound)]

    def _alone(self, domain: float) -> list[float]:
        """A single domain as weights: the same sound, ready to glide."""
        return [float(i == int(domain)) for i in range(len(self._blends))]

    def _weigh(self, weights: Sequence[float]) -> None:
        """Set them, the large ones first: all at 0 in between would be a single domain."""
        for p, weight in sorted(zip(self._blends, weights), key=lambda pair: -pair[1]):
            self._shared.set(p.stored, weight)

    def _too_many(self, sounds: Sequence[float], will_sound: Sequence[float]) -> bool:
        """Whether all decoders of both ends are more than this machine runs at once: then it switches."""
        most = self._shared.status_get("blend_max")
        return 0 < most < sum(1 for now, then in zip(sounds, will_sound) if now or then)

    def _yield_blends(self) -> None:
        """A domain chosen by hand ends a blend, and so the way to one; so does another bundle."""
        moving = {name for name in self._glide.moving if name.startswith(_BLEND)}
        if not moving:
            return
        changed = self._namespace.domains != self._domains
        if changed or self._shared.get("to") != self._to or not self._sounding():
            self._glide.drop(moving)
            self._landing = False

    def _sounding(self) -> bool:
        return any(self._shared.get(p.stored) for p in self._blends)

    def _land(self) -> None:
        """Arrived at a single domain: `to` takes over from its weight, unless a hand is on the weights."""
        weights = [self._shared.get(p.stored) for p in self._blends]
        if weights == self._alone(self._to):
            self._weigh([0.0] * len(weights))
