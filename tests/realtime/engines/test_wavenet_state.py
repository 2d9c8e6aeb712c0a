"""A loop's state, saved mid-stream: another loop goes on from it to the sample.

Once a snapshot took the C++ decoder's address for its state: a second loop then played on the first one's memory,
and in another process on nobody's.
"""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from realtime.engines.wavenet import SampleLoop, WavenetWeights, make_loop, native_loop  # noqa: E402
from realtime.engines.wavenet.autotune import calibrate  # noqa: E402
from realtime.engines.wavenet.native_loop import NativeLoop, supported  # noqa: E402
from realtime.recording.restore import restore, save  # noqa: E402
from realtime.recording.snapshot import Plan  # noqa: E402
from tests.realtime.engines.wavenets import random_network  # noqa: E402
from umtn.errors import UserError  # noqa: E402

STREAMS = 2


def _native() -> list[str]:
    try:
        every = [(p, isa) for p in ("fp32", "bf16", "int8") for isa in supported(p)]
    except native_loop.CompilerError:
        return []
    return [f"{precision} {isa}" for precision, isa in every]


KINDS = [*_native(), "numba", "numpy"]
guided_too = pytest.mark.parametrize("guided", [False, True], ids=["", "guided"])
needs_kernel = pytest.mark.skipif(not _native(), reason="no compiled kernel and no compiler")
two_cores = pytest.mark.skipif(
    not hasattr(os, "sched_getaffinity") or len(os.sched_getaffinity(0)) < 2, reason="one core only"
)


def _loop(kind: str, weights: WavenetWeights, cores: int = 1) -> SampleLoop:
    if kind == "numba":
        pytest.importorskip("numba")
    if kind in ("numba", "numpy"):
        return make_loop(weights, kind, streams=STREAMS)
    precision, isa = kind.split()
    calibration = None
    if precision == "int8":
        latent = np.random.default_rng(0).standard_normal((weights.latent, 8)).astype(np.float32)
        guide = np.zeros(8 * weights.hop, np.int32) if weights.guided else None
        calibration = calibrate(weights, latent, guide=guide)
    return NativeLoop(weights, precision, STREAMS, isa, calibration, cores)


def _play(loop: SampleLoop, random: np.random.Generator, samples: int, conditions: bool = True) -> np.ndarray:
    w = loop.weights
    for stream in range(STREAMS if conditions else 0):
        loop.condition(stream, random.standard_normal(w.latent).astype(np.float32))
    noise = random.random((STREAMS, samples), dtype=np.float32)
    guide = random.integers(w.classes, size=noise.shape, dtype=np.int32) if w.guided else None
    logits = np.full((STREAMS, samples, w.classes), np.nan, np.float32)
    loop.run(noise, np.ones(STREAMS, np.float32), np.zeros_like(noise), logits=logits, guide=guide)
    return logits


def _through(loop: SampleLoop, other: SampleLoop, folder: Path) -> None:
    plan = Plan(loop)
    plan.capture()
    assert not plan.unsaved
    _play(loop, np.random.default_rng(9), 5)  # what was captured is that moment
    save(plan, folder / "x.npz")
    restore(other, folder / "x.npz")


def _goes_on(loop: SampleLoop, other: SampleLoop, folder: Path, samples: int) -> None:
    """The other one has a past of its own, and plays to the end without hearing a latent frame first."""
    _play(loop, np.random.default_rng(1), samples)
    _play(other, np.random.default_rng(2), 7)
    before = np.zeros(loop.state_bytes, np.uint8)
    loop.save_state(before)
    _through(loop, other, folder)
    loop.load_state(before)  # back, and on
    wanted = _play(loop, np.random.default_rng(3), 40, conditions=False)
    made = _play(other, np.random.default_rng(3), 40, conditions=False)
    assert np.array_equal(wanted, made)
    changed = _play(other, np.random.default_rng(3), 40)
    loop.reset()
    assert not np.array_equal(changed, _play(loop, np.random.default_rng(3), 40))  # a state matters here


@guided_too
@pytest.mark.parametrize("samples", [1, 13, 150])
@pytest.mark.parametrize("kind", KINDS)
def test_another_loop_goes_on_to_the_sample(kind: str, samples: int, guided: bool, tmp_path: Path) -> None:
    """From the middle of the batches of past taps, before and after the rings have come round."""
    weights = random_network("odd", 5, guided).weights
    _goes_on(_loop(kind, weights), _loop(kind, weights), tmp_path, samples)


