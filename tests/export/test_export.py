"""From checkpoint to proven bundle by the command line, with tiny untrained models."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
import sys
import sysconfig
from pathlib import Path

import numpy as np
import pytest
import safetensors
import torch

from export import freeze as freeze_module
from export.__main__ import main
from export.bundle.bundle import Bundle, BundleError, PitchLayout
from export.freeze import BEND, domain_id, freeze, pick_domains
from export.probe import OnnxStepper, stream
from export.torchscript import load_script
from export.verify import Row, format_table
from tests.export.toys import Exported, make_checkpoint
from umtn.model.checkpoint import load
from umtn.model.decoders.harmonic import LiveDecoder
from umtn.model.presets import preset
from umtn.model.translator import Translator

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("which", ["live", "wavenet", "guided"])
def test_verify_proves_the_bundle(
    which: str, request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]
) -> None:
    made: Exported = request.getfixturevalue(which)
    capsys.readouterr()
    assert main(["verify", str(made.bundle), "--checkpoint", str(made.checkpoint)]) == 0
    text = capsys.readouterr().out
    assert "FAIL" not in text
    table = [re.split(r"  +", line) for line in text.splitlines()]
    seen = {tuple(row[:3]) for row in table}
    weights = {name for name in Bundle.open(made.bundle).names if name.startswith("weights/")}
    assert "weights/encoder.safetensors" in weights
    assert {(name, "safetensors", "-") for name in weights} <= seen
    assert ("weights/encoder.safetensors", "analysis", "-") in seen
    for graph in Bundle.open(made.bundle).manifest.graphs:
        assert {(graph, "onnx", "1"), (graph, "onnx = probe", "1"), (graph, "torchscript", "1")} <= seen
        hop_by_hop = which == "guided" and graph.startswith("decoders/")  # each from a state that is given
        assert {(graph, "checkpoint", blocks) for blocks in ("1" if hop_by_hop else "125")} <= seen
    drawn = {row[1] for row in table if "samples equal" in row[-1]}
    wanted = {"checkpoint", "teacher-forced", "torchscript", "onnx"}
    assert drawn == (set() if which == "live" else wanted)


@pytest.mark.parametrize("which", ["live", "wavenet", "guided"])
def test_verify_finds_another_checkpoint(
    which: str, request: pytest.FixtureRequest, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made: Exported = request.getfixturevalue(which)
    config = load(made.checkpoint).config
    other = make_checkpoint(tmp_path / "other", config.preset, config.domains, seed=1, hop=config.hop)
    assert main(["verify", str(made.bundle), "--checkpoint", str(other)]) == 1
    text = capsys.readouterr().out
    assert "FAIL" in text
    if which != "live":
        assert "no rounding tie" in text
    assert text.count("other ") == len([n for n in Bundle.open(made.bundle).names if "weights/" in n])


def test_verify_without_checkpoint(live: Exported, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", str(live.bundle)]) == 0
    text = capsys.readouterr().out
    assert "give --checkpoint" in text and "torchscript" in text


def test_manifest(live: Exported) -> None:
    bundle = Bundle.open(live.bundle)
    manifest, config = bundle.manifest, load(live.checkpoint).config
    assert (manifest.sample_rate, manifest.hop, manifest.block) == (
        config.sample_rate,
        config.hop,
        config.hop,
    )
    assert [(d.id, d.name) for d in manifest.domains] == [("strings", "Strings"), ("my-voice", "My Voice")]
    assert manifest.name == "toy" and manifest.notes == "random" and manifest.preset == "tiny-live"
    states = {state.name: state for state in manifest.graphs["decoders/strings.onnx"].states}
    assert states["oscillators.phase"].dtype == "float64"  # rounded to float32 it would drift out of tune
    assert states["oscillators.phase"].output == "next.oscillators.phase"
    weights = {name for name in bundle.names if name.startswith("weights/")}
    assert weights == {f"weights/{part}.safetensors" for part in ("encoder", "strings", "my-voice")}
    probe = bundle.probe()
    assert np.abs(probe["audio.strings"]).max() > 0 and np.abs(probe["audio"]).max() > 0.1


def test_the_manifest_says_which_channels_are_pitches(live: Exported, wavenet: Exported) -> None:
    manifest = Bundle.open(live.bundle).manifest
    assert manifest.pitch_latent == PitchLayout(48, 24, 1, 4, BEND)
    decoder = load(live.checkpoint).decoder("strings")
    assert isinstance(decoder, LiveDecoder)
    state = decoder.init_state(1)[: 1 + decoder.hiss_states]
    _, semitones, _, _ = decoder.controls(torch.full((1, manifest.latent_channels, 1), 99.0), state)
    assert float(semitones.max()) == pytest.approx(BEND)
    assert Bundle.open(wavenet.bundle).manifest.pitch_latent is None


def test_wavenet_bundle_holds_its_weights(wavenet: Exported) -> None:
    bundle = Bundle.open(wavenet.bundle)
    decoder = load(wavenet.checkpoint).decoder("strings")
    tensors = safetensors.deserialize(bundle.read("weights/strings.safetensors"))
    calibration = {f"calibration.{part}" for part in ("input", "gated", "head", "classify")}
    assert {name for name, _ in tensors} == set(decoder.state_dict()) | calibration
    head = bundle.read("weights/strings.safetensors")
    about = json.loads(
        json.loads(head[8 : 8 + int.from_bytes(head[:8], "little")])["__metadata__"]["decoder"]
    )
    assert about["hop"] == decoder.hop and about["classes"] == 32
    inputs = [port.name for port in bundle.manifest.graphs["decoders/strings.onnx"].inputs]
    assert inputs == ["latent", "noise", "temperature"]


def test_a_native_encoder_needs_windows_of_whole_hops() -> None:
    config = dataclasses.replace(preset("tiny-wavenet-plain"), domains=("strings",))
    for hop, files in ((80, set()), (64, {"weights/encoder.safetensors"})):
        fit = dataclasses.replace(config, hop=hop)
        translator = Translator(fit).eval().requires_grad_(False)
        decoders = {"strings": translator.decoder("strings")}
        made = freeze_module._native(translator.encoder, decoders, fit, None)  # type: ignore[arg-type]
        assert set(made) == {"weights/strings.safetensors"} | files


def test_temperature_reaches_the_loop(wavenet: Exported) -> None:
    """Near zero the most likely class is drawn whatever the noise says."""
    bundle = Bundle.open(wavenet.bundle)
    graph = bundle.manifest.graphs["decoders/strings.onnx"]
    probe = bundle.probe()
    blocks, latent = bundle.manifest.probe.blocks, probe["latent"][None]
    random = np.random.default_rng(1)
    cold, warm = [], []
    for temperature, into in ((1e-4, cold), (1.0, warm)):
        for _ in range(2):
            stepper = OnnxStepper(bundle.read(graph.path), graph)
            stepper._fixed["temperature"][:] = temperature
            noise = random.random((1, 1, len(probe["audio"])), dtype=np.float32)
            into.append(stream(stepper, [latent, noise], blocks))
    assert np.array_equal(*cold) and not np.array_equal(*warm)


@pytest.mark.parametrize("which", ["live", "wavenet", "guided"])
def test_a_bundle_tells_nothing_of_the_machine_it_was_made_on(
    which: str, request: pytest.FixtureRequest
) -> None:
    """torch writes stack traces into ONNX nodes and source file names into TorchScript archives."""
    bundle = Bundle.open(request.getfixturevalue(which).bundle)
    places = {
        str(Path(__file__).parents[2]),
        sys.prefix,
        sysconfig.get_path("purelib"),
        str(bundle.path.parent),
    }
    for name in bundle.names:
        data = bundle.read(name)
        assert not any(place.encode() in data for place in places), name
        assert b".debug_pkl" not in data


def test_torchscript_takes_any_number_of_streams(live: Exported) -> None:
    bundle, translator = Bundle.open(live.bundle), load(live.checkpoint)
    encoder = load_script(bundle.read("torchscript/encoder.ts"))
    decoder = load_script(bundle.read("torchscript/my-voice.ts"))
    x = 0.1 * torch.randn(3, 1, 4 * translator.config.hop)
    noise = torch.rand_like(x)
    with torch.no_grad():
        latent, _ = encoder.step(x, encoder.init_state(3))
        audio, _ = decoder.step(latent, noise, decoder.init_state(3))
        wanted = translator.translate(x, "My Voice", noise)
        again, _ = decoder(latent, noise, decoder.init_state(3))
    torch.testing.assert_close(audio, wanted, rtol=0, atol=1e-6)
    assert torch.equal(audio, again)


# What is refused, in one sentence and with nothing written.


def refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1, error
    return error


def test_a_non_causal_encoder_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    checkpoint = make_checkpoint(tmp_path / "paper", "tiny-paper", ("strings",))
    error = refused([str(checkpoint), "-o", str(tmp_path / "x.umtn")], capsys)
    assert "not causal" in error and "umtn translate" in error
    assert not list(tmp_path.glob("*.umtn*"))


def test_bad_words_are_refused(live: Exported, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good, out = str(live.checkpoint), str(tmp_path / "x.umtn")
    assert "has no domain 'oboe'; it has strings, my-voice" in refused(
        [good, "-o", out, "--domains", "oboe"], capsys
    )
    assert "ends in .umtn" in refused([good, "-o", str(tmp_path / "x.zip")], capsys)
    assert "--temperature takes 0.05 to 2, but 3 came" in refused(
        [good, "-o", out, "--temperature", "3"], capsys
    )
    assert "no folder" in refused([good, "-o", str(tmp_path / "a" / "x.umtn")], capsys)
    assert "not a checkpoint" in refused([str(tmp_path), "-o", out], capsys)
    assert "no such file" in refused(["verify", out], capsys)
    assert "not a bundle" in refused(["verify", __file__], capsys)
    assert not Path(out).exists()


def test_verify_names_a_checkpoint_of_another_preset(
    live: Exported, wavenet: Exported, capsys: pytest.CaptureFixture[str]
) -> None:
    error = refused(["verify", str(live.bundle), "--checkpoint", str(wavenet.checkpoint)], capsys)
    assert "preset is tiny-wavenet-plain, but the bundle's is tiny-live" in error


def test_a_graph_that_differs_is_not_written(
    live: Exported, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the exporter does wrong, the old bundle stays."""
    target = tmp_path / "old.umtn"
    shutil.copy(live.bundle, target)
    before = target.read_bytes()
    other = make_checkpoint(tmp_path / "other", "tiny-live", ("strings", "My Voice"), seed=1)
    wrong = load(other).encoder
    export_encoder = freeze_module.onnx_graphs.export_encoder
    monkeypatch.setattr(freeze_module.onnx_graphs, "export_encoder", lambda encoder: export_encoder(wrong))
    error = refused([str(live.checkpoint), "-o", str(target), "--domains", "strings"], capsys)
    assert "encoder.onnx differs from PyTorch by" in error
    assert target.read_bytes() == before and [p.name for p in tmp_path.glob("*.umtn*")] == ["old.umtn"]


def test_weights_that_are_not_numbers_are_refused() -> None:
    config = dataclasses.replace(preset("tiny-live"), domains=("strings",))
    translator = Translator(config)
    with torch.no_grad():
        next(translator.decoders["strings"].parameters()).fill_(float("nan"))
    with pytest.raises(BundleError, match=r"weight 'decoders.strings.place' is not finite"):
        freeze(translator, "x")


def test_domain_names() -> None:
    assert domain_id("My Voice!") == "my-voice" and domain_id("strings") == "strings"
    config = dataclasses.replace(preset("tiny-live"), domains=("A b", "a-b"))
    with pytest.raises(BundleError, match="distinct names"):
        pick_domains(config, None)


def test_a_row_that_is_not_a_number_fails() -> None:
    rows = [Row("g", "onnx", "1", float("nan")), Row("g", "onnx", "1", 1e-5), Row("g", "onnx", "1", 1.1e-5)]
    assert [row.passed for row in rows] == [False, True, False]
    assert format_table(rows).count("FAIL") == 2
