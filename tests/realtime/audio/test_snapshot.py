"""The walker: whatever an object is made of comes back, in place, and a path goes on to the sample."""

from __future__ import annotations

import json
from collections import deque
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from export.bundle.bundle import Bundle
from realtime.audio.model_loader import free
from realtime.dsp.signal_path import SignalPath
from realtime.engines import load_engine
from realtime.engines.state import Stateful
from realtime.recording.restore import restore, save
from realtime.recording.snapshot import Plan, Stale
from realtime.shared.saved_classes import id_of, saved
from tests.realtime.fakebundle import write_fake_bundle
from umtn.errors import UserError


@saved("test Fact")
@dataclass(frozen=True)
class Fact:
    number: int


@saved("test Part")
@dataclass
class Part:
    """Something with one of everything."""

    gain: float = 0.0
    name: str = ""
    fact: Fact = Fact(0)
    array: np.ndarray = field(default_factory=lambda: np.zeros((2, 3), np.float32))
    history: deque[Any] = field(default_factory=lambda: deque(maxlen=3))
    table: dict[Any, Any] = field(default_factory=dict)
    chosen: set[int] = field(default_factory=set)
    listed: list[Any] = field(default_factory=list)
    random: np.random.Generator = field(default_factory=lambda: np.random.default_rng(1))
    small: Any = None
    child: Any = None

    def __post_init__(self) -> None:
        self.row = self.array[1]
        self.call = self.later

    def later(self) -> None: ...


def used() -> Part:
    part = Part(gain=float("inf"), name="ü", small=np.float32(0.1))
    part.fact = replace(part.fact, number=7)
    part.array[:] = np.arange(6).reshape(2, 3)
    part.history.extend([1, (2, 3.5), None, True])
    part.table = {1: part.array, ("a", 2): [1, 2], "self": part}
    part.chosen = {4, 5}
    part.listed = part.table[("a", 2)]
    part.random.random(5)
    part.child = Part(gain=1.0)
    return part


def through(part: Any, fresh: Any, folder: Path) -> Any:
    plan = Plan(part)
    plan.capture()
    save(plan, folder / "x.npz")
    restore(fresh, folder / "x.npz")
    return fresh


def test_everything_comes_back_in_place(tmp_path: Path) -> None:
    part, fresh = used(), Part()
    array, row, listed = fresh.array, fresh.row, fresh.listed
    back = through(part, fresh, tmp_path)
    assert (back.gain, back.name, back.fact.number, back.chosen) == (float("inf"), "ü", 7, {4, 5})
    assert type(back.small) is np.float32 and back.small == np.float32(0.1)
    assert back.array is array and back.row is row and back.listed is listed  # who is bound to them stays so
    assert np.array_equal(array, np.arange(6).reshape(2, 3)) and np.array_equal(row, [3, 4, 5])
    assert list(back.history) == [(2, 3.5), None, True] and back.history.maxlen == 3
    assert back.table[1] is array and back.table["self"] is back and back.table[("a", 2)] is listed
    assert back.random.random() == part.random.random()
    assert back.child.gain == 1.0 and back.child.row.base is back.child.array
    assert back.call.__self__ is back


def test_two_names_of_one_live_list_do_not_mix_what_were_two_lists(tmp_path: Path) -> None:
    """A fresh fade starts with start, goal = wanted, wanted: restored in place, the last would win."""
    part, fresh = Part(), Part()
    part.listed, part.table = [1.0, 0.0], {"goal": [0.0, 1.0]}
    fresh.listed = [0.5, 0.5]
    fresh.table = {"goal": fresh.listed}
    back = through(part, fresh, tmp_path)
    assert (back.listed, back.table["goal"]) == ([1.0, 0.0], [0.0, 1.0])


def test_what_is_captured_is_that_moment_whatever_happens_before_it_is_written(tmp_path: Path) -> None:
    part, fresh = used(), Part()
    plan = Plan(part)
    plan.capture()
    part.gain = 0.5
    part.array[:] = -1
    part.listed.append(3)
    part.child = None
    part.random.random(100)
    save(plan, tmp_path / "x.npz")
    restore(fresh, tmp_path / "x.npz")
    assert fresh.gain == float("inf") and fresh.array[1, 2] == 5 and fresh.listed == [1, 2]
    assert fresh.child.gain == 1.0
    reference = np.random.default_rng(1)
    reference.random(5)
    assert fresh.random.random() == reference.random()


