"""The audio process (a fake one) dies or hangs; control is killed; Ctrl-C. Real processes and signals."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from realtime.app import Performance
from realtime.control import audio_supervisor as session_module
from realtime.control.audio_supervisor import Session
from realtime.shared.audio_config import AudioConfig
from realtime.shared.memory import SharedState
from realtime.surfaces import Wanted
from tests.realtime.control.fakeaudio import DOMAINS, TARGET
from tests.realtime.control.oscclient import Client, eventually
from umtn.errors import UserError

POSIX = pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")


def make(shared: SharedState, mode: str = "play", **options: object) -> Session:
    made = Session(AudioConfig(bundle="", input=mode), shared, TARGET, **options)  # type: ignore[arg-type]
    made.start()
    return made


@pytest.fixture
def playing(shared: SharedState) -> Iterator[Session]:
    session = make(shared)
    session.wait_ready()
    yield session
    session.stop()


def poll_until_restarted(session: Session, restarts: int = 1) -> float:
    """Seconds until audio plays again."""
    began = time.monotonic()
    while time.monotonic() - began < 20:
        assert session.poll(0.05) is None
        if session.restarts == restarts and session.playing:
            return time.monotonic() - began
    raise AssertionError("never restarted")


def test_a_killed_audio_process_is_back_with_the_same_parameters(
    playing: Session, shared: SharedState
) -> None:
    shared.set("mix", 0.625)
    killed, old = time.monotonic(), playing.pid
    assert old is not None
    os.kill(old, getattr(signal, "SIGKILL", signal.SIGTERM))
    took_s = poll_until_restarted(playing)
    assert playing.pid != old
    assert time.monotonic() - killed < 3.0, f"{took_s:.2f} s"
    assert "starting it again" in playing.notices[0]
    assert (playing.stop() or {})["mix"] == 0.625


def test_a_hung_audio_process_is_replaced(playing: Session, shared: SharedState) -> None:
    old = playing.pid
    shared.set("mix", 0.123)
    assert eventually(lambda: playing.poll(0.02) is None and bool(playing.notices), 5)
    shared.set("mix", 0.5)
    poll_until_restarted(playing)
    assert playing.pid != old
    assert "stood still" in playing.notices[0]


def test_restarts_are_bounded(shared: SharedState, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session_module, "BACKOFF_S", (0.0, 0.05, 0.1))
    session = make(shared, "crash-always")
    assert eventually(lambda: session.poll(0.05) is not None, 20)
    assert session.ending is not None
    assert session.ending.code == 1
    assert "given up after 3 restarts" in session.ending.sentence


def test_a_recording_is_never_overwritten_by_a_restart(shared: SharedState) -> None:
    session = make(shared, restartable=False)
    session.wait_ready()
    session.kill()
    assert eventually(lambda: session.poll(0.05) is not None)
    assert session.ending is not None
    assert "overwrite" in session.ending.sentence
    assert session.ending.code == 1


@pytest.mark.parametrize(
    ("mode", "sentence"),
    [
        ("error", "no input device; try --in demo"),
        ("raise", "RuntimeError: a fault"),
        ("crash-at-start", "exit code 3"),
    ],
)
def test_failing_to_start_is_one_sentence(shared: SharedState, mode: str, sentence: str) -> None:
    session = make(shared, mode)
    with pytest.raises(UserError, match=sentence):
        session.wait_ready()


def test_what_control_does_not_know_is_ignored(shared: SharedState, caplog: pytest.LogCaptureFixture) -> None:
    session = make(shared, "strange")
    info = session.wait_ready()
    assert info is not None and info.bundle.engine == "fake" and session.playing
    assert "audio sent a tuple, which control does not know" in caplog.text
    session.stop()


def test_it_ends_by_itself_when_audio_is_done(shared: SharedState) -> None:
    session = make(shared, "end-after-0.2")
    session.wait_ready()
    assert eventually(lambda: session.poll(0.05) is not None)
    assert session.ending is not None
    assert session.ending.stats is not None
    assert (session.ending.code, session.ending.stats["xruns"]) == (0, 0)
    session.stop()


def test_an_osc_server_that_fails_is_opened_again_on_its_port() -> None:
    performance = Performance(AudioConfig(bundle=""), DOMAINS, {}, Wanted(osc=("127.0.0.1", 0)), TARGET)
    try:
        first = performance.osc
        assert first is not None
        first._serve = _fail  # type: ignore[method-assign]
        first.start()
        assert eventually(lambda: not first.alive)
        assert isinstance(first.failure, RuntimeError)
        performance.surfaces.tick()
        assert performance.osc is not None
        assert performance.osc.port == first.port
        client = Client(first.port)
        client.settle()
        client.socket.close()
    finally:
        if performance.osc:
            performance.osc.stop()
        performance.shared.unlink()
        performance.shared.close()


async def _fail() -> None:
    raise RuntimeError("a fault")


# The whole of control as a process of its own


def free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def control(mode: str, port: int, output: Path, name: Path) -> subprocess.Popen[str]:
    script = str(Path(__file__).with_name("fakeaudio.py"))
    root = str(Path(__file__).parents[3])
    return subprocess.Popen(
        [sys.executable, script, mode, str(port), str(output), str(name)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": root},
        start_new_session=sys.platform != "win32",  # a process group of its own, like a job in a terminal
    )


def wait_playing(port: int) -> None:
    client = Client(port)

    def answered() -> bool:
        client.send("/umtn/status/uptime")
        message = client.receive(0.1)
        return message is not None and message.arguments[0] != 0.0

    assert eventually(answered, 10)
    client.socket.close()


def children(pid: int) -> list[int]:
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(word) for word in text.split()]


def gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split(")")[1].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


@POSIX
@pytest.mark.parametrize("delay_s", [0.0, 0.05, 0.15, 0.3, 0.6, None])
def test_ctrl_c_at_any_moment_leaves_nothing_behind(tmp_path: Path, delay_s: float | None) -> None:
    """Ctrl-C reaches the whole process group; the recording is closed, and no traceback is shown."""
    port, output, name = free_port(), tmp_path / "out.wav", tmp_path / "name"
    process = control("play", port, output, name)
    try:
        assert eventually(name.exists, 10)  # signals before `run` end Python itself
        time.sleep(0.02)
        if delay_s is None:
            wait_playing(port)
        else:
            time.sleep(delay_s)
        started = children(process.pid)
        os.killpg(process.pid, signal.SIGINT)
        out, err = process.communicate(timeout=10)
    finally:
        process.kill()
    assert (process.returncode, err) == (0, ""), out
    assert eventually(
        lambda: all(gone(pid) for pid in started)
    )  # Python's resource tracker leaves a moment later
    assert not Path("/dev/shm", name.read_text()).exists()
    if delay_s is None:
        assert output.read_text() == "closed"


@POSIX
def test_if_control_is_killed_audio_plays_on_until_it_is_stopped(tmp_path: Path) -> None:
    port, output, name = free_port(), tmp_path / "out.wav", tmp_path / "name"
    process = control("play", port, output, name)
    wait_playing(port)
    shared_name = name.read_text()
    shared = SharedState.attach(shared_name)
    os.kill(process.pid, signal.SIGKILL)
    process.wait(5)
    beat = shared.heartbeat
    time.sleep(0.5)
    assert shared.heartbeat > beat + 20
    assert not output.exists()
    root = str(Path(__file__).parents[3])
    stop = [sys.executable, "-m", "realtime.run", "--stop", shared_name]
    assert subprocess.run(stop, cwd=root, timeout=20, check=False).returncode == 0
    _, err = process.communicate(timeout=10)  # its end closes when the last process has gone
    assert f"--stop {shared_name}" in err
    assert output.read_text() == "closed"
    assert eventually(lambda: not Path("/dev/shm", shared_name).exists())
    assert "leaked" not in err
    assert subprocess.run(stop, cwd=root, timeout=20, capture_output=True, check=False).returncode == 2
    shared.close()


@POSIX
def test_ctrl_c_stops_an_audio_process_that_lost_its_control(tmp_path: Path) -> None:
    port, output, name = free_port(), tmp_path / "out.wav", tmp_path / "name"
    process = control("play", port, output, name)
    wait_playing(port)
    os.kill(process.pid, signal.SIGKILL)
    process.wait(5)
    time.sleep(0.3)
    os.killpg(process.pid, signal.SIGINT)
    process.communicate(timeout=10)
    assert output.read_text() == "closed"


@POSIX
def test_osc_steers_a_whole_session_and_survives_a_restart_of_audio(tmp_path: Path) -> None:
    port, name = free_port(), tmp_path / "name"
    process = control("play", port, Path("none"), name)
    try:
        wait_playing(port)
        client = Client(port)
        client.send("/umtn/to", "winds")

        def sounding() -> object:
            client.send("/umtn/status/domain")
            return client.expect("/umtn/status/domain")[0]

        assert eventually(lambda: sounding() == "winds")
        shared = SharedState.attach(name.read_text())
        audio = [
            pid for pid in children(process.pid) if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()
        ]
        os.kill(audio[0], signal.SIGKILL)
        assert eventually(lambda: gone(audio[0]))
        beat = shared.heartbeat
        assert eventually(lambda: shared.heartbeat > beat)
        client.send("/umtn/to")
        assert client.expect("/umtn/to") == ("winds",)
        client.send("/umtn/mix")
        assert client.expect("/umtn/mix") == (0.25,)
        shared.close()
        client.socket.close()
    finally:
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=10)
    assert (process.returncode, err) == (0, "")
    assert "starting it again" in out


def test_a_port_in_use_ends_the_program_with_2(tmp_path: Path) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        port = int(taken.getsockname()[1])
        process = control("play", port, Path("none"), tmp_path / "name")
        _, err = process.communicate(timeout=20)
    assert process.returncode == 2
    assert str(port) in err
    assert "--osc-port" in err
    assert len(err.strip().splitlines()) == 1
