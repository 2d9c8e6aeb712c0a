"""Manifests and probes with numbers that are none: each is refused in one sentence that names the field."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from export.bundle.bundle import PROBE, Bundle, BundleError, write_bundle
from export.bundle.manifest import Manifest
from tests.realtime.fakebundle import write_fake_bundle

WRONG = (
    "NaN",
    "Infinity",
    "-Infinity",
    "1e400",
    "-1e400",
    "true",
    '"1"',
    "null",
    "1" + 400 * "0",
    "-1" + 400 * "0",
)
WHOLE = ("sample_rate", "block", "hop", "latent_channels", "latency_samples", "format_version")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return Bundle.open(write_fake_bundle(tmp_path_factory.mktemp("b") / "fake.umtn"))


def _fields(tree: dict[str, Any]) -> dict[str, Any]:
    """Name -> the object that holds it, of every number in a manifest."""
    tree["temperature"] = 1.0
    tree["pitch_latent"] = {"lowest": 40, "pitches": 32, "free": 2, "room": 0, "bend": 0.6}
    state = tree["graphs"]["encoder.onnx"]["states"][0]
    fields = dict.fromkeys((*WHOLE, "temperature"), tree)
    fields |= dict.fromkeys(tree["pitch_latent"], tree["pitch_latent"])
    return fields | dict.fromkeys(("blocks", "tolerance"), tree["probe"]) | {"initial": state}


NAMES = [*WHOLE, "temperature", "lowest", "pitches", "free", "room", "bend", "blocks", "tolerance", "initial"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("number", WRONG)
def test_a_number_in_a_manifest(bundle: Bundle, name: str, number: str) -> None:
    tree = json.loads(bundle.manifest.to_json())
    _fields(tree)
    Manifest.from_json(json.dumps(tree))
    _fields(tree)[name][name] = "?"
    with pytest.raises(BundleError, match="^[^\n]*$"):
        Manifest.from_json(json.dumps(tree).replace('"?"', number))


@pytest.mark.parametrize(
    ("dtype", "initial"), [("float32", 1e300), ("int64", 1e300), ("int64", 0.5), ("float64", 1e400)]
)
def test_a_state_cannot_start_beyond_its_type(bundle: Bundle, dtype: str, initial: float) -> None:
    tree = json.loads(bundle.manifest.to_json())
    tree["graphs"]["encoder.onnx"]["states"][0] |= {"dtype": dtype, "initial": "?"}
    text = json.dumps(tree).replace('"?"', "1e400" if initial == float("inf") else repr(initial))
    with pytest.raises(BundleError, match="cannot start as"):
        Manifest.from_json(text)


def _probed(bundle: Bundle, path: Path, data: bytes) -> Bundle:
    files = {name: bundle.read(name) for name in bundle.names}
    write_bundle(path, bundle.manifest, files | {PROBE: data})
    return Bundle.open(path)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", ["audio", "noise", "latent", "audio.piano"])
def test_a_probe_that_is_not_finite(bundle: Bundle, tmp_path: Path, name: str, bad: float) -> None:
    probe = bundle.probe()
    probe[name].flat[-1] = bad
    packed = io.BytesIO()
    np.savez(packed, **probe)  # type: ignore[arg-type]
    with pytest.raises(BundleError, match=f"'{name}' in probe.npz .* finite"):
        _probed(bundle, tmp_path / "p.umtn", packed.getvalue()).probe()


def test_a_probe_whose_packing_is_damaged(bundle: Bundle, tmp_path: Path) -> None:
    packed = io.BytesIO()
    np.savez_compressed(packed, **bundle.probe())  # type: ignore[arg-type]
    data = bytearray(packed.getvalue())
    data[60:90] = bytes(30)
    with pytest.raises(BundleError, match="is not a readable numpy archive"):
        _probed(bundle, tmp_path / "p.umtn", bytes(data)).probe()
