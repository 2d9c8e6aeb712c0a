"""`python -m realtime.run` as a user starts it: a real (tiny) bundle, the real audio process."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests.realtime.control.oscclient import Client, eventually
from tests.realtime.fakebundle import write_fake_bundle

ROOT = Path(__file__).parents[2]

POSIX = pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`fake.umtn` and three seconds of a sine, `in.wav`."""
    path = tmp_path_factory.mktemp("run")
    write_fake_bundle(path / "fake.umtn")
    seconds = np.arange(3 * 44100) / 44100
    soundfile.write(path / "in.wav", 0.3 * np.sin(2 * np.pi * 440 * seconds), 44100)
    soundfile.write(path / "empty.wav", np.zeros(0), 44100)
    (path / "text.umtn").write_text("not a bundle")
    (path / "cut.umtn").write_bytes((path / "fake.umtn").read_bytes()[:-700])
    return path


def command(folder: Path, *arguments: str, bundle: str = "fake.umtn") -> list[str]:
    given = [a.replace("DIR", str(folder)) for a in arguments]
    return [sys.executable, "-m", "realtime.run", "--bundle", str(folder / bundle), *given]


def run(folder: Path, *arguments: str, bundle: str = "fake.umtn") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(folder, *arguments, bundle=bundle),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


FILES = ("--in", "DIR/in.wav", "--out", "DIR/out.wav", "--no-osc")


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("--to", "stings"), "did you mean strings"),
        (("--to", "kazoo"), "strings, piano"),
        (("--block", "31"), "32 to 4096"),
        (("--block", "4097"), "32 to 4096"),
        (("--block", "12.5"), "whole number"),
        (("--rate", "100"), "8000 to 192000"),
        (("--slack", "9"), "--slack: takes a whole number from 0 to 8, but 9 came"),
        (("--slack", "-1"), "--slack: takes a whole number from 0 to 8, but -1 came"),
        (("--channel", "0"), "from 1"),
        (("--seconds", "0"), "above 0"),
        (("--seconds", "inf"), "number"),
        (("--mix", "1.5"), "0 to 1"),
        (("--gain", "loud"), "number"),
        (("--engine", "abacus"), "abacus"),
        (("--osc-port", "70000"), "65535"),
        (("--osc-host", "192.0.2.1"), "192.0.2.1"),
        (("--blok", "64"), "did you mean --block"),
        (("--to",), "expected one argument"),
        (("--stop", "umtn-none"), "umtn-none"),
    ],
)
def test_bad_options_are_one_sentence_and_2(folder: Path, arguments: tuple[str, ...], named: str) -> None:
    base = FILES if arguments[0] not in ("--osc-port", "--osc-host") else FILES[:-1]
    done = run(folder, *base, "--fast", *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert named in done.stderr


@pytest.mark.parametrize("name", ["text.umtn", "cut.umtn", "none.umtn", "."])
def test_a_bad_bundle_is_one_sentence_and_2(folder: Path, name: str) -> None:
    done = run(folder, *FILES, bundle=name)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("name", ["none.wav", "empty.wav", "text.umtn"])
def test_a_bad_sound_file_is_one_sentence_and_2(folder: Path, name: str) -> None:
    done = run(folder, "--in", f"DIR/{name}", "--out", "DIR/never.wav", "--no-osc")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1
    assert not (folder / "never.wav").exists()


def test_a_port_in_use_is_found_before_anything_sounds(folder: Path) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        done = run(folder, *FILES[:-1], "--osc-port", str(port))
    assert (done.returncode, done.stdout) == (2, "")
    assert f"port {port}" in done.stderr
    assert f"--osc-port {port + 1}" in done.stderr


def test_help_is_quick_and_has_examples() -> None:
    began = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "realtime", "--help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=20,
        check=True,
    )
    assert time.perf_counter() - began < 2.0  # 0.04 s where nothing else runs
    assert "--in demo" in done.stdout


def test_control_imports_neither_torch_nor_an_engine_nor_a_sound_card(folder: Path) -> None:
    arguments = [a.replace("DIR", str(folder)) for a in FILES] + [
        "--fast",
        "--bundle",
        str(folder / "fake.umtn"),
    ]
    code = f"""
import sys
from realtime.run import main
code = main({arguments!r})
heavy = ("torch", "onnxruntime", "onnx", "sounddevice", "soundfile", "umtn.model", "umtn.data")
print("loaded:", [m for m in heavy if m in sys.modules])
sys.exit(code)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.splitlines()[-1] == "loaded: []"


@pytest.mark.parametrize("block", ["32", "256", "441", "1000", "4096"])
def test_file_to_file_as_fast_as_it_goes(folder: Path, block: str) -> None:
    done = run(folder, *FILES, "--fast", "--block", block, "--to", "piano", "--gain", "-6")
    assert (done.returncode, done.stderr) == (0, "")
    sound, rate = soundfile.read(folder / "out.wav")
    assert rate == 44100
    assert 3.0 <= len(sound) / rate < 4.0
    assert np.abs(sound).max() > 0.01
    assert str(folder / "out.wav") in done.stdout


@POSIX
@pytest.mark.parametrize("delay_s", [0.2, 0.3, 0.5, None])
def test_ctrl_c_closes_the_files(folder: Path, delay_s: float | None) -> None:
    """Ctrl-C while it starts, at moments that differ from machine to machine, and once the file is open."""
    output = folder / f"stopped{delay_s}.wav"
    process = subprocess.Popen(
        command(folder, "--in", "DIR/in.wav", "--out", str(output), "--no-osc"),
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    if delay_s is None:
        assert eventually(output.exists, 20.0)
    else:
        time.sleep(delay_s)
    os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=15)
    assert (process.returncode, err) == (0, "")
    assert output.exists() or delay_s is not None
    if output.exists():
        sound, _ = soundfile.read(output)
        assert sound.ndim == 1
    assert eventually(lambda: not alive_in_group(process.pid))


@POSIX
def test_osc_moves_the_sound_and_a_killed_audio_process_comes_back(folder: Path) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = subprocess.Popen(
        command(folder, "--in", "DIR/in.wav", "--out", "none", "--osc-port", str(port)),
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    client = Client(port)

    def ask(address: str) -> object:
        client.send(address)
        message = client.receive(0.2)
        return message.arguments[0] if message is not None and message.address == address else None

    try:
        assert eventually(lambda: bool(ask("/umtn/status/uptime")), 15)
        client.send("/umtn/to", "piano")
        assert eventually(lambda: ask("/umtn/status/domain") == "piano")
        for child in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split():
            if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes():
                os.kill(int(child), signal.SIGKILL)
        assert "starting it again" in _line_with(process, "signal 9")
        assert "with the same parameters" in _line_with(process, "plays again")
        assert ask("/umtn/status/domain") == "piano"
    finally:
        os.killpg(process.pid, signal.SIGINT)
        _, err = process.communicate(timeout=15)
        client.socket.close()
    assert (process.returncode, err) == (0, "")


def alive_in_group(group: int) -> list[int]:
    """Processes of the group that still run (not those that only wait to be counted as dead)."""
    alive = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, pgrp = path.read_text().rpartition(")")[2].split()[:3]
        except OSError:
            continue
        if int(pgrp) == group and state != "Z":
            alive.append(int(path.parent.name))
    return alive


def _line_with(process: subprocess.Popen[str], text: str) -> str:
    assert process.stdout is not None
    for line in process.stdout:
        if text in line:
            return line
    raise AssertionError(f"the program ended without saying {text!r}")