def test_a_part_that_came_after_the_plan_makes_it_stale(tmp_path: Path) -> None:
    part = used()
    plan = Plan(part)
    for newcomer in (Part(), Sealed(), np.zeros(3)):
        part.child = newcomer
        plan.capture()
        with pytest.raises(Stale):
            save(plan, tmp_path / "x.npz")
    assert list(tmp_path.iterdir()) == []


def test_state_that_cannot_be_read_is_reported() -> None:
    assert Plan(Part(small=memoryview(b"abc"))).unsaved == {"builtins.memoryview"}
    assert Plan(used()).unsaved == set()


class Sealed(Stateful):
    """State behind a handle."""

    def __init__(self, layout: str = "a kernel", size: int = 3) -> None:
        self.address = id(self)
        self._layout, self.memory = layout, bytearray(size)

    @property
    def state_layout(self) -> str:
        return self._layout

    @property
    def state_bytes(self) -> int:
        return len(self.memory)

    def save_state(self, out: np.ndarray) -> None:
        out[:] = np.frombuffer(self.memory, np.uint8)

    def load_state(self, kept: np.ndarray) -> None:
        if kept[0] == 255:
            raise ValueError("255 is none")
        self.memory[:] = kept.tobytes()


def test_what_hands_its_state_over_is_not_looked_into(tmp_path: Path) -> None:
    sealed, fresh = Sealed(), Sealed()
    sealed.memory[:] = b"abc"
    part, other = Part(child=sealed, listed=[sealed], array=np.arange(5)), Part(child=fresh, listed=[fresh])
    plan = Plan(part)
    plan.capture()
    assert plan.unsaved == set()
    sealed.memory[:] = b"xyz"
    save(plan, tmp_path / "x.npz")
    address = fresh.address
    restore(other, tmp_path / "x.npz")
    assert other.child is fresh and other.listed[0] is fresh
    assert (fresh.memory, fresh.address) == (bytearray(b"abc"), address)


@pytest.mark.parametrize(
    ("there", "sentence"),
    [
        (
            Sealed("another"),
            r"x.npz holds the state of a kernel \(3 bytes\), but another \(3 bytes\) plays here",
        ),
        (Sealed(size=4), r"a kernel \(3 bytes\), but a kernel \(4 bytes\) plays here"),
        (Part(), "does not hold the state .*there is no a kernel here"),
        (None, "does not hold the state .*there is no a kernel here"),
    ],
)
def test_a_state_goes_only_where_it_belongs(there: Any, sentence: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=sentence):
        through(Part(child=Sealed()), Part(child=there), tmp_path)


def test_a_state_that_is_none_gets_a_sentence(tmp_path: Path) -> None:
    sealed = Sealed()
    sealed.memory[0] = 255
    with pytest.raises(UserError, match="does not hold the state .*255 is none"):
        through(sealed, Sealed(), tmp_path)


def test_files_that_do_not_fit_get_a_sentence(tmp_path: Path) -> None:
    plan = Plan(used())
    plan.capture()
    save(plan, tmp_path / "x.npz")
    with pytest.raises(UserError, match="there is no"):
        restore(Part(), tmp_path / "y.npz")
    (tmp_path / "z.npz").write_bytes((tmp_path / "x.npz").read_bytes()[:900])
    with pytest.raises(UserError, match="does not hold the state"):
        restore(Part(), tmp_path / "z.npz")
    with pytest.raises(UserError, match="a .*Part was saved, not a deque"):
        restore(deque(), tmp_path / "x.npz")
    evil = json.dumps({"kind": "object", "class": "subprocess:Popen", "fields": {}}).encode()
    np.savez(tmp_path / "e.npz", structure=np.frombuffer(evil, np.uint8), data=np.zeros(0, np.uint8))
    with pytest.raises(UserError, match="none of this program's classes"):
        restore(Part(), tmp_path / "e.npz")


