"""What a performer does to the latent, between the encoder and all decoders: hold, scale, shift, transpose.

    encoder -> freeze -> * scale + bias -> transpose -> decoders

Holding takes over the frame that is sounding, so it begins without a step; letting go glides back. All in place
on `engine.latent` [D, T], without allocation; nothing is computed while nothing is set.
"""

from __future__ import annotations

import math

import numpy as np

from export.bundle.bundle import PitchLayout
from realtime.dsp.fade import Fade
from realtime.engines.engine import Engine
from realtime.shared.saved_classes import saved

__all__ = ["LatentControls", "Transposer"]

GLIDE_MS = 60.0  # back from a held latent: at 30 the piano strikes harder than it ever does by itself
MOVE_MS = 30.0  # of scale and bias
SHIFT_MS = 100.0  # from one whole semitone to another, for the same reason
SLACK = 0.02  # semitones past the middle before the pitch goes over to the next key
ALMOST = 0.9999  # of the widest bend: tanh never reaches 1


@saved("latent-controls", renamed={"_gliding": "_glide.left"})
class LatentControls:
    """Set `freeze`, `transpose` and call `shape` before `process`; every block, from one thread."""

    def __init__(self, engine: Engine) -> None:
        manifest = engine.manifest
        channels, frames = engine.latent.shape
        frame_ms = 1000.0 * manifest.hop / manifest.sample_rate
        self.freeze, self.transpose = False, 0.0
        self._rest = engine.silence
        self._held = np.zeros((channels, 1), np.float32)
        self._holding = False
        self._glide = Fade(max(1, math.ceil(GLIDE_MS / frame_ms)), frames)  # from the held frame
        self._work = np.empty((channels, frames), np.float32)
        self._moves = max(1, math.ceil(MOVE_MS / (frame_ms * frames)))
        self._moving = 0  # blocks until scale and bias are what they should be
        self._shaped = False
        # [D, 1]: they spread over the frames; the aims are compared with the shared memory's float64
        self._scale, self._bias = np.ones((channels, 1), np.float32), np.zeros((channels, 1), np.float32)
        self._aim = np.stack([np.ones(channels), np.zeros(channels)])
        self._differs = np.zeros(channels, np.bool_)
        self._shape_work = np.empty((channels, 1))
        layout = manifest.pitch_latent
        shift_frames = max(1, math.ceil(SHIFT_MS / frame_ms))
        self._transposer = None if layout is None else Transposer(layout, self._rest, frames, shift_frames)

    @property
    def can_transpose(self) -> bool:
        """Whether the bundle says which of its channels are pitches."""
        return self._transposer is not None

    def shape(self, scale: np.ndarray, bias: np.ndarray) -> None:
        """Factors and offsets, at least one a channel where there are so many; the rest stays 1 and 0."""
        channels = min(len(self._aim[0]), len(scale))
        differs, changed = self._differs[:channels], False
        for new, aim in ((scale, self._aim[0]), (bias, self._aim[1])):
            np.not_equal(new[:channels], aim[:channels], out=differs)
            if differs.any():
                np.copyto(aim[:channels], new[:channels])
                changed = True
        if changed:
            self._moving, self._shaped = self._moves, True

    def reset(self) -> None:
        """Forget what was heard; what is held from now on, if anything, is silence."""
        self._glide.stop()
        self._held[:, 0] = self._rest
        if self._transposer is not None:
            self._transposer.reset()

    def process(self, z: np.ndarray) -> None:
        """z: [D, T], in place."""
        if self.freeze or self._holding:
            self._hold(z)
        if not self._glide.over:
            self._let_go(z)
        if self._shaped:
            self._move()
            z *= self._scale
            z += self._bias
        if self._transposer is not None:
            self._transposer.process(z, self.transpose)

    def _hold(self, z: np.ndarray) -> None:
        if self.freeze and self._holding:
            np.copyto(z, self._held)
        elif self.freeze:  # from the next frame on
            if not self._glide.over:
                self._let_go(z)
                self._glide.stop()
            np.copyto(self._held, z[:, -1:])
        else:
            self._glide.start()
        self._holding = self.freeze

    def _let_go(self, z: np.ndarray) -> None:
        """The held frame's share falls in a straight line to zero."""
        np.subtract(self._held, z, out=self._work)
        self._work *= self._glide.fall(z.shape[1])
        z += self._work

    def _move(self) -> None:
        if not self._moving:
            return
        for value, aim in ((self._scale, self._aim[0]), (self._bias, self._aim[1])):
            step = self._shape_work
            np.subtract(aim[:, None], value, out=step)
            step *= 1.0 / self._moving
            value += step
        self._moving -= 1
        if not self._moving:
            np.copyto(self._scale[:, 0], self._aim[0])
            np.copyto(self._bias[:, 0], self._aim[1])
            self._shaped = bool((self._scale != 1.0).any() or (self._bias != 0.0).any())


