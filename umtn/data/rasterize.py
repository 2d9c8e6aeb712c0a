"""A score as piano rolls: what sounds at which frame, pitch by pitch."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from umtn.data.score import Score

__all__ = ["rasterize"]

Roll = NDArray[np.float32]


def rasterize(
    score: Score, start_s: float, n_frames: int, frame_s: float, low_pitch: int, n_pitches: int
) -> tuple[Roll, Roll, Roll, Roll]:
    """Rolls (active, onset, velocity, cents), each [n_pitches, n_frames]; row 0 is `low_pitch`.

    Frame t covers start_s + [t, t + 1) * frame_s. A note is active from the frame its start falls in to the
    last frame whose middle it reaches, at least one frame; its onset is 1 in its first frame (and nowhere if
    it began before start_s). Velocity is velocity/127 * controller 11/127; cents is the bend. Both are 0
    where nothing is active, and are read at the middle of the frame.
    """
    active, onset, velocity, cents = (np.zeros((n_pitches, n_frames), np.float32) for _ in range(4))
    notes = score.table
    near = (notes[:, 0] < start_s + n_frames * frame_s) & (notes[:, 1] > start_s)
    near &= (notes[:, 2] >= low_pitch) & (notes[:, 2] < low_pitch + n_pitches)
    notes = notes[near]
    # 1e-6 of a frame: a start that stands on a frame's edge belongs to the frame that begins there.
    first = np.floor((notes[:, 0] - start_s) / frame_s + 1e-6).astype(int)
    stop = np.maximum(np.floor((notes[:, 1] - start_s) / frame_s + 0.5).astype(int), first + 1)
    rows = notes[:, 2].astype(int) - low_pitch
    for row, begin, end, loud in zip(rows, first, stop, notes[:, 3] / 127, strict=True):
        active[row, max(begin, 0) : end] = 1
        velocity[row, max(begin, 0) : end] = loud
        if 0 <= begin < n_frames:
            onset[row, begin] = 1
    middles = np.asarray(start_s + (np.arange(n_frames) + 0.5) * frame_s, dtype=np.float64)
    velocity *= (score.expression.at(middles) / 127).astype(np.float32)
    cents[:] = active * score.bend.at(middles).astype(np.float32)
    return active, onset, velocity, cents
