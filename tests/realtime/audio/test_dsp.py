"""The small pieces, each against its one-line definition."""

from __future__ import annotations

import numpy as np
import pytest

from realtime.dsp.fade import Fade
from realtime.dsp.filters import DcBlocker, DelayLine, Meter, Ramp, SoftLimiter, db_to_gain, gain_to_db

F32 = np.float32


def test_ramp_is_straight_and_lands_on_its_target() -> None:
    ramp = Ramp(0.0, 1000, ms=10)  # ten samples
    ramp.aim(1.0)
    values = np.concatenate([ramp.next(4).copy(), ramp.next(4).copy(), ramp.next(4).copy()])
    assert np.allclose(values, [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1, 1, 1])
    assert ramp.settled
    assert ramp.next(3).tolist() == [1, 1, 1]


def test_ramp_turns_round_without_a_step() -> None:
    ramp = Ramp(1.0, 1000, ms=10)
    ramp.aim(0.0)
    first = ramp.next(5).copy()
    ramp.aim(1.0)
    both = np.concatenate([first, ramp.next(12)])
    assert np.abs(np.diff(both)).max() <= 0.1 + 1e-6
    assert both[-1] == 1.0


@pytest.mark.parametrize("sizes", [(1000,), (1, 7, 992), (256, 256, 256, 232)])
def test_dc_blocker_is_the_recursion(sizes: tuple[int, ...]) -> None:
    x = np.random.default_rng(0).uniform(-1, 1, 1000).astype(F32) + F32(0.5)
    blocker, r = DcBlocker(48000), np.exp(-2 * np.pi * 8 / 48000)
    wanted, x1, y1 = [], 0.0, 0.0
    for value in x.astype(float):
        y1 = value - x1 + r * y1
        x1 = value
        wanted.append(y1)
    pieces = np.split(x.copy(), np.cumsum(sizes)[:-1])
    for piece in pieces:
        blocker.process(piece)
    assert np.abs(np.concatenate(pieces) - wanted).max() < 1e-6


def test_dc_goes_and_40_hz_stays() -> None:
    rate = 48000
    t = np.arange(rate)
    x = (0.5 + 0.1 * np.sin(2 * np.pi * 40 * t / rate)).astype(F32)
    blocker = DcBlocker(rate)
    for start in range(0, rate, 256):
        blocker.process(x[start : start + 256])
    tail = x[rate // 2 :]
    assert abs(tail.mean()) < 1e-3
    assert 20 * np.log10(np.abs(tail).max() / 0.1) == pytest.approx(0, abs=0.3)


def test_delay_line_delays_and_can_grow() -> None:
    line, out = DelayLine(3, 10), np.empty(5, F32)
    line.process(np.arange(1, 6, dtype=F32), out)
    assert out.tolist() == [0, 0, 0, 1, 2]
    line.delay = 5
    line.process(np.arange(6, 11, dtype=F32), out)
    assert out.tolist() == [1, 2, 3, 4, 5]


def test_limiter_leaves_what_is_below_the_knee_untouched() -> None:
    x = np.linspace(-0.7, 0.7, 101).astype(F32)
    y = x.copy()
    SoftLimiter().process(y)
    assert np.array_equal(x, y)


def test_limiter_keeps_the_ceiling_and_has_no_corner() -> None:
    x = np.linspace(-20, 20, 1001).astype(F32)
    y = x.copy()
    limiter = SoftLimiter()
    limiter.process(y)
    assert np.abs(y).max() <= limiter.ceiling + 1e-6
    assert gain_to_db(float(np.abs(y).max())) == pytest.approx(-1, abs=0.01)
    fine = np.linspace(0.6, 1.2, 1000).astype(F32)
    bent = fine.copy()
    limiter.process(bent)
    slope = np.diff(bent) / np.diff(fine)
    assert (np.diff(bent) >= 0).all()
    assert np.abs(np.diff(slope)).max() < 0.02  # the float32 grain included


def test_meter_rises_at_once_and_falls_20_db_in_its_time() -> None:
    meter = Meter(1000, fall_ms=300)
    meter.process(np.full(10, 0.5, F32))
    assert meter.level_db == pytest.approx(-6.02, abs=0.01)
    for _ in range(30):
        meter.process(np.zeros(10, F32))
    assert meter.level_db == pytest.approx(-26.02, abs=0.01)


def test_decibels() -> None:
    assert db_to_gain(-20) == pytest.approx(0.1)
    assert gain_to_db(0.0) == -120


@pytest.mark.parametrize("cosine", [False, True])
@pytest.mark.parametrize("length", [1, 64, 100])
def test_a_fade_does_not_depend_on_the_pieces(cosine: bool, length: int) -> None:
    fade = Fade(length, 200, cosine)
    assert fade.over and (fade.rise(10) == 1.0).all()
    fade.start(wait=7)
    whole = fade.rise(150).copy()
    fade.start(wait=7)
    assert not fade.over and fade.left == length + 7
    pieces = np.concatenate([fade.rise(n).copy() for n in (1, 49, 3, 97)])
    assert np.array_equal(whole, pieces) and fade.over and fade.left == 0
    assert (
        (whole[:7] == 0.0).all() and (whole[6 + length :] > 0.999999).all() and (np.diff(whole) >= 0.0).all()
    )


def test_a_fade_falls_as_it_rises() -> None:
    up, down = Fade(50, 80), Fade(50, 80)
    up.start()
    down.start()
    assert np.allclose(down.fall(80), 1.0 - up.rise(80), atol=1e-6)
    down.start()
    down.fall(20)
    down.left = 10
    assert np.allclose(down.fall(10), np.arange(9, -1, -1) / 50) and down.over


@pytest.mark.parametrize("n", [3, 64, 100])
def test_a_fade_lets_a_sound_drop(n: int) -> None:
    out = np.full(n, np.nan, np.float32)
    Fade(64, 100).drop(-0.5, out)
    steps = np.abs(np.diff(np.concatenate([[np.float32(-0.5)], out])))
    assert steps.max() <= 0.5 / 64 + 1e-7 and not out[63:].any()
