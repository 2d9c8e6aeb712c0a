"""Clicks, levels, lags: signals whose figure is known."""

from __future__ import annotations

import numpy as np
import pytest

from umtn.evaluation import signal_metrics
from umtn.evaluation.classifiers import LogMel

RATE = 24_000
T = np.arange(10 * RATE) / RATE


def sine(hz: float = 220.0, amplitude: float = 0.3) -> np.ndarray:
    return (amplitude * np.sin(2 * np.pi * hz * T)).astype(np.float32)


def struck(times_s: list[float]) -> np.ndarray:
    """Decaying tones with a 2 ms attack."""
    audio = np.zeros(len(T))
    for start in times_s:
        since = np.maximum(0, T - start)
        audio += (
            (start <= T) * np.minimum(1, since / 0.002) * np.exp(-6 * since) * np.sin(2 * np.pi * 440 * since)
        )
    return (0.3 * audio).astype(np.float32)


def test_dbfs_of_a_full_scale_sine_and_of_silence() -> None:
    assert signal_metrics.dbfs(sine(amplitude=1.0)) == pytest.approx(-3.01, abs=0.01)
    assert signal_metrics.dbfs(np.zeros(100, np.float32)) == -120.0


def test_air_is_what_lies_above_12_khz() -> None:
    t = np.arange(48000) / 48000
    low, high = (np.float32(0.1 * np.sin(2 * np.pi * hz * t)) for hz in (5000, 15000))
    assert signal_metrics.air_db(low + high, 48000) == pytest.approx(signal_metrics.dbfs(high), abs=0.01)
    assert signal_metrics.air_db(low, 48000) < -100
    assert signal_metrics.air_db(np.zeros(0, np.float32), 48000) == pytest.approx(-110)
    assert np.isnan(signal_metrics.air_db(low, 24000))


@pytest.mark.parametrize("clicks", [1, 5, 20])
def test_steps_are_counted_one_by_one(clicks: int) -> None:
    audio = sine()
    for place in np.linspace(0.5, 9.5, clicks):
        audio[int(place * RATE) :] += 0.1 * (-1) ** int(place * 10)
    assert signal_metrics.clicks_per_minute(audio, RATE) == pytest.approx(6 * clicks)


@pytest.mark.parametrize("hz", [33.0, 220.0, 4000.0])
def test_a_tone_a_saw_and_noise_have_no_clicks(hz: float) -> None:
    assert signal_metrics.clicks_per_minute(sine(hz), RATE) == 0
    saw = np.zeros(len(T), np.float32)
    for k in range(1, int(11_000 / hz)):
        saw += sine(hz * k, 0.2 / k)
    assert signal_metrics.clicks_per_minute(saw, RATE) == 0
    noise = np.random.default_rng(0).standard_normal(len(T)).astype(np.float32)
    assert signal_metrics.clicks_per_minute(0.1 * noise, RATE) == 0


def test_dropped_blocks_click() -> None:
    audio = sine(440.0)
    for start in (1.003, 4.003, 8.003):
        audio[int(start * RATE) : int(start * RATE) + 128] = 0
    assert signal_metrics.clicks_per_minute(audio, RATE) >= 6 * 3


def test_loudness_follows_dynamics_not_pitch() -> None:
    swell = (0.05 + 0.9 * np.sin(np.pi * T / 10) ** 2).astype(np.float32)
    assert signal_metrics.loudness_correlation(sine(220) * swell, sine(330) * swell * 0.5, RATE) > 0.99
    assert (
        signal_metrics.loudness_correlation(sine(220) * swell[::-1] * T.astype(np.float32), sine(330), RATE)
        < 0.5
    )


@pytest.mark.parametrize("late_ms", [0, 11, 40])
def test_the_lag_of_attacks_is_found_and_removed(late_ms: int) -> None:
    truth = struck([0.5, 1.3, 2.0, 3.7, 5.1, 6.2, 8.0])
    late = np.roll(truth, late_ms * RATE // 1000) * np.float32(0.4)
    lag, match = signal_metrics.lag_s(late, truth, RATE)
    assert lag == pytest.approx(late_ms / 1000, abs=0.0015)
    assert match > 0.9
    aligned = signal_metrics.advance(late, lag, RATE)
    assert len(aligned) == len(late)
    assert signal_metrics.lag_s(aligned, truth, RATE)[0] <= 0.0015


def test_logmel_distance_is_zero_for_the_truth_and_the_gain_for_a_gain() -> None:
    mel, noise = LogMel(), np.random.default_rng(0).standard_normal(RATE).astype(np.float32) * 0.1
    assert signal_metrics.logmel_distance_db(noise, noise, mel) == 0
    assert signal_metrics.logmel_distance_db(noise * 0.5, noise, mel) == pytest.approx(6.02, abs=0.05)


def test_a_tail_ends_with_its_last_loud_frame() -> None:
    t = np.arange(RATE * 2) / RATE
    tone = np.sin(2 * np.pi * 440 * t).astype(np.float32)
    assert signal_metrics.tail_s(np.zeros(RATE, np.float32), RATE) == 0.0
    assert signal_metrics.tail_s(tone * (t < 1.0), RATE) == 1.0
    assert (
        1.25 <= signal_metrics.tail_s((tone * np.exp(-5 * t)).astype(np.float32), RATE) <= 1.4
    )  # -60 dB at 1.31 s


def test_spectral_distance_is_zero_for_the_same_and_one_for_silence() -> None:
    rng = np.random.default_rng(0)
    noise = rng.standard_normal(RATE).astype(np.float32)
    assert signal_metrics.spectral_distance(noise, noise) == 0.0
    assert signal_metrics.spectral_distance(0 * noise, noise) == pytest.approx(1.0)
    assert 0.05 < signal_metrics.spectral_distance(1.1 * noise, noise) < 0.15
