"""Recordings that survive a kill and a full disk, never overwrite, and never keep the audio waiting."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from export.bundle.bundle import Bundle
from realtime.dsp.controls import default_cells
from realtime.dsp.model_crossfade import Player
from realtime.dsp.signal_path import SignalPath
from realtime.engines import load_engine
from realtime.recording import recorder, sound_writers
from realtime.recording.recorder import Recorder, TakeRecorder
from realtime.recording.sound_writers import FULL_SCALE, create, quantised
from realtime.recording.take_files import default_name, free_path, read_journal
from realtime.shared.memory import PARAMETER_INDEX
from tests.realtime.fakebundle import write_fake_bundle
from umtn.errors import UserError

RATE_HZ = 48000
BOTH = pytest.mark.parametrize("ending", ["wav", "flac"])


def noise(frames: int) -> np.ndarray:
    return np.random.default_rng(0).uniform(-1, 1, (frames, 2)).astype(np.float32)


@BOTH
def test_a_file_holds_what_was_written(tmp_path: Path, ending: str) -> None:
    x = noise(30000)
    file = create(tmp_path / f"x.{ending}", 44100)
    for piece in np.array_split(x, 13):
        file.append(piece)
    file.close()
    y, rate = soundfile.read(tmp_path / f"x.{ending}", dtype="int32" if ending == "flac" else "float32")
    assert rate == 44100 and file.frames == 30000
    assert np.array_equal(y >> 8, quantised(x)) if ending == "flac" else np.array_equal(y, x)


@BOTH
def test_a_file_that_was_never_closed_can_be_read_at_every_moment(tmp_path: Path, ending: str) -> None:
    x, path = noise(20 * 4800), tmp_path / f"x.{ending}"
    file = create(path, RATE_HZ)
    for i in range(20):
        file.append(x[i * 4800 : (i + 1) * 4800])
        left = tmp_path / f"left.{ending}"  # what a kill at this moment would leave
        shutil.copyfile(path, left)
        y, _ = soundfile.read(left, dtype="float32", always_2d=True)
        assert len(y) > (i + 1) * 4800 - sound_writers.FLAC_FRAMES
        assert np.abs(y - x[: len(y)]).max() <= 1 / FULL_SCALE
    file.close()
    assert len(soundfile.read(path)[0]) == len(x)


def test_a_24_bit_card_loses_nothing_in_a_flac() -> None:
    steps = np.array([-(1 << 23), -1, 0, 1, (1 << 23) - 1])
    assert np.array_equal(quantised((steps / FULL_SCALE).astype(np.float32)), steps)
    assert quantised(np.float32([np.nan, 2.0, -2.0])).tolist() == [0, (1 << 23) - 1, -(1 << 23)]


def test_a_wav_beyond_4_gb_becomes_rf64(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sound_writers, "MAX_RIFF", 5000)
    file, x = create(tmp_path / "x.wav", RATE_HZ), noise(1000)
    for i in range(10):
        file.append(x[i * 100 : (i + 1) * 100])
        assert len(soundfile.read(tmp_path / "x.wav")[0]) == (i + 1) * 100
    file.close()
    assert (tmp_path / "x.wav").read_bytes()[:4] == b"RF64"
    assert np.array_equal(soundfile.read(tmp_path / "x.wav", dtype="float32")[0], x)


FULL = """
import resource, signal, sys
import numpy as np
from pathlib import Path
from realtime.recording.sound_writers import create
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))
file = create(Path(sys.argv[1]), 48000)
x = np.random.default_rng(0).uniform(-0.5, 0.5, (4800, 2)).astype(np.float32)
try:
    for _ in range(50):
        file.append(x)
except OSError:
    print("full")
try:
    file.close()
except OSError:
    pass
