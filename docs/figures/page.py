"""Pictures of the web page in a real Chromium, over the sound of the built-in clip.

    python docs/figures/page.py        # writes page-phone.png and page-desktop.png beside this file

The clip is translated by the shipped bundle; the figures on the page (load, latency, late blocks) are put
there for the picture, not measured. With a folder as argument: every layout, light and dark, to look at.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt
import soundfile
from PIL import Image

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from realtime.control.namespace import Namespace  # noqa: E402
from realtime.control.web.server import HttpServer  # noqa: E402
from realtime.run import main as play  # noqa: E402
from realtime.shared.memory import SharedState  # noqa: E402
from tests.realtime.control.chromium import Chromium  # noqa: E402
from tests.realtime.control.fakestage import Stage  # noqa: E402

DOMAINS = ("strings", "piano", "winds", "organ", "voice", "brass", "plucked", "mallets")
CLIP = ROOT / "realtime" / "assets" / "demo.flac"
Sound = npt.NDArray[np.float32]


class Presets:
    """A set list as after a rehearsal."""

    def names(self) -> list[str]:
        """None but those of the show."""
        return self.set_list()

    def set_list(self) -> list[str]:
        """In the order of the show."""
        return ["Opening", "Glass strings", "Solo winds", "Low organ", "Choir, far away", "Finale"]

    def undoable(self) -> None:
        """Nothing was saved over."""


class Midi:
    """A small controller, learned."""

    port = "nanoKONTROL2"
    learning = ""

    def mapping(self) -> list[tuple[str, str]]:
        """As the real one shows it."""
        named = (("mix", 7), ("output/gain_db", 21), ("freeze", 64))
        return [(name, f"controller {number}, channel 1") for name, number in named]


def translated(folder: Path) -> tuple[Sound, Sound]:
    """The clip, and what winds and then strings make of it."""
    said = []
    for domain in ("winds", "strings"):
        out = folder / f"{domain}.wav"
        if not out.exists():
            play(["--in", str(CLIP), "--out", str(out), "--to", domain, "--fast", "--no-osc"])
        said.append(soundfile.read(out, dtype="float32", always_2d=True)[0][:, 0])
    heard = soundfile.read(CLIP, dtype="float32")[0]
    length = min(len(heard), *map(len, said))
    return np.tile(heard[:length], 2), np.concatenate([s[:length] for s in said])


@contextmanager
def stage(heard: Sound, said: Sound) -> Iterator[tuple[SharedState, HttpServer]]:
    """The page's server over a stand-in for the audio process."""
    shared = SharedState.create()
    namespace = Namespace(shared, DOMAINS, 8)
    namespace.texts |= {"bundle": "live", "engine": "onnx", "preset": "Glass strings"}
    for name in ("preset/save", "preset/load", "preset/next", "preset/previous", "record", "model/load"):
        namespace.actions[name] = lambda argument: ""
    server = HttpServer(namespace, port=0, presets=Presets(), midi=Midi())
    server.start()
    try:
        with Stage(shared, heard, said):
            yield shared, server
    finally:
        server.stop()
        shared.unlink()
        shared.close()


def perform(shared: SharedState, page: Chromium, seconds: float) -> None:
    """Winds, then a blend: so that the picture holds two colours."""
    shared.set("to", 2)
    for name, value in (("mix", 0.86), ("input/gain_db", 4.5), ("output/gain_db", -3.0), ("transpose", -12)):
        shared.set(name, value)
    shared.set("input/gate_db", -58)
    time.sleep(seconds / 2)
    page.run("document.activeElement.blur()")
    shared.set("blend/0", 0.72)
    shared.set("blend/4", 0.28)
    time.sleep(seconds / 2)


def shoot(page: Chromium, path: Path) -> None:
    """127 steps of each colour instead of 255: nobody sees it, and the file is a fifth smaller."""
    page.screenshot(path)
    Image.open(path).convert("RGB").point(lambda v: v // 2 * 2).save(path, optimize=True)


def main() -> None:
    """The two figures, or everything."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else None
    with tempfile.TemporaryDirectory() as temporary:
        heard, said = translated(folder or Path(temporary))
    with stage(heard, said) as (shared, server), Chromium() as page:
        page.prefer("dark")
        page.resize(1280, 800)
        page.open(server.url)
        perform(shared, page, 18.0)
        shared.status_set("xruns", 2)
        time.sleep(1.3)
        shared.status_set("recording", 83)
        time.sleep(0.5)
        shoot(page, (folder or Path(__file__).parent) / "page-desktop.png")
        page.resize(390, 844, 1.5, mobile=True)
        time.sleep(0.6)
        shoot(page, (folder or Path(__file__).parent) / "page-phone.png")
        if folder:
            _everything(page, folder)
        print("\n".join(page.complaints))


def _everything(page: Chromium, folder: Path) -> None:
    for scheme in ("dark", "light"):
        page.prefer(scheme)
        for tab in ("play", "sound", "presets", "log"):
            page.run(f"document.querySelector('[data-show={tab}]').click()")
            time.sleep(0.3)
            page.screenshot(folder / f"phone-{scheme}-{tab}.png")
    for name, size in (
        ("desktop", (1280, 800)),
        ("lying", (844, 390)),
        ("small", (360, 640)),
        ("wide", (1680, 950)),
    ):
        page.run("document.querySelector('[data-show=play]').click()")
        for scheme in ("dark", "light"):
            page.prefer(scheme)
            page.resize(*size)
            time.sleep(0.5)
            page.screenshot(folder / f"{name}-{scheme}.png")


if __name__ == "__main__":
    main()
