"""Other people's programs as OSC clients: liblo's oscsend and oscdump, and Pure Data without a window."""

from __future__ import annotations

import socket
import subprocess
import threading
from pathlib import Path
from typing import TextIO

import pytest

from realtime.control.osc.udp_server import OscServer
from realtime.shared.memory import SharedState
from tests.realtime.control.oscclient import eventually


def oscsend(port: int, address: str, *typed: str) -> None:
    subprocess.run(["oscsend", "127.0.0.1", str(port), address, *typed], check=True, timeout=10)


class Listening:
    """A program whose output is read line by line."""

    def __init__(self, *command: str, stream: str = "stdout") -> None:
        pipes = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, stream: subprocess.PIPE}
        self.process = subprocess.Popen(command, text=True, stdin=subprocess.DEVNULL, **pipes)  # type: ignore[call-overload]
        self.lines: list[str] = []
        self._pipe: TextIO = getattr(self.process, stream)
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        for line in self._pipe:  # to the end, for a full pipe would stop the program
            self.lines.append(line.strip().replace("\\", ""))  # Pd escapes the spaces inside a symbol

    def heard(self, text: str) -> bool:
        return eventually(lambda: any(text in line for line in self.lines), 10)

    def close(self) -> None:
        self.process.kill()
        self.process.wait(5)
        self._thread.join(5)
        self._pipe.close()


@pytest.mark.liblo
def test_oscsend_sets_every_type(server: OscServer, shared: SharedState) -> None:
    oscsend(server.port, "/umtn/to", "s", "winds")
    oscsend(server.port, "/umtn/mix", "f", "0.25")
    oscsend(server.port, "/umtn/bypass", "i", "1")
    oscsend(server.port, "/umtn/mute", "T")
    oscsend(server.port, "/umtn/input/gain_db", "d", "-12")
    oscsend(server.port, "/umtn/output/gain_db", "h", "6")
    oscsend(server.port, "/umtn/panic")
    assert eventually(lambda: shared.panic_count == 1)
    names = ("to", "mix", "bypass", "mute", "input/gain_db", "output/gain_db")
    assert [shared.get(name) for name in names] == [2.0, 0.25, 1.0, 1.0, -12.0, 6.0]


@pytest.mark.liblo
def test_oscdump_hears_status_values_and_errors(server: OscServer, shared: SharedState) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    dump = Listening("oscdump", "-L", str(port))
    try:
        shared.status_set("latency_ms", 12.5)
        oscsend(server.port, "/umtn/subscribe", "si", "127.0.0.1", str(port))
        assert dump.heard("/umtn/status/latency_ms f 12.5")
        oscsend(server.port, "/umtn/to", "i", "1")
        assert dump.heard('/umtn/to s "piano"')
        oscsend(server.port, "/umtn/mix", "f", "7")
        assert dump.heard("/error s")
        assert any("takes 0 to 1, but 7 came; 1 was set" in line for line in dump.lines)
    finally:
        dump.close()


@pytest.mark.puredata
def test_pure_data_sets_gets_and_is_told_of_its_mistakes(server: OscServer, shared: SharedState) -> None:
    patch = Path(__file__).with_name("client.pd")
    flags = (
        "-nogui",
        "-noaudio",
        "-nomidi",
        "-stderr",
        "-noprefs",
        "-open",
        str(patch),
        "-send",
        f"port {server.port}",
    )
    pd = Listening("pd", *flags, stream="stderr")
    try:
        assert pd.heard("umtn mix 0.375"), pd.lines
        assert pd.heard("umtn to winds"), pd.lines
        assert pd.heard("-60 to 24 dB"), pd.lines
    finally:
        pd.close()
    assert (shared.get("mix"), shared.get("to"), shared.get("output/gain_db")) == (0.375, 2.0, 24.0)
