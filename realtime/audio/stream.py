"""Who calls the worker: a PortAudio stream, or a software clock where no device takes part.

Threading model: PortAudio's thread runs the callback. Everything else happens in the main thread, before
`start` and after `stop`.

The callback is Python's. PortAudio's callback in C with rings to a Python thread (rtmixer) was tried: no
fewer missed blocks on a sound server with real-time rights, and four blocks more latency (at 128).
"""

from __future__ import annotations

import threading
import time
from collections import deque
from typing import Any, Protocol

import numpy as np

from realtime.audio.block_processor import Timing, Worker
from realtime.audio.devices import Device
from realtime.audio.latencies import JackPorts
from realtime.audio.render_ahead import Ahead, spread
from realtime.dsp.signal_path import MAX_CALL
from realtime.shared.scheduling import raise_thread

__all__ = [
    "CLOCK_BLOCKS",
    "SLOW_US",
    "CallbackStream",
    "SkipDetector",
    "SoftwareClock",
    "Stream",
    "is_jack",
    "said_ms",
]

GRACE = 16  # first callbacks, which a sound server flags while it rewires itself: nothing sounds yet
CLOCK_BLOCKS = 2.0  # a software clock forgives being late by a block: nothing is waiting for it
SLOW_US = 100  # a callback that took longer is remembered with its time, for whoever asks why
SLOW_KEPT = 10000
WINDOW = 8  # callbacks; a late one is made up for by the next ones, a lost one never


class SkipDetector:
    """Blocks that the device's clock counted and the callback never saw.

    The clock minus the samples seen stays where it was, but for jitter (a callback may be late, never
    early) and slow drift. The least of a few callbacks leaves the jitter out; a step in it is lost blocks.
    """

    def __init__(self) -> None:
        self._seen_s = 0.0
        self._base: float | None = None
        self._least = float("inf")
        self._count = 0

    def lost(self, now_s: float, length_s: float) -> int:
        """Call once a callback: device time and block length in seconds; returns newly found lost blocks."""
        self._least = min(self._least, now_s - self._seen_s)
        self._seen_s += length_s
        self._count += 1
        if self._count < WINDOW:
            return 0
        step = 0.0 if self._base is None else self._least - self._base
        self._base, self._least, self._count = self._least, float("inf"), 0
        return max(0, round(step / length_s))


def is_jack(device: Device | None) -> bool:
    """Whether the device belongs to PortAudio's JACK host API."""
    return device is not None and device.name.endswith(", JACK Audio Connection Kit")


def said_ms(
    latency: float | tuple[float, float], block_s: float, jack: bool, frames_s: float | None
) -> float:
    """What the system says that the device takes, both ways together, its block among it.

    latency: PortAudio's, in s, one way or (in, out); jack: over JACK, where it leaves out a block each way;
    frames_s: what the ports say, which is better.
    """
    if frames_s is not None:
        return 1000.0 * frames_s
    ways = latency if isinstance(latency, tuple) else (latency,)
    return 1000.0 * (sum(ways) + (block_s * len(ways) if jack else 0.0))


class Stream(Protocol):
    """Started once, stopped once.

    io_latency_ms: what the device says that it adds, both ways together, its block among it. gathers: it calls when
    a block of input is there. slack_ms: what computing ahead adds. callback: how long the device's own calls took.
    """

    gathers: bool
    callback: Timing

    @property
    def io_latency_ms(self) -> float: ...

    @property
    def slack_ms(self) -> float: ...

    def figures(self) -> dict[str, object]: ...

    def start(self) -> None: ...

    def stop(self) -> None: ...

    @property
    def active(self) -> bool: ...


class SoftwareClock:
    """Calls the worker at the pace of the system's clock, or (fast) as quickly as it can."""

    def __init__(self, worker: Worker, block: int, rate_hz: int, fast: bool) -> None:
        self._worker, self._n, self._rate, self._fast = worker, block, rate_hz, fast
        self.gathers = not fast
        self.io_latency_ms = 0.0 if fast else 1000.0 * block / rate_hz
        self.slack_ms = 0.0
        self.callback = worker.timing
        worker.judges_time = False  # one long call among short ones is no loss here: see _run
        self._stop = False
        self._thread = threading.Thread(target=self._run, name="audio", daemon=True)

    @property
    def active(self) -> bool:
        return self._thread.is_alive()

    def figures(self) -> dict[str, object]:
        """What is said at the end."""
        return {"callback_p999_us": self.callback.percentile_us(0.999)}

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop = True
        self._thread.join()

    def _run(self) -> None:
        worker, n = self._worker, self._n
        due = time.perf_counter()
        while not self._stop and not worker.finished:
            worker.block(None, n)
            if self._fast:
                continue
            due += n / self._rate
            wait = due - time.perf_counter()
            if wait > 0:
                time.sleep(wait)
            elif -wait > (CLOCK_BLOCKS - 1) * n / self._rate:  # a device would have dropped a block
                worker.xruns.note("skipped")
                due -= wait


