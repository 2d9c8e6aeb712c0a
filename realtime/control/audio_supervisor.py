"""The audio process seen from the control process: start, watch, restart, stop.

Threading model: everything here is called from the control process's main thread, `poll` about twenty times a
second. Parameters live in shared memory, so a restarted audio process goes on with the same ones.

If audio dies or hangs it is started again at once. If control dies, audio plays on (see control/process.py).
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import logging
import multiprocessing
import os
import signal
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing import connection, parent_process
from typing import Any, Literal

from realtime.shared.memory import SharedState, SharedStateError
from realtime.shared.messages import Done, Failed, FromAudio, Ready, ToAudio
from umtn.errors import UserError

__all__ = ["AUDIO_TARGET", "Ending", "Session", "deaf_to_interrupts", "main"]


# How the audio process is born, and what becomes of it when its control process is gone.
#
# Threading model: `main` runs in the audio process's main thread. One further thread sleeps in the kernel until
# the control process ends; it costs the audio nothing, and wakes only when no one else is left to stop it.


@contextlib.contextmanager
def deaf_to_interrupts() -> Iterator[None]:
    """What is started inside does not get Ctrl-C; the caller gets it, at the latest on leaving."""
    if sys.platform == "win32":
        import ctypes

        console = ctypes.windll.kernel32
        console.SetConsoleCtrlHandler(None, True)
        try:
            yield
        finally:
            console.SetConsoleCtrlHandler(None, False)
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def main(target: str, config: Any, shared_name: str, conn: connection.Connection) -> None:
    """Import `module:function` here, not in the control process, and run it; any failure goes to `conn`."""
    threading.Thread(target=_watch, args=(shared_name,), daemon=True, name="parent").start()
    try:
        module, _, function = target.partition(":")
        getattr(importlib.import_module(module), function)(config, shared_name, conn)
    except ValueError as error:
        _tell(conn, str(error))
    except Exception as error:
        if os.environ.get("UMTN_DEBUG"):
            traceback.print_exc()
        _tell(conn, f"the audio process failed ({type(error).__name__}: {error}); UMTN_DEBUG=1 shows where")


def _tell(conn: connection.Connection, sentence: str) -> None:
    with contextlib.suppress(OSError):
        conn.send(Failed(sentence))


def _watch(shared_name: str) -> None:
    """Sleep until control has ended; if that was no orderly stop, say how to stop what plays on."""
    parent = parent_process()
    if parent is None:
        return
    connection.wait([parent.sentinel])
    try:
        shared = SharedState.attach(shared_name)
    except SharedStateError:
        return  # it tidied up, so it has asked us to stop
    if shared.stop_flag:
        return
    shared.adopt()
    with contextlib.suppress(OSError, ValueError):
        sys.stderr.write(
            "control has gone; the audio plays on. To stop it: "
            f"python -m realtime.run --stop {shared_name}   (or press Ctrl-C here)\n"
        )
        sys.stderr.flush()
    if hasattr(signal, "sigwait"):
        signal.sigwait({signal.SIGINT})  # blocked in every thread since the start, see deaf_to_interrupts
        shared.stop_flag = True


AUDIO_TARGET = "realtime.audio.process:run_audio"
START_S = 60.0
STOP_S = 10.0
BACKOFF_S = (0.0, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0)  # waits before the tries within one minute
MINUTE_S = 60.0
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Ending:
    """Why the session is over: exit code, a sentence if something went wrong, the audio process's figures."""

    code: int
    sentence: str = ""
    stats: dict[str, Any] | None = None


