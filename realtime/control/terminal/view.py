"""The terminal view: levels, latency, load, xruns, domain; plain lines where there is no terminal."""

from __future__ import annotations

import math
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TextIO

from realtime.shared.audio_config import MAX_SLACK
from realtime.shared.memory import SharedState
from realtime.shared.messages import Ready

if TYPE_CHECKING:
    from realtime.control.namespace import Namespace

__all__ = ["TerminalView", "bar", "control_line", "end_line", "start_lines", "status_line"]

FLOOR_DB = -60.0
BAR_WIDTH = 20
LINE_EVERY_S = 5.0
_UP, _CLEAR = "\x1b[1A", "\r\x1b[J"
_NO_GATE_DB = -100.0
_NAME = 24  # characters of a preset's name that are shown


def bar(level_db: float, width: int = BAR_WIDTH, full: str = "█", empty: str = "·") -> str:
    """FLOOR_DB .. 0 dB of full scale as a bar of `width` characters; NaN counts as silence."""
    level = level_db if math.isfinite(level_db) else FLOOR_DB
    share = min(max(1.0 - level / FLOOR_DB, 0.0), 1.0)
    lit = round(share * width)
    return full * lit + empty * (width - lit)


def _level(level_db: float) -> str:
    return f"{level_db:6.1f} dB" if math.isfinite(level_db) and level_db > -120 else "  -inf dB"


def status_line(shared: SharedState, domains: tuple[str, ...], engine: str) -> str:
    """How it runs: domain, latency, load, faults, time and what is switched on."""
    get = shared.status_get
    resets = f"  resets {get('resets'):.0f}" if get("resets") else ""
    return (
        f"to {_domain(get('domain'), domains)}{_flags(shared)}  latency {get('latency_ms'):.1f} ms  "
        f"load {100 * get('load'):.0f} % (max {100 * get('load_max'):.0f} %)  xruns {get('xruns'):.0f}{resets}  "
        f"{engine}  {_clock(get('uptime'))}"
    )


def control_line(shared: SharedState, domains: tuple[str, ...], preset: str) -> str:
    """What the hands have set: domain or blend, mix, gains, preset."""
    weights = {d: shared.get(f"blend/{i}") for i, d in enumerate(domains)}
    blend = " + ".join(f"{w:.2f} {d}" for d, w in weights.items() if w > 0)
    to = f"blend {blend}" if blend else f"set {_domain(shared.get('to'), domains)}"
    gains = f"in {shared.get('input/gain_db'):+.1f} dB  out {shared.get('output/gain_db'):+.1f} dB"
    shift = shared.get("transpose")
    moved = f"  transpose {shift:+g}" if shift else ""
    gate = "" if shared.get("input/gate_db") <= _NO_GATE_DB else f"  gate {_open(shared)}"
    named = f"{preset[:_NAME]}: " if preset else ""
    return f"{named}{to}  mix {shared.get('mix'):.2f}  {gains}{gate}{moved}"


def _domain(number: float, domains: tuple[str, ...]) -> str:
    return domains[int(number)] if math.isfinite(number) and 0 <= number < len(domains) else "?"


def _open(shared: SharedState) -> str:
    return "open" if shared.status_get("gate") else "shut"


def _flags(shared: SharedState) -> str:
    flags = "".join(f"  {n.upper()}" for n in ("freeze", "bypass", "mute") if shared.get(n) >= 0.5)
    recorded, lost = shared.status_get("recording"), shared.status_get("recording_lost")
    flags += f"  REC {_clock(recorded)}" if recorded > 0 else ""
    return flags + (f" ({lost:.0f} samples lost)" if recorded > 0 and lost > 0 else "")


def _clock(seconds: float) -> str:
    whole = int(seconds) if math.isfinite(seconds) else 0
    return f"{whole // 3600}:{whole // 60 % 60:02d}:{whole % 60:02d}"


