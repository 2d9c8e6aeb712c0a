"""The latent between encoder and decoders: untouched, held, scaled, transposed."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from export.bundle.bundle import PitchLayout
from realtime.dsp.latent_controls import LatentControls

F32 = np.float32
LAYOUT = PitchLayout(lowest=40, pitches=30, free=1, room=4, bend=0.6)
CHANNELS = 94


class Silent:
    """An engine whose encoder says -9 in silence."""

    def __init__(self, layout: PitchLayout | None = LAYOUT, frames: int = 1) -> None:
        self.manifest = SimpleNamespace(
            block=128 * frames, hop=128, sample_rate=24000, pitch_latent=layout, latent_channels=CHANNELS
        )
        self.latent = np.zeros((CHANNELS, frames), F32)
        self.silence = np.full(CHANNELS, -9, F32)

    def encode(self, audio: np.ndarray) -> np.ndarray:
        self.latent[:] = -9
        return self.latent

    def settle(self) -> None:
        pass

    def reset(self, domain: int | None = None) -> None:
        pass

    def rest(self, domain: int | None = None) -> None:
        pass


def frame(frames: int = 1, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-1, 1, (CHANNELS, frames)).astype(F32)


def settle(controls: LatentControls, z: np.ndarray, blocks: int = 40) -> np.ndarray:
    for _ in range(blocks):
        y = z.copy()
        controls.process(y)
    return y


def test_nothing_set_nothing_changed() -> None:
    controls, z = LatentControls(Silent()), frame()
    controls.shape(np.ones(1024), np.zeros(1024))
    y = z.copy()
    controls.process(y)
    assert np.array_equal(y, z)


@pytest.mark.parametrize("frames", [1, 3])
def test_freeze_holds_what_sounded_and_glides_back(frames: int) -> None:
    controls = LatentControls(Silent(frames=frames))
    controls.freeze = True
    first = frame(frames)
    y = first.copy()
    controls.process(y)
    assert np.array_equal(y, first)
    track = [first]
    for seed in range(1, 6):
        y = frame(frames, seed)
        controls.process(y)
        assert np.array_equal(y, np.repeat(first[:, -1:], frames, axis=1))
        track.append(y)
    controls.freeze = False
    steady = frame(frames, 9)
    for _ in range(20):
        y = steady.copy()
        controls.process(y)
        track.append(y)
    assert np.array_equal(y, steady)
    whole = np.concatenate(track, axis=1)[:, frames:]
    longest = np.abs(steady - first[:, -1:]).max() if frames == 1 else 2.0
    assert np.abs(np.diff(whole[:, : 8 * frames])).max() <= max(longest, 2.0) / 11 + (frames > 1) * 2.0


def test_panic_leaves_freeze_set_and_holds_silence() -> None:
    controls = LatentControls(Silent())
    controls.freeze = True
    settle(controls, frame())
    controls.reset()
    assert np.array_equal(settle(controls, frame(seed=4)), np.full((CHANNELS, 1), -9, F32))


def test_scale_and_bias_arrive_gently_and_exactly() -> None:
    controls, z = LatentControls(Silent()), frame()
    scale, bias = np.ones(1024), np.zeros(1024)
    scale[3], bias[5] = 2.0, -4.0
    controls.shape(scale, bias)
    track = []
    for _ in range(12):
        y = z.copy()
        controls.process(y)
        track.append(y[5, 0])
    assert y[3, 0] == pytest.approx(2 * z[3, 0]) and y[5, 0] == pytest.approx(z[5, 0] - 4)
    assert np.abs(np.diff([z[5, 0], *track])).max() < 0.7
    assert np.array_equal(np.delete(y, [3, 5], 0), np.delete(z, [3, 5], 0))
    controls.shape(np.ones(1024), np.zeros(1024))
    assert np.array_equal(settle(controls, z), z)
    assert not controls._shaped


@pytest.mark.parametrize("keys", [1, 7, -12, 40])
def test_whole_semitones_move_every_plane_and_leave_the_room(keys: int) -> None:
    controls, z = LatentControls(Silent()), frame()
    controls.transpose = float(keys)
    y = settle(controls, z)
    before, after = z[:90].reshape(3, 30), y[:90].reshape(3, 30)
    for i in range(30):
        wanted = before[:, i - keys] if 0 <= i - keys < 30 else np.full(3, -9)
        assert np.allclose(after[:, i], wanted, atol=1e-6)
    assert np.array_equal(y[90:], z[90:])
    controls.transpose = 0.0
    assert np.array_equal(settle(controls, z), z)


@pytest.mark.parametrize("semitones", [0.3, -0.4, 1.25, 0.51])
def test_the_fraction_is_a_bend(semitones: float) -> None:
    controls, z = LatentControls(Silent()), frame()
    z[30:60] = 0.05
    controls.transpose = semitones
    y = settle(controls, z)
    keys = 0 if semitones == 0.51 else round(semitones)  # reluctant: 0.51 from 0 stays on its key
    bend = 0.6 * np.tanh(y[30 + max(0, keys) : 60, 0].astype(float))
    assert bend == pytest.approx(semitones - keys + 0.6 * np.tanh(0.05), abs=1e-4)


def test_a_bundle_without_pitches_is_not_transposed() -> None:
    controls, z = LatentControls(Silent(None)), frame()
    controls.transpose = 5.0
    assert not controls.can_transpose
    assert np.array_equal(settle(controls, z), z)
