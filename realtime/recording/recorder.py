"""Input and output side by side into a file, with everything that is needed to render the performance again.

    audio thread    Recorder.begin, .end     copies into two rings, events into a deque: never waits
    thread "tape"   Tape._run                rings -> file, events -> journal, captured state -> NAME.state.npz
    main thread     Tape(...), Tape.stop     and looks at `done`

The journal is written before the samples that its events act on, so a kill never leaves sound without its
journal. Positions count samples from the recording's first one. Where the model works a block ahead, the
recording holds what it made; a block that came too late for the device is whole in the recording. Both channels
stand where they sounded at the plugs: the output lies later by the device's latency and the blocks ahead, as they are
when the recording begins (`late` in the journal), beside what the signal path delays it by.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from realtime.dsp.controls import CELLS
from realtime.dsp.model_crossfade import Player
from realtime.dsp.ring_buffer import Ring
from realtime.dsp.signal_path import MAX_CALL
from realtime.recording.restore import save
from realtime.recording.snapshot import Plan, Stale, polite
from realtime.recording.sound_writers import CHANNELS, FULL_SCALE
from realtime.recording.take_files import Event, TakeFile, state_beside
from realtime.shared.memory import PARAMETER_INDEX
from realtime.shared.scheduling import step_back

__all__ = ["Recorder", "TakeRecorder"]

RING_SECONDS = 10  # how long a disk may stall
DRAIN_S = 0.1
TRIES = 3  # snapshots that the music may outrun before it is made to wait once
PATIENCE = 16  # calls in which the snapshot waits for one with time to spare
_PANIC = PARAMETER_INDEX["panic"]


class Recorder:
    """What the worker calls around each block; does nothing while `tape` is None."""

    def __init__(self) -> None:
        self.tape: TakeRecorder | None = None
        self._now: TakeRecorder | None = None

    @property
    def seconds(self) -> float:
        tape = self.tape
        return tape.seconds if tape is not None else 0.0

    @property
    def lost(self) -> int:
        tape = self.tape
        return tape.lost if tape is not None else 0

    def begin(self, player: Player, cells: np.ndarray, x: np.ndarray, light: bool = True) -> np.ndarray:
        """Before a block is made; returns the input to make it from. light: it will probably not take long."""
        self._now = self.tape
        return x if self._now is None else self._now.begin(player, cells, x, light)

    def note(self, kind: str, content: Any) -> None:
        if self._now is not None:
            self._now.note(kind, content)

    def end(self, x: np.ndarray, out: np.ndarray) -> None:
        """After it."""
        if self._now is not None:
            self._now.end(x, out)


class TakeRecorder:
    """One recording. `path`: where it really goes. `done`: over; `error`: the sentence why, if not on request.

    facts: what the head of the journal says beyond parameters. patient: whoever makes the sound has no clock to
    keep and may wait for the disk. late: called once in the tape's thread; by so many samples the output lies later
    in the file than in the calls, so that both channels stand where they sounded.
    """

    def __init__(
        self,
        path: Path,
        rate_hz: int,
        player: Player,
        facts: dict[str, Any],
        patient: bool = False,
        late: Callable[[], int] = lambda: 0,
    ) -> None:
        self._late = late
        self._rate, self._player, self._facts, self._patient = rate_hz, player, facts, patient
        self._file = TakeFile(path, rate_hz)
        self.path = self._file.path
        self._round = self.path.suffix.lower() == ".flac"
        self._rings = [Ring(max(rate_hz * RING_SECONDS, 4 * MAX_CALL)) for _ in range(CHANNELS)]
        self._events: deque[Event] = deque()
        self._cells, self._differs = np.zeros(CELLS), np.zeros(CELLS, np.bool_)
        self._rounded = np.zeros(MAX_CALL, np.float32)
        self._offer: Plan | _Unplanned | None = None  # to be captured
        self._taken: Plan | _Unplanned | None = None  # has been
        self._started_at = self._position = self._length = self._waited = 0
        self._taking = False
        self.lost = 0
        self.started = self.done = False
        self.error = ""
        self.unsaved: set[str] = set()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="tape", daemon=True)
        self._thread.start()

    # In the audio thread

    @property
    def seconds(self) -> float:
        return (self._position - self._started_at) / self._rate

    def begin(self, player: Player, cells: np.ndarray, x: np.ndarray, light: bool) -> np.ndarray:
        offer = self._offer
        if offer is not self._taken and offer is not None and not player.fading:
            self._waited += 1
            if light or self._waited > PATIENCE:
                self._start(offer, cells, len(x))
        self._taking = self._taken is not None and not self.done
        if not self._taking:
            return x
        np.not_equal(cells, self._cells, out=self._differs)
        self._differs[_PANIC] = False  # an event, noted as one
        if self._differs.any():
            changed = np.flatnonzero(self._differs)
            self.note("set", (changed, cells[changed]))
            np.copyto(self._cells, cells)
        if len(x) != self._length:
            self._length = len(x)
            self.note("block", self._length)
        return self._as_stored(x) if self._round else x

    def _start(self, offer: Plan | _Unplanned, cells: np.ndarray, n: int) -> None:
        """Everything as it is before the first sample."""
        offer.capture()
        np.copyto(self._cells, cells)
        self._length, self._started_at, self._waited = n, self._position, 0
        self.note("start", (offer, cells.copy(), n, self._rings[0].written))
        self._taken = offer  # last: from here on the tape's thread looks for the event

    def _as_stored(self, x: np.ndarray) -> np.ndarray:
        """24 bits hold not every float: what is recorded is what the model hears (-144 dB apart)."""
        rounded = self._rounded[: len(x)]
        np.multiply(x, np.float32(FULL_SCALE), out=rounded)
        np.rint(rounded, out=rounded)
        rounded *= np.float32(1.0 / FULL_SCALE)
        return rounded

    def note(self, kind: str, content: Any) -> None:
        if self._taking or kind == "start":
            self._events.append((self._position, kind, content))

    def end(self, x: np.ndarray, out: np.ndarray) -> None:
        if not self._taking:
            return
        n = len(out)
        while self._patient and self._rings[1].room < n and not self.done:
            time.sleep(0.005)
        if self._rings[1].room < n or self._rings[0].room < n:
            self.lost += n
            self.note("lost", n)
        else:
            self._rings[0].write(x)
            self._rings[1].write(out)  # the second one says that both are there
        self._position += n

    # In the thread "tape"

    def _run(self) -> None:
        step_back()
        reason = "stopped"
        try:
            self.started = self._keep_state()
            if self.started:
                while not self._stop.wait(DRAIN_S):
                    self._drain()
                self._drain()
        except OSError as error:
            reason = error.strerror or str(error)
            self.error = f"cannot write {self.path} ({reason}); the recording has ended, the sound goes on"
        except Exception as error:
            reason = f"{type(error).__name__}: {error}"
            self.error = f"the recording to {self.path} failed ({reason}); the sound goes on"
        self.done = True  # the audio thread takes no more
        said = self._file.close(reason)
        self.error = self.error or said
        if not self.started and not self.error:  # stopped before the first sample
            self._file.remove()

    def _keep_state(self) -> bool:
        """Capture, save, and begin the journal; again if the music changed in between. False: stopped before."""
        for attempt in range(TRIES + 1):
            offer = Plan(self._player, polite()) if attempt < TRIES else _Unplanned(self._player)
            self._offer = offer
            while self._taken is not offer:
                if self._stop.wait(0.005):
                    return False
            try:
                plan = offer if isinstance(offer, Plan) else offer.plan
                save(plan, state_beside(self.path), polite())
                break
            except Stale:
                if attempt == TRIES:
                    raise
        while (event := self._events.popleft())[1] != "start" or event[2][0] is not offer:
            pass
        _, cells, length, in_ring = event[2]
        for ring in self._rings:
            ring.skip(in_ring - ring.taken)
        self.unsaved = plan.unsaved
        plan.forget()
        facts = {**self._facts, "unsaved": sorted(self.unsaved)}
        self._file.head(facts, cells, length, late=self._late())
        return True

    def _drain(self) -> None:
        """Journal first, see the head of this file."""
        count = len(self._rings[1])
        events = []
        while self._events:
            at, kind, content = self._events.popleft()
            events.append((at - self._started_at, kind, content))
        self._file.note(events)
        self._file.store(self._rings, count)

    # In the main thread

    @property
    def frames(self) -> int:
        """How many the file holds."""
        return self._file.sound.frames

    def stop(self) -> None:
        """End it; the file is complete when `done` is true and the thread has ended."""
        self._stop.set()

    def join(self, timeout_s: float | None = None) -> bool:
        """Wait for that; False if it takes longer."""
        self._thread.join(timeout_s)
        return not self._thread.is_alive()


class _Unplanned:
    """Plans when it captures: slow, but nothing can come in between."""

    def __init__(self, root: Any) -> None:
        self._root = root

    def capture(self) -> None:
        self.plan = Plan(self._root)
        self.plan.capture()
