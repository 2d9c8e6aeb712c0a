"""The terminal view: in place on a terminal, lines elsewhere, and never an exception."""

from __future__ import annotations

import io
import math

import pytest

from realtime.control.namespace import Namespace
from realtime.control.terminal.view import TerminalView, bar, end_line, start_lines, status_line
from realtime.shared.memory import SharedState
from realtime.shared.messages import PlayingBundle, Ready

DOMAINS = ("strings", "piano")


class Terminal(io.StringIO):
    encoding = "utf-8"  # type: ignore[assignment]

    def isatty(self) -> bool:
        return True


class ClosedPipe(io.StringIO):
    def write(self, text: str) -> int:
        raise BrokenPipeError


@pytest.mark.parametrize(
    ("level", "lit"),
    [(0.0, 10), (6.0, 10), (-30.0, 5), (-60.0, 0), (-200.0, 0), (-math.inf, 0), (math.nan, 0)],
)
def test_bar(level: float, lit: int) -> None:
    assert bar(level, 10, "#", ".") == "#" * lit + "." * (10 - lit)


def test_a_terminal_is_redrawn_in_place(shared: SharedState) -> None:
    stream = Terminal()
    view = TerminalView(shared, DOMAINS, stream)
    for _ in range(3):
        view.update()
    view.note("a note")
    view.update()
    view.close()
    text = stream.getvalue()
    assert text.count("\x1b[1A\r\x1b[J") == 3
    assert text.count("a note\n") == 1
    assert text.endswith("\n")


def test_elsewhere_a_line_when_something_changes(shared: SharedState) -> None:
    stream = io.StringIO()
    view = TerminalView(shared, DOMAINS, stream)
    view.update()
    assert stream.getvalue() == ""  # nothing has been played yet
    shared.status_set("uptime", 1.0)
    for _ in range(50):
        view.update()
    assert stream.getvalue().count("\n") == 1
    assert "\x1b" not in stream.getvalue()
    view._last_line_s -= 1.0
    view.update()
    assert stream.getvalue().count("\n") == 1
    shared.status_set("domain", 1.0)
    view.update()
    assert stream.getvalue().count("\n") == 2
    assert "to piano" in stream.getvalue()


def test_garbage_in_shared_memory_is_shown_not_raised(shared: SharedState) -> None:
    for value in (math.nan, math.inf, -1.0, 1e300):
        shared.status[:] = value
        assert isinstance(status_line(shared, DOMAINS, "onnx"), str)


def test_a_closed_pipe_ends_the_view_only(shared: SharedState) -> None:
    view = TerminalView(shared, DOMAINS, ClosedPipe())
    view.note("x")
    shared.status_set("uptime", 1.0)
    view.update()
    view.close()


def test_start_and_end_lines() -> None:
    info = Ready(
        PlayingBundle(engine="onnx", engine_hint="slower than it need be"),
        input="mic",
        output="out",
        rate=48000,
        block=256,
        latency_ms={"io": 5.0, "model": 7.5},
        latency={"model": 5.3, "software": 10.1, "device": 12.5},
        granted=("SCHED_FIFO 5",),
        advice=("locked memory: do this",),
    )
    text = "\n".join(start_lines(info, ["OSC on 9100"]))
    for part in (
        "latency 12.5 ms = io 5.0 + model 7.5",
        "the software alone, with its block, 10.1, the model alone, with the block it must hear, 5.3",
        "slower than it need be",
        "granted: SCHED_FIFO 5",
        "not granted: locked memory: do this",
        "OSC on 9100",
    ):
        assert part in text
    assert end_line({"seconds": 5.0, "xruns": 1}, "x.wav") == "5.0 s played, 1 xruns; written: x.wav"
    late = {"seconds": 5.0, "xruns": 3, "late": 2, "slack": 1}
    assert end_line(late, "") == "5.0 s played, 3 xruns, 2 blocks late (--slack 2 forgives longer stalls)"
    for nothing_to_advise in ({"late": 0}, {"slack": 8}):
        assert end_line(late | nothing_to_advise, "") == "5.0 s played, 3 xruns"


def test_what_the_hands_have_set_is_shown(shared: SharedState, namespace: Namespace) -> None:
    stream = Terminal()
    view = TerminalView(shared, (), stream, namespace)
    namespace.texts["preset"] = "Verse"
    for name, value in (
        ("to", 2.0),
        ("mix", 0.25),
        ("input/gain_db", -3.0),
        ("mute", 1.0),
        ("transpose", -12.0),
    ):
        shared.set(name, value)
    shared.set("input/gate_db", -40.0)
    shared.status_set("recording", 75.0)
    shared.status_set("recording_lost", 12.0)
    view.update()
    shown = stream.getvalue()
    for part in (
        "Verse: set winds  mix 0.25  in -3.0 dB  out +0.0 dB  gate shut  transpose -12",
        "to strings  MUTE  REC 0:01:15 (12 samples lost)  latency",
    ):
        assert part in shown
    shared.set("blend/0", 0.5)
    shared.set("blend/2", 0.25)
    namespace.redomain(("harp", "piano", "oboe"), 8)
    view.update()
    assert "Verse: blend 0.50 harp + 0.25 oboe" in stream.getvalue()


def test_garbage_in_the_parameters_is_shown_not_raised(shared: SharedState, namespace: Namespace) -> None:
    view = TerminalView(shared, DOMAINS, Terminal(), namespace)
    for value in (math.nan, math.inf, -1.0, 1e300):
        shared.status[:] = value
        shared.parameters[:] = value
        view.update()
