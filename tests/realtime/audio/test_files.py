"""Sound files in every format a person may bring, and recordings that survive what may happen."""

from __future__ import annotations

import os
import struct
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile

from realtime.audio.sound_files import DEMO, FileSource, ReadAhead, sound_path
from realtime.recording.sound_writers import FileRecorder
from realtime.shared.audio_config import FILE_ENDINGS, names_a_file
from umtn.errors import UserError


def recording(path: Path, rate_hz: int) -> FileRecorder:
    recorder = FileRecorder(path, rate_hz)
    recorder.open()
    return recorder


def read_all(source: FileSource | ReadAhead, size: int = 999) -> np.ndarray:
    pieces, out = [], np.empty(size, np.float32)
    for _ in range(10000):
        n = source.read(out)
        pieces.append(out[:n].copy())
        if source.finished:
            break
        if not n:
            time.sleep(0.01)
    return np.concatenate(pieces)


@pytest.mark.parametrize("rate", [8000, 44100, 48000, 96000])
@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24", "FLOAT"])
def test_every_format_sounds_the_same(tmp_path: Path, rate: int, channels: int, subtype: str) -> None:
    t = np.arange(rate // 2) / rate
    x = 0.5 * np.sin(2 * np.pi * 440 * t)
    soundfile.write(tmp_path / "x.wav", np.stack([x] * channels, 1), rate, subtype)
    source = FileSource(tmp_path / "x.wav", 48000)
    y = read_all(source)
    source.close()
    assert len(y) == source.frames == 24000
    wanted = 0.5 * np.sin(2 * np.pi * 440 * np.arange(24000) / 48000)
    # a filter's delay may be half an output sample off, which is 1/218 of a period at most
    assert np.abs(y - wanted)[500:-500].max() < 0.5 * 2 * np.pi * 440 / 48000 / 2 + 1e-3


@pytest.mark.parametrize("suffix", ["flac", "ogg", "mp3"])
def test_packed_formats(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"x.{suffix}"
    soundfile.write(path, 0.3 * np.sin(np.arange(22050) * 0.06), 44100)
    source = FileSource(path, 44100)
    assert 0.25 < np.abs(read_all(source)).max() < 0.4


def test_two_channels_are_averaged(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "x.wav", np.tile([0.5, -0.25], (100, 1)), 48000, "FLOAT")
    assert np.allclose(read_all(FileSource(tmp_path / "x.wav", 48000)), 0.125)


def many(path: Path, columns: list[float], subtype: str = "FLOAT") -> Path:
    """A file whose channels hold constants."""
    soundfile.write(path, np.tile(columns, (9000, 1)), 48000, subtype)
    return path


@pytest.mark.parametrize(
    ("columns", "channel", "wanted"),
    [
        ([0.5, -0.25], 1, 0.5),
        ([0.5, -0.25], 2, -0.25),
        ([0.5, 0.0], None, 0.25),  # of two the mean as ever
        ([0, 0, 0.5, 0, 0, 0], None, 0.5),
        ([0.5, 0.25, 0, 0, 0, 0], None, 0.375),
        ([0.4, 0.4, 0.1, 0.1], None, 0.25),
        ([0.5, 0.0001, 0.0001], None, 0.5),  # noise of inputs that nothing is plugged into
        ([0.5, 0.0, 0.2], 2, 0.0),
        ([0.0, 0.0, 0.0], None, 0.0),
    ],
)
def test_which_channels_are_heard(
    tmp_path: Path, columns: list[float], channel: int | None, wanted: float
) -> None:
    source = FileSource(many(tmp_path / "x.wav", columns), 48000, channel)
    assert np.allclose(read_all(source), wanted, atol=1e-6)
    source.close()


def test_a_channel_beyond_the_files_gets_a_sentence(tmp_path: Path) -> None:
    path = many(tmp_path / "x.wav", [0.1, 0.1])
    with pytest.raises(UserError, match=r"--channel 3 was asked for, but .*x\.wav has 2 channels"):
        FileSource(path, 48000, 3)


@pytest.mark.parametrize(("frames", "says"), [(0, "is empty"), (1, "holds a single sample")])
def test_too_short_files_get_a_sentence(tmp_path: Path, frames: int, says: str) -> None:
    soundfile.write(tmp_path / "x.wav", np.zeros(frames), 48000)
    with pytest.raises(UserError, match=says):
        FileSource(tmp_path / "x.wav", 48000)


def test_what_is_no_sound_file_gets_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "x.wav").write_bytes(b"These are words.")
    with pytest.raises(UserError, match="cannot be read as a sound file"):
        FileSource(tmp_path / "x.wav", 48000)
    with pytest.raises(UserError, match="there is no file"):
        FileSource(tmp_path / "absent.wav", 48000)


def test_a_file_cut_off_in_the_middle_ends_and_says_so(tmp_path: Path) -> None:
    path = tmp_path / "x.flac"
    soundfile.write(path, np.random.default_rng(0).uniform(-0.5, 0.5, 48000), 48000)
    path.write_bytes(path.read_bytes()[:40000])
    source = FileSource(path, 48000)
    y = read_all(source)
    assert np.isfinite(y).all()
    assert len(y) <= 48000 and source.finished


def test_read_ahead_gives_what_the_file_holds(tmp_path: Path) -> None:
    x = np.random.default_rng(0).uniform(-0.5, 0.5, 150000).astype(np.float32)
    soundfile.write(tmp_path / "x.wav", x, 48000, "FLOAT")
    ahead = ReadAhead(FileSource(tmp_path / "x.wav", 48000))
    y = read_all(ahead, 5000)
    ahead.close()
    assert np.array_equal(x, y)


def test_the_demo_is_there_and_small() -> None:
    assert DEMO.stat().st_size <= 600_000
    with soundfile.SoundFile(DEMO) as file:
        assert (file.samplerate, file.channels) == (48000, 1)
        assert 10 < file.frames / 48000 < 15


def test_what_is_meant_by_in(tmp_path: Path) -> None:
    (tmp_path / "plain").write_bytes(b"")
    assert sound_path("demo") == DEMO
    assert sound_path("song.flac") == Path("song.flac")
    for ending in FILE_ENDINGS:  # --in and --out agree on what is a file
        assert sound_path(f"song{ending.upper()}") is not None and names_a_file(f"song{ending.upper()}")
    assert sound_path(str(tmp_path / "plain")) == tmp_path / "plain"
    assert sound_path("mic") is None
    assert sound_path("USB Audio 2.0") is None
    assert sound_path("3") is None


def test_a_recording_holds_what_was_written(tmp_path: Path) -> None:
    x = np.random.default_rng(0).uniform(-1, 1, 10000).astype(np.float32)
    recorder = recording(tmp_path / "y.wav", 44100)
    for piece in np.array_split(x, 37):
        recorder.write(piece)
    recorder.close()
    y, rate = soundfile.read(tmp_path / "y.wav")
    assert rate == 44100 and recorder.lost == 0
    assert np.abs(x - y).max() <= 2**-23


def test_a_recording_is_playable_at_every_moment(tmp_path: Path) -> None:
    path = tmp_path / "y.wav"
    recorder = recording(path, 48000)
    lengths = []
    for _ in range(6):
        recorder.write(np.full(4800, 0.1, np.float32))
        time.sleep(0.08)
        y, _ = soundfile.read(path)  # what a kill at this moment would leave
        promised = struct.unpack("<I", path.read_bytes()[40:44])[0]
        assert promised <= path.stat().st_size - 44
        lengths.append(len(y))
    recorder.close()
    assert lengths == sorted(lengths) and lengths[-1] > 0
    assert len(soundfile.read(path)[0]) == 6 * 4800


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_full_disk_is_counted_and_said_and_does_no_harm(tmp_path: Path) -> None:
    (tmp_path / "y.wav").symlink_to("/dev/full")
    recorder = recording(tmp_path / "y.wav", 48000)
    for _ in range(3):
        recorder.write(np.zeros(1000, np.float32))
        time.sleep(0.12)
    recorder.close()
    assert recorder.error is not None and "recording stopped, audio goes on" in recorder.error
    assert recorder.lost == 3000


def test_other_formats_and_bad_places_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="must end in"):
        FileRecorder(tmp_path / "y.mp3", 48000)
    with pytest.raises(UserError, match="there is no folder"):
        FileRecorder(tmp_path / "nowhere" / "y.wav", 48000)
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(UserError, match="cannot write"):
        FileRecorder(tmp_path / "file" / "y.wav", 48000)