@needs_kernel
@pytest.mark.parametrize("size", ["single", "one layer a block"])
def test_every_shape(size: str, tmp_path: Path) -> None:
    weights = random_network(size, 6).weights
    kind = f"fp32 {supported('fp32')[0]}"
    _goes_on(_loop(kind, weights), _loop(kind, weights), tmp_path, 11)


@needs_kernel
@two_cores
@pytest.mark.parametrize("precision, guided", [("fp32", False), ("int8", False), ("int8", True)])
def test_one_core_goes_on_where_two_were_and_back(precision: str, guided: bool, tmp_path: Path) -> None:
    before = os.sched_getaffinity(0)
    weights = random_network("odd", 7, guided).weights
    kind = f"{precision} {supported(precision)[0]}"
    one, two = _loop(kind, weights), _loop(kind, weights, cores=2)
    assert isinstance(two, NativeLoop)
    try:
        two.stay_off()
        for tries in range(100):  # until the second core was awake at the moment of the snapshot
            shared = two.shared
            _play(two, np.random.default_rng(tries), 801)
            if two.shared - shared > 400:
                break
        assert two.shared > 400
        _through(two, one, tmp_path)
        restore(two, tmp_path / "x.npz")
        for turn in range(3):
            a, b = (_play(loop, np.random.default_rng(turn), 300, turn > 0) for loop in (one, two))
            assert np.array_equal(a, b)
        _through(one, two, tmp_path)
        restore(one, tmp_path / "x.npz")
        a, b = (_play(loop, np.random.default_rng(4), 300, False) for loop in (one, two))
        assert np.array_equal(a, b)
    finally:
        os.sched_setaffinity(0, before)


@guided_too
@pytest.mark.parametrize("kind", KINDS)
def test_classes_beyond_the_alphabet_never_reach_a_table(kind: str, guided: bool) -> None:
    loop = _loop(kind, random_network("odd", 5, guided).weights)
    first = _play(loop, np.random.default_rng(1), 9)
    with pytest.raises(ValueError, match="beyond the alphabet"):
        loop.load_state(np.full(loop.state_bytes, 0x7F, np.uint8))
    loop.reset()
    assert np.array_equal(_play(loop, np.random.default_rng(1), 9), first)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "numpy"])  # its rings hold the sums
def test_nor_does_the_guide_s_class(kind: str) -> None:
    """It is the one word that a guide of fours leaves as 4 where one of threes left 3."""
    weights, words = random_network("odd", 5, guided=True).weights, []
    one = np.ones((STREAMS, 1), np.float32)
    for told in (3, 4):
        loop = _loop(kind, weights)
        loop.run(0.5 * one, one[:, 0], np.zeros_like(one), guide=np.full(one.shape, told, np.int32))
        words.append(np.zeros(loop.state_bytes, np.uint8))
        loop.save_state(words[-1])
    three, four = (state.view(np.int32) for state in words)
    (found,) = np.nonzero((three == 3) & (four == 4))
    assert len(found) == STREAMS
    for place in found:
        for beyond in (-1, weights.classes + 1):
            broken = four.copy()
            broken[place] = beyond
            with pytest.raises(ValueError, match="beyond the alphabet"):
                loop.load_state(broken.view(np.uint8))


def test_the_state_of_another_kind_is_refused(tmp_path: Path) -> None:
    """Instruction sets order the same numbers differently: of one size, and yet not the same."""
    weights = random_network("odd", 5).weights
    plan = Plan(_loop("numpy", weights))
    plan.capture()
    save(plan, tmp_path / "x.npz")
    other = make_loop(random_network("single", 5).weights, "numpy", streams=STREAMS)
    with pytest.raises(UserError, match=r"x.npz holds the state of numpy fp32 \(\d+ bytes\), but numpy fp32"):
        restore(other, tmp_path / "x.npz")
    for kind in _native()[:1]:
        with pytest.raises(UserError, match=r"numpy fp32 \(.*, but native .* plays here; only the same"):
            restore(_loop(kind, weights), tmp_path / "x.npz")


@needs_kernel
def test_a_closed_loop_is_refused_before_the_kernel() -> None:
    loop = _loop(_native()[0], random_network("odd", 5).weights)
    loop.close()  # type: ignore[attr-defined]
    loop.close()  # type: ignore[attr-defined]
    with pytest.raises(ctypes.ArgumentError):
        loop.reset()