class TerminalView:
    """A few lines redrawn in place on a terminal; elsewhere a line every few seconds, or on a change.

    namespace: where the preset's name comes from, and the domains after another bundle was loaded.
    """

    def __init__(
        self,
        shared: SharedState,
        domains: tuple[str, ...],
        stream: TextIO | None = None,
        namespace: Namespace | None = None,
    ) -> None:
        self._shared = shared
        self._given_domains = domains
        self._namespace = namespace
        self._stream = stream or sys.stdout
        self._drawn = 0  # lines on the screen that are drawn over next time
        self._broken = False
        self._last_line_s = -math.inf
        self._last_seen: tuple[float, ...] = ()
        self._live = self._stream.isatty() and _escapes_understood()
        self._glyphs = _glyphs(self._stream)
        self.engine = ""

    @property
    def _domains(self) -> tuple[str, ...]:
        return self._namespace.domains if self._namespace is not None else self._given_domains

    def note(self, text: str) -> None:
        """A line that stays, above the bars."""
        self._write(_clear(self._drawn) + text + "\n")
        self._drawn = 0

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
        self._drawn = 0

    def _draw(self) -> None:
        get, (full, empty) = self._shared.status_get, self._glyphs
        levels = "   ".join(
            f"{name} {bar(get(key), full=full, empty=empty)} {_level(get(key))}"
            for name, key in (("in", "level_in_db"), ("out", "level_out_db"))
        )
        width = shutil.get_terminal_size().columns - 1
        preset = self._namespace.texts["preset"] if self._namespace is not None else ""
        controls = control_line(self._shared, self._domains, preset)
        lines = [levels, controls, status_line(self._shared, self._domains, self.engine)]
        self._write(_clear(self._drawn) + "\n".join(line[:width] for line in lines))
        self._drawn = len(lines)

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


def _clear(lines: int) -> str:
    return _UP * (lines - 1) + _CLEAR if lines else ""


def start_lines(info: Ready, surfaces: Sequence[str]) -> list[str]:
    """What was opened and granted, how to grant the rest, where to reach it (`surfaces`); `info` comes from audio."""
    first = (
        f"{info.input or 'input'} -> {info.output or 'output'}"
        f"   {info.rate:g} Hz, block {info.block}, engine {info.bundle.engine or '?'}"
    )
    split = info.latency_ms
    choice = [sentence for sentence in (info.bundle.engine_choice, info.bundle.engine_hint) if sentence]
    parts = " + ".join(f"{name} {value:.1f}" for name, value in split.items() if value)
    latency = f"latency {sum(split.values()):.1f} ms = {parts}" + _nested(info.latency)
    granted = "granted: " + (", ".join(info.granted) or "nothing")
    advice = [f"not granted: {sentence}" for sentence in info.advice]
    kept = [f"the earlier take of that name is now {info.kept}"] if info.kept else []
    return [first, *choice, *kept, latency, granted, *advice, *surfaces, "Ctrl-C stops, ? lists the keys"]


def _nested(latency: Mapping[str, float]) -> str:
    """The two that the whole latency holds."""
    if not latency:
        return ""
    return (
        f"; the software alone, with its block, {latency['software']:.1f}, "
        f"the model alone, with the block it must hear, {latency['model']:.1f}"
    )


def end_line(stats: dict[str, Any], output: str) -> str:
    """How it went: `stats` is what the audio process sent at its end; output: the file it wrote, or ""."""
    parts = [f"{stats['seconds']:.1f} s played"] if "seconds" in stats else ["played"]
    parts += [f"{stats[key]} {key}" for key in ("xruns", "resets") if key in stats]
    if "p99_us" in stats and "max_us" in stats:
        parts.append(f"block computed in {stats['p99_us']:.0f} us (p99), {stats['max_us']:.0f} us (longest)")
    if stats.get("failures"):
        parts.append(f"{stats['failures']} blocks failed ({stats.get('last_failure', '')})")
    if stats.get("late") and stats.get("slack", MAX_SLACK) < MAX_SLACK:
        parts.append(f"{stats['late']} blocks late (--slack {stats['slack'] + 1} forgives longer stalls)")
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