@pytest.mark.skipif(
    sys.platform == "win32", reason="directories cannot be opened there either, with another error"
)
def test_a_folder_is_no_file_to_record_to(tmp_path: Path) -> None:
    (tmp_path / "y.wav").mkdir()
    with pytest.raises(UserError, match="cannot write"):
        FileRecorder(tmp_path / "y.wav", 48000)


@pytest.mark.parametrize("ending", ["wav", "flac"])
def test_nothing_is_touched_before_the_recorder_is_opened(tmp_path: Path, ending: str) -> None:
    """What is written before is not lost: the sound may begin before its file does."""
    path = tmp_path / f"y.{ending}"
    path.write_bytes(b"an earlier take")
    recorder = FileRecorder(path, 48000)
    recorder.write(np.full(4800, 0.25, np.float32))
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
    assert path.read_bytes() == b"an earlier take"
    recorder.open()
    recorder.close()
    assert (tmp_path / f"y.1.{ending}").read_bytes() == b"an earlier take"
    assert np.allclose(soundfile.read(path)[0], 0.25, atol=1e-6) and recorder.lost == 0


def test_a_recorder_that_was_never_opened_leaves_nothing(tmp_path: Path) -> None:
    recorder = FileRecorder(tmp_path / "y.wav", 48000)
    recorder.close()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("ending", ["wav", "flac"])