"""


@pytest.mark.skipif(sys.platform == "win32", reason="RLIMIT_FSIZE")
@BOTH
def test_a_full_disk_leaves_a_file_that_plays(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"x.{ending}"
    done = subprocess.run(
        [sys.executable, "-c", FULL, str(path)], capture_output=True, text=True, timeout=30, check=False
    )
    assert (done.stdout, done.stderr) == ("full\n", "")
    assert 28000 < len(soundfile.read(path)[0]) < 60000


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "take.wav"
    assert free_path(path) == path
    path.touch()
    assert free_path(path) == tmp_path / "take-2.wav"
    (tmp_path / "take-2.jsonl").touch()  # of a take-2.flac, say
    assert free_path(path) == tmp_path / "take-3.wav"
    assert default_name().startswith("umtn-20") and default_name().endswith(".wav")


class Studio:
    """A player and a recorder, called like a device would; `done` waits for what the tape's thread does."""

    def __init__(self, bundle: Path, folder: Path, block: int = 100) -> None:
        self.player = Player(SignalPath(load_engine(Bundle.open(bundle), "onnx"), RATE_HZ, block))
        self.recorder, self.cells, self.block, self.folder = Recorder(), default_cells(), block, folder
        self.random = np.random.default_rng(5)
        self.heard: list[np.ndarray] = []
        self.said: list[np.ndarray] = []

    def roll(self, name: str = "take.wav", **options: Any) -> TakeRecorder:
        facts = {"bundle": "fake.umtn", "sha256": "", "engine": "onnx"}
        tape = TakeRecorder(self.folder / name, RATE_HZ, self.player, facts, **options)
        self.recorder.tape = tape
        self.until(lambda: tape.started or tape.done)
        return tape

    def until(self, reached: Callable[[], bool]) -> None:
        end = time.monotonic() + 10
        while not reached():
            assert time.monotonic() < end
            self.call()
            time.sleep(0.001)

    def call(self, n: int = 0, panic: bool = False) -> None:
        x = self.random.uniform(-0.5, 0.5, n or self.block).astype(np.float32)
        out = np.zeros_like(x)
        x = self.recorder.begin(self.player, self.cells, x)
        self.player.process(self.cells, x, out)
        if panic:
            self.player.panic(self.cells, out)
            self.recorder.note("panic", 1)
        self.recorder.end(x, out)
        self.heard.append(x.copy())
        self.said.append(out)

    def set(self, name: str, value: float) -> None:
        self.cells[PARAMETER_INDEX[name]] = value

    def stop(self, tape: TakeRecorder) -> None:
        tape.stop()
        assert tape.join(10) and tape.done
        self.recorder.tape = None


@pytest.fixture
def studio(tmp_path: Path) -> Iterator[Studio]:
    yield Studio(write_fake_bundle(tmp_path / "fake.umtn"), tmp_path)


def test_a_take_holds_input_and_output_and_what_was_done(studio: Studio) -> None:
    tape = studio.roll()
    studio.set("mix", 0.25)
    studio.call()
    studio.set("latent/scale/3", 2.0)
    studio.call(40, panic=True)
    studio.call()
    studio.stop(tape)
    y, rate = soundfile.read(tape.path, dtype="float32")
    heard, said = np.concatenate(studio.heard), np.concatenate(studio.said)
    assert rate == RATE_HZ and tape.lost == 0 and tape.error == ""
    assert np.array_equal(y, np.stack([heard, said], 1)[-len(y) :])
    head, events = read_journal(studio.folder / "take.jsonl")
    assert head["parameters"]["mix"] == 1.0 and "panic" not in head["parameters"]
    assert head["rate"] == RATE_HZ and head["call"] == 100 and head["state"] == "take.state.npz"
    end = len(y)
    assert [{k: v for k, v in e.items() if k != "s"} for e in events] == [
        {"at": end - 240, "set": {"mix": 0.25}},
        {"at": end - 140, "set": {"latent/scale/3": 2.0}},
        {"at": end - 140, "block": 40},
        {"at": end - 140, "panic": 1},
        {"at": end - 100, "block": 100},
        {"at": end, "end": "stopped"},
    ]


@BOTH
@pytest.mark.parametrize("late", [1, 384, 5000])
def test_the_output_lies_later_by_what_it_takes_to_the_plug(studio: Studio, ending: str, late: int) -> None:
    tape = studio.roll(f"take.{ending}", late=lambda: late)
    for _ in range(30):
        studio.call()
        time.sleep(0.005)  # written in several pieces
    studio.stop(tape)
    y, _ = soundfile.read(tape.path, dtype="float32")
    played = len(y) - late
    heard, said = np.concatenate(studio.heard)[-played:], np.concatenate(studio.said)[-played:]
    assert np.abs(y[:played, 0] - heard).max() <= 1 / FULL_SCALE and not y[played:, 0].any()
    assert np.abs(y[late:, 1] - said).max() <= 1 / FULL_SCALE and not y[:late, 1].any()
    head, events = read_journal(studio.folder / "take.jsonl")
    assert head["late"] == late and events[-1]["at"] == played


