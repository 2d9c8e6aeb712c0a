"""Rings: order, wrap-around, under- and overflow."""

from __future__ import annotations

import threading
import time

import numpy as np

from realtime.dsp.ring_buffer import Fifo, Ring


def test_order_is_kept_over_many_wraps() -> None:
    ring, taken, sent = Ring(100), [], 0
    out = np.empty(37, np.float32)
    for _ in range(200):
        ring.write(np.arange(sent, sent + 37, dtype=np.float32))
        sent += 37
        assert ring.read(out) == 37
        taken.append(out.copy())
    assert np.array_equal(np.concatenate(taken), np.arange(sent))


def test_a_short_read_is_filled_with_silence() -> None:
    ring, out = Ring(16), np.full(8, 9, np.float32)
    ring.write(np.ones(3, np.float32))
    assert ring.read(out) == 3
    assert out.tolist() == [1, 1, 1, 0, 0, 0, 0, 0]


def test_what_does_not_fit_is_counted() -> None:
    ring = Ring(16)
    assert ring.write(np.ones(20, np.float32)) == 16
    assert (ring.lost, ring.room, len(ring)) == (4, 0, 16)


def test_zeros_delay_a_fifo() -> None:
    fifo, out = Fifo(64), np.empty(4, np.float32)
    fifo.write_zeros(2)
    fifo.write(np.array([1, 2, 3], np.float32))
    fifo.read(out)
    assert out.tolist() == [0, 0, 1, 2]


def test_two_threads_lose_nothing() -> None:
    ring, total = Ring(256), 5000
    received: list[np.ndarray] = []

    def consume() -> None:
        got, out = 0, np.empty(64, np.float32)
        while got < total:
            n = ring.read(out)
            received.append(out[:n].copy())
            got += n
            time.sleep(0)

    thread = threading.Thread(target=consume)
    thread.start()
    sent = 0
    while sent < total:
        n = min(100, ring.room, total - sent)
        sent += ring.write(np.arange(sent, sent + n, dtype=np.float32))
        time.sleep(0)
    thread.join(20)
    assert not thread.is_alive()
    assert np.array_equal(np.concatenate(received), np.arange(total))
