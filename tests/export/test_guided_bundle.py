"""What a bundle holds of guided decoders, and that their guides' rounding decides nothing in its probe."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from export import probe as guidance
from export.bundle.bundle import PROBE, Bundle, BundleError, PitchLayout, write_bundle
from export.bundle.safetensors import read_safetensors
from export.freeze import BEND
from export.latency import measure_latency
from export.native_weights import activation_maxima
from export.probe import make_probe, test_signal, told, untied_noise
from tests.export.toys import Exported
from umtn.errors import UserError
from umtn.model.checkpoint import load
from umtn.model.companding import mulaw_encode
from umtn.model.decoders.guided import DRIVE, GuidedDecoder
from umtn.model.presets import preset
from umtn.model.streaming import Delay, StreamingModule, StreamingSequential
from umtn.model.translator import Translator
from umtn.offline import open_player

pytestmark = pytest.mark.slow


@pytest.fixture
def translator() -> Translator:
    torch.manual_seed(3)
    return Translator(preset("tiny-wavenet-live")).eval().requires_grad_(False)


@pytest.fixture
def decoder(translator: Translator) -> GuidedDecoder:
    made = translator.decoder("strings")
    assert isinstance(made, GuidedDecoder)
    return made


def test_the_bundle_holds_all_that_plays_it(guided: Exported) -> None:
    bundle, decoder = Bundle.open(guided.bundle), load(guided.checkpoint).decoder("strings")
    assert isinstance(decoder, GuidedDecoder)
    manifest = bundle.manifest
    assert manifest.pitch_latent == PitchLayout(48, 24, 1, 4, BEND)
    assert manifest.sampled and manifest.latent_channels == decoder.latent_channels
    graph = manifest.graphs["decoders/strings.onnx"]
    assert [port.name for port in graph.inputs] == ["latent", "noise", "temperature"]
    assert [state.name for state in graph.states] == decoder.state_names()
    parts = {"strings": decoder.wavenet, "strings.guide": decoder.guide}
    for name, module in parts.items():
        tensors, metadata = read_safetensors(bundle.read(f"weights/{name}.safetensors"))
        assert set(module.state_dict()) <= set(tensors)
        about = json.loads(metadata["decoder"])
        assert about["hop"] == decoder.hop and about["kind"] == ("live" if "guide" in name else "wavenet")
    _, metadata = read_safetensors(bundle.read("weights/strings.safetensors"))
    assert json.loads(metadata["guide"]) == {
        "kind": "live",
        "emphasis": decoder.emphasis.amount,
        "drive": DRIVE,
    }
    tensors, metadata = read_safetensors(bundle.read("weights/strings.mouth.safetensors"))
    assert len(tensors) == len(decoder.mouth.state_dict()) and json.loads(metadata["mouth"])["latent"] == 6


def test_it_is_evaluated_in_the_precision_asked_for(guided: Exported) -> None:
    player = open_player(guided.bundle, "fp32")
    assert player.facts["precision"] == "fp32" and player.facts["engine"] == "wavenet-cpu"
    with pytest.raises(UserError, match="unknown precision 'fp8'"):
        open_player(guided.bundle, "fp8")


def test_the_probe_tells_what_the_loop_alone_hears_and_draws(
    translator: Translator, decoder: GuidedDecoder
) -> None:
    _, probe = make_probe(translator.encoder, {"a": decoder}, 8000)  # type: ignore[arg-type]
    net, z = decoder.wavenet, torch.from_numpy(probe["told.a"])[None]
    guide = torch.from_numpy(probe["guide.a"]).long()[None]
    logits = net.logits(z, torch.from_numpy(probe["drawn.a"]).long()[None], guide_BN=guide)
    uniform = torch.from_numpy(probe["noise"])
    low = torch.cumsum(torch.softmax(logits[0], 0), 0).gather(
        0, torch.from_numpy(probe["drawn.a"]).long()[None] - 1
    )
    high = torch.cumsum(torch.softmax(logits[0], 0), 0).gather(
        0, torch.from_numpy(probe["drawn.a"]).long()[None]
    )
    assert ((low[0] <= uniform) | (torch.from_numpy(probe["drawn.a"]) == 1)).all() and (
        uniform < high[0]
    ).all()
    again = decoder.sound_classes(torch.from_numpy(probe["audio.a"])[None])
    assert np.array_equal(again[0].numpy(), probe["drawn.a"])  # what is heard is what was drawn, settled
    assert len(np.unique(probe["guide.a"])) > 3


def test_neither_class_beside_a_border_draws_another_sample(
    decoder: GuidedDecoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As if two engines' tones differed by 0.003; with any other noise that would be heard."""
    monkeypatch.setattr(guidance, "NEAR", 3e-3)
    net, blocks = decoder.wavenet, 6
    latent = torch.randn(1, decoder.latent_channels, blocks, generator=torch.Generator().manual_seed(0))
    heard = told(decoder, latent)
    assert heard.likely is not None and heard.guide is not None
    moved = (heard.likely[1:, 0] - heard.guide).abs()
    assert 0.02 < (moved > 0).float().mean() < 0.9 and int(moved.max()) == 1

    def drawn(noise: np.ndarray, guide: torch.Tensor) -> torch.Tensor:
        uniform = torch.from_numpy(noise)[None, None]
        sound, _ = net.say(heard.latent, uniform, torch.ones(1), net.init_state(1), guide)
        return mulaw_encode(sound[0, 0], net.classes)

    untied, alike = untied_noise({"a": decoder}, latent.numpy(), blocks * decoder.hop, blocks, seed=0)
    first = slice(alike["a"])
    assert alike["a"] > decoder.hop
    plain = np.random.default_rng(0).random(blocks * decoder.hop, dtype=np.float32)
    for noise, same in ((untied, True), (plain, False)):
        wanted = drawn(noise, heard.guide)
        assert all(torch.equal(drawn(noise, g)[first], wanted[first]) for g in heard.likely[1:]) is same


