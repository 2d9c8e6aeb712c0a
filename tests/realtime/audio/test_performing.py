"""The shipped bundle on the shipped clip: nothing a performer does jumps further than the sound itself."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
import pytest

from export.bundle.bundle import Bundle
from realtime.audio.sound_files import DEMO, FileSource
from realtime.dsp.controls import Controls
from realtime.dsp.signal_path import SignalPath
from realtime.engines import load_engine
from realtime.engines.engine import Engine
from realtime.shared.audio_config import find_bundle
from tests.realtime.engines.live_kernels import ISAS

RATE, BLOCK = 48000, 256
BLOCKS = 380  # 2 s
EVERY = 47  # blocks from one change to the next, 0.25 s
F32 = np.float32
PIANO = 1
LUCK = 1.35  # phases and noise fall otherwise each time, and their peaks with them; a click is ten times as large
Turn = Callable[[Controls, int], None]


@cache
def engine(kind: str = "live-cpu" if ISAS else "onnx") -> Engine:
    """The one that performers hear where it can be had; it takes a twelfth of ONNX Runtime's time."""
    return load_engine(Bundle.open(find_bundle("live")), kind, seed=0)


@cache
def clip() -> np.ndarray:
    x = np.zeros(BLOCKS * BLOCK, F32)
    source = FileSource(DEMO, RATE)
    source.read(x)
    source.close()
    return x


