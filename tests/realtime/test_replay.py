"""Recorded by the real program, killed without warning, and rendered again: identical to the sample."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile

from realtime import replay as replay_module
from realtime.recording.take_files import read_journal
from realtime.replay import replay
from realtime.shared.audio_config import BUNDLES
from tests.realtime.control.oscclient import Client
from tests.realtime.fakebundle import write_fake_bundle
from umtn.errors import UserError

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
SCRIPT = Path(__file__).with_name("deckplay.py")
POSIX = pytest.mark.skipif(sys.platform == "win32", reason="process groups")


class Stage:
    """A running performance and an OSC client of it."""

    def __init__(self, bundle: Path, folder: Path, record: Path | None = None) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.process = subprocess.Popen(
            [sys.executable, str(SCRIPT), str(bundle), str(port), *([str(record)] if record else [])],
            cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT)}, start_new_session=True,
        )  # fmt: skip
        self.client = Client(port)
        self.until("/umtn/status/uptime", lambda value: float(str(value)) > 0.2)

    def ask(self, address: str) -> object:
        self.client.send(address)
        message = self.client.receive(0.2)
        return message.arguments[0] if message is not None and message.address == address else None

    def until(self, address: str, reached: Callable[[object], bool], seconds: float = 20.0) -> object:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if (value := self.ask(address)) is not None and reached(value):
                return value
            time.sleep(0.02)
        raise AssertionError(f"{address} is {self.ask(address)!r}")

    def records(self, seconds: float = 0.0) -> None:
        self.until("/umtn/status/recording", lambda value: float(str(value)) > seconds)

    def stop_recording(self) -> None:
        self.client.send("/umtn/record", 0)
        self.until("/umtn/status/recording", lambda value: float(str(value)) == 0.0)

    def end(self) -> str:
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGINT)
        out, _ = self.process.communicate(timeout=20)
        self.client.socket.close()
        return out

    def kill(self) -> None:
        """Every process of it, without warning."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.communicate(timeout=20)


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Callable[..., Stage]]:
    running: list[Stage] = []

    def start(bundle: Path, record: Path | None = None) -> Stage:
        running.append(Stage(bundle, tmp_path, record))
        return running[-1]

    yield start
    for made in running:
        if made.process.poll() is None:
            made.kill()
        made.client.socket.close()


