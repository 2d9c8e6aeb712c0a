"""`benchmarks --kl`: it sees a calibration that clips, and says what it cannot do."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")

import safetensors.numpy

from benchmarks.kl import divergences
from export.bundle.bundle import Bundle, write_bundle
from export.bundle.safetensors import read_safetensors
from tests.realtime.engines.kernels import wavenet_kernel
from umtn.errors import UserError

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not wavenet_kernel(), reason="no compiled kernel and no compiler"),
]


def _calibrated(bundle: Bundle, path: Path, factor: float | None) -> Path:
    """The first domain's calibration times a factor, or gone."""
    file = f"weights/{bundle.manifest.domains[0].id}.safetensors"
    arrays, about = read_safetensors(bundle.read(file))
    changed: dict[str, Any] = {
        name: np.ascontiguousarray(a * (factor if name.startswith("calibration.") else 1.0), a.dtype)
        for name, a in arrays.items()
        if factor is not None or not name.startswith("calibration.")
    }
    files = {name: bundle.read(name) for name in bundle.names}
    files[file] = safetensors.numpy.save(changed, about)
    write_bundle(path, dataclasses.replace(bundle.manifest, files={}), files)
    return path


def test_a_calibration_that_clips_costs_nats(wavenet_bundle: Bundle, tmp_path: Path) -> None:
    found = divergences(wavenet_bundle.path)
    assert set(found["int8"]) == {"strings", "piano"} and "demo.flac" in found["sound"]
    clipped = divergences(_calibrated(wavenet_bundle, tmp_path / "b.umtn", 0.05))
    fine, spoiled = (float(f["int8"]["strings"].split()[0]) for f in (found, clipped))
    assert spoiled > 10 * fine
    assert clipped["int8"]["piano"] == found["int8"]["piano"]


def test_guided_decoders_are_told_what_they_hear_on_stage(guided_bundle: Bundle) -> None:
    found = divergences(guided_bundle.path)
    assert set(found["int8"]) == {d.id for d in guided_bundle.manifest.domains}
    assert all(0 <= float(text.split()[0]) < 1 for text in found["int8"].values())


def test_what_it_cannot_do_is_one_sentence(wavenet_bundle: Bundle, tmp_path: Path) -> None:
    import soundfile

    with pytest.raises(UserError, match="holds no calibration for int8"):
        divergences(_calibrated(wavenet_bundle, tmp_path / "b.umtn", None))
    soundfile.write(tmp_path / "short.wav", np.zeros(4000), 8000)
    with pytest.raises(UserError, match="lasts 0.5 s, but 1 s are needed"):
        divergences(wavenet_bundle.path, tmp_path / "short.wav")