def play(
    turn: Turn = lambda c, n: None, controls: Controls | None = None, x: np.ndarray | None = None
) -> np.ndarray:
    """`turn(controls, number of the change)` before each block."""
    x = clip() if x is None else x
    path = SignalPath(engine(), RATE, BLOCK, controls or Controls())
    y = np.empty_like(x)
    for i in range(len(x) // BLOCK):
        turn(path.controls, i // EVERY)
        path.process(x[i * BLOCK : (i + 1) * BLOCK], y[i * BLOCK : (i + 1) * BLOCK])
    assert path.resets == 0 and path._underruns == 0
    return y


def jump(y: np.ndarray) -> float:
    return float(np.abs(np.diff(y)).max())


@cache
def steady(domain: int, transpose: float = 0.0) -> float:
    return jump(play(controls=Controls(to=domain, transpose=transpose)))


def everywhere() -> float:
    return max(steady(domain) for domain in range(5))


@pytest.mark.parametrize("fade_ms", [0.0, 60.0])
def test_domain_switch(fade_ms: float) -> None:
    y = play(lambda c, n: setattr(c, "to", n * 2 % 5), Controls(crossfade_ms=fade_ms))
    assert jump(y) <= LUCK * everywhere()


@pytest.mark.parametrize("room", [2, 5])
def test_blend(room: int) -> None:
    random = np.random.default_rng(0)
    wishes = random.random((20, 5)) * (random.random((20, 5)) > 0.4)
    engine().cost = None
    path = SignalPath(engine(), RATE, BLOCK)
    path._voices._blend._room = room
    y, x = np.empty_like(clip()), clip()
    for i in range(BLOCKS):
        path.controls.blend[:5] = wishes[i // EVERY]
        path.process(x[i * BLOCK : (i + 1) * BLOCK], y[i * BLOCK : (i + 1) * BLOCK])
        assert len(path._voices.running) <= room
    assert jump(y) <= LUCK * everywhere()  # several decoders' peaks may meet


@pytest.mark.parametrize("domain", range(5))
def test_freeze(domain: int) -> None:
    """A held chord's partials drift, and meet now and then: its own jumps away from the changes count too."""
    jumps = np.abs(np.diff(play(lambda c, n: setattr(c, "freeze", n % 2 == 1), Controls(to=domain))))
    turning = np.arange(len(jumps)) // BLOCK % EVERY < 0.07 * RATE / BLOCK
    assert jumps[turning].max() <= LUCK * max(steady(domain), jumps[~turning].max())


def test_a_frozen_organ_sounds_on_when_the_player_stops() -> None:
    x = clip().copy()
    x[RATE:] = 0
    level = np.abs(play(lambda c, n: setattr(c, "freeze", n >= 2), Controls(to=3), x))
    assert level[-RATE // 4 :].max() > 0.5 * level[RATE // 2 : RATE].max()


@pytest.mark.parametrize("steps", [(0, 1, -2), (0, 7), (0, 12, -12), (0, 0.3, -0.4)])
@pytest.mark.parametrize("domain", [0, PIANO, 4])
def test_transposition(domain: int, steps: tuple[float, ...]) -> None:
    y = play(lambda c, n: setattr(c, "transpose", steps[n % len(steps)]), Controls(to=domain))
    # for 0.1 s old and new pitch sound together, and a piano's string is struck again: no more than that
    assert jump(y) <= LUCK * max(steady(domain, t) for t in steps)


def line_at(y: np.ndarray, hz: float) -> tuple[float, float]:
    """Strongest line within a semitone of `hz`: where, by a parabola through the logarithm, and how strong."""
    s = np.abs(np.fft.rfft(y * np.blackman(len(y)))) + 1e-9
    low, high = (int(hz * 2 ** (side / 12) * len(y) / RATE) for side in (-1, 1))
    k = low + int(s[low:high].argmax())
    a, b, c = np.log(s[k - 1 : k + 2])
    return (k + 0.5 * (a - c) / (a - 2 * b + c)) * RATE / len(y), float(s[k])


@pytest.mark.parametrize("semitones", [0.3, 1.0, 4.7, -5.0, 12.0])
def test_transposition_is_as_far_as_it_says(semitones: float) -> None:
    t, hz = np.arange(BLOCK * 300) / RATE, 261.63
    x = sum(0.3 / h**1.5 * np.sin(2 * np.pi * hz * h * t) for h in range(1, 9)).astype(F32)
    plain = play(controls=Controls(to=3), x=x)[-32768:]
    moved = play(controls=Controls(to=3, transpose=semitones), x=x)[-32768:]
    (before, loud), (after, loud_too) = line_at(plain, hz), line_at(moved, hz * 2 ** (semitones / 12))
    assert abs(12 * np.log2(after / before) - semitones) < 0.05
    assert loud_too > 0.2 * loud
    if abs(semitones) > 2:
        assert line_at(moved, hz)[1] < 0.1 * loud  # the old note is gone


@pytest.mark.parametrize("domain", [0, 3, 4])
def test_gate_passes_the_music_and_ends_in_true_silence(domain: int) -> None:
    hiss = np.random.default_rng(0).uniform(-1e-3, 1e-3, 4 * RATE // BLOCK * BLOCK)
    x = hiss.astype(F32)
    x[:RATE] += clip()[:RATE]
    y = play(controls=Controls(to=domain, input_gate_db=-40), x=x)
    assert not y[-RATE // 2 :].any()
    ungated = play(controls=Controls(to=domain), x=x)
    assert ungated[-RATE // 2 :].any()
    assert np.abs(y[:RATE]).max() > 0.05
    assert jump(y) <= LUCK * max(steady(domain), jump(ungated))


def test_panic_is_silent_within_the_block_even_when_frozen() -> None:
    most = steady(3)  # by the same engine: before, not in between
    path, x = SignalPath(engine(), RATE, BLOCK, Controls(to=3, freeze=True)), clip()
    path.controls.freeze = False
    out, before = np.empty(BLOCK, F32), np.zeros(0, F32)
    for i in range(200):
        path.controls.freeze = i > 100
        path.process(x[i * BLOCK : (i + 1) * BLOCK], out)
        before = np.concatenate([before[-4800:], out])
    assert np.abs(out).max() > 0.01
    path.panic(out, float(out[-1]))
    assert not out[64:].any()
    assert jump(np.concatenate([before[-64:], out])) <= most
    assert path.controls.freeze
    after = []
    for i in range(200, BLOCKS):
        path.process(x[i * BLOCK : (i + 1) * BLOCK], out)
        after.append(np.abs(out).max())
    assert max(after) < 1e-3  # what is held is the encoder's silence, and the decoder begins at rest


@pytest.mark.slow
def test_a_blend_is_as_loud_as_its_parts_and_the_room_is_measured() -> None:
    y = play(controls=Controls(blend=np.array([1.0, 0, 1, 0, 0, *[0] * 123])))
    power = float(np.mean(y[RATE:].astype(float) ** 2))
    parts = [float(np.mean(play(controls=Controls(to=k))[RATE:].astype(float) ** 2)) for k in (0, 2)]
    assert 0.6 * np.mean(parts) < power < 1.8 * np.mean(parts)
    loaded = load_engine(Bundle.open(find_bundle("live")), "onnx", seed=0)
    assert loaded.cost is not None and loaded.cost.encode_s > 0 and loaded.cost.decode_s > 0
    path = SignalPath(loaded, RATE, BLOCK)
    assert path.room is not None and 2 <= path.blend_max <= 5
    assert path.can_transpose and path.gate_open


@pytest.mark.slow
def test_temperature_reaches_the_engine() -> None:
    path = SignalPath(engine("onnx"), RATE, BLOCK)
    path.controls.temperature = 0.5
    path.process(clip()[:BLOCK], np.empty(BLOCK, F32))
    assert engine("onnx").temperature == 0.5 and engine("onnx").buffers.temperature[0] == 0.5
