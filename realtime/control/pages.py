"""The open web pages, and the 25 ticks a second in which they are told what is new.

Threading model: all of it runs in the web server's asyncio loop. A page that cannot keep up gets the latest
values later, never a queue of old ones; a page that has gone is noticed by its missing pongs.

To the page: {"hello": table}, {"v": {name: value}} with what has changed, {"error": sentence}, {"note": text},
and binary frames of spectrogram columns (see scope.py). From the page: see page_wishes.py.
"""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import suppress
from typing import Any

from aiohttp import WSMsgType, web

from realtime.control.namespace import Namespace
from realtime.control.page import Page
from realtime.control.page_values import PageValues
from realtime.control.page_wishes import Wishes
from realtime.control.scope import Scope

__all__ = ["MAX_MESSAGE_BYTES", "MAX_PAGES", "PUSH_HZ", "Pages"]

PUSH_HZ = 25
SLOW_TICKS = 6
MAX_PAGES = 16
MAX_MESSAGE_BYTES = 16 << 10
MAX_MESSAGES_HZ = 240  # of one page: a finger makes 40
HEARTBEAT_S = 6.0

_log = logging.getLogger("realtime.web")


class Pages:
    """midi and presets may be None: then the page does not show them."""

    def __init__(self, namespace: Namespace, version: str, midi: Any = None, presets: Any = None) -> None:
        self._values = PageValues(namespace, version, midi, presets)
        self._wishes = Wishes(namespace, midi)
        self._scope = Scope(namespace.shared)
        self._pages: set[Page] = set()
        self._table = self._values.table()

    def __len__(self) -> int:
        return len(self._pages)

    async def tick_forever(self) -> None:
        """PUSH_HZ times a second, tell every page what is new."""
        ticks = 0
        while True:
            try:
                self._tick(ticks)
                if ticks % PUSH_HZ == 0 and self._pages:
                    await self._wishes.in_turn(self._values.read_presets)
            except Exception:  # a page must not go blank over one bad value
                _log.exception("the web page missed a beat")
            ticks += 1
            await asyncio.sleep(1 / PUSH_HZ)

    def _tick(self, ticks: int) -> None:
        slow = ticks % SLOW_TICKS == 0
        if slow:
            self._values.incidents.poll()
        if not self._pages:
            return
        if slow:
            self._renew_table()
        values, columns = self._values.now(slow), self._scope.columns()
        for page in self._pages:
            page.offer(values, columns)
            if ticks % PUSH_HZ == 0:
                page.tell(v={})  # by this the page knows that the link is alive

    def _renew_table(self) -> None:
        """After another bundle was loaded the controls are others."""
        table = self._values.table()
        if table != self._table:
            self._table = table
            for page in self._pages:
                page.seen.clear()
                page.tell(hello=table)

    async def socket(self, request: web.Request) -> web.WebSocketResponse:
        """Serve one page until it closes."""
        socket = web.WebSocketResponse(
            heartbeat=HEARTBEAT_S, max_msg_size=MAX_MESSAGE_BYTES, compress=False, timeout=1.0
        )
        if not socket.can_prepare(request).ok:
            raise web.HTTPBadRequest(text="this is no WebSocket handshake of version 13")
        if len(self._pages) >= MAX_PAGES:
            raise web.HTTPServiceUnavailable(text=f"{MAX_PAGES} pages are open already; close one")
        await socket.prepare(request)
        page = Page(socket, request)
        self._renew_table()
        page.tell(hello=self._table)
        page.offer(self._values.now(slow=True), [])
        self._pages.add(page)
        sender = asyncio.create_task(page.send_all())
        try:
            await self._listen(page)
        finally:
            self._pages.discard(page)
            sender.cancel()
            with suppress(asyncio.CancelledError):
                await sender
        return socket

    async def _listen(self, page: Page) -> None:
        began, count = time.monotonic(), 0
        async for message in page.socket:
            if message.type is WSMsgType.TEXT:
                self._wishes.understand(page, message.data)
            else:
                page.tell(error="the page speaks JSON; a binary message came")
            count += 1
            if count >= MAX_MESSAGES_HZ / 10:  # read no faster than this, so that others get their turn
                await asyncio.sleep(max(began + 0.1 - time.monotonic(), 0))
                began, count = time.monotonic(), 0

    async def close(self) -> None:
        """Say goodbye to every page."""
        for page in list(self._pages):
            with suppress(Exception):
                async with asyncio.timeout(0.5):
                    await page.socket.close(code=1001, message=b"the program ends")
        self._wishes.close()
