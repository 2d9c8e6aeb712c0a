"""The open web pages, and the 25 ticks a second in which they are told what is new.

Threading model: all of it runs in the web server's asyncio loop. A page that cannot keep up gets the latest
values later, never a queue of old ones; a page that has gone is noticed by its missing pongs.

To the page: {"hello": table}, {"v": {name: value}} with what has changed, {"error": sentence}, {"note": text},
and binary frames of spectrogram columns (see scope.py). From the page: see page_wishes.py.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

from aiohttp import WSMsgType, web

from realtime.control.namespace import ERROR, Namespace, Reply
from realtime.control.values import Who
from realtime.control.web.page_state import PageValues, Scope
from realtime.shared.parameters import PREFIX, Parameter

__all__ = ["MAX_MESSAGE_BYTES", "MAX_PAGES", "PUSH_HZ", "Page", "Pages", "Wishes"]


# One open web page: what it knows already, and what is still to be sent to it.
#
# Threading model: everything in the web server's asyncio loop, but `tell_from_anywhere`. A page that cannot keep
# up gets the latest values later, never a queue of old ones.


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


# What a page asks for: {"set": {name: value}} and {"midi": {"learn": name, "forget": name, "cancel": true}}.
#
# Threading model: in the web server's loop. Only actions are handed to a thread of their own, one after another:
# a disk may be slow, and neither panic nor the meters must wait for it.


MAX_WAITING = 8
_SHOWN = 60  # characters of a foreign name that an error quotes


class Wishes:
    """Acts on the messages of all pages."""

    def __init__(self, namespace: Namespace, midi: Any = None) -> None:
        self._namespace, self._midi = namespace, midi
        self._waiting = 0
        self._worker = ThreadPoolExecutor(1, "web-action")

    def understand(self, page: Page, text: str) -> None:
        """Act on one message; whatever is wrong with it is told to the page."""
        try:
            message = json.loads(text)
            if not isinstance(message, dict) or not message.keys() <= {"set", "midi"}:
                raise ValueError("not understood: an object with `set` or `midi` was wanted")
            for name, value in dict(message.get("set", {})).items():
                self._set(page, name, value)
            for verb, argument in dict(message.get("midi", {})).items():
                self._teach(verb, argument)
        except json.JSONDecodeError as error:
            page.tell(error=f"not understood: no JSON ({error})")
        except ValueError as error:
            page.tell(error=str(error)[:400])
        except (TypeError, RecursionError) as error:
            page.tell(error=f"not understood: {str(error)[:120]}")

    def _set(self, page: Page, name: str, value: object) -> None:
        parameter = self._known(name)
        if parameter.kind == "action":
            self._act(page, name, value)
            return
        arguments = () if value is None else (value,)
        _pass_on(page, name, self._receive(page, parameter.address, arguments))

    def _receive(self, page: Page, address: str, arguments: tuple[object, ...]) -> list[Reply]:
        return self._namespace.receive(address, arguments, page.name, page.tell_from_anywhere)

    def _known(self, name: object) -> Parameter:
        for parameter in self._namespace.parameters:
            if parameter.name == name:
                return parameter
        raise ValueError(f"there is no parameter {str(name)[:_SHOWN]!r} in this session")

    def _act(self, page: Page, name: str, value: object) -> None:
        if self._waiting >= MAX_WAITING:
            page.tell(error=f"{name}: {MAX_WAITING} earlier wishes are still being worked on")
            return
        self._waiting += 1
        arguments = () if value is None else (value,)
        done = self.in_turn(lambda: self._receive(page, PREFIX + name, arguments))

        def report(future: asyncio.Future[list[Reply]]) -> None:
            self._waiting -= 1
            if future.cancelled():
                return
            if error := future.exception():
                page.tell(error=f"{name} failed inside the program ({error})")
            else:
                _pass_on(page, name, future.result())

        done.add_done_callback(report)

    def in_turn(self, work: Callable[[], Any]) -> asyncio.Future[Any]:
        """Do something that may take long, after what was asked for before."""
        return asyncio.get_running_loop().run_in_executor(self._worker, work)

    def _teach(self, verb: str, argument: object) -> None:
        if self._midi is None:
            raise ValueError("MIDI is off; start with --midi")
        if verb == "cancel":
            self._midi.cancel()
        elif verb in ("learn", "forget"):
            getattr(self._midi, verb)(self._known(argument).name)
        else:
            raise ValueError("midi takes learn, forget or cancel")

    def close(self) -> None:
        """Begin nothing more."""
        self._worker.shutdown(wait=False, cancel_futures=True)


def _pass_on(page: Page, name: str, replies: list[Reply]) -> None:
    for address, arguments in replies:
        if address == ERROR:
            page.tell(error=str(arguments[0]))
        elif arguments and isinstance(arguments[0], str):
            page.tell(note=f"{name}: {arguments[0]}")


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
                    await self._wishes.in_turn(self._values.read_files)
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
