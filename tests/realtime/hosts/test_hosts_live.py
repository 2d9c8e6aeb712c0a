"""The Pd patch and the SuperCollider class in their programs, against a running instrument."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from realtime.control.namespace import Namespace
from realtime.control.osc.udp_server import OscServer
from realtime.patches.table import Session
from realtime.patches.write import write_all
from realtime.shared.memory import SharedState
from realtime.shared.parameters import Parameter
from tests.realtime.control.oscclient import Client, eventually

PATIENCE_S = 8
DOMAINS = (
    "strings",
    "piano",
    "winds",
    "organ",
    "voice",
    "brass",
    "plucked",
    "mallets",
)  # of the shipped bundle


def free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return min(int(probe.getsockname()[1]), 65000)


class Program:
    """A program of others, and what it says."""

    def __init__(self, *command: str, folder: Path) -> None:
        # Qt wants a screen and refuses root its sandbox; both concern only windows, of which there are none.
        extra = {"HOME": str(folder), "QT_QPA_PLATFORM": "offscreen", "QTWEBENGINE_DISABLE_SANDBOX": "1"}
        self.process = subprocess.Popen(
            command, text=True, errors="replace", stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, env=os.environ | extra, cwd=folder,
        )  # fmt: skip
        self.lines: list[str] = []
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line.strip().replace("\\", ""))  # Pd escapes the spaces inside a symbol

    def said(self, text: str) -> bool:
        return eventually(lambda: any(text in line for line in self.lines), PATIENCE_S)

    def close(self) -> None:
        self.process.kill()
        self.process.wait(5)
        self._thread.join(5)
        assert self.process.stdout is not None
        self.process.stdout.close()


def pd(folder: Path, messages: Sequence[str], watched: Sequence[str]) -> Program:
    """Pd with the patch inside another one, which sends the messages once it runs and prints what it receives."""
    sent = " ".join(f"\\; {message}" for message in messages)
    lines = ["#N canvas 0 0 400 300 10;", "#X obj 10 10 umtn;", "#X obj 10 40 loadbang;", "#X obj 10 70 delay 500;",
             f"#X msg 10 100 {sent};"]  # fmt: skip
    for name in watched:
        lines += [f"#X obj 10 130 r {name};", f"#X obj 10 160 print {name};"]
    lines += ["#X connect 1 0 2 0;", "#X connect 2 0 3 0;"]
    lines += [f"#X connect {4 + 2 * i} 0 {5 + 2 * i} 0;" for i in range(len(watched))]
    (folder / "driver.pd").write_text("\n".join(lines) + "\n")
    flags = ("-nogui", "-noaudio", "-nomidi", "-stderr", "-noprefs", "-path", str(folder))
    return Program("pd", *flags, "-open", str(folder / "driver.pd"), folder=folder)


def sclang(folder: Path, script: str) -> Program:
    """sclang with the class file on its path and nothing of the user's."""
    (folder / "language.yaml").write_text(
        f"includePaths:\n    - {folder}\nexcludePaths: []\npostInlineWarnings: false\n"
    )
    (folder / "script.scd").write_text(script)
    return Program(
        "sclang", "-D", "-l", str(folder / "language.yaml"), str(folder / "script.scd"), folder=folder
    )