@pytest.mark.parametrize("at", [-1, 1 << 40, 8])
def test_a_state_that_breaks_off_never_reaches_its_owner(tmp_path: Path, at: int) -> None:
    """Its owner may be C++, which believes that all of it is there."""
    plan = Plan(Sealed())
    plan.capture()
    save(plan, tmp_path / "x.npz")
    with np.load(tmp_path / "x.npz") as file:
        node = json.loads(bytes(file["structure"])) | {"at": at}
        short = file["data"][: node["bytes"]]
    text = json.dumps(node).encode()
    np.savez(tmp_path / "e.npz", structure=np.frombuffer(text, np.uint8), data=short)
    with pytest.raises(UserError, match="does not hold the state"):
        restore(Sealed(), tmp_path / "e.npz")


@pytest.mark.parametrize(
    "node",
    [
        {"kind": "object", "class": "realtime.nowhere:X", "fields": {}},
        {"kind": "object", "class": "realtime.__main__:main", "fields": {}},
        {"kind": "array", "dtype": "<f4", "shape": [1 << 70], "at": 0},
        {"kind": "array", "dtype": "<f4", "shape": [4], "at": -8},
        {"kind": "array", "dtype": "O", "shape": [1], "at": 0},
        {"kind": "array", "dtype": "<f4", "shape": [float("nan")], "at": 0},
        {"kind": "array", "dtype": "O", "shape": [1], "base": 2, "strides": [8], "offset": 0},
        {"kind": "array", "dtype": "<f4", "shape": [1], "base": 2, "strides": [4], "offset": -64},
        {"kind": "array", "dtype": "<f4", "shape": [1], "base": 2, "strides": [4], "offset": 64},
        {"kind": "deque", "maxlen": 1 << 70, "items": []},
        {"kind": "random", "state": {"bit_generator": "PCG64", "state": float("inf")}},
    ],
)
def test_a_structure_of_nonsense_gets_a_sentence(tmp_path: Path, node: dict[str, Any]) -> None:
    nodes = [{"kind": "object", "class": id_of(Part), "fields": {"new": {"node": 1}}}, node]
    nodes.append({"kind": "array", "dtype": "<f4", "shape": [4], "at": 0})
    text = "\n".join(json.dumps(n) for n in nodes).encode()
    np.savez(tmp_path / "e.npz", structure=np.frombuffer(text, np.uint8), data=np.zeros(64, np.uint8))
    with pytest.raises(UserError, match="does not hold the state|none of this program's classes"):
        restore(Part(), tmp_path / "e.npz")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return Bundle.open(write_fake_bundle(tmp_path_factory.mktemp("b") / "fake.umtn"))


@pytest.mark.parametrize("rate", [44100, 48000])
@pytest.mark.parametrize("at", [0, 1, 37, 61])
def test_a_signal_path_goes_on_to_the_sample(bundle: Bundle, tmp_path: Path, rate: int, at: int) -> None:
    """In the middle of cross-fade and ramps, with a decoder that draws noise, at an odd rate and block."""
    x = np.random.default_rng(3).uniform(-0.5, 0.5, (120, 100)).astype(np.float32)

    def play(path: SignalPath, rows: np.ndarray) -> np.ndarray:
        out = np.zeros_like(rows)
        for row, made in zip(rows, out, strict=True):
            path.process(row, made)
        return out

    path = SignalPath(load_engine(bundle, "onnx"), rate, 100)
    path.controls.to, path.controls.mix = 1, 1.0
    play(path, x[:30])
    path.controls.to, path.controls.mix = 0, 0.5
    play(path, x[30 : 30 + at])
    plan = Plan(path)
    plan.capture()
    save(plan, tmp_path / "x.npz")
    path.controls.to = 1
    wanted = play(path, x[30 + at :])
    fresh = SignalPath(load_engine(bundle, "onnx"), rate, 100)
    restore(fresh, tmp_path / "x.npz")
    fresh.controls.to = 1
    assert np.array_equal(play(fresh, x[30 + at :]), wanted)


def test_a_path_is_freed_part_by_part_without_the_garbage_collector(bundle: Bundle) -> None:
    import gc
    import weakref

    gc.disable()
    try:
        path = SignalPath(load_engine(bundle, "onnx"), 48000, 128)
        gone = [weakref.ref(path), weakref.ref(path.engine)]
        roots = [path]
        del path
        free(roots)
        assert [reference() for reference in gone] == [None, None]
    finally:
        gc.enable()
