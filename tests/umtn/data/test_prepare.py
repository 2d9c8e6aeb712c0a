"""`prepare` on the files that people have: any rate, depth and channels; and on broken ones."""

import argparse
from pathlib import Path

import numpy as np
import pytest
import soundfile

from umtn.cli.data import register
from umtn.data.dataset import Dataset
from umtn.data.prepare import prepare, read_audio, split_files
from umtn.errors import UserError

RATE = 24_000


def tone(rate: int, seconds: float = 0.5, hz: float = 440.0, channels: int = 1) -> np.ndarray:
    wave = 0.5 * np.sin(2 * np.pi * hz * np.arange(round(rate * seconds)) / rate)
    return np.stack([wave] * channels, axis=1)


@pytest.mark.parametrize("rate", [8000, 22050, 44100, 48000, 96000])
@pytest.mark.parametrize(
    ("suffix", "subtype", "channels"),
    [
        ("wav", "PCM_16", 1),
        ("wav", "PCM_24", 2),
        ("wav", "FLOAT", 2),
        ("flac", "PCM_24", 1),
        ("ogg", "VORBIS", 2),
    ],
)
def test_any_rate_depth_and_channels(
    tmp_path: Path, rate: int, suffix: str, subtype: str, channels: int
) -> None:
    path = tmp_path / f"a.{suffix}"
    soundfile.write(path, tone(rate, channels=channels), rate, subtype=subtype)
    samples = read_audio(path, RATE)
    assert samples.dtype == np.int16 and samples.shape == (RATE // 2,)
    middle = samples[2000:-2000] / 32767
    expected = tone(RATE)[2000:-2000, 0]
    assert np.abs(middle - expected).max() < (0.05 if suffix == "ogg" else 2e-3)


def test_mp3_is_read(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.mp3", tone(44100, 1.0), 44100)
    samples = read_audio(tmp_path / "a.mp3", RATE)
    assert abs(len(samples) - RATE) < 2500  # the coder pads
    assert np.abs(samples[5000:15000]).max() == pytest.approx(0.5 * 32767, rel=0.05)


def test_channels_are_averaged_and_hot_or_broken_samples_tamed(tmp_path: Path) -> None:
    left = np.full(RATE, 3.0, np.float32)
    left[100:110], left[200:210] = np.nan, np.inf
    soundfile.write(tmp_path / "a.wav", np.stack([left, np.full(RATE, -2.0)], 1), RATE, subtype="FLOAT")
    samples = read_audio(tmp_path / "a.wav", RATE)
    assert np.abs(samples[1000:-1000] - 0.5 * 32767).max() < 40


def test_long_files_are_read_in_chunks_without_a_seam(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    soundfile.write(tmp_path / "a.wav", tone(44100, 3.3), 44100)
    whole = read_audio(tmp_path / "a.wav", RATE)
    monkeypatch.setattr("umtn.data.prepare.CHUNK_S", 1)
    np.testing.assert_allclose(read_audio(tmp_path / "a.wav", RATE), whole, atol=1)
    assert len(whole) == round(3.3 * RATE)


@pytest.mark.parametrize("content", ["empty", "one sample", "no samples", "text", "cut"])
def test_bad_files_get_a_sentence_that_names_them(tmp_path: Path, content: str) -> None:
    path = tmp_path / "odd one.wav"
    if content == "empty":
        path.write_bytes(b"")
    elif content == "text":
        path.write_text("not a sound " * 100)
    elif content == "cut":
        soundfile.write(path, tone(RATE), RATE)
        path.write_bytes(path.read_bytes()[:30])
    else:
        soundfile.write(path, tone(RATE)[: 1 if content == "one sample" else 0], RATE)
    with pytest.raises(UserError, match=r"odd one\.wav"):
        read_audio(path, RATE)


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    for domain, count in (("strings", 6), ("voice", 1)):
        (tmp_path / "raw" / domain / "deeper").mkdir(parents=True)
        for i in range(count):
            place = tmp_path / "raw" / domain / ("deeper" if i % 2 else ".") / f"{i}.wav"
            # every file holds its own constant, so that a sample tells which file it came from
            soundfile.write(place, np.full(RATE // 2 * (i + 1), (i + 1) / 10), RATE, subtype="PCM_16")
    return tmp_path / "raw"


def test_prepare_splits_by_file_and_skips_the_unreadable(raw: Path, tmp_path: Path) -> None:
    (raw / "strings" / "broken.flac").write_bytes(b"fLaC")
    (raw / "strings" / "notes.txt").write_text("no sound, not looked at")
    skipped: list[str] = []
    data = prepare(raw, tmp_path / "out", RATE, 0.2, skip=lambda path, why: skipped.append(path.name))
    assert skipped == ["broken.flac"]
    assert (data.kind, data.sample_rate, data.domains) == ("plain", RATE, ["strings", "voice"])
    constants: dict[str, set[int]] = {}
    files: list[str] = []
    for split in ("train", "valid"):
        (track,) = data.tracks(split, "strings")
        audio = data.audio(track)
        constants[split] = set()
        for piece in track.recordings:
            body = audio[piece.start + 500 : piece.start + piece.length - 500]
            assert body.max() - body.min() < 200  # one recording, not the edge of another
            constants[split].add(round(float(body.mean()) / 3276.7))
            files.append(piece.file)
        assert sum(p.length for p in track.recordings) == track.length
    assert not constants["train"] & constants["valid"]
    assert constants["train"] | constants["valid"] == {1, 2, 3, 4, 5, 6}
    assert len(set(files)) == 6 and any(f.startswith("deeper/") for f in files)
    assert [t.split for t in data.all_tracks if t.domain == "voice"] == ["train"]  # a single file trains


def test_split_goes_by_duration() -> None:
    lengths = {f"{i}.wav": 100 * (i + 1) for i in range(20)}
    for seed in range(10):
        splits = split_files(lengths, 0.1, seed)
        valid = sum(n for f, n in lengths.items() if splits[f] == "valid")
        assert 0 < valid / sum(lengths.values()) < 0.16
        assert splits == split_files(lengths, 0.1, seed)
    assert set(split_files(lengths, 0.0, 1).values()) == {"train"}
    assert sorted(split_files({"a": 1, "b": 100}, 0.9, 1).values()) == ["train", "valid"]


def test_folders_that_cannot_work_get_a_sentence(raw: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is not a folder"):
        prepare(tmp_path / "none", tmp_path / "out", RATE)
    with pytest.raises(UserError, match="must lie in such a folder"):
        (tmp_path / "flat").mkdir()
        soundfile.write(tmp_path / "flat" / "a.wav", tone(RATE), RATE)
        prepare(tmp_path / "flat", tmp_path / "out", RATE)
    (raw / "winds").mkdir()
    with pytest.raises(UserError, match=r"domain 'winds' .* no sound files"):
        prepare(raw, tmp_path / "out", RATE)
    (raw / "winds" / "a.wav").write_bytes(b"")
    with pytest.raises(UserError, match="domain 'winds' has no readable sound file"):
        prepare(raw, tmp_path / "out", RATE)
    with pytest.raises(UserError, match="OUT is RAW"):
        prepare(raw, raw, RATE)
    assert not (tmp_path / "out" / "manifest.json").exists()
    with pytest.raises(UserError, match=r"holds no manifest\.json"):
        Dataset.open(tmp_path / "out")


def test_prepare_command(raw: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    parser = argparse.ArgumentParser()
    register(parser.add_subparsers(required=True))
    (raw / "voice" / "broken.mp3").write_bytes(b"")
    arguments = parser.parse_args(["prepare", str(raw), str(tmp_path / "out"), "--rate", "16000"])
    assert arguments.run(arguments) == 0
    captured = capsys.readouterr()
    assert "broken.mp3" in captured.err and "voice (train): 1 files" in captured.out
    assert Dataset.open(tmp_path / "out").sample_rate == 16000
