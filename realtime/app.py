"""One performance from start to end: shared memory, surfaces, audio process, view; and all of it tidied up."""

from __future__ import annotations

import logging
import signal
import sys
import threading
from collections import deque
from collections.abc import Mapping
from types import FrameType
from typing import Any

from realtime.control.actions import Actions
from realtime.control.audio_supervisor import AUDIO_TARGET, Ending, Session
from realtime.control.namespace import Namespace
from realtime.control.terminal.view import TerminalView, end_line, start_lines
from realtime.shared.audio_config import AudioConfig, names_a_file
from realtime.shared.interrupts import release_interrupts
from realtime.shared.memory import SharedState
from realtime.shared.messages import Ready
from realtime.surfaces import Surfaces, Wanted
from umtn.errors import UserError

__all__ = ["Performance"]

POLL_S = 0.05
FILE_HANG_S = 30.0  # a slow disk is no hang


class Performance:
    """Built before anything sounds; `run` plays until the end and returns the exit code.

    values: parameters by name, in their units. target: `module:function` of the
    audio process (tests put a fake there).
    """

    def __init__(
        self,
        config: AudioConfig,
        domains: tuple[str, ...],
        values: Mapping[str, float],
        wanted: Wanted,
        target: str = AUDIO_TARGET,
        latent_channels: int = 0,
    ) -> None:
        self._interrupts = 0
        self._messages: deque[str] = deque(maxlen=200)
        self.shared = SharedState.create()
        try:
            for name, value in values.items():
                self.shared.set(name, value)
            self.namespace = Namespace(self.shared, domains, latent_channels)
            self.surfaces = Surfaces(self.namespace, wanted, self._messages.append)
        except BaseException:
            self._drop_memory()
            raise
        to_file = names_a_file(config.output)
        self._output = config.output if to_file else ""
        live = not (to_file or config.fast)
        hang_s = max(0.8, 8 * config.block / (config.rate or 44100)) if live else FILE_HANG_S
        self.session = Session(config, self.shared, target, hang_s, restartable=not to_file)
        self.deck = Actions(self.session, self.namespace)
        self.view = TerminalView(self.shared, domains, namespace=self.namespace)

    def run(self) -> int:
        """Play; 0 when over or stopped, 1 if audio could not be kept alive. UserError: never started."""
        handlers = self._listen_to_signals()
        release_interrupts()
        log = _Collect(self._messages)
        logging.getLogger("realtime").addHandler(log)
        try:
            ending = self._play()
        finally:
            self.session.stop()
            self.surfaces.stop()
            self._show_messages()
            self.view.close()
            logging.getLogger("realtime").removeHandler(log)
            self._drop_memory()
            for number, handler in handlers.items():
                signal.signal(number, handler)
        return self._farewell(ending)

    def _play(self) -> Ending:
        """Start, then supervise until the end; the sound itself is made elsewhere."""
        self.surfaces.open()
        self.session.start()
        self.surfaces.start()
        started = False
        while True:
            ending = self.session.poll(POLL_S)
            if self.session.info and not started:
                started = True
                self._announce(self.session.info)
            if ending is None and self._interrupts:
                self.session.stop()
                ending = self.session.ending or Ending(0)
            if ending is not None:
                return ending
            if started:
                self._show_messages()
                self.surfaces.tick()
                self.view.update()

    def _announce(self, info: Ready) -> None:
        self.namespace.told(info.bundle)
        self.namespace.slack = info.slack_blocks
        self.view.engine = info.bundle.engine
        for line in start_lines(info, self.surfaces.lines(sys.stdout.isatty())):
            self.view.note(line)
        self.surfaces.play(lambda: self._interrupt(signal.SIGINT, None))

    @property
    def osc(self) -> Any:
        """The OSC server, if there is one."""
        return self.surfaces.osc

    @property
    def web(self) -> Any:
        """The web page's server, if there is one."""
        return self.surfaces.web

    def _show_messages(self) -> None:
        for queue in (self.session.notices, self._messages):
            while queue:
                self.view.note(queue.popleft())

    def _listen_to_signals(self) -> dict[int, Any]:
        """Ctrl-C, kill and a closed terminal window all ask for an orderly end; the second time, at once."""
        if threading.current_thread() is not threading.main_thread():
            return {}
        names = ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK")
        return {
            number: signal.signal(number, self._interrupt)
            for number in (getattr(signal, name) for name in names if hasattr(signal, name))
        }

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        self._interrupts += 1
        self.shared.stop_flag = True
        if self._interrupts > 1:
            self.session.kill()

    def _drop_memory(self) -> None:
        self.shared.unlink()
        self.shared.close()

    def _farewell(self, ending: Ending) -> int:
        if ending.code == 2:
            raise UserError(ending.sentence)
        if ending.sentence:
            print(f"error: {ending.sentence}", file=sys.stderr)
        if ending.stats:
            self.view.note(end_line(ending.stats, self._output))
        return ending.code


class _Collect(logging.Handler):
    """Log lines of other threads, kept until the main thread can print them between two drawings."""

    def __init__(self, messages: deque[str]) -> None:
        super().__init__(logging.INFO)
        self._messages = messages

    def emit(self, record: logging.LogRecord) -> None:
        self._messages.append(self.format(record))
