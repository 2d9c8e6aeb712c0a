"""The audio process as a process: files in and out, stop, signals, sentences."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from realtime.audio.block_processor import Timing
from realtime.audio.process import run_audio
from realtime.audio.stream import SkipDetector
from realtime.shared.audio_config import AudioConfig
from realtime.shared.memory import SharedState
from realtime.shared.messages import Done, Failed, FromAudio, Ready
from tests.realtime.fakebundle import write_fake_bundle

WAIT = 20.0


class Audio:
    """A running audio process and our end of its pipe."""

    def __init__(self, config: AudioConfig, **parameters: float) -> None:
        self.shared = SharedState.create()
        for name, value in parameters.items():
            self.shared.set(name, value)
        context = multiprocessing.get_context("spawn")
        self.conn, theirs = context.Pipe()
        self.process = context.Process(target=run_audio, args=(config, self.shared.name, theirs))
        self.process.start()
        theirs.close()

    def message(self) -> FromAudio:
        assert self.conn.poll(WAIT), "the audio process says nothing"
        message: FromAudio = self.conn.recv()
        return message

    def ready(self) -> Ready:
        message = self.message()
        assert isinstance(message, Ready), message
        return message

    def done(self) -> Mapping[str, Any]:
        message = self.message()
        assert isinstance(message, Done), message
        return message.figures

    def close(self) -> None:
        self.process.join(WAIT)
        if self.process.is_alive():
            self.process.kill()
        self.shared.close()
        self.shared.unlink()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Any]:
    bundle = str(write_fake_bundle(tmp_path / "fake.umtn", identity=True))
    running: list[Audio] = []

    def _start(parameters: dict[str, float] | None = None, **config: Any) -> Audio:
        settings: dict[str, Any] = {
            "bundle": bundle,
            "input": str(tmp_path / "in.wav"),
            "output": "none",
            "realtime_priority": False,
        }
        audio = Audio(AudioConfig(**{**settings, **config}), **(parameters or {}))
        running.append(audio)
        return audio

    yield _start
    for audio in running:
        audio.shared.stop_flag = True
        audio.close()


def tone(path: Path, seconds: float, rate: int = 48000) -> np.ndarray:
    x = (0.4 * np.sin(2 * np.pi * 440 * np.arange(int(seconds * rate)) / rate)).astype(np.float32)
    soundfile.write(path, x, rate, "FLOAT")
    return x


def test_a_file_goes_through_faster_than_time(start: Any, tmp_path: Path) -> None:
    x = tone(tmp_path / "in.wav", 5.0)
    began = time.monotonic()
    audio = start(output=str(tmp_path / "out.wav"), fast=True)
    info = audio.ready()
    assert info.bundle.engine == "onnx" and info.rate == 48000
    stats = audio.done()
    assert time.monotonic() - began < 5
    y, _ = soundfile.read(tmp_path / "out.wav")
    late = round(sum(info.latency_ms[part] for part in ("resampler", "model")) * 48)
    assert np.abs(y[late : late + len(x)] - x)[2000:].max() < 0.01
    assert stats["failures"] == 0 and stats["xruns"] == 0


def test_a_file_is_played_at_the_pace_of_time(start: Any, tmp_path: Path) -> None:
    tone(tmp_path / "in.wav", 1.0)
    audio = start(tail_seconds=0.0)
    audio.ready()
    began = time.monotonic()
    stats = audio.done()
    assert 0.8 < time.monotonic() - began < 2.5
    assert audio.shared.heartbeat == stats["blocks"] > 180
    assert audio.shared.status_get("rate") == 48000
    assert -9 < audio.shared.status_get("level_in_db") < -7  # peak 0.4
    assert audio.shared.status_get("uptime") == pytest.approx(1.0, abs=0.1)


def test_stop_flag_and_parameters_reach_the_process(start: Any, tmp_path: Path) -> None:
    tone(tmp_path / "in.wav", 30.0)
    audio = start({"mute": 1.0, "to": 1.0}, output=str(tmp_path / "out.wav"))
    audio.ready()
    time.sleep(0.4)
    assert audio.shared.status_get("domain") == 1
    audio.shared.stop_flag = True
    stats = audio.done()
    assert stats["seconds"] < 10
    y, _ = soundfile.read(tmp_path / "out.wav")
    assert len(y) > 4800 and not y.any()


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
@pytest.mark.parametrize("signals", [[signal.SIGTERM], [signal.SIGINT, signal.SIGTERM]])
def test_sigterm_leaves_a_playable_file_and_sigint_is_not_for_us(
    start: Any, tmp_path: Path, signals: list[signal.Signals]
) -> None:
    tone(tmp_path / "in.wav", 30.0)
    audio = start(output=str(tmp_path / "out.wav"))
    audio.ready()
    for number in signals:
        time.sleep(0.3)
        assert audio.process.is_alive()
        os.kill(audio.process.pid, number)
    stats = audio.done()
    y, _ = soundfile.read(tmp_path / "out.wav")
    assert len(y) == round(stats["seconds"] * 48000, -1) or abs(len(y) / 48000 - stats["seconds"]) < 1e-3
    assert abs(y[-1]) < 1e-3  # faded, not cut


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_a_kill_leaves_a_playable_file(start: Any, tmp_path: Path) -> None:
    tone(tmp_path / "in.wav", 30.0)
    audio = start(output=str(tmp_path / "out.wav"))
    audio.ready()
    time.sleep(0.7)
    audio.process.kill()
    audio.process.join()
    y, _ = soundfile.read(tmp_path / "out.wav")
    assert len(y) > 0.3 * 48000 and y.any()


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ({"input": "nothing.wav"}, "there is no file nothing.wav"),
        ({"block": 7}, "--block is 7, but must lie from 16 to 8192"),
        ({"rate": 100}, "--rate is 100"),
        ({"channel": 0}, "channels are counted from 1"),
        ({"slack": 9}, "--slack is 9, but must lie from 0 to 8 blocks"),
        ({"engine": "abacus"}, "unknown engine 'abacus'"),
        ({"bundle": "nothing.umtn"}, "nothing.umtn"),
        ({"output": "out.mp3"}, "must end in .wav"),
        ({"seconds": -1.0}, "--seconds is -1"),
        ({"input": "mic", "fast": True}, "--fast is for sound files"),
    ],
)
def test_bad_requests_get_one_sentence(start: Any, tmp_path: Path, config: dict[str, Any], says: str) -> None:
    tone(tmp_path / "in.wav", 0.1)
    audio = start(**config)
    failed = audio.message()
    assert isinstance(failed, Failed) and says in failed.sentence and "\n" not in failed.sentence
    audio.process.join(WAIT)
    assert audio.process.exitcode == 0


def test_the_output_may_not_be_the_input(start: Any, tmp_path: Path) -> None:
    x = tone(tmp_path / "in.wav", 0.2)
    audio = start(output=str(tmp_path / "in.wav"))
    failed = audio.message()
    assert isinstance(failed, Failed) and "is the input file" in failed.sentence
    assert np.array_equal(soundfile.read(tmp_path / "in.wav", dtype="float32")[0], x)


def test_the_audio_process_needs_no_torch() -> None:
    code = "import sys, realtime.audio.process; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=WAIT).returncode == 0


def test_lost_blocks_are_told_from_late_ones() -> None:
    random, length = np.random.default_rng(0), 0.005
    detector, found = SkipDetector(), 0
    for i in range(2000):
        lost = 3 if i >= 700 else 0
        drift = 20e-6 * i * length
        late = random.exponential(0.001) + (0.008 if i % 300 == 0 else 0)
        found += detector.lost((i + lost) * length + drift + late, length)
    assert found == 3


def test_percentiles_come_from_the_histogram() -> None:
    timing = Timing()
    for us in range(1000):
        timing.add(us + 0.5)
    assert timing.percentile_us(0.5) == 500
    assert timing.percentile_us(0.99) == 990
    assert timing.percentile_us(1.0) == pytest.approx(999.5)
