"""What control asks of the audio process beyond parameters: record, stop recording, load another bundle.

Threading model: everything here runs in the audio process's main thread.

    Record         -> Recording, then Recorded; or RecordFailed
    StopRecording  -> Recorded
    Load           -> Swapped or LoadFailed

What they hold: realtime/shared/messages.py.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from importlib import metadata
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from realtime.audio.block_processor import Worker
from realtime.audio.model_loader import Loader, same_again
from realtime.audio.render_ahead import BLOCKS_AHEAD
from realtime.recording.recorder import TakeRecorder
from realtime.recording.take_files import default_name
from realtime.shared.audio_config import AudioConfig
from realtime.shared.messages import (
    FromAudio,
    Load,
    LoadFailed,
    Record,
    Recorded,
    RecordFailed,
    Recording,
    StopRecording,
)
from umtn.errors import UserError

__all__ = ["Commands"]

CLOSE_S = 10.0
Send = Callable[[FromAudio], None]
_log = logging.getLogger(__name__)


class Commands:
    """`poll` between looks at everything else; `close` after the last block. ahead: the model is ahead (ahead.py);
    late: see `Tape`."""

    def __init__(
        self,
        config: AudioConfig,
        worker: Worker,
        send: Send,
        ahead: bool = False,
        late: Callable[[], int] = lambda: 0,
    ) -> None:
        self._config, self._worker, self._send, self._late = config, worker, send, late
        self._loader = Loader(
            worker,
            config.engine,
            Path(config.bundle),
            BLOCKS_AHEAD if ahead else 1.0,
            config.precision,
            config.cores,
        )
        self._tape: TakeRecorder | None = None
        self._told = False

    def listen(self, conn: Connection, seconds: float) -> bool:
        """Wait that long for messages and obey them; False once there is nobody left to talk to."""
        try:
            if conn.poll(seconds):
                self.obey(conn.recv())
        except (OSError, EOFError):
            return False
        return True

    def obey(self, message: object) -> None:
        """A `ToAudio`; anything else is left alone."""
        if isinstance(message, StopRecording):
            self._stop_recording()
        elif isinstance(message, Record):
            self.record(message.path)
        elif isinstance(message, Load):
            if refusal := self._loader.start(Path(message.path)):
                self._send(LoadFailed(refusal))
        else:
            _log.warning(
                "control sent a %s, which audio does not know; it is ignored", type(message).__name__
            )

    def record(self, name: str) -> None:
        """Begin; whatever is wrong is one sentence to control."""
        if self._tape is not None:
            self._send(RecordFailed(f"{self._tape.path} is still being recorded; stop it first"))
            return
        worker = self._worker
        try:
            tape = TakeRecorder(
                Path(name or default_name()),
                worker.path.rate_hz,
                worker.player,
                self._facts(),
                patient=not worker.paced,
                late=self._late,
            )
        except UserError as error:
            self._send(RecordFailed(str(error)))
            return
        self._tape = worker.recorder.tape = tape
        self._told = False

    def _facts(self) -> dict[str, Any]:
        path = self._worker.path
        return {
            "program": _version(),
            "bundle": str(self._loader.bundle.resolve()),
            "sha256": self._loader.hash.text,
            **same_again(path.engine),
            "block": self._config.block,
            "slack": self._config.slack,
            "domains": [domain.id for domain in path.engine.manifest.domains],
        }

    def _stop_recording(self) -> None:
        if self._tape is not None:
            self._tape.stop()

    def poll(self) -> None:
        """Carry on with what takes time."""
        for message in self._loader.poll():
            self._send(message)
        tape = self._tape
        if tape is None:
            return
        if tape.started and not self._told:
            self._told = True
            self._send(Recording(str(tape.path), tuple(sorted(tape.unsaved))))
        if tape.done and tape.join(0.0):
            self._finish(tape)

    def _finish(self, tape: TakeRecorder) -> None:
        self._tape = self._worker.recorder.tape = None
        seconds = tape.frames / self._worker.path.rate_hz
        self._send(Recorded(str(tape.path), seconds, tape.lost, tape.error))

    def close(self) -> None:
        """The sound is over: complete the file."""
        if self._tape is not None:
            self._tape.stop()
            self._tape.join(CLOSE_S)
            self._finish(self._tape)


def _version() -> str:
    try:
        return metadata.version("umtn-live")
    except metadata.PackageNotFoundError:
        return "not installed"
