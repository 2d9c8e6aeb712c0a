"""A real Chromium, driven through its DevTools protocol: one page, its console, its keys and its fingers."""

from __future__ import annotations

import asyncio
import base64
import json
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Any

import aiohttp

__all__ = ["Chromium", "find_chromium"]

PATIENCE_S = 20.0
_FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--mute-audio", "--hide-scrollbars",
    "--disable-dev-shm-usage", "--disable-extensions", "--disable-background-networking", "--disable-sync",
    "--remote-debugging-port=0", "--force-color-profile=srgb",
    "--host-resolver-rules=MAP evil.example 127.0.0.1",
)  # fmt: skip
_KEYS = {
    "ArrowRight": 39, "ArrowLeft": 37, "ArrowUp": 38, "ArrowDown": 40, "Home": 36, "End": 35, "Tab": 9,
    "Enter": 13, "Escape": 27, " ": 32,
}  # fmt: skip


def find_chromium() -> str | None:
    """Path of the browser, or None."""
    names = ("chromium", "chromium-browser", "google-chrome", "chrome")
    return next((path for name in names if (path := shutil.which(name))), None)


class Chromium:
    """`with Chromium() as page: page.open(url); page.run("1 + 1")`. `complaints` holds what the console said."""

    def __init__(self, width: int = 390, height: int = 844) -> None:
        self.size = (width, height)
        self.complaints: list[str] = []
        self._folder = tempfile.TemporaryDirectory(prefix="chromium-", ignore_cleanup_errors=True)
        self._runner = asyncio.Runner()
        self._count = 0

    def __enter__(self) -> Chromium:
        try:
            self._runner.run(self._start())
            for domain in ("Page", "Runtime", "Log", "Network"):
                self.call(f"{domain}.enable")
            self.resize(*self.size)
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if hasattr(self, "_http"):
            self._runner.run(self._stop())
        self._runner.close()
        if hasattr(self, "_process"):
            self._process.terminate()
            try:
                self._process.wait(5.0)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._folder.cleanup()

    async def _start(self) -> None:
        binary = find_chromium()
        assert binary is not None, "no Chromium"
        command = [binary, *_FLAGS, f"--user-data-dir={self._folder.name}", "about:blank"]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        told = Path(self._folder.name) / "DevToolsActivePort"
        deadline = time.monotonic() + PATIENCE_S
        while not (told.exists() and len(told.read_text().split()) == 2):
            assert time.monotonic() < deadline and self._process.poll() is None, "Chromium did not start"
            await asyncio.sleep(0.05)
        port = told.read_text().split()[0]
        self._http = aiohttp.ClientSession()
        async with self._http.get(f"http://127.0.0.1:{port}/json/list") as reply:
            target = next(t for t in await reply.json() if t["type"] == "page")
        self._socket = await self._http.ws_connect(target["webSocketDebuggerUrl"], max_msg_size=0)

    async def _stop(self) -> None:
        if hasattr(self, "_socket"):
            await self._socket.close()
        await self._http.close()

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """One command of the protocol, answered."""
        return self._runner.run(self._call(method, parameters))

    async def _call(self, method: str, parameters: dict[str, Any]) -> dict[str, Any]:
        self._count += 1
        number = self._count
        await self._socket.send_json({"id": number, "method": method, "params": parameters})
        async with asyncio.timeout(PATIENCE_S):
            while True:
                answer = json.loads((await self._socket.receive()).data)
                if answer.get("id") == number:
                    assert "error" not in answer, f"{method}: {answer}"
                    return dict(answer["result"])
                self._note(answer)

    def _note(self, event: dict[str, Any]) -> None:
        content = event.get("params", {})
        if event.get("method") == "Runtime.exceptionThrown":
            self.complaints.append(json.dumps(content["exceptionDetails"].get("exception", content))[:600])
        elif event.get("method") == "Log.entryAdded" and content["entry"]["level"] in ("error", "warning"):
            self.complaints.append(content["entry"]["text"] + " " + content["entry"].get("url", ""))
        elif event.get("method") == "Runtime.consoleAPICalled" and content["type"] in ("error", "warning"):
            self.complaints.append(str(content["args"]))

    def open(self, url: str) -> None:
        """Go there and wait until it has loaded."""
        self.run("window.isBefore = true")
        self.call("Page.navigate", url=url)
        self.wait("document.readyState === 'complete' && !window.isBefore")

    def run(self, script: str) -> Any:
        """The value of an expression (a promise is awaited)."""
        result = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in result, result["exceptionDetails"]
        return result["result"].get("value")

    def wait(self, script: str, timeout_s: float = 8.0) -> None:
        """Until the expression is true."""
        deadline = time.monotonic() + timeout_s
        while not self.run(f"Boolean({script})"):
            assert time.monotonic() < deadline, f"never became true: {script}\n{self.complaints}"
            time.sleep(0.03)

    def resize(self, width: int, height: int, scale: float = 1.0, mobile: bool = False) -> None:
        """A screen of that many CSS pixels."""
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=scale, mobile=mobile
        )  # fmt: skip

    def prefer(self, scheme: str) -> None:
        """dark or light."""
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    def key(self, key: str, shift: bool = False) -> None:
        """Press and let go."""
        code = _KEYS.get(key, ord(key.upper()[0]) if len(key) == 1 else 0)
        text = {"text": "\r" if key == "Enter" else key} if len(key) == 1 or key == "Enter" else {}
        common = {"key": key, "windowsVirtualKeyCode": code, "modifiers": 8 if shift else 0}
        self.call("Input.dispatchKeyEvent", type="keyDown", **common, **text)
        self.call("Input.dispatchKeyEvent", type="keyUp", **common)

    def type(self, text: str) -> None:
        """Into whatever has the focus."""
        self.call("Input.insertText", text=text)

    def middle(self, selector: str) -> tuple[float, float]:
        """Centre of an element, scrolled into view."""
        return tuple(
            self.run(
                f"(() => {{ const e = document.querySelector({json.dumps(selector)});"
                "e.scrollIntoView({block: 'nearest'}); const r = e.getBoundingClientRect();"
                "return [r.left + r.width / 2, r.top + r.height / 2]; })()"
            )
        )

    def click(self, selector: str) -> None:
        """With the mouse, in the middle."""
        self.drag(self.middle(selector))

    def drag(self, *points: tuple[float, float]) -> None:
        """Mouse down at the first point, along the others, up."""
        for kind, point in [("mousePressed", points[0]), *(("mouseMoved", p) for p in points[1:])]:
            self.call("Input.dispatchMouseEvent", type=kind, x=point[0], y=point[1], button="left", buttons=1,
                      clickCount=1)  # fmt: skip
        x, y = points[-1]
        self.call("Input.dispatchMouseEvent", type="mouseReleased", x=x, y=y, button="left", clickCount=1)

    def screenshot(self, path: Path) -> None:
        """PNG."""
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"]))
