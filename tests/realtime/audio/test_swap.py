"""Another bundle while playing: no click, the domains kept by name, and a broken one changes nothing."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from export.bundle.bundle import Bundle
from realtime.audio.block_processor import Worker
from realtime.audio.commands import Commands
from realtime.audio.model_loader import Loader
from realtime.audio.stream import SoftwareClock
from realtime.dsp.controls import DomainMap, default_cells
from realtime.dsp.model_crossfade import MIN_FADE_MS, Incoming, Player
from realtime.dsp.signal_path import SignalPath
from realtime.engines import load_engine
from realtime.shared.audio_config import AudioConfig
from realtime.shared.memory import PARAMETER_INDEX, SharedState
from realtime.shared.messages import FromAudio, Load, LoadFailed, Record, RecordFailed, StopRecording, Swapped
from tests.realtime.fakebundle import write_fake_bundle

RATE_HZ, BLOCK = 48000, 96
SAME = DomainMap(("strings", "piano"), ("strings", "piano"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("swap")
    write_fake_bundle(path / "a.umtn", identity=True)
    write_fake_bundle(path / "b.umtn", identity=True, sample_rate=32000, block=160)
    write_fake_bundle(path / "other.umtn", ids=("winds", "strings"))
    (path / "broken.umtn").write_bytes((path / "a.umtn").read_bytes()[:-900])
    write_fake_bundle(path / "wrong.umtn", wrong_probe=True)
    return path


def path_of(file: Path) -> SignalPath:
    return SignalPath(load_engine(Bundle.open(file), "onnx"), RATE_HZ, BLOCK)


def sine(seconds: float, hz: float = 220.0) -> np.ndarray:
    return (0.5 * np.sin(2 * np.pi * hz * np.arange(int(seconds * RATE_HZ)) / RATE_HZ)).astype(np.float32)


class Stage:
    """A player fed with a sine."""

    def __init__(self, folder: Path) -> None:
        self.gone: list[SignalPath] = []
        self.player = Player(path_of(folder / "a.umtn"), self.gone.append)
        self.cells, self.at, self.x = default_cells(), 0, sine(4.0)

    def play(self, seconds: float) -> np.ndarray:
        calls = []
        for _ in range(round(seconds * RATE_HZ / BLOCK)):
            out = np.zeros(BLOCK, np.float32)
            self.player.process(self.cells, self.x[self.at : self.at + BLOCK], out)
            self.at += BLOCK
            calls.append(out)
        return np.concatenate(calls)


def jump(y: np.ndarray) -> float:
    """Largest step from one sample to the next."""
    return float(np.abs(np.diff(y)).max())


@pytest.mark.parametrize("overlap", [True, False])
@pytest.mark.parametrize("fade_ms", [0.0, 60.0, 500.0])
@pytest.mark.parametrize("new", ["a", "b"])
def test_a_swap_does_not_jump(folder: Path, overlap: bool, fade_ms: float, new: str) -> None:
    """To a bundle of another rate, block and latency too: no step larger than in the steady sound."""
    stage = Stage(folder)
    stage.cells[PARAMETER_INDEX["crossfade_ms"]] = fade_ms
    steady = stage.play(0.5)[RATE_HZ // 4 :]
    fresh = path_of(folder / f"{new}.umtn")
    stage.player.swap(Incoming(fresh, SAME, overlap), stage.cells)
    changing = np.concatenate([steady[-1:], stage.play(1.4)])
    assert stage.player.path is fresh and not stage.player.fading and len(stage.gone) == 1
    after = stage.play(0.3)
    largest = max(jump(steady), jump(after))  # 32 kHz and back leaves a little more of its images
    assert jump(changing) <= 1.005 * largest
    assert jump(np.concatenate([changing[-1:], after])) <= 1.005 * largest
    assert (
        np.abs(changing).max() <= 1.02 * np.abs(steady).max()
    )  # a path that begins mid-tone overshoots a little
    assert np.abs(after).max() > 0.49


def test_an_overlapping_swap_has_no_hole(folder: Path) -> None:
    stage = Stage(folder)
    stage.play(0.5)
    stage.player.swap(Incoming(path_of(folder / "a.umtn"), SAME), stage.cells)
    loudness = np.sqrt((stage.play(0.4).reshape(-1, RATE_HZ // 100) ** 2).mean(1))
    assert loudness.min() > 0.3  # of 0.354: the same bundle against itself


def test_the_fade_is_at_least_20_ms(folder: Path) -> None:
    stage = Stage(folder)
    stage.cells[PARAMETER_INDEX["crossfade_ms"]] = 0.0
    stage.player.swap(Incoming(path_of(folder / "a.umtn"), SAME, overlap=False), stage.cells)
    stage.play(MIN_FADE_MS / 1000 - 0.002)
    assert not stage.gone
    stage.play(0.004)
    assert stage.gone


@pytest.mark.parametrize("after_s", [0.01, 0.07, 0.1])
@pytest.mark.parametrize("overlap", [True, False])
def test_panic_in_the_middle_of_a_swap_ends_both(folder: Path, after_s: float, overlap: bool) -> None:
    stage = Stage(folder)
    before = stage.play(0.5)
    stage.player.swap(Incoming(path_of(folder / "b.umtn"), SAME, overlap), stage.cells)
    last = stage.play(after_s)
    out = np.zeros(BLOCK, np.float32)
    stage.player.process(stage.cells, stage.x[stage.at : stage.at + BLOCK], out)
    stage.player.panic(stage.cells, out)
    assert jump(np.concatenate([last[-1:], out])) <= max(jump(before), 0.5 / 64)
    assert not out[64:].any() and not stage.player.fading


def test_domains_are_kept_by_name_until_control_knows_the_new_ones(folder: Path) -> None:
    """winds, strings instead of strings, piano: `to` = 0 still says strings, which is 1 now."""
    stage = Stage(folder)
    map_ = DomainMap(("strings", "piano"), ("winds", "strings"))
    stage.cells[PARAMETER_INDEX["blend/0"]] = 0.5
    stage.cells[PARAMETER_INDEX["blend/1"]] = 0.25  # piano, which is no more
    fresh = path_of(folder / "other.umtn")
    stage.player.swap(Incoming(fresh, map_), stage.cells)
    stage.play(0.4)
    assert stage.player.path is fresh
    assert fresh.controls.to == 1 and fresh.controls.blend[:3].tolist() == [0.0, 0.5, 0.0]
    map_.rewrite(stage.cells)  # as control does when it hears of it
    assert stage.cells[PARAMETER_INDEX["to"]] == 1 and stage.cells[PARAMETER_INDEX["blend/1"]] == 0.5
    stage.play(0.1)
    assert fresh.controls.to == 1
    stage.cells[PARAMETER_INDEX["to"]] = 0
    stage.play(0.1)
    assert fresh.controls.to == 0


def test_latent_channels_of_another_bundle_start_anew() -> None:
    cells = default_cells()
    cells[PARAMETER_INDEX["latent/scale/3"]] = 2.0
    DomainMap(("a",), ("a",), same_latent=False).rewrite(cells)
    assert np.array_equal(cells, default_cells())


class House:
    """A worker at the pace of the clock, and a loader that is looked at as the audio process does."""

    def __init__(self, bundle: Path) -> None:
        self.shared = SharedState.create()
        self.worker = Worker(path_of(bundle), self.shared, _Sine())
        self.worker.warm_up(BLOCK)
        self.loader = Loader(self.worker, "onnx", bundle)
        self.clock = SoftwareClock(self.worker, BLOCK, RATE_HZ, fast=False)
        self.said: list[np.ndarray] = []
        self.noting = threading.Lock()
        block = self.worker.block

        def listened(x: np.ndarray | None, n: int) -> np.ndarray:
            out = block(x, n)
            self.said.append(out.copy())
            return out

        self.worker.block = listened  # type: ignore[method-assign]

    def answer(self, seconds: float = 20.0) -> Swapped | LoadFailed:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            for message in self.loader.poll():
                return message
            time.sleep(0.01)
        raise AssertionError("the loader says nothing")


class _Sine:
    finished = False

    def __init__(self) -> None:
        self._n = 0

    def read(self, out: np.ndarray) -> int:
        n = np.arange(self._n, self._n + len(out))
        out[:] = 0.5 * np.sin(2 * np.pi * 220 * n / RATE_HZ)
        self._n += len(out)
        return len(out)


@pytest.fixture
def house(folder: Path) -> Iterator[House]:
    made = House(folder / "a.umtn")
    made.clock.start()
    time.sleep(0.3)
    yield made
    made.clock.stop()
    made.shared.close()
    made.shared.unlink()


def test_a_bundle_is_loaded_beside_the_music_and_takes_over(house: House, folder: Path) -> None:
    old = house.worker.path
    assert house.loader.start(folder / "b.umtn") is None
    assert "still being loaded" in str(house.loader.start(folder / "a.umtn"))
    swapped = house.answer()
    assert isinstance(swapped, Swapped)
    assert swapped.bundle.model_rate == 32000 and swapped.bundle.path.endswith("b.umtn")
    assert house.worker.path is not old and house.loader.bundle.name == "b.umtn"
    time.sleep(0.3)
    y = np.concatenate(house.said)
    start = RATE_HZ // 10
    steady = max(jump(y[start : 2 * start]), jump(y[-start:]))
    assert jump(y[start:]) <= 1.005 * steady
    assert house.worker.failures == 0


@pytest.mark.parametrize(
    ("name", "says"),
    [("broken", "broken.umtn"), ("wrong", "computes the domain piano"), ("none", "none.umtn")],
)
def test_a_broken_bundle_leaves_the_old_one_playing(house: House, folder: Path, name: str, says: str) -> None:
    old = house.worker.path
    assert house.loader.start(folder / f"{name}.umtn") is None
    failed = house.answer()
    assert isinstance(failed, LoadFailed) and says in failed.sentence and "\n" not in failed.sentence
    assert "a.umtn plays on" in failed.sentence
    blocks = house.worker.blocks
    time.sleep(0.1)
    assert house.worker.path is old and house.worker.blocks > blocks and house.worker.failures == 0
    assert house.loader.start(folder / "b.umtn") is None  # and it is ready for the next one
    assert isinstance(house.answer(), Swapped)


def test_requests_are_told_apart_by_their_type(
    house: House, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    said: list[FromAudio] = []
    commands = Commands(AudioConfig(str(folder / "a.umtn"), engine="onnx"), house.worker, said.append)
    commands.obey(("load", str(folder / "b.umtn")))  # as it was once said
    commands.obey(StopRecording())  # none runs
    commands.poll()
    assert said == [] and "control sent a tuple, which audio does not know" in caplog.text
    commands.obey(Record(str(folder / "take.mp3")))
    assert len(said) == 1 and isinstance(said[0], RecordFailed) and "take.mp3" in said[0].sentence
    commands.obey(Load(str(folder / "b.umtn")))
    commands.obey(Load(str(folder / "a.umtn")))
    assert isinstance(said[1], LoadFailed) and "still being loaded" in said[1].sentence
    deadline = time.monotonic() + 20
    while len(said) < 3 and time.monotonic() < deadline:
        commands.poll()
        time.sleep(0.01)
    assert isinstance(said[2], Swapped) and said[2].bundle.path.endswith("b.umtn")
