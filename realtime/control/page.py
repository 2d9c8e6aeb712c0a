"""One open web page: what it knows already, and what is still to be sent to it.

Threading model: everything in the web server's asyncio loop, but `tell_from_anywhere`. A page that cannot keep
up gets the latest values later, never a queue of old ones.
"""

from __future__ import annotations

import asyncio
import json
from collections import deque
from contextlib import suppress
from typing import Any

from aiohttp import web

from realtime.control.contest import Who

__all__ = ["Page"]

SEND_S = 3.0
KEPT_COLUMNS = 25
_NEVER = object()


class Page:
    """One WebSocket: what it knows and what is still to be sent."""

    def __init__(self, socket: web.WebSocketResponse, request: web.Request) -> None:
        self.socket, self.request = socket, request
        self.seen: dict[str, Any] = {}
        self.values: dict[str, Any] = {}
        self.texts: deque[dict[str, Any]] = deque(maxlen=16)
        self.columns: deque[bytes] = deque(maxlen=KEPT_COLUMNS)
        self.wake = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        peer = request.transport.get_extra_info("peername") if request.transport else None
        self.name = f"page {peer[0]}:{peer[1]}" if peer else "page"

    def offer(self, values: dict[str, Any], columns: list[bytes]) -> None:
        """Take note of what has changed; never waits."""
        changed = {name: v for name, v in values.items() if self.seen.get(name, _NEVER) != v}
        self.seen.update(changed)
        self.values.update(changed)
        self.columns.extend(columns)
        if self.values or self.columns or self.texts:
            self.wake.set()

    def tell(self, **text: Any) -> None:
        """An {"error": ...}, {"note": ...} or {"hello": ...} of its own."""
        self.texts.append(text)
        self.wake.set()

    def tell_from_anywhere(self, who: Who, sentence: str) -> None:
        """An error that another thread has found; `who` is this page."""
        with suppress(RuntimeError):  # the loop is closed: nobody is left to be told
            self._loop.call_soon_threadsafe(lambda: self.tell(error=sentence))

    async def send_all(self) -> None:
        """Until the socket is closed."""
        try:
            while not self.socket.closed:
                await self.wake.wait()
                self.wake.clear()
                async with asyncio.timeout(SEND_S):
                    await self._send()
        except (OSError, TimeoutError, RuntimeError, ValueError):  # gone, or it does not read
            if self.request.transport is not None:
                self.request.transport.abort()

    async def _send(self) -> None:
        while self.texts:
            await self.socket.send_str(json.dumps(self.texts.popleft()))
        if self.values:
            values, self.values = self.values, {}
            await self.socket.send_str(json.dumps({"v": values}, allow_nan=False))
        if self.columns:
            columns = b"".join(self.columns)
            self.columns.clear()
            await self.socket.send_bytes(columns)
