"""The second core: the same samples, and no collapse where it is taken away."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from realtime.engines.wavenet import make_loop  # noqa: E402
from realtime.engines.wavenet.native_loop import NativeLoop  # noqa: E402
from tests.realtime.engines.wavenets import random_network  # noqa: E402
from umtn.errors import UserError  # noqa: E402

two_cores = pytest.mark.skipif(
    not hasattr(os, "sched_getaffinity") or len(os.sched_getaffinity(0)) < 2, reason="one core only"
)


@pytest.fixture(autouse=True)
def same_cores_afterwards() -> Iterator[None]:
    before = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else None
    yield
    if before is not None:
        os.sched_setaffinity(0, before)


@two_cores
@pytest.mark.parametrize("guided", [False, True], ids=["", "guided"])
@pytest.mark.parametrize("size", ["odd", "single", "one layer a block"])
def test_two_cores_draw_what_one_draws(size: str, guided: bool) -> None:
    """Blocks long enough for the second core to wake up and take part, on a machine that others use too."""
    weights = random_network(size, time.time_ns() % 2**31, guided).weights
    one, two = NativeLoop(weights, streams=2), NativeLoop(weights, streams=2, cores=2)
    two.stay_off()
    random, tries = np.random.default_rng(), 0
    while tries < 3 or (two.shared < 100 and tries < 100):  # it goes on from where it was
        latents = random.standard_normal((2, weights.latent)).astype(np.float32)
        noise = random.random((2, 4001 if size == "single" else 801), dtype=np.float32)
        guide = random.integers(weights.classes, size=noise.shape, dtype=np.int32) if guided else None
        logits = [np.full((*noise.shape, weights.classes), np.nan, np.float32) for _ in range(2)]
        for loop, out in zip((one, two), logits):
            if tries == 2:
                loop.reset(1)
            for stream, latent in enumerate(latents):
                loop.condition(stream, latent)
            loop.run(noise, np.ones(2, np.float32), np.zeros_like(noise), logits=out, guide=guide)
        assert np.array_equal(*logits)
        tries += 1
    assert two.shared >= 100


def _seconds(loop: NativeLoop, blocks: int) -> float:
    w = loop.weights
    latent = np.zeros((1, w.latent, 1), np.float32)
    noise, audio = np.full((1, w.hop), 0.4, np.float32), np.zeros((1, w.hop), np.float32)
    step = loop.bind(latent, noise, np.ones(1, np.float32), audio)
    start = time.thread_time()
    for _ in range(blocks):
        step()
    return time.thread_time() - start


@pytest.mark.slow
@two_cores
def test_both_on_one_core_is_not_much_slower_than_one_alone() -> None:
    """The sketch of this kernel became 200 times slower when its two threads had to share a core."""
    network = random_network("live", 1)
    one, two = NativeLoop(network.weights), NativeLoop(network.weights, cores=2)
    os.sched_setaffinity(0, {two.helper_cpu})  # the worst place for the caller
    alone, wall = _seconds(one, 100), time.perf_counter()
    shared = _seconds(two, 100)
    wall = time.perf_counter() - wall
    print(
        f"alone {alone:.3f} s, both on one core {shared:.3f} s, {wall:.3f} s by the clock, {two.stalls} stalls"
    )
    assert shared < 4 * alone + 0.05


@two_cores
def test_busy_cores_are_survived() -> None:
    """Python threads that count on both cores while the decoder plays."""
    network = random_network("live", 2)
    two, stop = NativeLoop(network.weights, cores=2), threading.Event()

    def count() -> None:
        while not stop.is_set():
            np.zeros(200_000).sum()

    threads = [threading.Thread(target=count) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        two.stay_off()
        start = time.perf_counter()
        _seconds(two, 60)
        elapsed = time.perf_counter() - start
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert elapsed < 20


@two_cores
def test_many_come_and_go() -> None:
    """Threads end with their decoder."""
    weights, before = random_network("single", 1).weights, threading.active_count()
    tasks = len(os.listdir("/proc/self/task")) if os.path.isdir("/proc/self/task") else None
    for _ in range(20):
        loop = NativeLoop(weights, cores=2)
        _seconds(loop, 2)
        loop.close()
    assert threading.active_count() == before
    if tasks is not None:
        assert len(os.listdir("/proc/self/task")) <= tasks


def test_the_interpreter_is_free_while_the_kernel_plays() -> None:
    network = random_network("wide", 1)
    loop, counted, done = NativeLoop(network.weights), 0, threading.Event()

    def play() -> None:
        _seconds(loop, 100)
        done.set()

    thread = threading.Thread(target=play)
    thread.start()
    while not done.is_set():
        counted += 1
        time.sleep(1e-4)
    thread.join()
    # with the lock held for whole blocks of a millisecond and more there would be one turn a block at most
    assert counted > 200


def test_three_cores_or_a_second_for_numpy_is_one_sentence() -> None:
    weights = random_network("single", 1).weights
    with pytest.raises(UserError, match="3 cores were asked for"):
        NativeLoop(weights, cores=3)
    with pytest.raises(UserError, match="a second core needs the native kernel"):
        make_loop(weights, "numpy", cores=2)