class Instrument:
    """`python -m realtime.run` on the built-in clip, without an output device."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, free_port()
        self.session = Session.of("live", DOMAINS, port=self.port)
        write_all(folder, self.session)
        command = [sys.executable, "-m", "realtime.run", "--in", "demo", "--out", "none", "--seconds", "90"]
        with (folder / "instrument.txt").open("w") as said:  # kept by pytest, for the day it does not start
            self.process = subprocess.Popen(
                [*command, "--osc-port", str(self.port)], env=os.environ | {"OMP_NUM_THREADS": "1"},
                stdin=subprocess.DEVNULL, stdout=said, stderr=said,
            )  # fmt: skip
        self.client = Client(self.port)
        assert eventually(self._sounds, PATIENCE_S), "the instrument did not start"

    def _sounds(self) -> bool:
        return float(str(self.ask("status/uptime") or 0)) > 0

    def ask(self, name: str) -> object:
        """What the instrument says of a parameter or figure; None when it does not answer."""
        self.client.send(f"/umtn/{name}")
        try:
            return self.client.expect(f"/umtn/{name}", 0.5)[0]
        except (AssertionError, ConnectionError):
            return None

    def close(self) -> None:
        self.client.socket.close()
        self.process.terminate()
        self.process.wait(10)


@pytest.fixture(scope="module")
def instrument(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instrument]:
    running = Instrument(tmp_path_factory.mktemp("hosts"))
    yield running
    running.close()


def goals(session: Session, position: float) -> dict[Parameter, float]:
    """A value for everything that holds one. Of the blend only one weight: how many decoders can run at once
    depends on the machine; the others are held against 0."""
    values = {p: p.denormalize(position) for p in session.parameters if p.kind in ("float", "choice")}
    rest = {
        p: 0.0 for p in session.parameters if p.name.startswith("blend/") and p.name != f"blend/{DOMAINS[-1]}"
    }
    return values | rest | {p: 1.0 for p in session.parameters if p.kind == "bool"}


def arrived(instrument: Instrument, wanted: dict[Parameter, float]) -> dict[str, object]:
    """What did not arrive: empty when all did."""
    expected = {p.name: p.choices[int(v)] if p.kind == "choice" else pytest.approx(v, rel=1e-4, abs=1e-4)
                for p, v in wanted.items()}  # fmt: skip
    found = {name: instrument.ask(name) for name in expected}
    return {name: value for name, value in found.items() if value != expected[name]}


@pytest.mark.puredata
def test_every_parameter_moves_from_pd_and_status_comes_back(instrument: Instrument) -> None:
    wanted = goals(instrument.session, 0.25)
    messages = [f"umtn/{p.name} {v:g}" for p, v in wanted.items()]
    watched = ("umtn/status/level_in_db", "umtn/status/domain", "umtn/value/transpose", "umtn/value/to")
    program = pd(instrument.folder, messages, watched)
    try:
        assert eventually(lambda: not arrived(instrument, wanted), PATIENCE_S), arrived(instrument, wanted)
        assert program.said("umtn/status/level_in_db: -") and program.said("umtn/status/domain: symbol ")
        instrument.client.send(
            "/umtn/transpose", 7.0
        )  # moved elsewhere: the patch shows it, and leaves it there
        assert program.said("umtn/value/transpose: 7")
        instrument.client.send("/umtn/to", "winds")
        assert program.said("umtn/value/to: 2")
        time.sleep(0.3)
        assert (instrument.ask("transpose"), instrument.ask("to")) == (7.0, "winds")
        complaints = [
            line for line in program.lines if "rror" in line or "no method" in line or "couldn" in line
        ]
        assert complaints == []
    finally:
        program.close()


@pytest.mark.puredata
def test_pd_sliders_follow_the_curve_both_ways(instrument: Instrument) -> None:
    """A slider says 0..1; a square curve puts its middle at a quarter of the range."""
    messages = ["umtn-slider/crossfade_ms 0.5", "umtn-slider/output/gain_db 0.5"]
    program = pd(
        instrument.folder, messages, ("umtn-slider-set/crossfade_ms", "umtn-slider-set/output/gain_db")
    )
    try:
        assert eventually(lambda: instrument.ask("crossfade_ms") == 500.0, PATIENCE_S)
        assert eventually(lambda: instrument.ask("output/gain_db") == -18.0, PATIENCE_S)
        assert program.said("umtn-slider-set/crossfade_ms: set 0.5")
        instrument.client.send("/umtn/crossfade_ms", 1125.0)
        assert program.said("umtn-slider-set/crossfade_ms: set 0.75")
    finally:
        program.close()


SCRIPT = """
u = UmtnLive("127.0.0.1", {port});
u.onError = {{ |text| ("refused: " ++ text).postln }};
u.onMeter('level_in_db', {{ |value| ("level " ++ value.class).postln }});
u.onChange('transpose', {{ |value| ("transpose " ++ value).postln }});
u.subscribe;
{sets}
u.set('mix', 7);
u.setNormalized('crossfade_ms', 0.5);
u.ask('rate_that_is_none'.isNil.if('mix', 'glide_ms'), {{ |value| ("asked " ++ value).postln }});
try {{ u.set('mixx', 1) }} {{ |error| error.errorString.postln }};
try {{ u.fire('mix') }} {{ |error| error.errorString.postln }};
{{ ("alive " ++ u.alive ++ " " ++ u['to'] ++ " " ++ u.meter('engine')).postln }}.defer(1.5);
"""


def spelled(p: Parameter, value: float) -> str:
    """A value as SuperCollider's source has it."""
    if p.choices:
        return f'"{p.choices[int(value)]}"'
    return "true" if p.kind == "bool" else f"{value:g}"


