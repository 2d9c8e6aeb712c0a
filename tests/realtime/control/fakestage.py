"""Stands in for the audio process where only its figures and pictures matter: moves the status, feeds the scope.

As a script it serves the page over it: `python -m tests.realtime.control.fakestage [PORT]`.
"""

from __future__ import annotations

import sys
import threading
import time
from types import TracebackType

import numpy as np
import numpy.typing as npt

from realtime.shared.memory import SharedState

__all__ = ["Stage"]

RATE_HZ = 48000
BLOCK = 1024


class Stage:
    """`with Stage(shared):` plays `heard` and `said` in a loop (two sines if none are given) in a thread."""

    def __init__(
        self,
        shared: SharedState,
        heard: npt.NDArray[np.float32] | None = None,
        said: npt.NDArray[np.float32] | None = None,
    ) -> None:
        t = np.arange(RATE_HZ) / RATE_HZ
        self.shared = shared
        self.heard = heard if heard is not None else (0.2 * np.sin(2 * np.pi * 440 * t)).astype(np.float32)
        self.said = said if said is not None else (0.1 * np.sin(2 * np.pi * 880 * t)).astype(np.float32)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True, name="stage")

    def __enter__(self) -> Stage:
        put = self.shared.status_set
        put("rate", RATE_HZ)
        put("block", 128)
        put("latency_ms", 11.4)
        put("blend_max", 3)
        put("gate", 1)
        put("callback_p999_us", 212)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join(2.0)

    def _run(self) -> None:
        began, blocks, rng = time.monotonic(), 0, np.random.default_rng(0)
        length = min(len(self.heard), len(self.said)) // BLOCK
        while not self._stop.is_set():
            at = slice(blocks % length * BLOCK, (blocks % length + 1) * BLOCK)
            heard, said = self.heard[at], self.said[at]
            put = self.shared.status_set
            self.shared.scope_write(heard, said)
            put("level_in_db", 20 * np.log10(np.abs(heard).max() + 1e-6))
            put("level_out_db", 20 * np.log10(np.abs(said).max() + 1e-6))
            put("load", 0.34 + 0.02 * rng.standard_normal())
            put("load_max", 0.52)
            weights = [self.shared.get(f"blend/{i}") for i in range(8)]
            put("domain", float(np.argmax(weights)) if any(weights) else self.shared.get("to"))
            put("uptime", time.monotonic() - began)
            blocks += 1
            time.sleep(max(began + blocks * BLOCK / RATE_HZ - time.monotonic(), 0))


def main() -> None:
    """Until Ctrl-C."""
    from realtime.control.namespace import Namespace
    from realtime.control.web.server import HttpServer

    shared = SharedState.create()
    namespace = Namespace(shared, ("strings", "piano", "winds", "voice", "guitar"), 8)
    server = HttpServer(namespace, port=int(sys.argv[1]) if len(sys.argv) > 1 else 0)
    server.start()
    print(server.url, flush=True)
    try:
        with Stage(shared):
            threading.Event().wait()
    except KeyboardInterrupt:
        pass
    finally:
        server.stop()
        shared.unlink()
        shared.close()


if __name__ == "__main__":
    main()
