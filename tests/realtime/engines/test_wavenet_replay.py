"""A recording of a decoder that draws sample by sample, begun mid-stream, rendered again by another process."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")

from export.bundle.bundle import Bundle
from realtime.audio.model_loader import same_again
from realtime.dsp.controls import default_cells, put
from realtime.dsp.model_crossfade import Player
from realtime.dsp.signal_path import SignalPath
from realtime.engines import load_engine
from realtime.recording.recorder import Recorder, TakeRecorder
from realtime.replay import _sha256, replay
from tests.realtime.engines.kernels import wavenet_kernel
from umtn.errors import UserError
from umtn.native.build import LIVE

ROOT = Path(__file__).parents[3]
BLOCK = 128


@pytest.fixture(scope="module")
def bundle(wavenet_bundle: Bundle) -> Path:
    return wavenet_bundle.path


def _record(bundle: Path, folder: Path, precision: str, cores: int = 1) -> Path:
    """A second of playing before the first sample that is kept, both decoders in use."""
    engine = load_engine(Bundle.open(bundle), "wavenet-cpu", precision=precision, cores=cores)
    player, recorder = Player(SignalPath(engine, 48000, BLOCK)), Recorder()
    random, cells = np.random.default_rng(0), default_cells()
    put(cells, {"to": 1.0, "mix": 0.5})

    def play() -> None:
        x, out = random.uniform(-0.5, 0.5, BLOCK).astype(np.float32), np.zeros(BLOCK, np.float32)
        player.process(cells, recorder.begin(player, cells, x), out)
        recorder.end(x, out)

    for _ in range(300):
        play()
    facts: dict[str, Any] = {"bundle": str(bundle), "sha256": _sha256(bundle), **same_again(engine)}
    recorder.tape = tape = TakeRecorder(folder / "take.wav", 48000, player, facts)
    kept = 0
    while kept < 300:
        play()
        kept += tape.started
        time.sleep(0.001)
    tape.stop()
    assert tape.join(10) and not tape.error and not tape.unsaved
    return tape.path


def _replayed_elsewhere(take: Path) -> str:
    command = [sys.executable, "-m", "realtime.run", "--replay", str(take)]
    run = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=120,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert run.returncode == 0, run.stdout + run.stderr
    return run.stdout


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["int8", "fp32", "numba"])
def test_it_is_the_same_to_the_sample(bundle: Path, tmp_path: Path, precision: str) -> None:
    if precision == "numba":
        pytest.importorskip("numba")
    elif not wavenet_kernel():
        pytest.skip("no compiled kernel and no compiler")
    take = _record(bundle, tmp_path, precision)
    assert "identical to the recording, sample for sample" in _replayed_elsewhere(take)


def test_a_guided_one_too(guided_bundle: Bundle, tmp_path: Path) -> None:
    if not wavenet_kernel():
        pytest.skip("no compiled kernel and no compiler")
    LIVE.library()
    take = _record(guided_bundle.path, tmp_path, "int8")
    assert "identical to the recording, sample for sample" in _replayed_elsewhere(take)


@pytest.mark.skipif(
    not hasattr(os, "sched_getaffinity") or len(os.sched_getaffinity(0)) < 2, reason="one core only"
)
def test_what_two_cores_played_one_renders_again(bundle: Path, tmp_path: Path) -> None:
    if not wavenet_kernel():
        pytest.skip("no compiled kernel and no compiler")
    before = os.sched_getaffinity(0)
    try:
        take = _record(bundle, tmp_path, "int8", cores=2)
        done = replay(take)
    finally:
        os.sched_setaffinity(0, before)
    assert (done.difference, done.notes) == (0.0, [])


@pytest.mark.skipif(not importlib.util.find_spec("numba"), reason="no numba")
def test_a_recording_with_addresses_in_it_is_refused(bundle: Path, tmp_path: Path) -> None:
    """As they were written before there was `Stateful`: every field of a loop, by its name."""
    take = _record(bundle, tmp_path, "numba")
    state = take.with_suffix(".state.npz")
    with np.load(state) as file:
        nodes, data = [json.loads(n) for n in bytes(file["structure"]).decode().split("\n")], file["data"]
    old = {
        "kind": "object",
        "class": "realtime.engines.wavenet_cpu.native_loop:NativeLoop",
        "fields": {"_handle": 140234},
    }
    changed = [old if node["kind"] == "stateful" else node for node in nodes]
    assert changed != nodes
    structure = "\n".join(map(json.dumps, changed)).encode()
    with state.open("wb") as opened:
        np.savez(opened, structure=np.frombuffer(structure, np.uint8), data=data)
    with pytest.raises(UserError, match="NativeLoop was saved without its state.*another version"):
        replay(take)


def test_the_state_of_another_precision_is_refused(bundle: Path, tmp_path: Path) -> None:
    if not wavenet_kernel():
        pytest.skip("no compiled kernel and no compiler")
    take = _record(bundle, tmp_path, "int8")
    journal = take.with_suffix(".jsonl")
    said = journal.read_text()
    assert '"precision": "int8"' in said
    journal.write_text(said.replace('"precision": "int8"', '"precision": "fp32"'))
    with pytest.raises(
        UserError, match=r"holds the state of native .* int8 .*, but native .* fp32 .* plays here"
    ):
        replay(take)
