"""The engine on a bundle that the exporter wrote."""

from __future__ import annotations

import dataclasses
import importlib.util
import io
import os
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

from export.bundle.bundle import Bundle, Manifest, write_bundle
from export.bundle.safetensors import weights_kind
from realtime.engines import load_engine
from realtime.engines.onnx import OnnxEngine
from realtime.engines.wavenet import autotune, native_loop
from realtime.engines.wavenet.engine import WavenetCpuEngine
from tests.realtime.fakebundle import write_fake_bundle
from umtn.errors import UserError


@pytest.fixture(scope="module")
def bundle(wavenet_bundle: Bundle) -> Bundle:
    return wavenet_bundle


def _changed(bundle: Bundle, path: Path, files: dict[str, bytes], **manifest: object) -> Bundle:
    """The bundle with other files in it, hashes and all."""
    new: Manifest = dataclasses.replace(bundle.manifest, **manifest)  # type: ignore[arg-type]
    write_bundle(path, new, {name: bundle.read(name) for name in bundle.names} | files)
    return Bundle.open(path)


PRECISIONS = [
    "fp32",
    pytest.param("numba", marks=pytest.mark.skipif(not importlib.util.find_spec("numba"), reason="no numba")),
]


@pytest.mark.slow
@pytest.mark.parametrize("precision", PRECISIONS)
def test_it_draws_what_onnx_runtime_draws(bundle: Bundle, precision: str) -> None:
    native, reference = WavenetCpuEngine(bundle, precision), OnnxEngine(bundle)
    probe, block = bundle.probe(), bundle.manifest.block
    for i in range(bundle.manifest.probe.blocks):
        piece = slice(i * block, (i + 1) * block)
        assert np.allclose(
            native.encode(probe["audio"][piece]), reference.encode(probe["audio"][piece]), atol=1e-4
        )
        for domain in range(2):
            out, wanted = np.full(block, np.nan, np.float32), np.zeros(block, np.float32)
            native.decode(domain, out, probe["noise"][piece])
            reference.decode(domain, wanted, probe["noise"][piece])
            assert np.allclose(out, wanted, atol=1e-4)


def test_auto_says_what_it_chose_and_what_it_costs(bundle: Bundle) -> None:
    found = WavenetCpuEngine(bundle)
    assert found.choice.loop.startswith("native") and 0 < found.choice.rtf < 1
    assert found.choice.nats <= 1e-3
    assert f"{found.choice.us_per_sample:.1f} us a sample, RTF" in str(found.choice)
    assert found.cost is not None
    assert found.cost.decode_s == pytest.approx(found.choice.us_per_sample * 1e-6 * bundle.manifest.block)


def test_two_cores_draw_the_same_and_a_third_is_refused(bundle: Bundle) -> None:
    if not hasattr(os, "sched_getaffinity") or len(before := os.sched_getaffinity(0)) < 2:
        pytest.skip("one core only")
    try:
        outputs = []
        for cores in (1, 2):
            found = WavenetCpuEngine(bundle, "fp32", cores=cores, seed=1)
            out = np.zeros(bundle.manifest.block, np.float32)
            outputs.append([(found.decode(i % 2, out), out.copy())[1] for i in range(20)])
        assert np.array_equal(*outputs)
    finally:
        os.sched_setaffinity(0, before)
    with pytest.raises(UserError, match="3 cores were asked for"):
        WavenetCpuEngine(bundle, "fp32", cores=3)


def test_the_latent_is_read_in_place_and_a_reset_forgets_one_domain(bundle: Bundle) -> None:
    found = WavenetCpuEngine(bundle, "fp32")
    block = bundle.manifest.block
    noise = np.random.default_rng(3).random(block, dtype=np.float32)
    audio = np.random.default_rng(4).uniform(-0.5, 0.5, block).astype(np.float32)
    first, again, moved, other = (np.zeros(block, np.float32) for _ in range(4))
    found.encode(audio)
    kept = found.latent.copy()
    found.decode(0, first, noise)
    found.decode(1, other, noise)
    found.latent *= 30
    found.reset(0)
    found.decode(0, moved, noise)
    assert not np.array_equal(first, moved)
    found.latent[:] = kept
    found.reset(0)
    found.decode(0, again, noise)
    assert np.array_equal(first, again)
    gone_on = _next_logits(found, 1)
    found.reset(1)
    found_anew = _next_logits(found, 1)
    assert np.abs(gone_on - found_anew).max() > 1e-4  # the reset of the other domain had left it alone
    found.latent[:] = np.nan
    found.decode(0, again)
    assert np.isfinite(again).all()


def _next_logits(found: WavenetCpuEngine, domain: int) -> np.ndarray:
    loop = found._loops[domain]
    logits, one = np.zeros((1, 1, loop.weights.classes), np.float32), np.full((1, 1), 0.5, np.float32)
    loop.run(one, np.ones(1, np.float32), np.zeros((1, 1), np.float32), logits=logits)
    return logits[0, 0]


def test_own_noise_follows_the_seed(bundle: Bundle) -> None:
    outputs = []
    for seed in (5, 5, 6):
        found, out = WavenetCpuEngine(bundle, "fp32", seed=seed), np.zeros(bundle.manifest.block, np.float32)
        found.decode(0, out)
        outputs.append(out)
    assert np.array_equal(outputs[0], outputs[1]) and not np.array_equal(outputs[0], outputs[2])


