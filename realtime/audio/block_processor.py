"""One block of the live loop, whoever calls it: PortAudio's callback or the software clock.

Threading model: `block` runs in the audio thread: parameters out of shared memory, sound through the player,
figures back into shared memory. The main thread reads `finished` and the statistics, sets `fade_out`, and hands
over what is to come: `incoming` (another bundle) and `recorder.tape`.
"""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass, field
from typing import Literal, Protocol

import numpy as np

from realtime.dsp.controls import CELLS, fill
from realtime.dsp.model_crossfade import Incoming, Player
from realtime.dsp.signal_path import MAX_CALL, SignalPath
from realtime.recording.recorder import Recorder
from realtime.recording.sound_writers import FileRecorder
from realtime.shared.memory import PARAMETER_INDEX, STATUS_INDEX, SharedState
from realtime.shared.scheduling import flush_denormals, raise_thread

__all__ = ["Source", "Timing", "Worker", "Xruns"]


# How long things took, cheap enough for the audio thread.


HISTOGRAM_US = 10  # width of a bin
BINS = 4096


@dataclass
class Timing:
    """How long blocks took, as a histogram; percentiles cost the audio thread nothing."""

    counts: np.ndarray = field(default_factory=lambda: np.zeros(BINS, np.int64))
    longest_us: float = 0.0
    total_us: float = 0.0

    def add(self, us: float) -> None:
        self.counts[min(int(us) // HISTOGRAM_US, BINS - 1)] += 1
        self.total_us += us
        if us > self.longest_us:
            self.longest_us = us

    def percentile_us(self, share: float) -> float:
        """Upper edge of the bin below which `share` (0..1) of the blocks lie."""
        total = int(self.counts.sum())
        if total == 0:
            return 0.0
        index = int(np.searchsorted(np.cumsum(self.counts), share * total))
        return min((index + 1.0) * HISTOGRAM_US, self.longest_us)

    def figures(self) -> dict[str, float]:
        blocks = int(self.counts.sum())
        return {
            "blocks": blocks,
            "mean_us": round(self.total_us / max(1, blocks), 1),
            "p50_us": self.percentile_us(0.5),
            "p99_us": self.percentile_us(0.99),
            "p999_us": self.percentile_us(0.999),
            "max_us": round(self.longest_us, 1),
        }


_MUTE = PARAMETER_INDEX["mute"]
PEAK_SECONDS = 2.0
XRUNS_KEPT = 1000


@dataclass
class Xruns:
    """Blocks that came too late, by who noticed, and when; one block may be noticed twice. The only count there is.

    late: computed too slowly; flagged: the device said so; skipped: a clock went on without us. times: of the last
    ones, as `time.perf_counter` has it. Written by the audio threads.
    """

    late: int = 0
    flagged: int = 0
    skipped: int = 0
    times: deque[float] = field(default_factory=lambda: deque(maxlen=XRUNS_KEPT))

    @property
    def total(self) -> int:
        return self.late + self.flagged + self.skipped

    def note(self, how: Literal["late", "flagged", "skipped"], blocks: int = 1) -> None:
        """One more, or `blocks` at once, which are one moment."""
        if how == "late":
            self.late += blocks
        elif how == "flagged":
            self.flagged += blocks
        else:
            self.skipped += blocks
        self.times.append(time.perf_counter())

    def figures(self) -> dict[str, object]:
        """What is said at the end."""
        counts = {"late": self.late, "flagged": self.flagged, "skipped": self.skipped}
        return {"xruns": self.total, **counts, "xrun_times": list(self.times)}


class Source(Protocol):
    """Where a file's samples come from."""

    @property
    def finished(self) -> bool: ...

    def read(self, out: np.ndarray) -> int: ...


class Worker:
    """See above.

    `recorder` is the output file of `--out`, `self.recorder` what records while playing. `retired` collects the
    paths that were replaced, to be freed outside the audio thread.
    """

    def __init__(
        self,
        path: SignalPath,
        shared: SharedState,
        source: Source | None = None,
        recorder: FileRecorder | None = None,
        seconds: float | None = None,
        tail_seconds: float = 0.5,
        paced: bool = True,
    ) -> None:
        self._shared, self._source, self._file = shared, source, recorder
        self.retired: deque[SignalPath] = deque()
        self.player = Player(path, self.retired.append)
        self.incoming: Incoming | None = None
        self.recorder = Recorder()
        self.paced = paced
        self.cells = np.zeros(CELLS)
        self._status, self._parameters = shared.status, shared.parameters
        rate = path.rate_hz
        self._samples_left = None if seconds is None else round(seconds * rate)
        self._tail_left = round(tail_seconds * rate) + path.latency.total
        self._in = np.zeros(MAX_CALL, np.float32)
        self._out = np.zeros(MAX_CALL, np.float32)
        self._panics = shared.panic_count
        self.realtime_priority = False
        self.judges_time = paced  # not where someone else knows whether a block came in time
        self.finished = self.fade_out = False
        self.blocks = self.samples = self.failures = self.block_length = 0
        self.xruns = Xruns()
        self.last_failure = ""
        self.load = 0.0
        self._light = False
        self._peaks = [0.0, 0.0]
        self._peak_left = 0
        self.timing = Timing()
        self._thread_ready = False
        self.controls()
        fill(path.controls, self.cells)

    @property
    def path(self) -> SignalPath:
        """The signal path that plays."""
        return self.player.path

    def warm_up(self, block: int, times: int = 20) -> None:
        """Run everything once before the clock runs; leaves a fresh path."""
        for _ in range(times):
            self.path.process(self._in[:block], self._out[:block])
        self.path.start_over()

    def controls(self) -> np.ndarray:
        """The parameters as they are now: one copy, so that all that a block uses is of one moment."""
        np.copyto(self.cells, self._parameters)
        if self.fade_out:
            self.cells[_MUTE] = 1.0
        return self.cells

    def block(self, x: np.ndarray | None, n: int) -> np.ndarray:
        """`n` samples from `x` (None: from the file); returns the output, valid until the next call."""
        start = time.perf_counter_ns()
        if not self._thread_ready:
            flush_denormals()  # both are properties of the thread, and this is the first time in it
            if self.realtime_priority:
                raise_thread()
            self._thread_ready = True
        out = self._out[:n]
        try:
            x = self._hear(x, n)
            self._make(x, out)
        except Exception as error:  # an exception in a callback would end the stream without a word
            out[:] = 0.0
            self.failures += 1
            self.last_failure = repr(error)
            self.recorder.note("failure", repr(error))
        if x is not None:
            self.recorder.end(x, out)
            self._shared.scope_write(x, out)
        if self._file is not None:
            (self._file.write if self.paced else self._file.write_all)(out)
        self._count(n, (time.perf_counter_ns() - start) / 1000.0)
        return out

    def _hear(self, x: np.ndarray | None, n: int) -> np.ndarray:
        """The device's samples, or the file's."""
        if x is not None:
            return x
        x = self._in[:n]
        if self._source is None or self._source.read(x) < n:
            x[0 if self._source is None else n :] = 0.0
        return x

    def _make(self, x: np.ndarray, out: np.ndarray) -> None:
        """What replay.py does again, in this order."""
        cells, player = self.controls(), self.player
        x = self.recorder.begin(player, cells, x, self._light)
        incoming = self.incoming
        if incoming is not None and not player.fading:
            self.incoming = None
            player.swap(incoming, cells)
            self.recorder.note("swap", incoming)
        player.process(cells, x, out)
        panics = self._shared.panic_count
        if panics != self._panics:
            self._panics = panics
            player.panic(cells, out)
            self.recorder.note("panic", 1)

    def _count(self, n: int, us: float) -> None:
        self.blocks += 1
        self.block_length = n
        self.samples += n
        block_us = 1e6 * n / self.path.rate_hz
        self.timing.add(us)
        load = us / block_us
        self._light = load > self.load  # a call with the model in it is often followed by one without
        self.load += (load - self.load) * 0.02
        if self.judges_time and load > 1.0:
            self.xruns.note("late")
        self._remember_peak(load, n)
        self._end(n)
        self._publish(n)

    def _remember_peak(self, load: float, n: int) -> None:
        """The highest load of this stretch of seconds and of the one before."""
        if self._peak_left <= 0:
            self._peak_left = int(PEAK_SECONDS * self.path.rate_hz)
            self._peaks[1], self._peaks[0] = self._peaks[0], 0.0
        self._peak_left -= n
        self._peaks[0] = max(self._peaks[0], load)

    def _end(self, n: int) -> None:
        if self._samples_left is not None:
            self._samples_left -= n
            if self._samples_left <= 0:
                self.finished = True
        if self._source is not None and self._source.finished:
            self._tail_left -= n
            if self._tail_left <= 0:
                self.finished = True

    def _publish(self, n: int) -> None:
        s, at, path = self._status, STATUS_INDEX, self.path
        s[at["load"]] = self.load
        s[at["load_max"]] = max(self._peaks)
        s[at["xruns"]] = self.xruns.total
        s[at["level_in_db"]] = path.meter_in.level_db
        s[at["level_out_db"]] = path.meter_out.level_db
        s[at["domain"]] = path.domain
        s[at["uptime"]] = self.samples / path.rate_hz
        s[at["resets"]] = self.player.resets
        s[at["input_repairs"]] = self.player.input_repairs
        s[at["underruns"]] = self.player.underruns
        s[at["gate"]] = getattr(path, "gate_open", True)
        s[at["blend_max"]] = getattr(path, "blend_max", 0)
        s[at["recording"]] = self.recorder.seconds
        s[at["recording_lost"]] = self.recorder.lost
        s[at["block"]] = n
        s[at["rate"]] = path.rate_hz
        self._shared.heartbeat = self.blocks

    def figures(self) -> dict[str, object]:
        """What the process says at its end."""
        lost = (self._file.lost if self._file else 0) + self.recorder.lost
        return {
            "seconds": round(self.samples / self.path.rate_hz, 3),
            **self.xruns.figures(),
            "resets": self.player.resets,
            "input_repairs": self.player.input_repairs,
            "underruns": self.player.underruns,
            "failures": self.failures,
            "last_failure": self.last_failure,
            "recording_lost": lost,
            **self.timing.figures(),
        }
