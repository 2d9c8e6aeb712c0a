"""The OSC server: UDP in, shared memory out, replies to whoever asked.

Threading model: `OscServer` binds its socket where it is made, so that a port in use is known at once, and
then runs one asyncio loop in one thread of the control process. Messages are handled in the order of their
arrival. Nothing here can stop the audio: it runs in another process and reads the shared memory.

A wake-up of the loop costs ten times what a message costs. So one wake-up reads all that waits, and while
messages come in a flood the socket is read once a millisecond (a tick of Windows' clock, 16 ms) instead of being
waited for.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque

from realtime.control.bind import bind_udp
from realtime.control.dispatcher import Dispatcher, OscStats
from realtime.control.loop_thread import LoopThread
from realtime.control.namespace import Namespace
from realtime.control.schedule import MAX_AHEAD_S
from realtime.control.subscribers import Address

__all__ = ["MAX_AHEAD_S", "OscServer", "OscStats"]

SOCKET_BUFFER_BYTES = 8 << 20
MAX_BATCH = 512  # then timers get their turn
MAX_DATAGRAM = 65536
FLOOD_WAKES, FLOOD_S = 8, 0.008  # so many wake-ups in so short a time are a flood
POLL_S = 0.001

_log = logging.getLogger("realtime.osc")


class OscServer(LoopThread):
    """Serves a Namespace on host:port until `stop`; port 0 lets the system choose (see `port`)."""

    def __init__(self, namespace: Namespace, host: str = "127.0.0.1", port: int = 9100) -> None:
        bound = bind_udp(host, port, SOCKET_BUFFER_BYTES)
        super().__init__("osc", bound, "the OSC server", _log, patience_s=2.0)
        self.host, self.port = self._socket.getsockname()[:2]
        self.stats = OscStats()
        own = (str(self.host), int(self.port))
        self._dispatcher = Dispatcher(namespace, self.stats, self._send, own)
        self._wakes: deque[float] = deque([0.0] * FLOOD_WAKES, FLOOD_WAKES)

    async def _serve(self) -> None:
        loop = asyncio.get_running_loop()
        loop.add_reader(self._socket, self._readable, loop)
        try:
            while not self._stopping.is_set():
                await asyncio.sleep(1 / self._dispatcher.subscribers.rate_hz)
                self._dispatcher.tick()
        finally:
            loop.remove_reader(self._socket)

    def _readable(self, loop: asyncio.AbstractEventLoop) -> None:
        """Something has come: read it, and wait for more or, in a flood, look again in a moment."""
        self._read_all()
        now = self._dispatcher.now
        self._wakes.append(now)
        if now - self._wakes[0] < FLOOD_S:
            loop.remove_reader(self._socket)
            loop.call_later(POLL_S, self._poll, loop)

    def _poll(self, loop: asyncio.AbstractEventLoop) -> None:
        """In a flood: read what has come since; when there is nothing, the flood is over."""
        if self._stopping.is_set():
            return
        if self._read_all():
            loop.call_later(POLL_S, self._poll, loop)
        else:
            loop.add_reader(self._socket, self._readable, loop)

    def _read_all(self) -> int:
        """Act on up to MAX_BATCH datagrams that wait; returns how many there were."""
        receive, act = self._socket.recvfrom, self._dispatcher.datagram
        self._dispatcher.wake()
        for count in range(MAX_BATCH):
            try:
                data, sender = receive(MAX_DATAGRAM)
            except (BlockingIOError, InterruptedError):
                return count
            except OSError as error:  # Windows reports here that a listener has gone away; it may come back
                _log.debug("a reply could not be delivered: %s", error)
                continue
            try:
                act(data, sender[:2])
            except Exception:
                _log.exception("a packet of %d bytes failed inside the program", len(data))
        return MAX_BATCH

    def _send(self, data: bytes, receiver: Address) -> None:
        """Send or forget: a full buffer or a receiver that is away holds nothing up."""
        try:
            self._socket.sendto(data, receiver)
        except OSError as error:
            _log.debug("a reply could not be delivered: %s", error)
