"""What the exporter writes for the native engine of `live` models."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from export.bundle.bundle import Bundle, write_bundle
from export.native_weights import (
    BINS,
    ENCODER_WEIGHTS,
    TOLERANCE,
    analysis_error,
    expanded,
    factorise,
    full_kernels,
)
from export.verify import verify
from tests.export.toys import Exported
from umtn.model.checkpoint import load
from umtn.model.semitone_spectrum import CausalSpectrum

pytestmark = pytest.mark.slow

# rate, hop, lowest note, longest window
SPECTRA = {"live": (24000, 128, 28, 4096), "tiny": (8000, 64, 48, 512), "other": (12000, 32, 60, 1024)}


@pytest.mark.parametrize("size", list(SPECTRA))
def test_the_shared_shapes_amount_to_the_kernels_for_fewer_products(size: str) -> None:
    spectrum = CausalSpectrum(*SPECTRA[size])
    sources, fine, quick = factorise(spectrum)
    shared, dense = sum(s.basis.size for s in sources), 0
    for wanted, bins in zip(spectrum.kernels(), (fine, quick)):
        got = expanded(bins, sources, spectrum.longest)
        norms = np.sqrt((wanted**2).sum(axis=(1, 2)))
        assert (np.sqrt(((got - wanted) ** 2).sum(axis=(1, 2))) <= 1.01 * TOLERANCE * norms).all()
        shared += sum(2 * BINS * b.kernel.shape[2] for b in bins)
        dense += np.count_nonzero(wanted)
    assert size != "live" or 3 * shared < dense  # at the size that is played a third at most


def test_the_kernels_are_what_the_spectrum_computes() -> None:
    spectrum = CausalSpectrum(*SPECTRA["tiny"])
    audio = torch.rand(1, 1, 512, generator=torch.Generator().manual_seed(0)) - 0.5
    power = spectrum(audio)[0, 0, :, -1].numpy()
    re, im = (full_kernels(spectrum)[: spectrum.bins] @ audio[0, 0].double().numpy()).T
    assert np.abs(0.1 * np.log(re**2 + im**2 + 1e-8) + 1 - power).max() < 1e-5


def test_verify_finds_weights_of_another_model(
    live: Exported, tmp_path_factory: pytest.TempPathFactory
) -> None:
    bundle, translator = Bundle.open(live.bundle), load(live.checkpoint)
    path = tmp_path_factory.mktemp("other") / "b.umtn"
    files = {name: bundle.read(name) for name in bundle.names}
    files["weights/strings.safetensors"] = files["weights/my-voice.safetensors"]
    analysis = bytearray(files[ENCODER_WEIGHTS])
    at = len(analysis) - 4 * 1000  # somewhere in the last tensor
    analysis[at : at + 4] = np.float32(0.5).tobytes()
    files[ENCODER_WEIGHTS] = bytes(analysis)
    write_bundle(path, dataclasses.replace(bundle.manifest, files={}), files)
    rows = [r for r in verify(Bundle.open(path), translator) if r.graph.startswith("weights/")]
    failed = {(r.graph, r.engine) for r in rows if not r.passed}
    assert ("weights/strings.safetensors", "safetensors") in failed
    assert {(r.graph, r.engine) for r in rows if r.passed} >= {
        ("weights/my-voice.safetensors", "safetensors")
    }
    assert len(failed) == 2  # and one of the encoder's
    error = analysis_error(bundle.read(ENCODER_WEIGHTS), translator.encoder)
    assert 0 < error <= 2 * TOLERANCE