@saved("transposer", renamed={"_fading": "_fade.left"})
class Transposer:
    """Moves the pitches of a latent with that layout: whole keys along the pitch axis, the rest as a bend.

    A pitch that leaves the keyboard is lost; the keys that come in at the other end are at rest. From one whole
    shift to another the latent is faded in `fade_frames`, so that no note is cut off within a frame.
    """

    def __init__(self, layout: PitchLayout, rest: np.ndarray, frames: int, fade_frames: int) -> None:
        shape = (layout.planes, layout.pitches, frames)
        self._size, self._bend, self._shape = layout.planes * layout.pitches, layout.bend, shape
        self._rest = rest[: self._size].reshape(layout.planes, layout.pitches, 1).copy()
        self._from, self._to = np.empty(shape, np.float32), np.empty(shape, np.float32)
        self._angle = np.empty(shape[1:], np.float32)
        self._fade = Fade(fade_frames, frames)
        self._keys = self._old_keys = 0

    def reset(self) -> None:
        """No fade from what was before."""
        self._fade.stop()

    def process(self, z: np.ndarray, semitones: float) -> None:
        """z: [D, T], in place."""
        if semitones == 0.0 == self._keys and self._fade.over:
            return
        self._choose_keys(semitones)
        planes = z[: self._size].reshape(self._shape)
        if self._fade.over:
            if self._keys == 0:
                self._bend_by(planes, semitones)
                return
            self._shift(planes, self._to, self._keys)
            self._bend_by(self._to, semitones - self._keys)
            np.copyto(planes, self._to)
            return
        self._shift(planes, self._from, self._old_keys)
        self._bend_by(self._from, self._clip(semitones - self._old_keys))
        self._shift(planes, self._to, self._keys)
        self._bend_by(self._to, semitones - self._keys)
        self._mix(planes)

    def _choose_keys(self, semitones: float) -> None:
        """The nearest key, with a little reluctance: a glide that trembles on the border must not retrigger."""
        if abs(semitones - self._keys) > 0.5 + SLACK:
            self._old_keys, self._keys = self._keys, math.floor(semitones + 0.5)
            self._fade.start()

    def _clip(self, semitones: float) -> float:
        return min(max(semitones, -self._bend), self._bend)

    def _shift(self, planes: np.ndarray, out: np.ndarray, keys: int) -> None:
        pitches = self._shape[1]
        n = min(abs(keys), pitches)
        if keys >= 0:
            out[:, n:] = planes[:, : pitches - n]
            out[:, :n] = self._rest[:, :n]
        else:
            out[:, : pitches - n] = planes[:, n:]
            out[:, pitches - n :] = self._rest[:, pitches - n :]

    def _bend_by(self, planes: np.ndarray, semitones: float) -> None:
        """Adds to what the player bends; together no more than the decoders can follow."""
        if semitones == 0.0:
            return
        cents, angle = planes[1], self._angle
        np.tanh(cents, out=angle)
        angle += semitones / self._bend
        np.clip(angle, -ALMOST, ALMOST, out=angle)
        np.arctanh(angle, out=cents)

    def _mix(self, planes: np.ndarray) -> None:
        np.subtract(self._from, self._to, out=planes)
        planes *= self._fade.fall(planes.shape[-1])
        planes += self._to
