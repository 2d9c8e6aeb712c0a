"""Engines against the bundle's probe, which numpy computed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from export.bundle.bundle import Bundle
from realtime.engines import load_engine
from realtime.engines.onnx import OnnxEngine
from realtime.engines.select import check_probe
from tests.realtime.fakebundle import write_fake_bundle
from umtn.errors import UserError


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return Bundle.open(write_fake_bundle(tmp_path / "fake.umtn"))


def test_the_probe_is_met(bundle: Bundle) -> None:
    engine = load_engine(bundle, "onnx")
    worst, _ = check_probe(engine, bundle)
    assert worst < 1e-6


def test_a_bundle_that_computes_something_else_is_refused(tmp_path: Path) -> None:
    bundle = Bundle.open(write_fake_bundle(tmp_path / "wrong.umtn", wrong_probe=True))
    with pytest.raises(UserError, match=r"computes the domain piano of wrong.umtn wrongly.*off by 0.01"):
        load_engine(bundle, "onnx")


def test_auto_without_a_gpu_is_the_cpu(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("realtime.engines.select.gpu_present", lambda: False)
    assert load_engine(bundle).name == "onnx"


def test_unknown_engine_lists_the_known(bundle: Bundle) -> None:
    with pytest.raises(UserError, match="unknown engine 'tpu'; known are auto, onnx, onnx-cuda, torchscript"):
        load_engine(bundle, "tpu")


def test_cuda_asked_for_where_there_is_none(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("realtime.engines.select.gpu_present", lambda: False)
    with pytest.raises(UserError, match="use --engine onnx"):
        load_engine(bundle, "onnx-cuda")


def test_a_bundle_without_torchscript_says_so(bundle: Bundle) -> None:
    pytest.importorskip("torch")
    with pytest.raises(UserError, match="holds no TorchScript"):
        load_engine(bundle, "torchscript")


def test_a_reset_domain_starts_anew_and_the_others_go_on(bundle: Bundle) -> None:
    engine, audio = OnnxEngine(bundle), np.full(128, 0.3, np.float32)
    noise, first, again, other = (np.zeros(128, np.float32) for _ in range(4))
    engine.encode(audio)
    engine.decode(0, first)
    for _ in range(3):  # an odd number: the two sets of buffers have changed places
        engine.encode(audio)
        engine.decode(0, again)
        engine.decode(1, other, noise)
    engine.reset(0)
    engine.encode(audio)
    engine.decode(0, again)
    engine.decode(1, other, noise)
    assert again[0] == pytest.approx(0.15, abs=1e-3)  # half of z[0]: the sample before it was forgotten
    assert other[0] == pytest.approx(np.tanh(0.6) / 2 - 0.01 + 0.075, abs=1e-3)  # its echo was not
    engine.reset()
    engine.encode(audio)
    engine.decode(0, again)
    assert np.array_equal(first, again)


def test_own_noise_differs_from_block_to_block_and_follows_the_seed(bundle: Bundle) -> None:
    outputs = []
    for _ in range(2):
        engine, silence, out = (
            OnnxEngine(bundle, seed=5),
            np.zeros(128, np.float32),
            np.zeros(128, np.float32),
        )
        engine.encode(silence)
        for _ in range(2):
            engine.decode(1, out)
            outputs.append(out.copy())
    assert not np.array_equal(outputs[0], outputs[1])
    assert np.array_equal(outputs[0], outputs[2]) and np.array_equal(outputs[1], outputs[3])
    assert 0 < np.abs(outputs[0]).max() <= 0.01


@pytest.mark.slow
@pytest.mark.parametrize(("rate", "block"), [(16000, 160), (48000, 256), (24000, 1)])
def test_other_rates_and_blocks(tmp_path: Path, rate: int, block: int) -> None:
    bundle = Bundle.open(write_fake_bundle(tmp_path / "b.umtn", rate, block))
    assert load_engine(bundle, "onnx").manifest.block == block