class Session:
    """One performance: one shared memory, one audio process after another if need be.

    hang_s: seconds without a heartbeat after which audio counts as hung. restartable: False where a restart
    would overwrite the file that is being recorded. handlers: who is told what audio says, by the class of the
    message (realtime/shared/messages.py), from `poll`. info: what audio said when it was ready, None before.
    """

    def __init__(
        self,
        config: Any,
        shared: SharedState,
        target: str = AUDIO_TARGET,
        hang_s: float = 0.8,
        restartable: bool = True,
    ) -> None:
        self.config = config
        self.shared = shared
        self.info: Ready | None = None
        self.ending: Ending | None = None
        self.notices: deque[str] = deque(maxlen=100)
        self.handlers: dict[type, Callable[[Any], None]] = {}
        self.restarts = 0
        self._target, self._hang_s, self._restartable = target, hang_s, restartable
        self._context = multiprocessing.get_context("spawn")
        self._process: multiprocessing.process.BaseProcess | None = None
        self._conn: connection.Connection | None = None
        self._sending = threading.Lock()  # OSC and the page have threads of their own
        self._state: Literal["starting", "playing", "waiting"] = "starting"
        self._error = ""
        self._stats: dict[str, Any] | None = None
        self._deaths: deque[float] = deque()
        self._lost_at = self._ready_at = self._since = self._polled = self._beat_at = time.monotonic()
        self._beat = 0

    @property
    def playing(self) -> bool:
        """True while the audio process is at work."""
        return self._state == "playing" and self.ending is None

    @property
    def pid(self) -> int | None:
        """The audio process's id."""
        return self._process.pid if self._process is not None else None

    def start(self) -> None:
        """Spawn the audio process; `poll` tells when it is ready."""
        ours, theirs = self._context.Pipe()
        arguments = (self._target, self._remaining(), self.shared.name, theirs)
        self._process = self._context.Process(target=main, args=arguments, daemon=True, name="audio")
        with deaf_to_interrupts():
            self._process.start()
        theirs.close()
        self._conn, self._state, self._error = ours, "starting", ""
        self._stats = None
        self._since = time.monotonic()

    def _remaining(self) -> Any:
        """The config; after a restart `seconds` is what is left of it."""
        if not self.restarts or self.config.seconds is None:
            return self.config
        left_s = self.config.seconds - (time.monotonic() - self._ready_at)
        return dataclasses.replace(self.config, seconds=max(left_s, 0.1))

    def send(self, message: ToAudio) -> bool:
        """Tell the audio process something that is no parameter; False if it is not there to hear it."""
        conn = self._conn
        if conn is None or self._state != "playing":
            return False
        try:
            with self._sending:
                conn.send(message)
        except (OSError, ValueError):
            return False
        return True

    def wait_ready(self) -> Ready | None:
        """Poll until audio plays; UserError carries the sentence if it could not start."""
        while self.ending is None and self.info is None:
            self.poll(0.05)
        if self.ending is not None and self.ending.code:
            raise UserError(self.ending.sentence)
        return self.info

    def poll(self, timeout_s: float = 0.0) -> Ending | None:
        """Handle what has happened, waiting up to timeout_s for something; the Ending once all is over."""
        if self.ending is not None:
            return self.ending
        if self._state == "waiting":
            self._poll_waiting(timeout_s)
            return None
        assert self._process is not None, "start() comes first"
        # The pipe closes a moment before the process has ended.
        watched: list[Any] = [self._process.sentinel, *([self._conn] if self._conn else [])]
        ready = connection.wait(watched, timeout_s)
        gap_s, self._polled = time.monotonic() - self._polled, time.monotonic()
        self._receive()
        if self.ending is None and self._process.sentinel in ready:
            self._died()
        elif self.ending is None:
            self._check_alive(gap_s)
        return self.ending

    def stop(self) -> dict[str, Any] | None:
        """Ask audio to close its files, wait, only then use force; returns its figures if it sent them."""
        self.shared.stop_flag = True
        if self._process is not None and self._process.pid is not None:
            deadline = time.monotonic() + STOP_S
            while self._process.is_alive() and time.monotonic() < deadline:
                self._receive()
                self._process.join(0.02)
            self._receive()
            self._end_process()
        if self.ending is None:
            self.ending = Ending(0)
        return self.ending.stats

    def kill(self) -> None:
        """Second Ctrl-C: no more waiting."""
        if self._process is not None and self._process.is_alive():
            self._process.kill()

    def _end_process(self) -> None:
        assert self._process is not None
        for force in (self._process.terminate, self._process.kill):
            if self._process.is_alive():
                force()
                self._process.join(1.0)
        if self._conn is not None:
            self._conn.close()
            self._conn = None

    def _receive(self) -> None:
        try:
            while self._conn is not None and self._conn.poll():
                self._handle(self._conn.recv())
        except Exception:
            if self._conn is not None:
                self._conn.close()
            self._conn = None

    def _handle(self, message: object) -> None:
        if not isinstance(message, FromAudio):
            _log.warning(
                "audio sent a %s, which control does not know; it is ignored", type(message).__name__
            )
            return
        if isinstance(message, Ready):
            self._ready_at = self._ready_at if self.info else time.monotonic()
            self.info = message
            if self._state == "starting" and self.restarts:
                lost_s = time.monotonic() - self._lost_at
                self.notices.append(f"audio plays again after {lost_s:.2f} s, with the same parameters")
            self._state, self._beat_at, self._beat = "playing", time.monotonic(), self.shared.heartbeat
        elif isinstance(message, Done):
            self._stats = dict(message.figures)
            if not self._error:  # else the process ended because something failed: see _died
                self.ending = Ending(0, stats=self._stats)
        elif isinstance(message, Failed):
            self._error = message.sentence
        if handler := self.handlers.get(type(message)):
            try:
                handler(message)
            except Exception as error:  # what audio says next must still be heard
                self.notices.append(f"{type(message).__name__}: {type(error).__name__}: {error}")

    def _check_alive(self, gap_s: float) -> None:
        """Kill an audio process that hangs; its death is noticed by the next poll."""
        now = time.monotonic()
        if self._state == "starting":
            if now - self._since > START_S:
                self._error = f"audio was not ready after {START_S:.0f} s"
                self.kill()
            return
        beat = self.shared.heartbeat
        if beat != self._beat or gap_s > self._hang_s / 2:  # we slept ourselves (Ctrl-Z, lid closed)
            self._beat, self._beat_at = beat, now
        elif now - self._beat_at > self._hang_s:
            self._error = f"audio stood still for {now - self._beat_at:.1f} s"
            self.kill()

    def _died(self) -> None:
        assert self._process is not None
        self._process.join(1.0)
        code = self._process.exitcode
        reason = self._error or f"the audio process ended unasked ({_exit_text(code)})"
        self._end_process()
        if self.shared.stop_flag:
            self.ending = Ending(1 if self._error else 0, self._error, self._stats)
        elif self.info is None:
            self.ending = Ending(2 if self._error else 1, reason)
        elif not self._restartable:
            hint = "" if self._stats else "; not started again, for that would overwrite the recording"
            self.ending = Ending(1, reason + hint, self._stats)
        else:
            self._plan_restart(reason)

    def _plan_restart(self, reason: str) -> None:
        now = time.monotonic()
        if self._state == "playing":
            self._lost_at = now
        while self._deaths and now - self._deaths[0] > MINUTE_S:
            self._deaths.popleft()
        if len(self._deaths) >= len(BACKOFF_S):
            self.ending = Ending(1, f"{reason}; given up after {len(BACKOFF_S)} restarts within a minute")
            return
        self.notices.append(f"{reason}; starting it again")
        self._since = now + BACKOFF_S[len(self._deaths)]
        self._deaths.append(now)
        self._state = "waiting"
        self._poll_waiting(0.0)

    def _poll_waiting(self, timeout_s: float) -> None:
        remaining = self._since - time.monotonic()
        if remaining > 0:
            time.sleep(min(remaining, timeout_s))
        if time.monotonic() >= self._since:
            self.restarts += 1
            self.start()


def _exit_text(code: int | None) -> str:
    if code is not None and code < 0:
        return f"signal {-code}"
    return f"exit code {code}"
