"""Weights that a graph and a native engine's file have in common stand in a bundle once."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import safetensors.numpy
import safetensors.torch
import torch
from onnx import TensorProto, helper, numpy_helper

from export.__main__ import main
from export.bundle.bundle import Bundle, BundleError, write_bundle
from export.bundle.sharing import thin, whole
from export.onnx import export_encoder
from export.torchscript import script_encoder
from tests.export.toys import Exported, make_checkpoint
from umtn.model.presets import preset
from umtn.model.semitone_spectrum import CausalSpectrum
from umtn.model.translator import Translator

MATRIX = np.random.default_rng(0).standard_normal((64, 48)).astype(np.float32)
BIAS = np.arange(48, dtype=np.float32)


def product() -> bytes:
    """x [1, 64] -> x MATRIX + BIAS."""
    graph = helper.make_graph(
        [helper.make_node("Gemm", ["x", "matrix", "bias"], ["y"])],
        "product",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 64])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 48])],
        [numpy_helper.from_array(MATRIX, "matrix"), numpy_helper.from_array(BIAS, "bias")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    return model.SerializeToString()  # type: ignore[no-any-return]


def test_a_graph_without_its_weights_gets_them_back() -> None:
    files = {
        "weights/a.safetensors": safetensors.numpy.save({"other": BIAS + 1, "w": MATRIX}),
        "code.ts": b"x",
    }
    full = product()
    small = thin(full, files)
    assert len(small) < len(full) - 0.9 * MATRIX.nbytes
    (told,) = [t for t in onnx.load_from_string(small).graph.initializer if t.external_data]
    assert told.name == "matrix" and told.external_data[0].value == "weights/a.safetensors"
    back = whole(small, files.__getitem__)
    x = np.random.default_rng(1).standard_normal((1, 64)).astype(np.float32)
    run = [
        onnxruntime.InferenceSession(g, providers=["CPUExecutionProvider"]).run(None, {"x": x})[0]
        for g in (full, back)
    ]
    assert np.array_equal(*run)
    assert whole(full, files.__getitem__) == full


def test_what_is_no_graph_stays_as_it_is() -> None:
    for data in (b"", b"code", bytes(range(256)), product()[:-7]):
        assert (
            thin(data, {"weights/a.safetensors": b"neither"})
            == data
            == whole(data, dict[str, bytes]().__getitem__)
        )


def test_the_archive_holds_them_once_and_a_lost_file_is_named(live: Exported, tmp_path: Path) -> None:
    bundle = Bundle.open(live.bundle)
    with zipfile.ZipFile(live.bundle) as archive:
        stored = {name: archive.read(name) for name in archive.namelist()}
    path = "decoders/strings.onnx"
    assert len(stored[path]) < len(bundle.read(path)) / 2
    values = [t.raw_data for t in onnx.load_from_string(bundle.read(path)).graph.initializer]
    large = {v for v in values if len(v) >= 1024} & {
        v.tobytes() for v in safetensors.numpy.load(stored["weights/strings.safetensors"]).values()
    }
    assert large and not any(value in stored[path] for value in large)

    del stored["weights/strings.safetensors"]
    manifest = json.loads(stored["manifest.json"])
    del manifest["files"]["weights/strings.safetensors"]
    stored["manifest.json"] = json.dumps(manifest).encode()
    with zipfile.ZipFile(tmp_path / "lost.umtn", "w") as archive:
        for name, data in stored.items():
            archive.writestr(name, data)
    with pytest.raises(
        BundleError, match=r"decoders/strings.onnx.*'weights/strings.safetensors'.*does not hold"
    ):
        Bundle.open(tmp_path / "lost.umtn").read(path)


def test_a_bundle_written_again_is_the_same(live: Exported, tmp_path: Path) -> None:
    bundle = Bundle.open(live.bundle)
    files = {name: bundle.read(name) for name in bundle.names}
    write_bundle(tmp_path / "again.umtn", bundle.manifest, files)
    again = Bundle.open(tmp_path / "again.umtn")
    assert {name: again.read(name) for name in again.names} == files
    assert (tmp_path / "again.umtn").stat().st_size == live.bundle.stat().st_size


def test_the_encoders_files_hold_shapes_not_windows() -> None:
    spectrum = CausalSpectrum(24000, 128, 28, 4096).eval()  # of the size that is played
    windows = 4 * sum(np.count_nonzero(kernels) for kernels in spectrum.kernels())
    for data in (export_encoder(spectrum)[0], script_encoder(spectrum)):
        assert len(data) < 0.4 * windows


def test_a_bundle_like_an_earlier_one_keeps_its_weights_and_words(
    wavenet: Exported, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old = tmp_path / "old.umtn"
    words = ["--name", "Mine", "--licence", "MIT", "--notes", "made so", "--temperature", ".5"]
    assert main([str(wavenet.checkpoint), "-o", str(old), *words]) == 0
    before = Bundle.open(old)
    files = {name: before.read(name) for name in before.names}
    tensors = safetensors.torch.load(files["weights/strings.safetensors"])
    scale = next(name for name in tensors if name.startswith("calibration."))
    tensors[scale] = tensors[scale] * 3  # as another recording, or another machine, would have it
    size = int.from_bytes(files["weights/strings.safetensors"][:8], "little")
    header = json.loads(files["weights/strings.safetensors"][8 : 8 + size])
    files["weights/strings.safetensors"] = safetensors.torch.save(tensors, header["__metadata__"])
    write_bundle(old, before.manifest, files)

    assert main([str(wavenet.checkpoint), "-o", str(tmp_path / "new.umtn"), "--like", str(old)]) == 0
    new = Bundle.open(tmp_path / "new.umtn")
    for name in files:
        if name.startswith("weights/"):
            assert new.read(name) == files[name], name
    told = [(m.name, m.licence, m.notes, m.temperature, m.domains) for m in (new.manifest, before.manifest)]
    assert told[0] == told[1] and told[0][0] == "Mine"
    assert not any(name.startswith("torchscript/") for name in new.names)
    assert main(["verify", str(tmp_path / "new.umtn"), "--checkpoint", str(wavenet.checkpoint)]) == 0

    other = make_checkpoint(tmp_path / "other", "tiny-wavenet-plain", ("strings",), seed=5, hop=64)
    capsys.readouterr()
    assert main([str(other), "-o", str(tmp_path / "no.umtn"), "--like", str(old)]) == 2
    assert "made from another one" in capsys.readouterr().err and not (tmp_path / "no.umtn").exists()
    sound = ["--calibrate", "x.wav"]
    assert main([str(wavenet.checkpoint), "-o", str(tmp_path / "no.umtn"), "--like", str(old), *sound]) == 2
    assert "give one of them" in capsys.readouterr().err


def test_the_spectrums_gradient_is_its_windows() -> None:
    spectrum = Translator(preset("tiny-live")).encoder.spectrum
    generator = torch.Generator().manual_seed(0)
    audio = 0.1 * torch.randn(2, 1, 12 * spectrum.hop, generator=generator)
    weights = torch.randn(spectrum.bins, 12, generator=generator)
    kernels = torch.from_numpy(spectrum.kernels()[0])
    gradients = []
    for windows in (None, kernels):
        x = audio.double().requires_grad_() if windows is not None else audio.clone().requires_grad_()
        if windows is None:
            levels = spectrum(x)[:, 0]
        else:
            frames = torch.nn.functional.pad(x, [spectrum.longest - spectrum.hop, 0])[:, 0]
            waves = torch.einsum("btn,kcn->bckt", frames.unfold(1, spectrum.longest, spectrum.hop), windows)
            levels = 0.1 * torch.log(waves.square().sum(1) + 1e-8) + 1
        gradients.append(torch.autograd.grad((levels * weights).sum(), x)[0].double())
    assert (gradients[0] - gradients[1]).abs().max() < 1e-4 * gradients[1].abs().max()
