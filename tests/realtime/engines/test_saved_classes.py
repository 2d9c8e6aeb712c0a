"""Whatever a performance consists of has an id, with every engine and in the middle of everything."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from export.bundle.bundle import Bundle
from realtime.dsp.controls import DomainMap, default_cells, put
from realtime.dsp.fade import Fade
from realtime.dsp.model_crossfade import Incoming, Player
from realtime.dsp.signal_path import SignalPath
from realtime.engines import load_engine
from realtime.recording.restore import restore, save
from realtime.recording.snapshot import Plan
from realtime.shared import saved_classes
from realtime.shared.saved_classes import class_of, id_of, saved
from tests.realtime.engines.kernels import wavenet_kernel
from tests.realtime.engines.live_kernels import ISAS
from tests.realtime.fakebundle import write_fake_bundle

BLOCK = 100
ENGINES = ("onnx", "live-cpu", "torchscript", "int8", "bf16", "fp32", "numba", "guided")
PATH = {
    "player",
    "signal-path",
    "controls",
    "latency",
    "decoder-mixer",
    "decoder-blend",
    "resampler",
    "ramp",
    "fade",
    "fifo",
}
HELD = {
    "onnx": {"onnx-engine", "onnx-graph", "onnx-state"},
    "live-cpu": {"live-engine", "native-part"},
    "torchscript": {"torchscript-engine", "torchscript-module"},
    "guided": {"wavenet-engine", "guided-decoder", "guide-front", "emphasis"},
}


def _load(name: str, get: Callable[[str], Bundle], folder: Path) -> SignalPath:
    """A path with that engine; skips where it is not to be had."""
    if name == "onnx":
        bundle, engine = Bundle.open(write_fake_bundle(folder / "fake.umtn")), "onnx"
    elif name == "live-cpu":
        if not ISAS:
            pytest.skip("no compiled kernel and no compiler")
        bundle, engine = get("live_bundle"), "live-cpu"
    elif name == "torchscript":
        pytest.importorskip("torch")
        from tests.realtime.engines.test_torchscript import scripted_bundle

        bundle, engine = scripted_bundle(folder), "torchscript"
    else:
        pytest.importorskip("numba") if name == "numba" else None
        if name != "numba" and not wavenet_kernel():
            pytest.skip("no compiled kernel and no compiler")
        if name == "guided" and not ISAS:
            pytest.skip("no compiled kernel and no compiler")
        bundle, engine = get("guided_bundle" if name == "guided" else "wavenet_bundle"), "wavenet-cpu"
    precision = name if name in ("int8", "bf16", "fp32", "numba") else "auto"
    return SignalPath(load_engine(bundle, engine, precision=precision, live=False), 44100, BLOCK)


def _walked(root: object) -> set[str]:
    """Ids of all objects in it; nothing of ours may be left out."""
    plan = Plan(root)
    plan.capture()
    ours = {name for name in plan.unsaved if name.startswith(("realtime.", "tests."))}
    assert not ours, "give them an id with realtime.shared.saved_classes.saved"
    nodes = map(json.loads, plan.lines())
    return {node["class"] for node in nodes if node["kind"] == "object"}


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("name", ENGINES)
def test_each_engine_and_all_of_a_path_has_ids(
    name: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    if name == "bf16" and "avx512" not in ISAS:
        pytest.skip("bf16 needs AVX-512")
    player, cells = Player(_load(name, request.getfixturevalue, tmp_path)), default_cells()
    random = np.random.default_rng(0)
    found: set[str] = set()

    def play(calls: int, **values: float) -> None:
        put(cells, {key.replace("__", "/"): value for key, value in values.items()})
        for _ in range(calls):
            out = np.zeros(BLOCK, np.float32)
            player.process(cells, random.uniform(-0.5, 0.5, BLOCK).astype(np.float32), out)

    play(3)
    found |= _walked(player)
    play(3, input__gate_db=-20.0, to=1.0, mix=0.5, freeze=1.0, transpose=3.0)  # in the cross-fade
    found |= _walked(player)
    play(3, blend__0=0.5, blend__1=0.5, freeze=0.0)
    found |= _walked(player)
    other = SignalPath(
        load_engine(Bundle.open(write_fake_bundle(tmp_path / "next.umtn", ids=("winds", "strings"))), "onnx"),
        44100, BLOCK,
    )  # fmt: skip
    player.swap(Incoming(other, DomainMap(("strings", "piano"), ("winds", "strings"), False)), cells)
    play(3)
    assert player.fading
    found |= _walked(player)
    assert found >= PATH | {"onnx-engine", "domain-map"} | HELD.get(name, {"wavenet-engine"})


@pytest.mark.parametrize("module", ["torchscript", "wavenet.numba_loop", "wavenet.engine"])
def test_every_old_place_leads_to_a_class(module: str) -> None:
    if module == "wavenet.numba_loop":
        pytest.importorskip("numba")
    importlib.import_module(f"realtime.engines.{module}")
    for name in ("onnx", "live.engine", "wavenet.engine"):
        importlib.import_module(f"realtime.engines.{name}")
    later = {"torchscript-engine", "torchscript-module", "numba-loop", "wavenet-cuda-engine", "cuda-loop"}
    lost = {place for place, id_ in saved_classes._OLD_PLACES.items() if class_of(place) is None} - {
        place for place, id_ in saved_classes._OLD_PLACES.items() if id_ in later
    }
    assert lost == set()
    wanted = {
        "torchscript": "realtime.engines.torchscript:TorchScriptEngine",
        "wavenet.numba_loop": "realtime.engines.wavenet_cpu.numba_loop:NumbaLoop",
        "wavenet.engine": "realtime.engines.wavenet_cuda.engine:WavenetCudaEngine",
    }
    assert class_of(wanted[module]) is not None


def test_an_id_is_one_classs_alone() -> None:
    class Another: ...

    for taken in ("ramp", "signal-path"):
        with pytest.raises(ValueError, match=f"{taken} is the id of .* already, not of Another"):
            saved(taken)(Another)
        with pytest.raises(ValueError, match="already"):
            saved("test Another", taken)(Another)
    with pytest.raises(ValueError, match="has no colon"):
        saved("os:system")(Another)
    assert id_of(Another) is None and class_of("test Another") is None


def test_a_subclass_needs_an_id_of_its_own() -> None:
    @saved("test Above")
    class Above: ...

    class Below(Above): ...

    assert id_of(Above) == "test Above" and id_of(Below) is None
    assert Plan([Below()]).unsaved == {f"{__name__}.Below"}


def test_what_was_called_otherwise_comes_back(tmp_path: Path) -> None:
    @saved("test Old fade")
    class Old:
        def __init__(self) -> None:
            self.gain, self.left = 0.25, np.arange(3.0)

    @saved("test Fade", "test Older fade", renamed={"left": "remaining"})
    class Fade:
        def __init__(self) -> None:
            self.gain, self.remaining, self.shape = 1.0, np.zeros(3), "cosine"

    plan = Plan(Old())
    plan.capture()
    save(plan, tmp_path / "x.npz")
    with np.load(tmp_path / "x.npz") as file:
        text, data = bytes(file["structure"]), file["data"]
    for now in (b"test Older fade", b"test Fade"):
        changed = np.frombuffer(text.replace(b"test Old fade", now), np.uint8)
        np.savez(tmp_path / "y.npz", structure=changed, data=data)
        fade = Fade()
        array = fade.remaining
        restore(fade, tmp_path / "y.npz")
        assert fade.remaining is array and array.tolist() == [0.0, 1.0, 2.0]
        assert vars(fade).keys() == {"gain", "remaining", "shape"} and (fade.gain, fade.shape) == (
            0.25,
            "cosine",
        )


def test_what_has_moved_into_a_part_comes_back_there(tmp_path: Path) -> None:
    """A fade whose position its owner once kept itself; in a state of today the part keeps it."""

    @saved("test Old owner")
    class Old:
        def __init__(self) -> None:
            self._position, self._length = -3, 7

    @saved(
        "test Owner", "test Older owner", renamed={"_position": "_fade.position", "_length": "_fade.length"}
    )
    class Owner:
        def __init__(self) -> None:
            self._fade = Fade(5, 4)

    old, now, fade = Old(), Owner(), Fade(5, 4)
    for owner, name in ((old, "old"), (now, "now")):
        if owner is now:
            now._fade.start(9, wait=2)
        plan = Plan(owner)
        plan.capture()
        save(plan, tmp_path / f"{name}.npz")
    with np.load(tmp_path / "old.npz") as file:
        text, data = bytes(file["structure"]), file["data"]
    text = text.replace(b"test Old owner", b"test Older owner")
    np.savez(tmp_path / "old.npz", structure=np.frombuffer(text, np.uint8), data=data)
    now._fade = fade
    for name, at in (("old", (-3, 7)), ("now", (-2, 9))):
        restore(now, tmp_path / f"{name}.npz")
        assert now._fade is fade and (fade.position, fade.length) == at and vars(now).keys() == {"_fade"}