def test_the_journal_is_never_behind_the_sound(studio: Studio) -> None:
    tape = studio.roll()
    for i in range(200):
        studio.set("mix", i / 200)
        studio.call()
        time.sleep(0.002)
        if i % 20 == 0:
            frames = tape.frames
            lines = [json.loads(line) for line in (studio.folder / "take.jsonl").read_text().splitlines()]
            changed = {event["at"] for event in lines[1:] if "set" in event}
            first = min(changed, default=frames)
            assert set(range(first, frames, 100)) <= changed
    studio.stop(tape)


def test_what_the_disk_is_too_slow_for_is_silence_and_counted(
    studio: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorder, "RING_SECONDS", 0)
    monkeypatch.setattr(recorder, "MAX_CALL", 1024)
    monkeypatch.setattr(recorder, "DRAIN_S", 0.3)
    tape = studio.roll()
    for _ in range(100):
        studio.call()
    assert tape.lost > 0 and studio.recorder.lost == tape.lost
    time.sleep(0.7)
    studio.call()
    studio.stop(tape)
    y, _ = soundfile.read(tape.path, dtype="float32")
    heard = np.concatenate(studio.heard)[-len(y) :]
    missing = np.flatnonzero((y == 0).all(1))
    assert len(missing) == tape.lost  # and everything else stands where it was
    rest = np.setdiff1d(np.arange(len(y)), missing)
    assert np.array_equal(y[rest, 0], heard[rest])
    assert sum(e["lost"] for e in read_journal(studio.folder / "take.jsonl")[1] if "lost" in e) == tape.lost


def test_a_patient_performance_loses_nothing(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorder, "RING_SECONDS", 0)
    monkeypatch.setattr(recorder, "MAX_CALL", 1024)
    tape = studio.roll(patient=True)
    for _ in range(200):
        studio.call()
    studio.stop(tape)
    assert tape.lost == 0 and tape.frames >= 20000


def test_a_disk_that_fills_ends_the_take_with_a_sentence(studio: Studio) -> None:
    tape = studio.roll()
    tape._file.sound.append = _full  # type: ignore[method-assign]
    studio.until(lambda: tape.done)
    assert tape.join(5)
    assert "No space left" in tape.error and "the recording has ended, the sound goes on" in tape.error
    soundfile.read(tape.path)
    studio.call()  # nobody minds


def _full(frames: np.ndarray) -> None:
    raise OSError(28, "No space left on device")


def test_a_snapshot_that_the_music_outran_is_taken_again(
    studio: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Something in the path is made anew in every call: planning ahead never succeeds, so it is done at once."""
    process = studio.player.process

    def busy(cells: np.ndarray, x: np.ndarray, out: np.ndarray) -> None:
        studio.player.extra = [0.0]  # type: ignore[attr-defined]
        process(cells, x, out)

    monkeypatch.setattr(studio.player, "process", busy)
    tape = studio.roll()
    studio.stop(tape)
    assert tape.error == "" and (studio.folder / "take.state.npz").exists()
    y, _ = soundfile.read(tape.path, dtype="float32")
    assert np.array_equal(y[:, 1], np.concatenate(studio.said)[-len(y) :])


def test_a_take_that_never_began_leaves_nothing(studio: Studio) -> None:
    tape = TakeRecorder(studio.folder / "take.wav", RATE_HZ, studio.player, {})
    time.sleep(0.05)
    studio.stop(tape)
    assert [p.name for p in studio.folder.iterdir()] == ["fake.umtn"]


@pytest.mark.parametrize(
    ("name", "says"), [("x.mp3", "ends in .wav or .flac"), ("no/x.wav", "there is no folder")]
)
def test_bad_names_get_a_sentence(studio: Studio, name: str, says: str) -> None:
    with pytest.raises(UserError, match=says):
        TakeRecorder(studio.folder / name, RATE_HZ, studio.player, {})


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_may_not_be_written_gets_a_sentence(studio: Studio) -> None:
    (studio.folder / "shut").mkdir(mode=0o500)
    with pytest.raises(UserError, match="cannot record to"):
        TakeRecorder(studio.folder / "shut" / "x.wav", RATE_HZ, studio.player, {})
