"""The gate: exact to the sample, whatever the pieces; nothing changes while it is off or open."""

from __future__ import annotations

import numpy as np
import pytest

from realtime.dsp.filters import CHUNK, Gate, Hush, db_to_gain

RATE = 48000
F32 = np.float32


def run(x: np.ndarray, db: float, size: int = 256) -> tuple[np.ndarray, list[bool], Gate]:
    gate = Gate(RATE)
    gate.aim(db)
    y, states = x.copy(), []
    for start in range(0, len(y), size):
        gate.process(y[start : start + size])
        states.append(gate.open)
    return y, states, gate


def noise(db: float, seconds: float) -> np.ndarray:
    """Uniform, so that its peak is known and soon reached."""
    x = np.random.default_rng(0).uniform(-1, 1, int(seconds * RATE))
    return (x * db_to_gain(db)).astype(F32)


@pytest.mark.parametrize("db", [-100.0, -120.0, -50.0])
def test_off_or_open_it_is_not_there(db: float) -> None:
    x = noise(-20, 0.5)
    assert np.array_equal(run(x, db)[0], x)


def test_it_closes_after_the_hold_and_opens_six_db_higher() -> None:
    x = np.concatenate([noise(-20, 0.3), noise(-44, 0.3), noise(-36, 0.3), noise(-30, 0.3)])
    y, states, _ = run(x, -40, 240)  # 5 ms
    changes = [i * 5 for i in range(1, len(states)) if states[i] != states[i - 1]]
    assert changes == pytest.approx([380, 900], abs=6)  # -36 dB is above the level, but not by 6 dB
    assert np.array_equal(y[: round(0.38 * RATE)], x[: round(0.38 * RATE)])
    assert not y[round(0.43 * RATE) : round(0.9 * RATE)].any()
    assert np.array_equal(y[round(0.903 * RATE) :], x[round(0.903 * RATE) :])


@pytest.mark.parametrize("size", [1, 40, 441, CHUNK])
def test_the_pieces_do_not_matter(size: int) -> None:
    envelope = np.repeat(np.random.default_rng(1).choice([0.001, 0.002, 0.03, 0.3], 16), 9600)
    x = (noise(0, len(envelope) / RATE) * envelope).astype(F32)
    y, _, _ = run(x, -40, size)
    whole, _, _ = run(x, -40, 256)
    assert np.abs(y - whole).max() < 1e-4
    assert 0.1 < (whole == 0).mean() < 0.7


def test_switched_off_while_closed_it_opens_without_a_step() -> None:
    x = np.full(RATE, 0.01, F32)
    y, _, gate = run(x, -20)
    assert not gate.open and not y[-1]
    gate.aim(-100.0)
    z = x[:256].copy()
    gate.process(z)
    assert gate.open and np.abs(np.diff(z, prepend=F32(0))).max() < 0.01 / 90  # 2 ms are 96 samples
    assert np.array_equal(z[97:], x[97:256])


def test_hush_waits_until_the_sound_has_gone_and_then_is_true_silence() -> None:
    hush = Hush(24000, 128)
    level = np.concatenate([np.geomspace(0.1, 5e-5, 24000), np.full(24000, 5e-5)])
    x = (level * np.sign(np.sin(np.arange(1, 48001)))).astype(F32)
    y = x.copy()
    for start in range(0, len(y), 128):
        hush.process(y[start : start + 128], True)
    assert np.array_equal(y[level > 1e-3], x[level > 1e-3])
    assert not y[40000:].any()
    assert np.abs(np.abs(y[1:]) - np.abs(y[:-1])).max() <= 1e-3
    again = np.full(128, 0.5, F32)
    hush.process(again, False)
    assert again[-1] == 0.5 and again[0] < 0.01


def test_hush_does_not_wait_for_ever() -> None:
    hush, x = Hush(24000, 128), np.empty(128, F32)
    for _ in range(int(4.4 * 24000 / 128)):
        x[:] = 0.01
        hush.process(x, True)
    assert not x.any()
