"""Bundles, checkpoints, presets and recordings of version 0.1.0 open and sound as they did.

0.1.0.tar.xz holds one of each, made before the source was put in rooms, which its recordings name the old places
of: a `live` bundle with native weights, its checkpoint, a preset, a recording by the native engine and one by ONNX
Runtime; a WaveNet bundle and a recording. The recordings were made with AVX-512, by GCC and ONNX Runtime 1.31.1.
"""

from __future__ import annotations

import json
import shutil
import sys
import tarfile
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from export.bundle.bundle import Bundle
from export.bundle.safetensors import read_safetensors
from realtime.control.namespace import Namespace
from realtime.control.presets.files import snapshot
from realtime.control.presets.presets import Presets
from realtime.engines import load_engine
from realtime.engines.wavenet import native_loop
from realtime.replay import replay
from realtime.run import main
from realtime.shared.memory import SharedState
from tests.realtime.engines.kernels import wavenet_kernel
from tests.realtime.engines.live_kernels import ISAS
from umtn.errors import UserError

DOMAINS = ("strings", "piano", "winds", "organ", "voice", "brass", "plucked", "mallets")
NEARLY = 1e-5  # what another instruction set, compiler or version of ONNX Runtime may do to sums
LIVE = pytest.mark.skipif(not ISAS, reason="no compiled kernel and no compiler")


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("old")
    with tarfile.open(Path(__file__).with_name("0.1.0.tar.xz")) as packed:
        packed.extractall(folder, filter="data")
    return folder


@LIVE
@pytest.mark.parametrize("engine", ["live-cpu", "onnx"])
def test_the_bundle_passes_its_probe_and_plays(old: Path, engine: str) -> None:
    bundle = Bundle.open(old / "tiny-live.umtn")
    assert tuple(d.id for d in bundle.manifest.domains) == DOMAINS
    playing = load_engine(bundle, engine)  # UserError where the probe is missed
    random, out = np.random.default_rng(0), np.zeros(bundle.manifest.block, np.float32)
    loudest = 0.0
    for _ in range(50):
        playing.encode(random.uniform(-0.5, 0.5, len(out)).astype(np.float32))
        playing.decode(3, out)
        assert np.isfinite(out).all()
        loudest = max(loudest, float(np.abs(out).max()))
    assert loudest > 1e-4


