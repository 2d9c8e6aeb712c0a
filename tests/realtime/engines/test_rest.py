"""Where silence leaves an engine, and that it can go back there from anywhere."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from export.bundle.bundle import Bundle
from realtime.engines import load_engine
from realtime.engines.engine import Engine
from tests.export.toys import export_toy
from tests.realtime.engines.kernels import wavenet_kernel

pytest.importorskip("torch")
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")]


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory, traces_once: None) -> Bundle:
    """With TorchScript."""
    folder = tmp_path_factory.mktemp("rest")
    return Bundle.open(export_toy(folder, "tiny-live", ("strings", "piano"), "--torchscript").bundle)


def loaded(request: pytest.FixtureRequest, kind: str, engine: str) -> Engine:
    if engine == "wavenet-cpu" and not wavenet_kernel():
        pytest.skip("no compiled kernel and no compiler")
    return load_engine(request.getfixturevalue(kind), engine, seed=0, live=False)


def played(engine: Engine, audio: np.ndarray, seed: int) -> np.ndarray:
    """Both domains, on the same noise whenever the seed is."""
    noise = np.random.default_rng(seed).random(audio.shape, np.float32)
    out = np.zeros((len(audio), 2, audio.shape[1]), np.float32)
    for block, drawn, row in zip(audio, noise, out, strict=True):
        engine.encode(block)
        for domain in (0, 1):
            engine.decode(domain, row[domain], drawn)
    return out


KINDS = [
    ("live", "onnx"),
    ("live", "torchscript"),
    ("live", "live-cpu"),
    ("wavenet_bundle", "wavenet-cpu"),
    ("guided_bundle", "wavenet-cpu"),
    ("guided_bundle", "onnx"),
]


@pytest.mark.parametrize(("kind", "engine"), KINDS)
def test_it_rests_where_silence_leaves_it(request: pytest.FixtureRequest, kind: str, engine: str) -> None:
    """After an odd number of blocks of music: a rest is another state than none, and always the same one."""
    ours = loaded(request, kind, engine)
    block = ours.manifest.block
    music = np.random.default_rng(1).uniform(-0.5, 0.5, (7, block)).astype(np.float32)
    ours.reset()
    from_nothing = played(ours, music, 2)
    ours.rest()
    from_rest = played(ours, music, 2)
    played(ours, music[:3], 3)
    ours.rest()
    assert np.array_equal(played(ours, music, 2), from_rest)
    assert not np.array_equal(from_nothing, from_rest)
    ours.reset()
    assert np.array_equal(played(ours, music, 2), from_nothing)


@pytest.mark.parametrize(
    ("kind", "engine"), [k for k in KINDS if k[0] != "wavenet_bundle"]
)  # it hardly remembers
def test_one_domain_rests_alone(request: pytest.FixtureRequest, kind: str, engine: str) -> None:
    """The encoder and the other decoder go on as if nothing had been."""
    ours = loaded(request, kind, engine)
    music = np.random.default_rng(1).uniform(-0.5, 0.5, (10, ours.manifest.block)).astype(np.float32)
    ours.rest()
    played(ours, music[:5], 2)
    wanted = played(ours, music[5:], 3)
    ours.rest()
    played(ours, music[:5], 2)
    ours.rest(1)
    got = played(ours, music[5:], 3)
    assert np.array_equal(got[:, 0], wanted[:, 0])
    assert not np.array_equal(got[:, 1], wanted[:, 1])


def test_what_the_encoder_says_of_silence(request: pytest.FixtureRequest) -> None:
    ours = loaded(request, "live", "live-cpu")
    silence = np.zeros(ours.manifest.block, np.float32)
    for _ in range(400):
        ours.encode(silence)
    assert ours.silence == pytest.approx(ours.latent[:, -1], abs=1e-4)
    assert np.abs(ours.silence).max() > 0


def test_a_seed_draws_as_before(request: pytest.FixtureRequest) -> None:
    """To find where silence leaves it takes nothing of the performer's noise."""
    ours = loaded(request, "live", "onnx")
    out = np.zeros((2, ours.manifest.block), np.float32)
    ours.decode(0, out[0])
    again = loaded(request, "live", "onnx")
    again.settle()
    again.decode(0, out[1])
    assert np.array_equal(*out)


def test_a_recording_loses_nothing_by_it(request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """What is kept for `rest` is no state: it is not in a snapshot."""
    from realtime.recording.snapshot import Plan

    ours = loaded(request, "live", "live-cpu")
    plan = Plan(ours)
    states = sum(part.state.nbytes for part in ours._parts(None))  # type: ignore[attr-defined]
    assert states < plan.bytes < 1.5 * states
    assert not plan.unsaved