@pytest.mark.supercollider
def test_every_parameter_moves_from_supercollider_and_status_comes_back(instrument: Instrument) -> None:
    wanted = goals(instrument.session, 0.6)
    sets = [f"u['{p.name}'] = {spelled(p, v)};" for p, v in wanted.items()]
    program = sclang(instrument.folder, SCRIPT.format(port=instrument.port, sets="\n".join(sets)))
    try:
        assert program.said("refused: /umtn/mix takes 0 to 1, but 7 came; 1 was set"), program.lines[-20:]
        wanted |= {p: 1.0 for p in wanted if p.name == "mix"} | {
            p: 500.0 for p in wanted if p.name == "crossfade_ms"
        }
        assert eventually(lambda: not arrived(instrument, wanted), PATIENCE_S), arrived(instrument, wanted)
        assert program.said("no parameter called 'mixx'") and program.said("mix needs a value")
        glide = next(v for p, v in wanted.items() if p.name == "glide_ms")
        assert program.said(f"asked {glide:g}") and program.said("level Float")
        instrument.client.send("/umtn/transpose", -5.0)
        assert program.said("transpose -5.0")
        engine = instrument.ask("status/engine")
        to = next(p.choices[int(v)] for p, v in wanted.items() if p.name == "to")
        assert program.said(f"alive true {to} {engine}")
    finally:
        program.close()


@pytest.fixture
def acted(namespace: Namespace) -> list[tuple[str, object]]:
    """Actions that the namespace was asked for, with what they were given."""
    heard: list[tuple[str, object]] = []

    def listen(name: str) -> None:
        def action(argument: str | bool | None) -> str:
            heard.append((name, argument))
            return ""

        namespace.actions[name] = action

    for p in namespace.parameters:
        if p.kind == "action":
            listen(p.name)
    return heard


@pytest.fixture
def shared() -> Iterator[SharedState]:
    state = SharedState.create()
    yield state
    state.close()
    state.unlink()


@pytest.fixture
def namespace(shared: SharedState) -> Namespace:
    return Namespace(shared, DOMAINS)


@pytest.mark.puredata
def test_pd_fires_actions_and_finds_a_program_that_starts_later_and_again(
    namespace: Namespace, shared: SharedState, acted: list[tuple[str, object]], tmp_path: Path
) -> None:
    """Pd closes its socket when nobody listens: the patch has to open it again by itself."""
    port = free_port()
    write_all(tmp_path, Session.of("live", DOMAINS, port=port))
    program = pd(tmp_path, [], ("umtn/value/mix",))
    try:
        time.sleep(1.0)
        for value in (0.5, 0.25):
            shared.set("mix", value)
            server = OscServer(namespace, "127.0.0.1", port)
            server.start()
            try:
                assert program.said(f"umtn/value/mix: {value}"), program.lines[-10:]
            finally:
                server.stop()
            time.sleep(0.3)
        server = OscServer(namespace, "127.0.0.1", port)
        server.start()
        messages = [
            "umtn/panic bang",
            "umtn/preset/save symbol late",
            "umtn/preset/next bang",
            "umtn/record 1",
        ]
        second = pd(tmp_path, messages, ())
        try:
            assert eventually(lambda: len(acted) >= 3 and shared.panic_count == 1, PATIENCE_S), second.lines
            assert sorted(acted, key=str) == [
                ("preset/next", None),
                ("preset/save", "late"),
                ("record", True),
            ]
        finally:
            second.close()
            server.stop()
    finally:
        program.close()


@pytest.mark.supercollider
def test_supercollider_fires_actions(
    namespace: Namespace, shared: SharedState, acted: list[tuple[str, object]], tmp_path: Path
) -> None:
    server = OscServer(namespace, "127.0.0.1", 0)
    write_all(tmp_path, Session.of("live", DOMAINS, port=9100))
    server.start()
    program = sclang(
        tmp_path,
        f"u = UmtnLive(port: {server.port}); u.fire('panic'); u.set('preset/save', \"my sound\");"
        "u.fire('preset/next'); u.set('record', true); u.free; UmtnLive.help; { 0.exit }.defer(0.5);",
    )
    try:
        assert eventually(lambda: len(acted) == 3, PATIENCE_S), program.lines
        assert acted == [("preset/save", "my sound"), ("preset/next", None), ("record", True)]
        assert shared.panic_count == 1
        assert program.said("/umtn/crossfade_ms") and program.process.wait(10) == 0
    finally:
        program.close()
        server.stop()