def test_the_checkpoint_loads_and_exports(old: Path, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    from export.__main__ import main as export
    from umtn.model.checkpoint import load

    assert load(old / "tiny-live").config.domains == DOMAINS
    words = [str(old / "tiny-live"), "-o", str(tmp_path / "again.umtn"), "--domains", "strings,mallets"]
    assert export(words) == 0
    again, before = Bundle.open(tmp_path / "again.umtn"), Bundle.open(old / "tiny-live.umtn")
    for name in ("encoder", "strings", "mallets"):
        now, then = (
            read_safetensors(b.read(f"weights/{name}.safetensors"), name)[0] for b in (again, before)
        )
        # which shapes stand for the windows may change from one version to the next; what they add up to may not
        now, then = ({k: a for k, a in w.items() if not k.startswith("analysis.")} for w in (now, then))
        assert now.keys() == then.keys() and len(then) > 5
        for key, array in then.items():
            assert np.allclose(now[key], array, rtol=1e-5, atol=1e-7), f"{name}: {key}"
    heard = []
    for bundle in (before, again):
        playing = load_engine(bundle, "live-cpu", seed=1, live=False)
        noise = np.random.default_rng(3)
        blocks = noise.standard_normal((40, playing.manifest.block)).astype(np.float32) * 0.1
        heard.append(np.concatenate([playing.encode(block).copy() for block in blocks], axis=1))
    assert np.abs(heard[0]).max() > 0.1 and np.abs(heard[1] - heard[0]).max() < 1e-4


def test_the_preset_is_recalled(old: Path) -> None:
    kept = tomllib.loads((old / "presets/old.toml").read_text(encoding="utf-8"))
    shared = SharedState.create()
    try:
        namespace = Namespace(shared, DOMAINS[:5], latent_channels=8)
        presets = Presets(namespace, old / "presets")
        assert presets.names() == ["old"] and presets.load("old") == "old"
        found = snapshot(namespace)
        presets.stop()
    finally:
        shared.close()
        shared.unlink()
    wanted = {name: float(v) for name, v in kept.items() if name not in ("format", "bundle", "to")}
    assert len(wanted) > 15 and (found["mix"], found["freeze"]) == (kept["mix"], 1.0)
    assert found.pop("to") == DOMAINS.index(kept["to"])
    assert {name: found[name] for name in wanted} == wanted
    others = [p for p in namespace.parameters if p.name in found.keys() - wanted.keys()]
    assert others and all(found[p.name] == p.default for p in others)


def _same_machine(take: str) -> bool:
    """Whether this machine adds as that one did."""
    if take.endswith("onnx"):
        import onnxruntime

        return onnxruntime.__version__ == "1.31.1" and "avx512" in ISAS
    return "avx512" in ISAS and sys.platform == "linux"


@LIVE
@pytest.mark.parametrize("take", ["tiny-live-native", "tiny-live-onnx"])
def test_a_recording_is_rendered_again(old: Path, tmp_path: Path, take: str) -> None:
    done = replay(old / f"{take}.wav", tmp_path / "again.wav", old / "tiny-live.umtn")
    assert done.frames == soundfile.info(old / f"{take}.wav").frames > 40000
    assert done.notes == []
    assert done.difference == 0.0 if _same_machine(take) else done.difference < NEARLY


def test_a_recording_of_a_wavenet_too(old: Path, tmp_path: Path) -> None:
    """On the same instruction set; another one is refused in a sentence, for a loop's state is laid out for one."""
    if not wavenet_kernel():
        pytest.skip("no compiled kernel and no compiler")
    take, bundle = old / "tiny-wavenet-native.wav", old / "tiny-wavenet-plain.umtn"
    if native_loop.supported("int8")[0] == "avx512":
        done = replay(take, tmp_path / "again.wav", bundle)
        assert done.notes == [] and done.frames == soundfile.info(take).frames
        assert done.difference == 0.0 or sys.platform != "linux"
        return
    with pytest.raises(UserError, match=r"instruction set go on from it; .* --in .*\.wav --channel 1"):
        replay(take, tmp_path / "again.wav", bundle)


def _changed(old: Path, folder: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    """The recording with its state's nodes changed."""
    for ending in ("wav", "jsonl", "state.npz"):
        shutil.copy(old / f"tiny-live-onnx.{ending}", folder)
    state = folder / "tiny-live-onnx.state.npz"
    with np.load(state) as file:
        nodes, data = [json.loads(n) for n in bytes(file["structure"]).decode().split("\n")], file["data"]
    for node in nodes:
        change(node)
    structure = "\n".join(map(json.dumps, nodes)).encode()
    with state.open("wb") as opened:
        np.savez(opened, structure=np.frombuffer(structure, np.uint8), data=data)
    return folder / "tiny-live-onnx.wav"


def test_the_old_recordings_name_old_places(old: Path, tmp_path: Path) -> None:
    """Or these tests would say nothing."""
    places: set[str] = set()
    _changed(old, tmp_path, lambda node: places.update([str(node.get("class"))] * ("fields" in node)))
    assert {"realtime.audio.signal_path:SignalPath", "realtime.engines.onnx:_Buffer"} <= places
    assert all(":" in place for place in places)


@pytest.mark.parametrize(
    "named",
    [
        "os:system",
        "antigravity:fly",
        "realtime.native.build:Kernel",
        "realtime.recording.recorder:Tape",
        "realtime.dsp.filters:Meter",
        "realtime.audio.dsp:Gone",
        "meter of tomorrow",
        "",
        None,
        ["meter"],
    ],
)
def test_a_state_of_what_is_not_here_gets_one_sentence_and_the_next_best_way(
    old: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], named: Any
) -> None:
    def change(node: dict[str, Any]) -> None:
        if node.get("class") == "realtime.audio.dsp:Meter":
            node["class"] = named

    take, out = _changed(old, tmp_path, change), tmp_path / "out.wav"
    before = set(sys.modules)
    words = ["--replay", str(take), "--bundle", str(old / "tiny-live.umtn"), "--out", str(out)]
    assert main(words) == 2
    said = capsys.readouterr()
    lines = (said.out + said.err).strip().splitlines()
    assert len(lines) == 1
    assert repr(named if isinstance(named, str) else str(named)) in lines[0]
    assert "which is none of this program's classes: another version wrote it" in lines[0]
    assert lines[0].endswith(f"can still be translated anew: --in {take} --channel 1")
    assert not out.exists()
    assert not {"antigravity", "realtime.native.build"} & (set(sys.modules) - before)


def test_the_next_best_way_is_one(old: Path, tmp_path: Path) -> None:
    out = tmp_path / "anew.wav"
    words = [
        "--in",
        str(old / "tiny-live-onnx.wav"),
        "--channel",
        "1",
        "--bundle",
        str(old / "tiny-live.umtn"),
    ]
    assert main([*words, "--engine", "onnx", "--out", str(out), "--fast"]) == 0
    sound, _ = soundfile.read(out)
    assert np.abs(sound).max() > 1e-3
