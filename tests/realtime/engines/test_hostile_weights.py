"""Weights that no export writes: NaN, infinity, other types and sizes get one sentence, and no kernel sees them."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")
safetensors_numpy = pytest.importorskip("safetensors.numpy")

from export.bundle.bundle import PROBE, Bundle, BundleError, write_bundle  # noqa: E402
from export.bundle.safetensors import read_safetensors  # noqa: E402
from realtime.engines import select  # noqa: E402
from realtime.engines.live.weights import ConditionerWeights, DecoderWeights, EncoderWeights  # noqa: E402
from realtime.engines.select import check_probe  # noqa: E402
from realtime.engines.wavenet.autotune import Probed  # noqa: E402
from realtime.engines.wavenet.cuda.loop import fragments  # noqa: E402
from realtime.engines.wavenet.guided import _emphasis  # noqa: E402
from realtime.engines.wavenet.weights import WavenetWeights  # noqa: E402
from tests.realtime.engines.wavenets import random_network  # noqa: E402
from umtn.errors import UserError  # noqa: E402

Load = Callable[[bytes], object]
# kind -> file of a guided bundle, part of its metadata, who reads it
FILES: dict[str, tuple[str, str, Load]] = {
    "wavenet": ("strings", "decoder", WavenetWeights.from_safetensors),
    "guide": ("strings.guide", "decoder", DecoderWeights.from_safetensors),
    "mouth": ("strings.mouth", "mouth", ConditionerWeights.from_safetensors),
    "encoder": ("encoder", "encoder", EncoderWeights.from_safetensors),
    "emphasis": ("strings", "guide", lambda data: _emphasis(data, "the weights")),
}
NUMBERS = (
    "NaN",
    "Infinity",
    "-Infinity",
    "1e400",
    "true",
    '"3"',
    "[]",
    "null",
    "-1e30",
    "1" + 400 * "0",
    "-7",
    "1e30",
)


def _opened(bundle: Bundle, kind: str) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    arrays, metadata = read_safetensors(bundle.read(f"weights/{FILES[kind][0]}.safetensors"))
    return {name: array.copy() for name, array in arrays.items()}, metadata


def _packed(arrays: dict[str, np.ndarray], metadata: dict[str, str]) -> bytes:
    return bytes(safetensors_numpy.save(arrays, metadata))


@pytest.mark.parametrize("kind", ["wavenet", "guide", "mouth", "encoder"])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_tensor_that_is_not_finite_is_named(guided_bundle: Bundle, kind: str, bad: float) -> None:
    arrays, metadata = _opened(guided_bundle, kind)
    _, _, load = FILES[kind]
    load(_packed(arrays, metadata))
    floats = [name for name, array in arrays.items() if array.dtype.kind == "f" and array.size]
    assert len(floats) > 5
    for name in floats:
        changed = arrays[name].copy()
        changed.flat[-1] = bad
        try:
            load(_packed({**arrays, name: changed}, metadata))
        except UserError as error:
            assert name in str(error) and "finite" in str(error)
        else:
            assert name not in _wanted(kind, load, arrays, metadata), name


def _wanted(kind: str, load: Load, arrays: dict[str, np.ndarray], metadata: dict[str, str]) -> set[str]:
    """Tensors without which the file is refused: all that are read."""
    wanted = set()
    for name in arrays:
        try:
            load(_packed({n: a for n, a in arrays.items() if n != name}, metadata))
        except UserError:
            wanted.add(name)
    return wanted


@pytest.mark.parametrize("kind", list(FILES))
def test_a_number_that_is_none_is_one_sentence(guided_bundle: Bundle, kind: str) -> None:
    """Every number that the export noted beside the tensors, each in every way that JSON can be wrong."""
    arrays, metadata = _opened(guided_bundle, kind)
    _, part, load = FILES[kind]
    about = json.loads(metadata[part])
    read = {
        "wavenet": {"hop", "blocks"},
        "guide": {"rate", "hop", "hidden", "partials", "bands", "voices", "sounding", "silent", "stride"},
        "mouth": {"channels", "latent", "dilations", "layout"},
        "encoder": {
            "rate",
            "hop",
            "longest",
            "semitones",
            "channels",
            "dilations",
            "shifts",
            "blocks",
            "layout",
        },
        "emphasis": {"emphasis", "drive"},
    }[kind]
    signed = {"silent", "stride", "shifts", "rate"}  # -7 may be one; a rate is compared with the manifest's
    for key in sorted(read):
        for number in NUMBERS:
            if key in signed and number == "-7":
                continue
            for text in _with_number(about, key, number):
                with pytest.raises(UserError, match="^[^\n]*$"):
                    load(_packed(arrays, {**metadata, part: text}))


def _with_number(about: dict[str, Any], key: str, number: str) -> list[str]:
    value = about[key]
    if isinstance(value, dict):
        return [
            json.dumps({**about, key: {**value, inner: "?"}}).replace('"?"', number)
            for inner in ("lowest", "pitches", "free", "room")
        ]
    marked = [*value[:-1], "?"] if isinstance(value, list) else "?"
    return [json.dumps({**about, key: marked}).replace('"?"', number)]


LEANED: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "NaN": lambda t: np.where(np.eye(len(t)) > 0, np.nan, t).astype(np.float32),
    "whole numbers as floats": lambda t: t.astype(np.float32),
    "infinity": lambda t: np.full(t.shape, np.inf, np.float32),
    "bool": lambda t: t.astype(bool),
    "below": lambda t: t.astype(np.int64) - len(t),
    "beyond": lambda t: t.astype(np.int64) + 1,
    "beyond 32 bits": lambda t: t.astype(np.int64) + (1 << 32),
    "another shape": lambda t: t[:, :-1].copy(),
}


@pytest.mark.parametrize("name", LEANED)
def test_what_a_past_leans_on_is_classes(name: str) -> None:
    """With NaN in it the check passed, and the kernel read where it pointed: a crash, in the middle of a show."""
    network = random_network("single", seed=1, guided=True)
    arrays = {key: value.numpy() for key, value in network.decoder.state_dict().items()}
    WavenetWeights.from_arrays(arrays, 16, 1)
    with pytest.raises(UserError, match="`leaned` must be classes from 0 to 31"):
        WavenetWeights.from_arrays({**arrays, "leaned": LEANED[name](arrays["leaned"])}, 16, 1)


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e300])
def test_a_calibration_that_is_not_finite_is_named(bad: float) -> None:
    network = random_network("single", seed=1)
    arrays = {key: value.numpy() for key, value in network.decoder.state_dict().items()}
    calibration: dict[str, np.ndarray] = {
        f"calibration.{key}": np.ones(1) for key in ("input", "gated", "head", "classify")
    }
    WavenetWeights.from_arrays({**arrays, **calibration}, 16, 1)
    for key in calibration:
        with pytest.raises(UserError, match=f"{key} is not finite"):
            WavenetWeights.from_arrays({**arrays, **calibration, key: np.array([bad])}, 16, 1)


@pytest.mark.parametrize("key", ["embed.weight", "head.weight", "condition.weight", "classify.weight"])
@pytest.mark.parametrize("shape", [(), (0,), (4,), (0, 0, 0)])
def test_a_tensor_of_another_rank_is_one_sentence(key: str, shape: tuple[int, ...]) -> None:
    network = random_network("single", seed=1)
    arrays = {name: value.numpy() for name, value in network.decoder.state_dict().items()}
    with pytest.raises(UserError, match="export"):
        WavenetWeights.from_arrays({**arrays, key: np.zeros(shape, np.float32)}, 16, 1)


def test_a_weight_that_is_no_floating_point_number_is_named() -> None:
    network = random_network("single", seed=1)
    arrays = {name: value.numpy() for name, value in network.decoder.state_dict().items()}
    with pytest.raises(UserError, match=r"head\.bias is int64"):
        WavenetWeights.from_arrays({**arrays, "head.bias": arrays["head.bias"].astype(np.int64)}, 16, 1)


@pytest.mark.parametrize("hop", [0, -1, 1 << 40])
def test_a_hop_that_cannot_be(hop: int) -> None:
    network = random_network("single", seed=1)
    arrays = {name: value.numpy() for name, value in network.decoder.state_dict().items()}
    with pytest.raises(UserError, match="cannot be"):
        WavenetWeights.from_arrays(arrays, hop, 1)


@pytest.mark.parametrize(
    "entry",
    [
        {"dtype": "F32", "shape": [1e400], "data_offsets": [0, 4]},
        {"dtype": "F32", "shape": [0, 10**30], "data_offsets": [0, 0]},
        {"dtype": "F32", "shape": [1.0], "data_offsets": [0, 4]},
        {"dtype": "F32", "shape": [True], "data_offsets": [0, 4]},
        {"dtype": "F32", "shape": [-1, -1], "data_offsets": [0, 4]},
        {"dtype": "F32", "shape": [1], "data_offsets": [float("nan"), 4]},
        {"dtype": "BOOL", "shape": [4], "data_offsets": [0, 4]},
    ],
)
def test_a_header_of_nonsense_is_one_sentence(entry: dict[str, Any]) -> None:
    header = json.dumps({"x": entry}).encode()
    with pytest.raises(UserError, match="is not a readable safetensors file"):
        read_safetensors(len(header).to_bytes(8, "little") + header + bytes(4))


def test_metadata_nested_too_deeply_is_one_sentence() -> None:
    data = _packed({"x": np.zeros(1, np.float32)}, {"decoder": "[" * 100_000})
    with pytest.raises(UserError, match="does not say which decoder"):
        WavenetWeights.from_safetensors(data)


@pytest.mark.parametrize("part", ["guide", "drawn"])
@pytest.mark.parametrize("value", [-1, 1 << 30, -(1 << 31)])
def test_a_probe_of_classes_that_are_none(guided_bundle: Bundle, part: str, value: int) -> None:
    probe = guided_bundle.probe()
    net = WavenetWeights.from_safetensors(guided_bundle.read("weights/strings.safetensors"))
    Probed.of(probe, "strings", net, "b")
    probe[f"{part}.strings"][3] = value
    with pytest.raises(UserError, match=f"{part}.strings of its probe has classes beyond"):
        Probed.of(probe, "strings", net, "b")


@pytest.mark.parametrize("value", [-1, 1 << 30])
def test_a_probe_that_agrees_for_longer_than_it_is(guided_bundle: Bundle, tmp_path: Path, value: int) -> None:
    files = {name: guided_bundle.read(name) for name in guided_bundle.names}
    packed = io.BytesIO()
    np.savez(packed, **{**guided_bundle.probe(), "agreed.piano": np.array([value], np.int32)})  # type: ignore[arg-type]
    write_bundle(tmp_path / "b.umtn", guided_bundle.manifest, files | {PROBE: packed.getvalue()})
    with pytest.raises(BundleError, match=f"'agreed.piano' in probe.npz is {value}, but"):
        Bundle.open(tmp_path / "b.umtn").probe()


def test_fp16_takes_no_nan() -> None:
    with pytest.raises(UserError, match="fp16"):
        fragments(np.full((16, 16), np.nan, np.float32), 16)


def test_an_engine_that_was_not_a_number_once_has_not_passed(live_bundle: Bundle) -> None:
    """The difference of the next block, a number again, took the place of the worst."""
    from realtime.engines.onnx import OnnxEngine

    engine = OnnxEngine(live_bundle)
    decode, calls = engine.decode, []

    def broken(domain: int, out: np.ndarray, noise: np.ndarray | None = None) -> None:
        decode(domain, out, noise)
        calls.append(domain)
        if len(calls) == 1:
            out[0] = np.nan

    engine.decode = broken  # type: ignore[method-assign]
    worst, where = check_probe(engine, live_bundle)
    assert np.isnan(worst) and where == "the domain strings"
    calls.clear()
    with pytest.raises(UserError, match="computes the domain strings"):
        select.checked(engine, live_bundle)
