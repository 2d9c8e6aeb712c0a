"""The terminal view: levels, latency, load, xruns, domain; plain lines where there is no terminal."""

from __future__ import annotations

import math
import shutil
import sys
import time
from typing import Any, TextIO

from realtime.shared import SharedState

__all__ = ["TerminalView", "bar", "end_line", "start_lines", "status_line"]

FLOOR_DB = -60.0
BAR_WIDTH = 20
LINE_EVERY_S = 5.0
_UP_AND_CLEAR = "\x1b[1A\r\x1b[J"


def bar(level_db: float, width: int = BAR_WIDTH, full: str = "█", empty: str = "·") -> str:
    """FLOOR_DB .. 0 dB of full scale as a bar of `width` characters; NaN counts as silence."""
    level = level_db if math.isfinite(level_db) else FLOOR_DB
    share = min(max(1.0 - level / FLOOR_DB, 0.0), 1.0)
    lit = round(share * width)
    return full * lit + empty * (width - lit)


def _level(level_db: float) -> str:
    return f"{level_db:6.1f} dB" if math.isfinite(level_db) and level_db > -120 else "  -inf dB"


def status_line(shared: SharedState, domains: tuple[str, ...], engine: str) -> str:
    """Everything but the levels, in one line."""
    get = shared.status_get
    index = int(get("domain")) if math.isfinite(get("domain")) else 0
    domain = domains[index] if 0 <= index < len(domains) else "?"
    seconds = int(get("uptime")) if math.isfinite(get("uptime")) else 0
    resets = f"  resets {get('resets'):.0f}" if get("resets") else ""
    flags = "".join(f"  {name.upper()}" for name in ("bypass", "mute") if shared.get(name) >= 0.5)
    return (
        f"to {domain}  latency {get('latency_ms'):.1f} ms  load {100 * get('load'):.0f} % "
        f"(max {100 * get('load_max'):.0f} %)  xruns {get('xruns'):.0f}{resets}  "
        f"{engine}  {seconds // 3600}:{seconds // 60 % 60:02d}:{seconds % 60:02d}{flags}"
    )


class TerminalView:
    """Two lines redrawn in place on a terminal; elsewhere a line every few seconds, or on a change."""

    def __init__(self, shared: SharedState, domains: tuple[str, ...], stream: TextIO | None = None) -> None:
        self._shared = shared
        self._domains = domains
        self._stream = stream or sys.stdout
        self._drawn = False
        self._broken = False
        self._last_line_s = -math.inf
        self._last_seen: tuple[float, ...] = ()
        self._live = self._stream.isatty() and _escapes_understood()
        self._glyphs = _glyphs(self._stream)
        self.engine = ""

    def note(self, text: str) -> None:
        """A line that stays, above the bars."""
        self._write((_UP_AND_CLEAR if self._drawn else "") + text + "\n")
        self._drawn = False

    def update(self) -> None:
        """Draw; called about ten times a second."""
        if self._live:
            self._draw()
        else:
            self._maybe_line()

    def close(self) -> None:
        """Leave the cursor below the last line."""
        if self._drawn:
            self._write("\n")
        self._drawn = False

    def _draw(self) -> None:
        get, (full, empty) = self._shared.status_get, self._glyphs
        levels = "   ".join(
            f"{name} {bar(get(key), full=full, empty=empty)} {_level(get(key))}"
            for name, key in (("in", "level_in_db"), ("out", "level_out_db"))
        )
        width = shutil.get_terminal_size().columns - 1
        lines = [levels[:width], status_line(self._shared, self._domains, self.engine)[:width]]
        self._write((_UP_AND_CLEAR if self._drawn else "") + "\n".join(lines))
        self._drawn = True

    def _maybe_line(self) -> None:
        if self._shared.status_get("uptime") <= 0:
            return  # no block has been played yet: nothing to tell
        now = time.monotonic()
        seen = tuple(self._shared.status_get(name) for name in ("domain", "xruns", "resets"))
        due_s = 1.0 if seen != self._last_seen else LINE_EVERY_S
        if now - self._last_line_s >= due_s:
            get = self._shared.status_get
            levels = f"in {_level(get('level_in_db')).strip()}  out {_level(get('level_out_db')).strip()}"
            self._write(f"{levels}  {status_line(self._shared, self._domains, self.engine)}\n")
            self._last_line_s, self._last_seen = now, seen

    def _write(self, text: str) -> None:
        """A closed pipe (`| head`) ends the view, never the music."""
        if self._broken:
            return
        try:
            self._stream.write(text)
            self._stream.flush()
        except (OSError, ValueError):
            self._broken = True


def start_lines(info: dict[str, Any], osc: str) -> list[str]:
    """What was opened and granted, how to grant the rest, where to send OSC; `info` comes from audio."""
    first = (
        f"{info.get('input', 'input')} -> {info.get('output', 'output')}"
        f"   {info.get('rate', 0):g} Hz, block {info.get('block', 0)}, engine {info.get('engine', '?')}"
    )
    split: dict[str, float] = info.get("latency_ms", {})
    parts = " + ".join(f"{name} {value:.1f}" for name, value in split.items() if value)
    latency = f"latency {sum(split.values()):.1f} ms = {parts}"
    granted = "granted: " + (", ".join(info.get("granted", ())) or "nothing")
    advice = [f"not granted: {sentence}" for sentence in info.get("advice", ())]
    kept = [f"the earlier take of that name is now {info['kept']}"] if info.get("kept") else []
    return [first, *kept, latency, granted, *advice, osc, "Ctrl-C stops"]


def end_line(stats: dict[str, Any], output: str) -> str:
    """How it went: `stats` is what the audio process sent at its end; output: the file it wrote, or ""."""
    parts = [f"{stats['seconds']:.1f} s played"] if "seconds" in stats else ["played"]
    parts += [f"{stats[key]} {key}" for key in ("xruns", "resets") if key in stats]
    if "p99_us" in stats and "max_us" in stats:
        parts.append(f"block computed in {stats['p99_us']:.0f} us (p99), {stats['max_us']:.0f} us (longest)")
    if stats.get("failures"):
        parts.append(f"{stats['failures']} blocks failed ({stats.get('last_failure', '')})")
    if stats.get("recording_lost"):
        parts.append(f"{stats['recording_lost']} frames of the recording lost")
    return ", ".join(parts) + (f"; written: {output}" if output else "")


def _glyphs(stream: TextIO) -> tuple[str, str]:
    try:
        "█·".encode(stream.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return "#", "."
    return "█", "·"


def _escapes_understood() -> bool:
    """Windows consoles must be asked to follow escape sequences; others do."""
    if sys.platform != "win32":
        return True
    import ctypes

    console = ctypes.windll.kernel32
    handle, mode = console.GetStdHandle(-11), ctypes.c_ulong()
    return bool(
        console.GetConsoleMode(handle, ctypes.byref(mode)) and console.SetConsoleMode(handle, mode.value | 4)
    )
