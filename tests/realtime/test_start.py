"""How `python -m realtime.run` starts: what can be refused is refused before a file is touched or a port is taken."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests.realtime.control.oscclient import eventually
from tests.realtime.fakebundle import write_fake_bundle

ROOT = Path(__file__).parents[2]
RATE = 44100
POSIX = pytest.mark.skipif(sys.platform == "win32", reason="pipes and signals of POSIX")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_fake_bundle(tmp_path_factory.mktemp("start") / "fake.umtn")


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """The folder where the program is started: two seconds of a sine, `in.wav`."""
    folder = tmp_path / "here"
    folder.mkdir()
    soundfile.write(folder / "in.wav", sine(), RATE)
    return folder


def sine() -> np.ndarray:
    return 0.3 * np.sin(2 * np.pi * 440 * np.arange(2 * RATE) / RATE)


def begin(here: Path, bundle: Path, *arguments: str, path: Path | None = None) -> subprocess.Popen[str]:
    """path: a folder whose modules come before the installed ones."""
    return subprocess.Popen(
        [sys.executable, "-m", "realtime.run", "--bundle", str(bundle), *arguments],
        cwd=here,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([*([str(path)] if path else []), str(ROOT)])},
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def run(here: Path, bundle: Path, *arguments: str, path: Path | None = None) -> tuple[int, str, str]:
    process = begin(here, bundle, *arguments, path=path)
    out, err = process.communicate(timeout=60)
    return process.returncode, out, err


def refused(here: Path, bundle: Path, *arguments: str, path: Path | None = None) -> str:
    """The one sentence."""
    code, out, err = run(here, bundle, *arguments, path=path)
    assert (code, out) == (2, "")
    assert err.startswith("error: ") and err.count("\n") == 1
    return err


def contents(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in folder.iterdir() if p.is_file()}


FAST = ("--in", "in.wav", "--fast")


@pytest.mark.parametrize("pace", [("--fast",), ("--seconds", "1.5")])
def test_record_leaves_a_take_that_plays(here: Path, bundle: Path, pace: tuple[str, ...]) -> None:
    """`--record` was once taken for a value of the parameter `record`, and every such start failed."""
    code, out, err = run(here, bundle, "--in", "in.wav", "--out", "none", "--no-osc", "--record", *pace)
    assert (code, err) == (0, "")
    (take,) = here.glob("umtn-*.wav")
    assert take.name in out
    sound, rate = soundfile.read(take)
    assert rate == RATE and sound.shape[1] == 2 and len(sound) > RATE
    assert (np.abs(sound).max(axis=0) > 0.05).all()


def test_record_takes_a_name(here: Path, bundle: Path) -> None:
    code, _, err = run(here, bundle, *FAST, "--out", "none", "--record", "evening.flac")
    assert (code, err) == (0, "")
    assert soundfile.info(here / "evening.flac").channels == 2


def columns(here: Path, name: str, sounding: dict[int, float], count: int) -> str:
    """A file of so many channels, silent but for these: factor of the sine by channel from 1."""
    sound = np.zeros((2 * RATE, count))
    for channel, factor in sounding.items():
        sound[:, channel - 1] = factor * sine()
    soundfile.write(here / name, sound, RATE, "FLOAT")
    return name


def played(here: Path, bundle: Path, *arguments: str) -> np.ndarray:
    code, _, err = run(here, bundle, "--fast", "--out", "out.wav", *arguments)
    assert (code, err) == (0, "")
    return soundfile.read(here / "out.wav")[0]


def test_channel_chooses_from_a_sound_file_and_silent_channels_cost_no_level(
    here: Path, bundle: Path
) -> None:
    one = columns(here, "one.wav", {1: 1.0}, 1)
    six = columns(here, "six.wav", {3: 1.0}, 6)
    both = columns(here, "both.wav", {1: 0.5, 2: 1.0}, 2)
    wanted = played(here, bundle, "--in", one)
    assert np.abs(wanted).max() > 0.1
    assert np.array_equal(played(here, bundle, "--in", both, "--channel", "2"), wanted)
    assert np.array_equal(played(here, bundle, "--in", six, "--channel", "3"), wanted)
    assert np.array_equal(played(here, bundle, "--in", six), wanted)


def test_a_channel_that_the_file_lacks_is_refused(here: Path, bundle: Path) -> None:
    both = columns(here, "both.wav", {1: 0.5, 2: 1.0}, 2)
    said = refused(here, bundle, "--in", both, "--out", "out.wav", "--fast", "--channel", "7")
    assert "--channel 7 was asked for, but both.wav has 2 channels" in said
    assert "has a single channel" in refused(here, bundle, *FAST, "--out", "none", "--channel", "2")
    assert not (here / "out.wav").exists()


@pytest.mark.parametrize("ending", ["wav", "flac"])
@pytest.mark.parametrize(
    "slip",
    [
        ("--midi", "nano"),
        ("--channel", "7"),
        ("--record", "nowhere/take.wav"),
        ("--engine", "abacus"),
        ("--to", "kazoo"),
    ],
)
def test_a_start_that_fails_leaves_the_earlier_take_alone(
    here: Path, bundle: Path, tmp_path: Path, slip: tuple[str, ...], ending: str
) -> None:
    """It was once moved aside, with 0.1 s of nothing in its place."""
    soundfile.write(here / f"s.{ending}", sine(), RATE)
    (tmp_path / "path").mkdir()
    (tmp_path / "path" / "mido.py").write_text("raise ModuleNotFoundError('no mido here', name='mido')\n")
    before = contents(here)
    refused(here, bundle, *FAST, "--out", f"s.{ending}", *slip, path=tmp_path / "path")
    assert contents(here) == before


@pytest.fixture
def default_port_taken() -> Iterator[None]:
    """The port of OSC and page, by us or by whoever has it already."""
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as osc,
        socket.socket(socket.AF_INET, socket.SOCK_STREAM) as page,
    ):
        for taken in (osc, page):
            with contextlib.suppress(OSError):
                taken.bind(("127.0.0.1", 9100))
        page.listen()
        yield


@pytest.mark.usefixtures("default_port_taken")
def test_two_files_are_translated_at_once_where_another_instance_plays(here: Path, bundle: Path) -> None:
    both = [begin(here, bundle, *FAST, "--out", name) for name in ("a.wav", "b.wav")]
    for process in both:
        out, err = process.communicate(timeout=60)
        assert (process.returncode, err) == (0, "")
        assert "no OSC" in out and "http://" not in out
    assert contents(here)["a.wav"] == contents(here)["b.wav"]


def test_a_port_that_is_asked_for_is_opened_even_so(here: Path, bundle: Path) -> None:
    code, out, err = run(here, bundle, *FAST, "--out", "a.wav", "--osc-port", "0", "--web-port", "0")
    assert (code, err) == (0, "")
    assert "OSC on 127.0.0.1:" in out and "http://127.0.0.1:" in out
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        port = str(taken.getsockname()[1])
        assert f"port {port}" in refused(here, bundle, *FAST, "--out", "b.wav", "--osc-port", port)
    assert not (here / "b.wav").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--in", "-"), "--in - is a stream"),
        (("--in", "/dev/stdin"), "--in /dev/stdin is a stream"),
        (("--in", "takes/"), "--in takes/ is a folder; a sound file"),
        (("--in", "takes"), "--in takes is a folder; a sound file"),
        (("--in", "."), "--in . is a folder"),
        (("--in", "song.wav"), "--in song.wav is a folder"),
        (("--out", "-"), "--out - is a stream"),
        (("--out", "./takes"), "--out ./takes is a folder; a .wav or .flac file"),
        (("--out", "takes"), "--out takes is a folder"),
        (("--out", "song.wav"), "--out song.wav is a folder"),
        (("--out", "x.mp3"), "must end in .wav or .flac"),
        (("--out", "nowhere/x.wav"), "there is no folder nowhere"),
        (("--out", os.devnull), "did you mean --out none?"),
        (("--record", "takes"), "--record takes is a folder"),
        (("--record", "x.mp3"), "a recording ends in .wav or .flac, but --record x.mp3 came"),
        (("--record", "nowhere/x.wav"), "there is no folder nowhere"),
        (("--presets", "in.wav"), "in.wav is a file, and a folder of presets is wanted"),
        (("--presets", "in.wav/mine"), "in.wav is a file, and a folder of presets is wanted"),
        (("--to", "2"), "no domain has the index 2 in this bundle, which has 0 strings, 1 piano"),
        (("--to", "-1"), "no domain '-1'"),
        (("--out", "x.flac", "--rate", "96001"), "FLAC holds no sound of 96001 Hz"),
    ],
)
def test_a_place_that_will_not_do_gets_its_sentence(
    here: Path, bundle: Path, arguments: tuple[str, ...], said: str
) -> None:
    (here / "takes").mkdir()
    (here / "song.wav").mkdir()
    before = sorted(here.rglob("*"))
    assert said in refused(here, bundle, *FAST, "--out", "none", *arguments)
    assert sorted(here.rglob("*")) == before


@POSIX
def test_a_pipe_is_no_sound_file(here: Path, bundle: Path) -> None:
    os.mkfifo(here / "pipe.wav")
    assert "--in pipe.wav is a stream" in refused(here, bundle, "--in", "pipe.wav", "--out", "none")
    assert "--out pipe.wav is a stream" in refused(here, bundle, *FAST, "--out", "pipe.wav")


def test_a_domain_may_be_given_by_its_index(here: Path, bundle: Path) -> None:
    by_id = [played(here, bundle, "--in", "in.wav", "--to", domain) for domain in ("strings", "piano")]
    assert np.abs(by_id[0] - by_id[1]).max() > 0.06
    for number, sound in enumerate(by_id):  # the piano of this bundle has noise
        assert np.abs(played(here, bundle, "--in", "in.wav", "--to", str(number)) - sound).max() < 0.03


def test_flac_comes_out_and_the_earlier_take_is_kept(here: Path, bundle: Path) -> None:
    for _ in range(2):
        code, out, err = run(here, bundle, *FAST, "--out", "s.flac", "--seconds", "1")
        assert (code, err) == (0, "")
    assert "the earlier take of that name is now s.1.flac" in out
    for name in ("s.flac", "s.1.flac"):
        sound, rate = soundfile.read(here / name)
        assert (sound.ndim, rate) == (1, RATE) and abs(len(sound) - RATE) < 200
        assert np.abs(sound).max() > 0.05


@POSIX
def test_a_flac_that_was_killed_plays(here: Path, bundle: Path) -> None:
    process = begin(here, bundle, "--in", "in.wav", "--out", "s.flac", "--no-osc", "--no-web")

    def length_s() -> float:
        with contextlib.suppress(soundfile.SoundFileError):
            return float(soundfile.info(here / "s.flac").duration)
        return 0.0

    try:
        assert eventually(lambda: length_s() > 0.3, 20.0)
        for child in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split():
            os.kill(int(child), signal.SIGKILL)
        process.communicate(timeout=15)
    finally:
        process.kill()
        process.wait()
    sound, _ = soundfile.read(here / "s.flac")
    assert len(sound) > 0.3 * RATE and np.abs(sound).max() > 0.05