def test_a_file_that_cannot_be_made_puts_the_earlier_take_back(
    tmp_path: Path, ending: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / f"y.{ending}"
    path.write_bytes(b"an earlier take")
    recorder = FileRecorder(path, 48000)

    def fail(self: FileRecorder) -> None:
        path.write_bytes(b"")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(FileRecorder, "_create", fail)
    with pytest.raises(UserError, match="No space left"):
        recorder.open()
    recorder.close()
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == {path.name: b"an earlier take"}


def test_a_flac_recording_is_playable_while_it_grows(tmp_path: Path) -> None:
    path = tmp_path / "y.flac"
    recorder = recording(path, 48000)
    x = np.random.default_rng(0).uniform(-1, 1, 6 * 9600).astype(np.float32)
    lengths = []
    for piece in np.array_split(x, 6):
        recorder.write(piece)
        time.sleep(0.15)
        lengths.append(len(soundfile.read(path)[0]))  # what a kill at this moment would leave
    recorder.close()
    assert lengths == sorted(lengths) and lengths[0] > 0
    y, rate = soundfile.read(path)
    assert rate == 48000 and np.abs(x - y).max() <= 2**-23


def test_an_earlier_take_is_kept(tmp_path: Path) -> None:
    """A second recording to the same name moves the first aside: nothing that was played is lost."""
    for level in (0.1, 0.2, 0.3):
        recorder = recording(tmp_path / "take.wav", 48000)
        recorder.write(np.full(480, level, np.float32))
        recorder.close()
    levels = {p.name: round(float(soundfile.read(p)[0][0]), 3) for p in sorted(tmp_path.iterdir())}
    assert levels == {"take.1.wav": 0.1, "take.2.wav": 0.2, "take.wav": 0.3}