@pytest.fixture(scope="module")
def fake(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_fake_bundle(tmp_path_factory.mktemp("bundle") / "fake.umtn")


def play_by_hand(stage: Stage, domains: tuple[str, ...]) -> None:
    """Something of everything, while it is recorded."""
    for i in range(24):
        stage.client.send("/umtn/mix", 0.2 + 0.03 * i)
        stage.client.send("/umtn/output/gain_db", -0.5 * i)
        stage.client.send("/umtn/latent/scale/3", 1.0 + 0.01 * i)
        if i % 5 == 0:
            stage.client.send("/umtn/to", domains[i // 5 % len(domains)])
        if i == 13:
            stage.client.send("/umtn/panic", 1)
        if i == 17:
            stage.client.send(f"/umtn/blend/{domains[0]}", 0.5)
            stage.client.send(f"/umtn/blend/{domains[1]}", 0.5)
        time.sleep(0.04)


@POSIX
@pytest.mark.parametrize("ending", ["wav", "flac"])
def test_the_shipped_bundle_played_over_osc_is_rendered_again_identically(
    stage: Callable[..., Stage], tmp_path: Path, ending: str
) -> None:
    playing = stage(BUNDLES / "live.umtn")
    playing.client.send("/umtn/record", f"take.{ending}")
    playing.records()
    play_by_hand(playing, ("strings", "piano", "winds", "organ"))
    playing.stop_recording()
    out = playing.end()
    path = tmp_path / f"take.{ending}"
    assert f"recording to {path}" in out and "recorded " in out
    _, events = read_journal(path.with_suffix(".jsonl"))
    assert sum("set" in e for e in events) > 8 and sum("panic" in e for e in events) == 1
    done = replay(path)
    assert done.frames == soundfile.info(path).frames > 0.2 * 48000
    assert np.abs(soundfile.read(path)[0][:, 1]).max() > 0.01
    assert (done.difference, done.notes) == (0.0, [])
    if ending == "wav":
        made, said = (soundfile.read(p, dtype="float32", always_2d=True)[0] for p in (done.out, path))
        assert np.array_equal(made[:, 0], said[:, 1])


@POSIX
@pytest.mark.parametrize("ending", ["wav", "flac"])
def test_kill_9_of_every_process_leaves_a_take_that_opens_and_replays(
    stage: Callable[..., Stage], fake: Path, tmp_path: Path, ending: str
) -> None:
    playing = stage(fake, tmp_path / f"take.{ending}")  # recorded from its first sample on
    playing.records(2.0)
    play_by_hand(playing, ("strings", "piano"))
    length_s = float(str(playing.ask("/umtn/status/recording")))
    playing.kill()
    path = tmp_path / f"take.{ending}"
    assert soundfile.info(path).frames / 48000 > length_s - 1.0
    assert len(soundfile.read(path)[0]) == soundfile.info(path).frames
    done = replay(path)
    assert (done.difference, done.notes) == (0.0, [])
    assert done.frames > (length_s - 1.0) * 48000
    if shutil.which("ffmpeg"):  # another reader than ours
        command = ["ffmpeg", "-v", "error", "-i", str(path), "-f", "f32le", "-"]
        found = subprocess.run(command, capture_output=True, timeout=30, check=True)
        assert len(found.stdout) / 8 >= (length_s - 1.0) * 48000


@POSIX
def test_a_hot_swap_and_a_broken_bundle_while_recording(
    stage: Callable[..., Stage], fake: Path, tmp_path: Path
) -> None:
    write_fake_bundle(tmp_path / "next.umtn", ids=("winds", "strings"), sample_rate=32000, block=160)
    (tmp_path / "broken.umtn").write_bytes(fake.read_bytes()[:-500])
    playing = stage(fake)
    playing.client.send("/umtn/to", "strings")
    playing.client.send("/umtn/record", 1)
    playing.records()
    playing.client.send("/umtn/model/load", str(tmp_path / "broken.umtn"))
    time.sleep(0.5)
    playing.client.send("/umtn/model/load", str(tmp_path / "next.umtn"))
    playing.until(
        "/umtn/status/domain", lambda value: value == "strings" and playing.ask("/umtn/to") == "strings"
    )
    time.sleep(1.5)
    playing.client.send("/umtn/to", "winds")
    playing.until("/umtn/status/domain", lambda value: value == "winds")
    playing.stop_recording()
    out = playing.end()
    assert "broken.umtn" in out and "fake.umtn plays on" in out
    assert "plays now: winds, strings" in out and "Traceback" not in out
    (path,) = tmp_path.glob("umtn-*.wav")
    _, events = read_journal(path.with_suffix(".jsonl"))
    assert [e["swap"]["bundle"] for e in events if "swap" in e] == [str(tmp_path / "next.umtn")]
    done = replay(path)
    assert (done.difference, done.notes) == (0.0, [])


@pytest.fixture(scope="module", params=[0, 300])
def take(request: pytest.FixtureRequest, fake: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A short one, made in this process; its output lies later in the file by so many samples."""
    from export.bundle.bundle import Bundle
    from realtime.dsp.controls import default_cells
    from realtime.dsp.model_crossfade import Player
    from realtime.dsp.signal_path import SignalPath
    from realtime.engines import load_engine
    from realtime.recording.recorder import Recorder, TakeRecorder

    folder = tmp_path_factory.mktemp("take")
    player, recorder, cells = (
        Player(SignalPath(load_engine(Bundle.open(fake)), 48000, 128)),
        Recorder(),
        default_cells(),
    )
    facts = {"bundle": str(fake), "sha256": replay_module._sha256(fake), "engine": "onnx"}
    recorder.tape = tape = TakeRecorder(folder / "take.wav", 48000, player, facts, late=lambda: request.param)
    random = np.random.default_rng(0)
    calls = 0
    while calls < 100:
        x, out = random.uniform(-0.5, 0.5, 128).astype(np.float32), np.zeros(128, np.float32)
        player.process(cells, recorder.begin(player, cells, x), out)
        recorder.end(x, out)
        calls += tape.started
        time.sleep(0.001)
    tape.stop()
    assert tape.join(5)
    return tape.path


def test_a_replay_says_that_it_is_identical(
    take: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert replay_module.main(str(take), str(tmp_path / "again.wav")) == 0
    assert "identical to the recording, sample for sample" in capsys.readouterr().out
    with pytest.raises(UserError, match="exists already"):
        replay(take, tmp_path / "again.wav")


def test_a_changed_take_is_found_out(take: Path, tmp_path: Path) -> None:
    for file in take.parent.glob("take.*"):
        shutil.copy(file, tmp_path)
    x, _ = soundfile.read(take, dtype="float32")
    late = read_journal(tmp_path / "take.jsonl")[0]["late"]
    x[700 + late, 1] += 0.25
    soundfile.write(tmp_path / "take.wav", x, 48000, "FLOAT")
    done = replay(tmp_path / "take.wav")
    assert done.difference == pytest.approx(0.25) and done.at == 700
    assert "differs from the recording by up to 0.25 (at 0.015 s)" in done.sentence


def test_a_take_that_was_killed_is_replayed_as_far_as_it_goes(take: Path, tmp_path: Path) -> None:
    """Neither the end of the output nor the journal's last line is there."""
    for file in take.parent.glob("take.*"):
        shutil.copy(file, tmp_path)
    x, _ = soundfile.read(take, dtype="float32")
    soundfile.write(tmp_path / "take.wav", x[:5000], 48000, "FLOAT")
    lines = (tmp_path / "take.jsonl").read_text().splitlines()
    (tmp_path / "take.jsonl").write_text("\n".join(lines[:-1]) + "\n")
    done = replay(tmp_path / "take.wav")
    assert done.difference == 0.0 and done.frames == 5000 // 128 * 128


def test_another_bundle_is_refused_unless_it_is_asked_for(take: Path, fake: Path, tmp_path: Path) -> None:
    for file in take.parent.glob("take.*"):
        shutil.copy(file, tmp_path)
    journal = tmp_path / "take.jsonl"
    other = write_fake_bundle(tmp_path / "other.umtn", identity=True)
    journal.write_text(journal.read_text().replace(str(fake), str(other)))
    with pytest.raises(UserError, match="is not the bundle that was recorded"):
        replay(tmp_path / "take.wav")
    done = replay(tmp_path / "take.wav", bundle=other)
    assert done.difference > 0 and "it cannot be the same" in done.notes[0]
    other.unlink()
    with pytest.raises(UserError, match="is not there; --bundle names another place"):
        replay(tmp_path / "take.wav", tmp_path / "b.wav")


def test_what_is_no_take_gets_a_sentence(take: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="without its journal"):
        replay(tmp_path / "none.wav")
    (tmp_path / "x.jsonl").write_text("{}\n")
    with pytest.raises(UserError, match="is no journal"):
        replay(tmp_path / "x.wav")
    shutil.copy(take.with_suffix(".jsonl"), tmp_path / "y.jsonl")
    with pytest.raises(UserError, match="cannot be read as a sound file"):
        replay(tmp_path / "y.wav")
    shutil.copy(take, tmp_path / "y.wav")
    with pytest.raises(UserError, match="there is no .*take.state.npz"):
        replay(tmp_path / "y.wav")
    assert not (tmp_path / "y.replay.wav").exists()


BROKEN: dict[str, tuple[int, dict[str, object], str]] = {
    "no call": (0, {"call": 0}, "call is 0, but 1 to"),
    "a long call": (0, {"call": 1 << 40}, "call is 1099511627776, but 1 to"),
    "a call of no number": (0, {"call": float("nan")}, "call is nan, but 1 to"),
    "a call that is true": (0, {"call": True}, "call is True, but 1 to"),
    "NaN": (0, {"parameters": {"to": float("nan")}}, "sets to to nan, but a finite number"),
    "infinity": (0, {"parameters": {"mix": float("inf")}}, "sets mix to inf, but a finite number"),
    "a huge number": (0, {"parameters": {"mix": 10**400}}, "but a finite number"),
    "a word": (0, {"parameters": {"mix": "1"}}, "sets mix to 1, but a finite number"),
    "no names": (0, {"parameters": [1]}, "names with their values"),
    "an event's NaN": (1, {"at": 0, "set": {"mix": float("nan")}}, "sets mix to nan"),
    "a block of nothing": (1, {"at": 0, "block": 0}, "block is 0, but 1 to"),
    "a place that is true": (1, {"at": True, "set": {}}, "without a position"),
    "a loss at no time": (1, {"at": 0, "lost": 3}, "without its time"),
    "a swap to nothing": (1, {"at": 0, "swap": {}}, "does not say to which"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_journal_with_numbers_that_are_none_gets_a_sentence(take: Path, tmp_path: Path, name: str) -> None:
    """NaN among them ended the program, and a block of 0 samples never did."""
    line, change, sentence = BROKEN[name]
    for file in take.parent.glob("take.*"):
        shutil.copy(file, tmp_path)
    journal = tmp_path / "take.jsonl"
    lines = journal.read_text().split("\n")
    if line:
        lines.insert(1, json.dumps(change))
    else:
        lines[0] = json.dumps(json.loads(lines[0]) | change)
    journal.write_text("\n".join(lines))
    with pytest.raises(UserError, match=sentence):
        replay(tmp_path / "take.wav")


@pytest.mark.parametrize("key", ["engine", "call", "parameters", "state", "bundle", "sha256"])
def test_a_journal_that_lacks_something_gets_a_sentence(take: Path, tmp_path: Path, key: str) -> None:
    for file in take.parent.glob("take.*"):
        shutil.copy(file, tmp_path)
    journal = tmp_path / "take.jsonl"
    first, rest = journal.read_text().split("\n", 1)
    journal.write_text(json.dumps({k: v for k, v in json.loads(first).items() if k != key}) + "\n" + rest)
    with pytest.raises(UserError, match=f"lacks '{key}'"):
        replay(tmp_path / "take.wav")
