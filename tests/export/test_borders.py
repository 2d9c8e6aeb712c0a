"""A model of a few steps, whose notes are all alike yet, is exported: where rounding decides nothing is compared."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from export import freeze, probe
from export.__main__ import main
from export.bundle.bundle import Bundle
from export.probe import OnnxStepper, clear_frames
from realtime.engines import load_engine
from tests.export.toys import make_checkpoint
from umtn.model.decoders.harmonic import LiveDecoder
from umtn.model.presets import preset
from umtn.model.translator import Translator


def _decoder() -> LiveDecoder:
    torch.manual_seed(0)
    decoder = (
        Translator(dataclasses.replace(preset("tiny-live"), domains=("strings",))).eval().decoder("strings")
    )
    assert isinstance(decoder, LiveDecoder)
    return decoder.requires_grad_(False)


# of these, untrained, two pitches of a domain were alike within 1e-7: "differs from PyTorch by 2.4e-02"
@pytest.mark.parametrize("seed, domain", [(1, 1), (12, 0), (16, 2), (17, 7)])
def test_a_model_whose_notes_are_alike_is_exported_proved_and_played(
    seed: int, domain: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    domains = preset("tiny-live").domains
    checkpoint = make_checkpoint(tmp_path / "alike", "tiny-live", domains, seed)
    path = tmp_path / "alike.umtn"
    assert main([str(checkpoint), "-o", str(path), "--domains", domains[domain]]) == 0
    assert main(["verify", str(path), "--checkpoint", str(checkpoint)]) == 0
    assert load_engine(Bundle.open(path), "onnx").name == "onnx"


def test_no_frame_is_clear_from_where_two_voices_are_alike() -> None:
    decoder = _decoder()
    z = np.random.default_rng(0).normal(size=(1, decoder.latent_channels, 20)).astype(np.float32)
    assert clear_frames(decoder, z) == 20
    with torch.no_grad():
        decoder.place[:] = decoder.place[:, :1]  # every pitch is every other one
        decoder.shape[2].weight[:, :, (0, 2)] = 0
    decoder.oscillators.audible[:] = decoder.oscillators.audible[:1]
    per_pitch = z[:, : decoder.per_pitch * decoder.pitches].reshape(decoder.per_pitch, decoder.pitches, 20)
    per_pitch[:, :, 7:] = per_pitch[:, :1, 7:]  # what they remember differs for some frames yet
    assert clear_frames(decoder, z) >= 7
    per_pitch[:] = per_pitch[:, :1]
    assert clear_frames(decoder, z) == 0


def test_no_frame_is_clear_from_where_a_bend_lies_between_two_steps() -> None:
    decoder = _decoder()
    z = np.random.default_rng(0).normal(size=(1, decoder.latent_channels, 20)).astype(np.float32)
    cents = slice(decoder.pitches, 2 * decoder.pitches)
    z[0, cents, 11] = np.arctanh(0.5 / 64 / 0.6)
    assert clear_frames(decoder, z) == 11


def test_where_no_tune_is_clear_the_bundle_says_how_far_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(probe, "clear_frames", lambda decoder, latent: 40)
    checkpoint = make_checkpoint(tmp_path / "c", "tiny-live", ("strings",))
    path = tmp_path / "c.umtn"
    assert main([str(checkpoint), "-o", str(path)]) == 0
    bundle = Bundle.open(path)
    arrays = bundle.probe()
    assert 0 < int(arrays["agreed.strings"][0]) < len(arrays["audio"])
    assert load_engine(bundle, "onnx").name == "onnx"
    capsys.readouterr()
    assert main(["verify", str(path), "--checkpoint", str(checkpoint)]) == 0
    assert "then rounding decides" in capsys.readouterr().out


def test_a_graph_that_differs_is_refused_with_advice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Wrong(OnnxStepper):
        def __call__(self, *ports: np.ndarray) -> np.ndarray:
            return super().__call__(*ports) + np.float32(0.018)

    monkeypatch.setattr(freeze, "OnnxStepper", Wrong)
    checkpoint = make_checkpoint(tmp_path / "c", "tiny-live", ("strings",))
    assert main([str(checkpoint), "-o", str(tmp_path / "c.umtn")]) == 2
    said = capsys.readouterr().err
    assert "differs from PyTorch by 1.8e-02" in said and "another version of one of them" in said
    assert not (tmp_path / "c.umtn").exists()


def test_a_model_without_a_clear_block_is_refused_with_advice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(probe, "CLOSE", 2.0)
    checkpoint = make_checkpoint(tmp_path / "c", "tiny-live", ("strings",))
    assert main([str(checkpoint), "-o", str(tmp_path / "c.umtn")]) == 2
    assert "train it on" in capsys.readouterr().err
