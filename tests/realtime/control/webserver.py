"""The page's server in tests, and a plain client of it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import aiohttp

__all__ = ["Socket", "fetch"]


async def fetch(url: str, **options: Any) -> tuple[int, str, Any]:
    """Status, text and headers of a GET without following redirects."""
    method = options.pop("method", "GET")
    async with (
        aiohttp.ClientSession() as http,
        http.request(method, url, allow_redirects=False, **options) as reply,
    ):
        return reply.status, await reply.text(), reply.headers


class Socket:
    """`async with Socket(url) as page:` the page's end of the WebSocket."""

    def __init__(self, url: str, **options: Any) -> None:
        self._url, self._options = url, options
        self.values: dict[str, Any] = {}
        self.errors: list[str] = []
        self.notes: list[str] = []
        self.hellos: list[dict[str, Any]] = []
        self.columns = 0

    async def __aenter__(self) -> Socket:
        self._http = aiohttp.ClientSession()
        try:
            self.socket = await self._http.ws_connect(self._url, **self._options)
        except BaseException:
            await self._http.close()
            raise
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.socket.close()
        await self._http.close()

    async def send(self, **message: Any) -> None:
        await self.socket.send_str(json.dumps(message))

    async def until(self, condition: Callable[[Socket], Any], timeout_s: float = 4.0) -> Any:
        """Take in what comes until it holds."""
        deadline = time.monotonic() + timeout_s
        while not (result := condition(self)):
            left = deadline - time.monotonic()
            assert left > 0, f"{self.values} {self.errors}"
            try:
                await self._take(left)
            except TimeoutError:
                continue
        return result

    async def _take(self, timeout_s: float) -> None:
        message = await self.socket.receive(timeout_s)
        if message.type is aiohttp.WSMsgType.BINARY:
            self.columns += len(message.data)
            return
        assert message.type is aiohttp.WSMsgType.TEXT, message
        content = json.loads(message.data)
        self.values.update(content.get("v", {}))
        for key, heap in (("error", self.errors), ("note", self.notes), ("hello", self.hellos)):
            if key in content:
                heap.append(content[key])
