"""The signal path: aligned to the sample, free of clicks, and nothing bad gets through."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from export.bundle.bundle import Bundle
from realtime.dsp.controls import Controls
from realtime.dsp.model_crossfade import Player
from realtime.dsp.resample import reblocking_delay
from realtime.dsp.signal_path import SignalPath
from realtime.engines.engine import Engine
from realtime.engines.onnx import OnnxEngine
from realtime.shared import parameters
from tests.realtime.fakebundle import write_fake_bundle

RATE = 48000
F32 = np.float32


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("bundles")


def engine(folder: Path, rate: int = 24000, block: int = 128, identity: bool = True) -> OnnxEngine:
    path = folder / f"{rate}-{block}-{identity}.umtn"
    if not path.exists():
        write_fake_bundle(path, rate, block, identity=identity)
    return OnnxEngine(Bundle.open(path), seed=0)


def feed(path: SignalPath, x: np.ndarray, size: int) -> np.ndarray:
    """Whole blocks of `size`; what is left over is not played."""
    whole = len(x) // size * size
    y = np.empty(whole, F32)
    for start in range(0, whole, size):
        path.process(x[start : start + size], y[start : start + size])
    return y


def band_noise(n: int, rate: int = RATE, top_hz: float = 7000.0, peak: float = 0.3) -> np.ndarray:
    """Noise from 100 Hz to `top_hz`: what the resampler passes and the DC blocker leaves alone."""
    spectrum = np.fft.rfft(np.random.default_rng(3).standard_normal(n))
    hz = np.fft.rfftfreq(n, 1 / rate)
    spectrum[(hz < 100) | (hz > top_hz)] = 0
    x = np.fft.irfft(spectrum, n)
    return (x * (peak / np.abs(x).max())).astype(F32)


def tone(seconds: float, hz: float = 440.0, peak: float = 0.5) -> np.ndarray:
    return (peak * np.sin(2 * np.pi * hz * np.arange(int(seconds * RATE)) / RATE)).astype(F32)


def largest_jump(x: np.ndarray) -> float:
    return float(np.abs(np.diff(x)).max())


@pytest.mark.parametrize("block", [1, 16, 40, 128, 256, 441, 8193])
@pytest.mark.parametrize(
    "rates", [(48000, 24000, 128), (44100, 24000, 128), (48000, 16000, 160), (24000, 24000, 128)]
)
def test_wet_is_the_input_after_exactly_the_declared_latency(
    folder: Path, block: int, rates: tuple[int, int, int]
) -> None:
    device_hz, model_hz, model_block = rates
    path = SignalPath(engine(folder, model_hz, model_block), device_hz, block)
    n = 3 * 8193 if block == 8193 else 6000
    x = band_noise(n, device_hz, 0.3 * model_hz)
    y = feed(path, x, block)
    late = path.latency.total
    error = np.abs(y[late:] - x[: len(y) - late])[1500:]
    assert path._underruns == 0
    assert error.max() < 4e-3  # the DC blocker's phase at 100 Hz; a sample's shift gives 0.2
    for shift in (-1, 1):
        assert np.abs(y[late + 1 : -1] - x[1 + shift :][: len(y) - late - 2])[1500:].max() > 0.05


@pytest.mark.parametrize("block", [16, 128, 256, 441])
def test_half_wet_half_dry_of_an_identity_is_the_identity(folder: Path, block: int) -> None:
    """Were dry and wet a sample apart, 10 kHz would comb; the impulse shows the same sample of both."""
    x = np.zeros(4096, F32)
    x[1000] = 0.5
    peaks = []
    for mix in (0.0, 0.5, 1.0):
        path = SignalPath(engine(folder), RATE, block, Controls(mix=mix))
        peaks.append(int(np.argmax(np.abs(feed(path, x, block)))))
    assert peaks == [1000 + path.latency.total] * 3


class Late:
    """An engine that really lags by what its manifest says."""

    def __init__(self, inner: Engine, samples: int) -> None:
        self._inner, self._held = inner, np.zeros(samples, F32)
        self.manifest = replace(inner.manifest, latency_samples=samples)

    def __getattr__(self, name: str) -> object:
        return getattr(self._inner, name)

    def decode(self, domain: int, out: np.ndarray, noise: np.ndarray | None = None) -> None:
        self._inner.decode(domain, out, noise)
        line = np.concatenate([self._held, out])
        out[:], self._held = line[: len(out)], line[len(out) :]


@pytest.mark.parametrize("block", [64, 128, 256, 441])
@pytest.mark.parametrize("rate", [24000, 48000])
def test_dry_and_wet_coincide_with_a_model_that_lags(folder: Path, rate: int, block: int) -> None:
    x = np.zeros(24000, F32)
    x[5000] = 0.5
    peaks = []
    for mix in (0.0, 0.5, 1.0):
        late = Late(engine(folder, rate), 37)
        path = SignalPath(late, RATE, block, controls=Controls(mix=mix))
        peaks.append(int(np.abs(feed(path, x, block)).argmax()))
        assert path.latency.model == 37 * RATE // rate
    assert peaks == [5000 + path.latency.total] * 3


@pytest.mark.parametrize("block", [16, 40, 128, 441])
def test_one_sample_less_of_buffering_would_underrun(folder: Path, block: int) -> None:
    path = SignalPath(engine(folder), RATE, block)
    path._wet.skip(1)
    feed(path, band_noise(block * 256), block)  # a whole period of the pattern of blocks
    assert path._underruns > 0
    assert path.underruns == path._underruns
    assert Player(path).underruns == path.underruns


def test_the_table_says_how_fast_sound_follows(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A mute of 40 ms takes twice as long to be there as one of 20."""
    slow = tuple(replace(p, smoothing_ms=40.0) if p.name == "mute" else p for p in parameters.PARAMETERS)
    blocks = []
    for table in (parameters.PARAMETERS, slow):
        monkeypatch.setattr(parameters, "PARAMETERS", table)
        path = SignalPath(engine(folder), RATE, 480, Controls(mix=0.0))
        feed(path, tone(0.2), 480)
        path.controls.mute = True
        y = feed(path, tone(0.2), 480)
        blocks.append(-(-(int(np.flatnonzero(y)[-1]) + 1) // 480))
    assert blocks == [2, 4]


def test_the_buffering_is_known_in_simple_cases() -> None:
    assert reblocking_delay(48000, 24000, 128, 256) == 0
    assert reblocking_delay(48000, 24000, 128, 512) == 0
    assert reblocking_delay(48000, 24000, 128, 128) == 128
    assert reblocking_delay(24000, 24000, 128, None) == 127


def test_calls_of_changing_length_cost_one_lengthening_and_no_gap(folder: Path) -> None:
    path = SignalPath(engine(folder), RATE, 256)
    x, y, at = band_noise(30000), np.zeros(30000, F32), 0
    for size in [256] * 20 + [100, 1, 700, 3000, 257] * 5:
        path.process(x[at : at + size], y[at : at + size])
        at += size
    late = path.latency.total
    assert path._underruns == 0
    assert np.abs(y[late:at] - x[: at - late])[8000:].max() < 4e-3


@pytest.mark.parametrize("fade_ms", [0.0, 5.0, 60.0, 500.0])
def test_switching_domains_does_not_click(folder: Path, fade_ms: float) -> None:
    x = tone(1.5)
    path = SignalPath(engine(folder, identity=False), RATE, 256, Controls(crossfade_ms=fade_ms))
    steady = []
    for domain in (0, 1):
        path.controls.to = domain
        steady.append(largest_jump(feed(path, x, 256)[-24000:]))
    y = []
    for i, start in enumerate(range(0, 256 * 270, 256)):
        path.controls.to = (i // 23) % 2
        y.append(feed(path, x[start : start + 256], 256))
    assert path.domain in (0, 1)
    # two tones at equal power can add up to 1.41 times one
    assert largest_jump(np.concatenate(y)) <= 1.42 * max(steady)


def test_crossfade_takes_its_time_and_ends_in_the_new_domain(folder: Path) -> None:
    path = SignalPath(engine(folder, identity=False), RATE, 256, Controls(crossfade_ms=100))
    feed(path, tone(0.2), 256)
    path.controls.to = 1
    feed(path, tone(0.11), 256)  # 16 ms to get warm, 100 ms to fade
    assert path._voices.running == [0, 1] and path.domain == 1
    feed(path, tone(0.03), 256)
    assert path._voices.running == [1]


def test_switching_every_block_runs_two_decoders_at_most_and_ends_at_the_last_choice(folder: Path) -> None:
    path = SignalPath(engine(folder, identity=False), RATE, 256, Controls(crossfade_ms=1000))
    for i in range(101):
        path.controls.to = i % 2
        feed(path, tone(256 / RATE), 256)
    path.controls.to = 1
    feed(path, tone(0.1), 256)
    assert path.domain == 1


@pytest.mark.parametrize(
    "change",
    [{"mix": 0.0}, {"input_gain_db": 12.0}, {"output_gain_db": -60.0}, {"bypass": True}, {"mute": True}],
)
def test_no_control_clicks(folder: Path, change: dict) -> None:
    path = SignalPath(engine(folder, identity=False), RATE, 256)
    x = tone(1.0, 220, 0.15)
    before = feed(path, x[:24064], 256)
    for name, value in change.items():
        setattr(path.controls, name, value)
    after = feed(path, x[24064:], 256)
    joined = np.concatenate([before[-12000:], after])
    steady = max(largest_jump(before[-9600:]), largest_jump(after[-9600:]))
    assert largest_jump(joined) <= 1.1 * steady + 0.002


def test_bypass_is_the_input_itself_only_later(folder: Path) -> None:
    path = SignalPath(engine(folder, identity=False), RATE, 256, Controls(bypass=True, input_gain_db=6))
    x = band_noise(8192)
    y = feed(path, x, 256)
    late = path.latency.total
    assert np.array_equal(y[late:], x[: len(y) - late])


def test_mute_is_silence(folder: Path) -> None:
    path = SignalPath(engine(folder), RATE, 256, Controls(mute=True))
    assert not feed(path, tone(0.2), 256).any()


def test_gain_is_what_it_says_and_the_ceiling_holds(folder: Path) -> None:
    path = SignalPath(engine(folder), RATE, 256, Controls(output_gain_db=-20))
    y = feed(path, tone(0.5), 256)[9600:]
    assert np.abs(y).max() == pytest.approx(0.05, rel=0.01)
    path.controls.output_gain_db = 24
    y = feed(path, tone(0.5), 256)
    assert 0.85 < np.abs(y).max() <= 10 ** (-1 / 20) + 1e-6


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e30])
def test_a_bad_input_is_silenced_and_counted(folder: Path, bad: float) -> None:
    path = SignalPath(engine(folder), RATE, 256)
    x = tone(1.0)
    x[5000:5050] = bad
    y = feed(path, x, 256)
    assert np.isfinite(y).all() and np.abs(y).max() < 0.9
    assert path.input_repairs == (0 if np.isfinite(bad) else 1)
    assert np.abs(y[30000:]).max() == pytest.approx(0.5, rel=0.02)  # and the music goes on


class Exploding:
    """An engine whose decoder breaks at one step, as a network can."""

    def __init__(self, inner: Engine, at: int, value: float) -> None:
        self._inner, self._at, self._value, self._step = inner, at, value, 0
        self.name, self.manifest, self.latent = inner.name, inner.manifest, inner.latent
        self.silence = inner.silence
        self.temperature, self.cost = 1.0, None
        self.whole_rests = 0

    def encode(self, audio: np.ndarray) -> np.ndarray:
        return self._inner.encode(audio)

    def decode(self, domain: int, out: np.ndarray, noise: np.ndarray | None = None) -> None:
        self._inner.decode(domain, out, noise)
        self._step += 1
        if self._step == self._at:
            out[40:] = self._value

    def settle(self) -> None:
        self._inner.settle()

    def reset(self, domain: int | None = None) -> None:
        self._inner.reset(domain)

    def rest(self, domain: int | None = None) -> None:
        self.whole_rests += domain is None
        self._inner.rest(domain)


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e6, -50.0])
def test_an_exploding_decoder_is_reset_and_not_heard(folder: Path, value: float) -> None:
    broken = Exploding(engine(folder), at=60, value=value)
    path = SignalPath(broken, RATE, 256)
    broken.whole_rests = 0  # the path has asked what silence is
    y = feed(path, tone(1.0), 256)
    assert (path.resets, broken.whole_rests) == (1, 1)
    assert np.isfinite(y).all() and np.abs(y).max() < 0.52
    assert largest_jump(y) < 1.2 * largest_jump(tone(0.1))  # it fades, it does not break off
    loudness = np.abs(y).reshape(-1, 32).max(axis=1)  # a period of the tone has 109 samples
    assert loudness[59 * 8 : 63 * 8].min() < 0.05
    assert np.abs(y[-9600:]).max() == pytest.approx(0.5, rel=0.02)


def test_panic_silences_within_one_block(folder: Path) -> None:
    path, out = SignalPath(engine(folder), RATE, 256), np.empty(256, F32)
    last = feed(path, tone(0.3), 256)
    path.panic(out, float(last[-1]))
    assert not out[64:].any()
    assert largest_jump(np.concatenate([last[-10:], out])) < 1.2 * largest_jump(last[-4800:])
    assert not feed(path, np.zeros(2560, F32), 256).any()


def test_a_block_allocates_nothing_that_stays(folder: Path) -> None:
    tracemalloc = pytest.importorskip("tracemalloc")
    path, x, out = SignalPath(engine(folder), RATE, 256), tone(256 / RATE), np.empty(256, F32)
    for _ in range(20):
        path.process(x, out)
    tracemalloc.start()
    try:
        path.process(x, out)
        before, _ = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        for _ in range(50):
            path.process(x, out)
        after, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert after - before < 2000
    assert peak - before < 8192  # views and small numbers; one block of audio alone is 1 kB
