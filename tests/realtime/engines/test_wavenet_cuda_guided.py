"""Guided decoders in the CUDA kernel, run by the emulation on the CPU. The reference is the loop in numpy."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from realtime.engines.wavenet import WavenetWeights
from realtime.engines.wavenet.cuda import CudaLoop
from realtime.engines.wavenet.sample_loop import NumpyLoop, SampleLoop
from realtime.engines.wavenet.weights import mulaw_table
from realtime.recording.snapshot import Plan
from tests.realtime.engines import wavenet_cuda_emulated as emulated
from tests.realtime.engines.wavenet_cuda_emulated import EmulatedDevice

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        emulated.compiler() is None or sys.platform != "linux",
        reason="no C++ compiler, or no Linux for its fibers",
    ),
]

HOP, LATENT = 11, 5
# blocks, layers, R, S, A
PADDED, EXACT, PAPER = (2, 2, 13, 21, 30), (1, 3, 16, 32, 32), (1, 2, 128, 128, 256)
SAME = 0.97  # fp16 weights; a few hundred samples
FEW = 3  # of the 44 that the largest decoder draws, two fell otherwise once


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("guided")


@pytest.fixture
def seed() -> int:
    return int.from_bytes(os.urandom(3), "little")


def guided_weights(size: tuple[int, ...], seed: int) -> WavenetWeights:
    arrays = emulated.decoder_arrays(seed, *size, LATENT, guided=True)
    return WavenetWeights.from_arrays(arrays, HOP, size[0])


class Score:
    """What B streams are given: latent [B, D, T], noise and guide [B, N]."""

    def __init__(self, weights: WavenetWeights, streams: int, frames: int, seed: int) -> None:
        random = np.random.default_rng(seed)
        rows = (streams, frames * HOP)
        self.latent = random.standard_normal((streams, LATENT, frames), np.float32)
        self.noise = random.random(rows, np.float32)
        self.guide = random.integers(0, weights.classes, rows, np.int32)
        self.warm = np.ones(streams, np.float32)

    def play(
        self, loop: SampleLoop, forced: np.ndarray | None = None, pieces: tuple[int, ...] = (HOP,)
    ) -> tuple[np.ndarray, np.ndarray]:
        """In pieces of these lengths in turn, poisoned buffers: classes [B, N], logits [B, N, A]."""
        b, n = self.noise.shape
        audio, classes = np.full((b, n), np.nan, np.float32), np.full((b, n), -77, np.int32)
        logits = np.full((b, n, loop.weights.classes), np.nan, np.float32)
        at = turn = 0
        while at < n:
            if at % HOP == 0:
                for stream in range(b):
                    loop.condition(stream, np.ascontiguousarray(self.latent[stream, :, at // HOP]))
            now = slice(at, min(at + pieces[turn % len(pieces)], (at // HOP + 1) * HOP))
            loop.run(
                self.noise[:, now],
                self.warm,
                audio[:, now],
                None if forced is None else forced[:, now],
                classes[:, now],
                logits[:, now],
                self.guide[:, now],
            )
            at, turn = now.stop, turn + 1
        assert np.isfinite(audio).all()
        return classes, logits


def snr_db(exact: np.ndarray, other: np.ndarray) -> float:
    return float(10 * np.log10((exact**2).mean() / ((other - exact) ** 2).mean()))


@pytest.mark.parametrize(
    ("size", "streams", "cluster", "warps"),
    [
        (EXACT, 1, 1, 0),
        (EXACT, 3, 4, 0),
        (PADDED, 2, 2, 1),  # one warp writes all of a stream's channels
        (PADDED, 8, 1, 3),
        (PAPER, 2, 2, 0),  # more threads than channels
    ],
)
def test_it_draws_what_numpy_draws(
    folder: Path, seed: int, size: tuple[int, ...], streams: int, cluster: int, warps: int
) -> None:
    weights = guided_weights(size, seed)
    score = Score(weights, streams, 2 if size == PAPER else 4, seed)
    drawn, exact = score.play(NumpyLoop(weights, streams))
    loop = CudaLoop(weights, streams, EmulatedDevice(folder, seed=seed), cluster, warps)
    classes, logits = score.play(loop, drawn, (5, 1, 4, 7))
    assert snr_db(exact, logits) > 50, f"seed {seed}"
    assert (classes != drawn).sum() <= max(FEW, (1 - SAME) * drawn.size), f"seed {seed}"
    score.guide = np.roll(score.guide, 1, axis=1)  # that a sample's neighbour would not have done
    loop.reset()
    assert snr_db(exact, score.play(loop, drawn)[1]) < 30, f"seed {seed}"


@pytest.mark.parametrize(("size", "warps"), [(PADDED, 1), (PADDED, 3), (PAPER, 0)])
def test_left_alone_it_remembers_what_its_draw_leans_to(
    folder: Path, seed: int, size: tuple[int, ...], warps: int
) -> None:
    """Numpy, given the same draws, has the same past; a decoder that kept the bare draw would have another one."""
    weights = guided_weights(size, seed)
    assert weights.leaned is not None
    score = Score(weights, 2, 2, seed)
    loop = CudaLoop(weights, 2, EmulatedDevice(folder, seed=seed), 1, warps)
    drawn, logits = score.play(loop, pieces=(HOP, 3, 1))
    _, exact = score.play(NumpyLoop(weights, 2), drawn)
    assert snr_db(exact, logits) > 50, f"seed {seed}"
    bare = np.tile(np.arange(weights.classes, dtype=np.int32), (weights.classes, 1))
    _, unleaned = score.play(NumpyLoop(replace(weights, leaned=bare), 2), drawn)
    assert snr_db(exact, unleaned) < 30, f"seed {seed}"
    last = np.zeros(2, np.int32)
    loop._device.read(loop._at["last"], last)
    assert np.array_equal(last, weights.leaned[score.guide[:, -1], drawn[:, -1]]), f"seed {seed}"


def test_a_guide_beyond_the_table_is_the_nearest_class(folder: Path, seed: int) -> None:
    """The classes are padded to 32 here: the 31st is not one either."""
    weights = guided_weights(PADDED, seed)
    score = Score(weights, 2, 2, seed)
    wild = np.array([-(2**31), -1, 30, 31, 32, 2**31 - 1], np.int32)
    score.guide = np.resize(wild, score.guide.shape)
    loop = CudaLoop(weights, 2, EmulatedDevice(folder, seed=seed), 1)
    heard = score.play(loop)
    score.guide = score.guide.clip(0, 29)
    loop.reset()
    for a, b in zip(heard, score.play(loop)):
        assert np.array_equal(a, b)


def test_a_bound_call_reads_its_guide_anew(folder: Path, seed: int) -> None:
    """All frames in one launch, from whatever the array holds by then."""
    weights = guided_weights(EXACT, seed)
    score = Score(weights, 1, 3, seed)
    loop = CudaLoop(weights, 1, EmulatedDevice(folder, seed=seed), 2)
    audio = np.full_like(score.noise, np.nan)
    given = np.zeros_like(score.guide)
    call = loop.bind(score.latent, score.noise, score.warm, audio, given)
    call()
    before = audio.copy()
    given[:] = score.guide
    loop.reset()
    call()
    wanted = np.full_like(audio, np.nan)
    loop.reset()
    loop.decode(score.latent, score.noise, score.warm, wanted, score.guide.copy())
    assert np.array_equal(audio, wanted) and not np.array_equal(audio, before)
    loop.reset()
    classes, _ = score.play(loop)
    assert np.array_equal(mulaw_table(weights.classes)[classes], audio)


def test_another_loop_goes_on_from_its_state(folder: Path, seed: int) -> None:
    """The rings hold the sum of both embeddings and the last class has leaned: no guide is left to remember."""
    weights = guided_weights(EXACT, seed)
    past, score = Score(weights, 2, 2, seed), Score(weights, 2, 1, seed + 1)
    loop, other = (CudaLoop(weights, 2, EmulatedDevice(folder, seed=seed), cluster) for cluster in (1, 2))
    past.play(loop)
    kept = np.zeros(loop.state_bytes, np.uint8)
    loop.save_state(kept)
    assert not Plan(loop).unsaved
    wanted = score.play(loop)
    Score(weights, 2, 1, seed + 2).play(other)
    other.load_state(kept)
    for a, b in zip(wanted, score.play(other)):
        assert np.array_equal(a, b)


def test_a_guide_too_few_or_too_many_never_reaches_the_kernel(folder: Path) -> None:
    weights = guided_weights(EXACT, 0)
    loop = CudaLoop(weights, 1, EmulatedDevice(folder), 1)
    noise, warm, audio = np.zeros((1, 4), np.float32), np.ones(1, np.float32), np.zeros((1, 4), np.float32)
    with pytest.raises(ValueError, match="guide"):
        loop.run(noise, warm, audio)
    for guide in (np.zeros((1, 5), np.int32), np.zeros((1, 4), np.int64)):
        with pytest.raises(ValueError, match="guide"):
            loop.run(noise, warm, audio, guide=guide)
    plain = WavenetWeights.from_arrays(emulated.decoder_arrays(0, *EXACT, LATENT), HOP, EXACT[0])
    unguided = CudaLoop(plain, 1, EmulatedDevice(folder), 1)
    with pytest.raises(ValueError, match="guide"):
        unguided.run(noise, warm, audio, guide=np.zeros((1, 4), np.int32))