def test_weights_of_another_model_are_refused(bundle: Bundle, tmp_path: Path) -> None:
    swapped = _changed(
        bundle, tmp_path / "b.umtn", {"weights/piano.safetensors": bundle.read("weights/strings.safetensors")}
    )
    with pytest.raises(UserError, match="draws other samples than the probe of b.umtn for piano"):
        WavenetCpuEngine(swapped, "fp32")


def test_damaged_weights_are_refused(bundle: Bundle, tmp_path: Path) -> None:
    data = bundle.read("weights/piano.safetensors")
    for i, (damaged, sentence) in enumerate(
        (
            (data[:-100], "not a readable safetensors file"),
            (data[:4], "not a readable safetensors file"),
            (b"\xff" * 64, "not a readable safetensors file"),
            (data.replace(b'"hop\\": 64', b'"hop\\": 65'), "has 65 hop, but the manifest says 64"),
            (data.replace(b"head.bias", b"head.bios"), "head.bias is missing"),
        )
    ):
        assert damaged != data
        broken = _changed(bundle, tmp_path / f"{i}.umtn", {"weights/piano.safetensors": damaged})
        with pytest.raises(UserError, match=sentence):
            WavenetCpuEngine(broken)


def test_a_probe_that_another_encoder_wrote_is_refused(bundle: Bundle, tmp_path: Path) -> None:
    probe = bundle.probe()
    probe["audio"] = np.roll(probe["audio"], 11)
    packed = io.BytesIO()
    np.savez(packed, **probe)  # type: ignore[arg-type]
    broken = _changed(bundle, tmp_path / "b.umtn", {"probe.npz": packed.getvalue()})
    with pytest.raises(UserError, match="computes the encoder of b.umtn wrongly"):
        WavenetCpuEngine(broken, "fp32")


def test_a_decoder_that_cannot_keep_up_is_refused_with_the_figure(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(autotune, "_us_per_sample", lambda loop, latent: 500.0)
    with pytest.raises(UserError, match=r"needs 500 us a sample .*RTF 4.0.* 125.0 are allowed .*keep up"):
        WavenetCpuEngine(bundle)
    with pytest.raises(UserError, match="needs 500 us a sample"):
        load_engine(bundle)
    offline = load_engine(bundle, live=False)  # a replay, a file: nobody waits
    assert isinstance(offline, WavenetCpuEngine) and offline.choice.rtf == pytest.approx(4.0)


@pytest.mark.parametrize(
    "us, nats, wanted", [(25, 2e-3, "fp32"), (50, 2e-3, "int8"), (50, 2e-2, "fp32"), (25, 5e-4, "int8")]
)
def test_auto_takes_a_coarser_one_only_at_a_pinch(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch, us: float, nats: float, wanted: str
) -> None:
    """us: of fp32, where 125 are allowed; int8 takes 10 and costs `nats`."""
    monkeypatch.setattr(autotune, "divergence", lambda a, b, *_: nats if b.precision == "int8" else 1.0)
    speeds = {"fp32": us, "bf16": 1.0, "int8": 10.0}
    monkeypatch.setattr(autotune, "_us_per_sample", lambda loop, latent: speeds[loop.precision])
    assert WavenetCpuEngine(bundle).choice.precision == wanted


@pytest.mark.slow
def test_a_temperature_of_one_is_the_bundles_own(bundle: Bundle, tmp_path: Path) -> None:
    cold = _changed(bundle, tmp_path / "cold.umtn", {}, temperature=0.5)
    block = bundle.manifest.block
    noise = np.random.default_rng(0).random(block, dtype=np.float32)
    for name in ("wavenet-cpu", "onnx"):  # both pass the probe, which was drawn as trained
        outs = np.zeros((3, block), np.float32)
        for out, source, temperature in (
            (outs[0], cold, 1.0),
            (outs[1], bundle, 0.5),
            (outs[2], bundle, 1.0),
        ):
            engine = load_engine(source, name, precision="fp32")
            assert engine.temperature == pytest.approx(1.0)
            engine.temperature = temperature
            engine.decode(0, out, noise)
        assert np.array_equal(outs[0], outs[1]) and not np.array_equal(outs[0], outs[2])


def test_without_a_compiler_auto_is_numba(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("numba")

    def no_kernel(*arguments: object, **names: object) -> None:
        raise native_loop.CompilerError("the native WaveNet kernel needs a C++ compiler, and none was found")

    monkeypatch.setattr("realtime.engines.wavenet.native_loop._library", no_kernel)
    assert WavenetCpuEngine(bundle).choice.loop == "numba"
    with pytest.raises(UserError, match="needs a C\\+\\+ compiler"):
        WavenetCpuEngine(bundle, "int8")


def test_a_bundle_of_another_kind_is_refused(tmp_path: Path) -> None:
    fake = Bundle.open(write_fake_bundle(tmp_path / "fake.umtn"))
    assert weights_kind(fake) is None
    with pytest.raises(UserError, match="use --engine onnx"):
        WavenetCpuEngine(fake)


def test_an_unknown_precision_lists_the_known(bundle: Bundle) -> None:
    with pytest.raises(UserError, match="unknown precision 'int4'; known are auto, int8, bf16, fp32, numba"):
        WavenetCpuEngine(bundle, "int4")
