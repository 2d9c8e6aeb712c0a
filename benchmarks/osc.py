"""What one OSC message costs, and whether any is lost or reordered at a given rate: over a real socket.

    python -m benchmarks.osc --rate 20000 --seconds 60
    python -m benchmarks.osc --random 1000000

Threading model: the server runs alone in a process of its own, whose CPU time is what is counted; this
process paces the sender. Every set is noted where it is stored, so that a lost or reordered one shows.
"""

from __future__ import annotations

import argparse
import logging
import multiprocessing
import random
import socket
import sys
import time
from itertools import pairwise
from multiprocessing.connection import Connection
from typing import NamedTuple

from realtime.control.namespace import Namespace
from realtime.control.osc.packet import encode
from realtime.control.osc.udp_server import OscServer
from realtime.shared.memory import SharedState

__all__ = ["Outcome", "main", "measure", "survive"]

STEP = 2.0**-22  # the n-th set is n * STEP: exact as float32, and within 0..1 for four million sets
BURST_S = 0.0005
QUIET_S = 0.5


class Outcome(NamedTuple):
    """What one run showed; cpu_s is the whole server process, from the first message to the last."""

    sent: int
    stored: int
    in_order: bool
    seconds: float
    cpu_s: float

    @property
    def us_per_message(self) -> float:
        """Server CPU time for one message, microseconds."""
        return 1e6 * self.cpu_s / max(self.stored, 1)


def _serve(pipe: Connection) -> None:
    """Child process: the server, with a list of everything that was stored."""
    shared = SharedState.create()
    seen: list[float] = []
    store = shared.set

    def note(name: str, value: float) -> None:
        seen.append(value)
        store(name, value)

    shared.set = note  # type: ignore[method-assign]
    server = OscServer(Namespace(shared, ("a", "b"), 64), "127.0.0.1", 0)
    server.start()
    try:
        pipe.send(server.port)
        before = time.process_time()
        pipe.recv()
        cpu_s = time.process_time() - before
        pipe.send((cpu_s, len(seen), all(b > a for a, b in pairwise(seen))))
    finally:
        server.stop()
        shared.close()
        shared.unlink()


def _send_paced(port: int, rate: float, seconds: float) -> tuple[int, float]:
    """Send sets evenly; rate 0 sends as fast as it goes. Returns how many went out, and in what time."""
    packets = [encode("/umtn/mix", n * STEP) for n in range(int(seconds * (rate or 200_000)))]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.connect(("127.0.0.1", port))
        began = time.perf_counter()
        for n, packet in enumerate(packets):
            if rate:
                ahead = began + n / rate - time.perf_counter()
                if ahead > BURST_S:
                    time.sleep(ahead)
            sock.send(packet)
        return len(packets), time.perf_counter() - began


def measure(rate: float, seconds: float) -> Outcome:
    """One run over loopback; waits for the server to have read what waits in its socket."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    child = context.Process(target=_serve, args=(there,))
    child.start()
    try:
        sent, took = _send_paced(here.recv(), rate, seconds)
        time.sleep(QUIET_S)
        here.send("stop")
        cpu_s, stored, in_order = here.recv()
    finally:
        child.join(5)
    return Outcome(sent, stored, in_order, took, cpu_s)


def survive(count: int, seed: int = 1) -> tuple[int, float]:
    """Random packets in a row; returns how many figures they moved, and the seconds it took.

    A third is noise, a third noise behind the beginning of an OSC message, a third broken in one to four places,
    sent to an address that has no value. All are waited for, so that none is lost in a full buffer.
    """
    dice = random.Random(seed)
    whole = encode("/umtn/nothing/here", 0.5, "word", 3)
    shared = SharedState.create()
    server = OscServer(Namespace(shared, ("a", "b"), 64), "127.0.0.1", 0)
    server.start()
    before = shared.parameters.copy()
    began = time.perf_counter()
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.settimeout(5)
            sock.connect(("127.0.0.1", server.port))
            for n in range(count):
                sock.send(_nonsense(dice, n, whole))
                if n % 500 == 499:
                    _settle(sock)
            _settle(sock)
        return int((shared.parameters != before).sum()), time.perf_counter() - began
    finally:
        server.stop()
        shared.close()
        shared.unlink()


def _nonsense(dice: random.Random, n: int, whole: bytes) -> bytes:
    if n % 3 == 0:
        return dice.randbytes(dice.randrange(200))
    if n % 3 == 1:
        return dice.choice((b"/", b"#bundle\x00", b"/\x00\x00\x00,")) + dice.randbytes(dice.randrange(200))
    broken = bytearray(whole)
    for _ in range(dice.randrange(1, 5)):
        broken[dice.randrange(7, len(broken))] = dice.randrange(256)
    return bytes(broken)


def _settle(sock: socket.socket) -> None:
    """Wait until everything sent so far has been acted upon; TimeoutError if the server has died."""
    sock.send(encode("/umtn/ping"))
    while not sock.recv(65536).startswith(b"/umtn/pong"):
        pass


def main(arguments: list[str] | None = None) -> int:
    """Print one line per rate; 1 if a set was lost or reordered."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.osc", description=__doc__.split("\n")[0])
    parser.add_argument("--rate", type=float, nargs="+", default=[20000.0], help="messages a second")
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--random", type=int, default=0, metavar="N", help="send N random packets instead")
    options = parser.parse_args(arguments)
    if options.random:
        logging.getLogger("realtime").setLevel(logging.CRITICAL)
        moved, took = survive(options.random)
        print(f"{options.random} random packets in {took:.0f} s: the server lives, {moved} figures moved")
        return 1 if moved else 0
    good = True
    for rate in options.rate:
        o = measure(rate, options.seconds)
        good &= o.in_order and o.sent == o.stored
        print(
            f"{o.sent / o.seconds:8.0f} /s for {o.seconds:.0f} s: {o.sent - o.stored} lost, "
            f"{'in order' if o.in_order else 'REORDERED'}; {o.us_per_message:.2f} us a message, "
            f"{100 * o.cpu_s / o.seconds:.1f} % of one core"
        )
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