class CallbackStream:
    """PortAudio calls Python. input or output may be None; `channel` counts from 1."""

    def __init__(
        self,
        sd: Any,
        worker: Worker,
        rate_hz: int,
        block: int,
        channel: int,
        input_device: Device | None,
        output_device: Device | None,
        out_channels: int,
        slack: int = 0,
    ) -> None:
        self._sd, self._worker, self._channel, self._rate = sd, worker, channel - 1, rate_hz
        self._asked = block
        capture, self._slack = input_device is not None, slack
        self.gathers, self._jack = capture, is_jack(output_device or input_device)
        self._ports: JackPorts | None = None
        self._ahead = Ahead(worker.block, rate_hz, MAX_CALL, capture, slack, worker.xruns) if slack else None
        worker.judges_time = self._ahead is None
        self._raised = False
        self.callback = Timing()
        self._slow: deque[tuple[float, float, bool]] = deque(maxlen=SLOW_KEPT)
        self._skips = SkipDetector()
        settings: dict[str, Any] = {
            "samplerate": rate_hz,
            # JACK's server sets the block. Asking PortAudio for one, even the same, costs a block of latency
            # (measured: 128 frames at 128, 256 at 256); our own re-blocking takes what comes
            "blocksize": 0 if self._jack else block,
            "dtype": "float32",
            "latency": "low",
            "clip_off": True,
            "dither_off": True,
        }
        if input_device and output_device:
            self.stream = sd.Stream(
                device=(input_device.index, output_device.index),
                channels=(channel, out_channels),
                callback=self._duplex,
                **settings,
            )
        elif output_device:
            self.stream = sd.OutputStream(
                device=output_device.index, channels=out_channels, callback=self._play, **settings
            )
        else:
            assert input_device is not None
            self.stream = sd.InputStream(
                device=input_device.index, channels=channel, callback=self._listen, **settings
            )

    @property
    def active(self) -> bool:
        return bool(self.stream.active)

    @property
    def io_latency_ms(self) -> float:
        """From the main thread."""
        block_s = (self._worker.block_length or self._asked) / self._rate
        frames = self._ports.round_trip(self._channel) if self._ports else None
        return said_ms(
            self.stream.latency, block_s, self._jack, None if frames is None else frames / self._rate
        )

    @property
    def slack_ms(self) -> float:
        return 1000.0 * self._ahead.slack / self._rate if self._ahead else 0.0

    def figures(self) -> dict[str, object]:
        """What is said at the end. callback_slow: when a slow one was over, its microseconds, and whether it waited."""
        return {
            "callback_p50_us": self.callback.percentile_us(0.5),
            "callback_p999_us": self.callback.percentile_us(0.999),
            "callback_slow": list(self._slow),
            "waits": self._ahead.waits if self._ahead else 0,
            "slack": self._slack,
        }

    def start(self) -> None:
        if self._ahead:
            self._ahead.start()
        self.stream.start()
        if self._jack:  # not earlier: PortAudio connects its ports when it starts
            self._ports = JackPorts.open(self._sd._libname)

    def stop(self) -> None:
        self.stream.stop()
        self.stream.close()
        if self._ahead:
            self._ahead.stop()
        ports, self._ports = self._ports, None
        if ports is not None:
            ports.close()

    def _block(self, x: np.ndarray | None, n: int, out: np.ndarray | None) -> None:
        """x: [n] or None (a file plays); out: [n, channels] or None (nobody listens)."""
        worker, ahead = self._worker, self._ahead
        if ahead is None:
            y = worker.block(x, n)
            if out is not None:
                spread(y, out)
            return
        if worker.realtime_priority and not self._raised:
            raise_thread()
            self._raised = True
        ahead.block(x, n, out)

    def _duplex(self, indata: np.ndarray, outdata: np.ndarray, frames: int, clock: Any, status: Any) -> None:
        self._call(indata[:, self._channel], frames, outdata, clock.inputBufferAdcTime, status)

    def _play(self, outdata: np.ndarray, frames: int, clock: Any, status: Any) -> None:
        self._call(None, frames, outdata, clock.outputBufferDacTime, status)

    def _listen(self, indata: np.ndarray, frames: int, clock: Any, status: Any) -> None:
        self._call(indata[:, self._channel], frames, None, clock.inputBufferAdcTime, status)

    def _call(
        self, x: np.ndarray | None, frames: int, out: np.ndarray | None, device_s: float, status: Any
    ) -> None:
        began = time.perf_counter_ns()
        self._watch(frames, device_s, status)
        self._block(x, frames, out)
        ended = time.perf_counter_ns()
        us = (ended - began) / 1000.0
        self.callback.add(us)
        if us > SLOW_US:
            self._slow.append((ended / 1e9, us, self._ahead is not None and self._ahead.waited))

    def _watch(self, frames: int, now: float, status: Any) -> None:
        """Count a block that the device flagged, or that its clock shows to be missing."""
        lost = self._skips.lost(now, frames / self._rate)
        if self._worker.blocks < GRACE:
            return
        if status:
            self._worker.xruns.note("flagged")
        elif lost:
            self._worker.xruns.note("skipped", lost)
