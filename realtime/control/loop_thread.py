"""A server in a thread of its own: one bound socket, one asyncio loop, an end that can be asked for.

Threading model: `start`, `stop` and `alive` are the control process's; `_serve` runs in the thread.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import threading

__all__ = ["LoopThread"]


class LoopThread:
    """Runs `_serve` until `stop`. what: its name in the log's sentence should it fail. patience_s: of `stop`."""

    def __init__(
        self, name: str, bound: socket.socket, what: str, log: logging.Logger, patience_s: float
    ) -> None:
        self.failure: BaseException | None = None
        self._socket = bound
        self._what, self._log, self._patience_s = what, log, patience_s
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    @property
    def alive(self) -> bool:
        """False once the thread has ended; `failure` tells why."""
        return self._thread.is_alive()

    def start(self) -> None:
        """Begin to answer."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread and free the port; may be called twice, or without `start`."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(self._patience_s)
        self._socket.close()

    def _run(self) -> None:
        # Windows' default loop cannot watch a socket, only its own transports.
        try:
            with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
                runner.run(self._serve())
        except Exception as error:
            self.failure = error
            self._log.error("%s stopped (%s); the audio plays on", self._what, error)

    async def _serve(self) -> None:
        """The server itself, until `_stopping` is set."""
        raise NotImplementedError
