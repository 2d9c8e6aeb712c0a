"""The resampler against theory and against soxr."""

from __future__ import annotations

import numpy as np
import pytest

from realtime.dsp.resample import Resampler, outputs_after, span_at

RATES = [
    (48000, 24000),
    (24000, 48000),
    (44100, 24000),
    (24000, 44100),
    (96000, 24000),
    (8000, 24000),
    (22050, 16000),
]


def run(resampler: Resampler, x: np.ndarray, sizes: list[int]) -> np.ndarray:
    """Feed `x` in pieces of the given sizes, over and over."""
    out, pieces, at, i = np.empty(resampler.max_out, np.float32), [], 0, 0
    while at < len(x):
        n = min(sizes[i % len(sizes)], len(x) - at)
        pieces.append(out[: resampler.process(x[at : at + n], out)].copy())
        at, i = at + n, i + 1
    return np.concatenate(pieces)


def tone(rate: int, hz: float, seconds: float = 0.5) -> np.ndarray:
    return np.sin(2 * np.pi * hz * np.arange(int(rate * seconds)) / rate).astype(np.float32)


@pytest.mark.parametrize("rates", RATES)
def test_a_tone_keeps_its_phase_to_the_declared_delay(rates: tuple[int, int]) -> None:
    source, target = rates
    hz = 0.15 * min(rates)
    resampler = Resampler(source, target)
    y = run(resampler, tone(source, hz), [256])
    wanted = np.sin(2 * np.pi * hz * (np.arange(len(y)) - resampler.delay_out) / target)
    settled = slice(4 * round(resampler.delay_out) + 1, None)
    assert np.abs(y - wanted)[settled].max() < 6e-3  # 0.05 dB


@pytest.mark.parametrize("rates", RATES)
@pytest.mark.parametrize("sizes", [[1], [2, 3, 5], [1024], [441, 16, 1, 1000]])
def test_any_chunking_gives_what_one_chunk_gives(rates: tuple[int, int], sizes: list[int]) -> None:
    x = np.random.default_rng(0).uniform(-1, 1, 3000).astype(np.float32)
    whole = run(Resampler(*rates, max_chunk=len(x)), x, [len(x)])
    pieces = run(Resampler(*rates), x, sizes)
    assert len(whole) == len(pieces) == outputs_after(len(x), rates[1], rates[0])
    assert np.abs(whole - pieces).max() <= 1e-6


@pytest.mark.parametrize("rates", [(48000, 24000), (44100, 24000), (96000, 24000), (48000, 16000)])
def test_what_would_alias_is_50_db_down(rates: tuple[int, int]) -> None:
    source, target = rates
    for share in (0.61, 0.7, 0.9):
        y = run(Resampler(source, target), tone(source, share * target), [512])
        assert 20 * np.log10(np.abs(y[200:]).max()) < -50


def test_images_are_50_db_down() -> None:
    y = run(Resampler(24000, 48000), tone(24000, 5000.0), [512])[4000:20000]
    spectrum = np.abs(np.fft.rfft(y * np.hanning(len(y))))
    hz = np.fft.rfftfreq(len(y), 1 / 48000)
    assert 20 * np.log10(spectrum[np.abs(hz - 19000) < 50].max() / spectrum.max()) < -50


@pytest.mark.parametrize("rates", [(48000, 24000), (44100, 24000)])
def test_spectrum_is_soxrs_in_the_passband(rates: tuple[int, int]) -> None:
    soxr = pytest.importorskip("soxr")
    source, target = rates
    x = np.random.default_rng(1).standard_normal(source).astype(np.float32)
    ours, theirs = run(Resampler(source, target), x, [700]), soxr.resample(x, source, target, "VHQ")
    n = min(len(ours), len(theirs), 1 << 14)
    window = np.hanning(n)
    power = [np.abs(np.fft.rfft(y[2000 : 2000 + n] * window)) ** 2 for y in (ours, theirs)]
    edge = int(0.38 * n)
    bands = [[p[a : a + 256].sum() for a in range(64, edge - 256, 256)] for p in power]
    assert np.abs(10 * np.log10(np.array(bands[0]) / np.array(bands[1]))).max() < 0.3


def test_a_long_stream_does_not_drift() -> None:
    resampler, out, total = Resampler(44100, 24000), np.empty(2000, np.float32), 0
    x = np.zeros(441, np.float32)
    for _ in range(5000):
        total += resampler.process(x, out)
    assert total == 5000 * 441 * 24000 // 44100
    assert 0 <= resampler._position < resampler.down


def test_equal_rates_pass_through_without_delay() -> None:
    x = np.random.default_rng(2).standard_normal(100).astype(np.float32)
    resampler = Resampler(24000, 24000)
    assert resampler.delay_out == 0
    assert np.array_equal(run(resampler, x, [7]), x)


def test_there_and_back_at_48_khz_takes_two_thirds_of_a_millisecond() -> None:
    assert span_at(48000, 24000) == 32
    down, up = Resampler(48000, 24000, grid_hz=48000), Resampler(24000, 48000, grid_hz=48000)
    assert down.delay_out * 2 + up.delay_out == 32


def test_a_chunk_beyond_the_announced_size_is_refused() -> None:
    with pytest.raises(ValueError, match="at most 64"):
        Resampler(48000, 24000, max_chunk=64).process(np.zeros(65, np.float32), np.zeros(64, np.float32))