def test_the_guide_counts_for_what_int8_scales_by(translator: Translator, decoder: GuidedDecoder) -> None:
    encoder = translator.encoder
    audio = test_signal(40 * decoder.hop, 8000)
    found = activation_maxima(encoder, decoder, audio)  # type: ignore[arg-type]
    latent, _ = encoder.step(torch.from_numpy(audio)[None, None], encoder.init_state(1))  # type: ignore[operator]
    net, guide = decoder.wavenet, told(decoder, latent).guide
    past = net.before(decoder.sound_classes(torch.from_numpy(audio)[None]))
    assert guide is not None
    past = net.lean_on(past, guide)
    first = (net.embed(past) + net.embed(guide + net.classes))[0].abs().amax(dim=0)
    assert np.allclose(found["calibration.input"][0].numpy(), first.numpy())


def test_its_latency_is_the_encoders(translator: Translator, decoder: GuidedDecoder) -> None:
    encoder = translator.encoder
    assert isinstance(encoder, StreamingModule)
    late = StreamingSequential(encoder, Delay(decoder.latent_channels, 3))
    assert measure_latency(encoder, decoder, 8000) == 0
    assert measure_latency(late, decoder, 8000) == 3 * decoder.hop


def test_a_probe_without_all_of_it_is_refused(guided: Exported, tmp_path: Path) -> None:
    bundle = Bundle.open(guided.bundle)
    files = {name: bundle.read(name) for name in bundle.names}
    good = bundle.probe()
    lacking = {name: a for name, a in good.items() if name != "guide.strings"}
    for i, (probe, sentence) in enumerate(
        (
            (lacking, "lacks array 'guide.strings'"),
            ({**good, "drawn.strings": good["drawn.strings"].astype(np.float32)}, "finite int32"),
            ({**good, "told.strings": good["told.strings"][:, 1:]}, "'told.strings' in probe.npz is float32"),
            ({**good, "told.strings": np.float32(0)}, "'told.strings' in probe.npz is float32"),
            ({n: a for n, a in good.items() if n != "told.strings"}, "unknown array"),
        )
    ):
        packed = io.BytesIO()
        np.savez(packed, **probe)  # type: ignore[arg-type]
        path = tmp_path / f"{i}.umtn"
        write_bundle(path, bundle.manifest, files | {PROBE: packed.getvalue()})
        with pytest.raises(BundleError, match=sentence):
            Bundle.open(path).probe()
