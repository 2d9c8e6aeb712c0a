"""The bundle file: what is written is read back; everything else is refused with one sentence."""

from __future__ import annotations

import dataclasses
import io
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from export.bundle import bundle as bundle_module
from export.bundle.bundle import (
    Bundle,
    BundleError,
    Domain,
    Graph,
    Manifest,
    PitchLayout,
    Port,
    Probe,
    State,
    write_bundle,
)

BLOCK, CHANNELS, BLOCKS = 8, 3, 4


def manifest() -> Manifest:
    audio, latent = Port("audio", (1, 1, BLOCK)), Port("latent", (1, CHANNELS, 2))
    states = (
        State("0.context", "next.0.context", (1, 2, 5)),
        State("phase", "next.phase", (1, 4), "float64", 0.5),
    )
    return Manifest(
        name="toy", preset="tiny-live", licence="MIT", notes="nothing: a toy", sample_rate=24000, block=BLOCK,
        hop=4, latent_channels=CHANNELS, latency_samples=3,
        domains=(Domain("strings", "Strings", "decoders/strings.onnx"),), encoder="encoder.onnx",
        graphs={
            "encoder.onnx": Graph("encoder.onnx", "", (audio,), (latent,), states),
            "decoders/strings.onnx": Graph(
                "decoders/strings.onnx", "", (latent, dataclasses.replace(audio, name="noise")), (audio,), ()
            ),
        },
        probe=Probe(BLOCKS, 1e-4),
    )  # fmt: skip


def test_a_temperature_is_kept_and_one_that_cannot_be_is_refused() -> None:
    assert "temperature" not in json.loads(manifest().to_json())
    told = dataclasses.replace(manifest(), temperature=0.7)
    assert Manifest.from_json(told.to_json()).temperature == 0.7
    with pytest.raises(BundleError, match="temperature is 3, but must lie from 0.05 to 2"):
        dataclasses.replace(told, temperature=3.0).check()


def files() -> dict[str, bytes]:
    samples = np.zeros(BLOCK * BLOCKS, np.float32)
    packed = io.BytesIO()
    np.savez(
        packed,
        allow_pickle=False,
        audio=samples,
        noise=samples,
        latent=np.zeros((CHANNELS, len(samples) // 4), np.float32),
        **{"audio.strings": samples},
    )
    graphs = {"encoder.onnx": b"not really a graph", "decoders/strings.onnx": b"neither" * 999}
    return {**graphs, "probe.npz": packed.getvalue(), "torchscript/encoder.ts": b"code"}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    write_bundle(tmp_path / "toy.umtn", manifest(), files())
    return tmp_path / "toy.umtn"


def rezip(path: Path, entries: list[tuple[str, bytes]], compression: int = zipfile.ZIP_STORED) -> None:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in entries:
            archive.writestr(name, data)


def entries(path: Path) -> list[tuple[str, bytes]]:
    with zipfile.ZipFile(path) as archive:
        return [(name, archive.read(name)) for name in archive.namelist()]


def edit(path: Path, change: dict[str, object]) -> None:
    """Rewrites manifest.json with some top-level keys changed."""
    pairs = dict(entries(path))
    tree = json.loads(pairs["manifest.json"]) | change
    rezip(path, list({**pairs, "manifest.json": json.dumps(tree).encode()}.items()))


def test_round_trip(path: Path) -> None:
    bundle = Bundle.open(path)
    written = manifest()
    assert bundle.manifest.domains == written.domains
    assert bundle.manifest.graphs["encoder.onnx"].states == written.graphs["encoder.onnx"].states
    assert {name: bundle.read(name) for name in bundle.names} == files()
    assert bundle.probe()["latent"].shape == (CHANNELS, 8)
    assert Manifest.from_json(bundle.manifest.to_json()) == bundle.manifest
    assert bundle.domain("strings").name == "Strings"


def test_the_pitch_layout_is_optional_and_checked(path: Path) -> None:
    assert Bundle.open(path).manifest.pitch_latent is None
    assert b"pitch_latent" not in dict(entries(path))["manifest.json"]
    layout = {"lowest": 60, "pitches": 1, "free": 0, "room": 1, "bend": 0.6}
    edit(path, {"pitch_latent": layout})
    manifest = Bundle.open(path).manifest
    assert manifest.pitch_latent == PitchLayout(60, 1, 0, 1, 0.6)
    assert Manifest.from_json(manifest.to_json()) == manifest
    for change, message in (
        ({"room": 2}, "describes 4 channels, but latent_channels is 3"),
        ({"bend": 0.0}, "pitch_latent.bend is 0.0 semitones"),
        ({"lowest": 128}, "pitch_latent.lowest is 128"),
        ({"rooms": 1}, "unknown key 'rooms' in pitch_latent; the nearest known one is 'room'"),
    ):
        edit(path, {"pitch_latent": layout | change})
        with pytest.raises(BundleError, match=message):
            Bundle.open(path)


def test_equal_content_gives_equal_bytes(path: Path, tmp_path: Path) -> None:
    write_bundle(tmp_path / "again.umtn", manifest(), files())
    assert (tmp_path / "again.umtn").read_bytes() == path.read_bytes()


def test_unknown_domain_lists_the_known(path: Path) -> None:
    with pytest.raises(BundleError, match="no domain 'oboe'; it has strings"):
        Bundle.open(path).domain("oboe")


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9, 0.999])
def test_truncated(path: Path, share: float) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(BundleError, match="cut short"):
        Bundle.open(path)


def test_no_flipped_byte_goes_unnoticed_or_raises_anything_else(path: Path) -> None:
    data = path.read_bytes()
    intact = {name: (Bundle.open(path).read(name)) for name in Bundle.open(path).names}
    for at in np.random.default_rng(0).integers(0, len(data), 150):
        path.write_bytes(data[:at] + bytes([data[at] ^ 0x55]) + data[at + 1 :])
        try:
            bundle = Bundle.open(path)
            assert {name: bundle.read(name) for name in bundle.names} == intact  # a date or the like was hit
        except BundleError:
            pass


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (b"", "not a bundle"),
        (b"RIFF....WAVE" * 99, "not a bundle"),
        (None, "no such file"),
    ],
)
def test_foreign_file(tmp_path: Path, content: bytes | None, match: str) -> None:
    if content is not None:
        (tmp_path / "x.umtn").write_bytes(content)
    with pytest.raises(BundleError, match=match):
        Bundle.open(tmp_path / "x.umtn")


def test_folder(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="folder"):
        Bundle.open(tmp_path)


def test_foreign_zip(tmp_path: Path) -> None:
    rezip(tmp_path / "x.umtn", [("hello.txt", b"hello")])
    with pytest.raises(BundleError, match="zip file, but no bundle"):
        Bundle.open(tmp_path / "x.umtn")
    rezip(tmp_path / "x.umtn", [("manifest.json", b'{"name": "web app"}')])
    with pytest.raises(BundleError, match="not a bundle of this program"):
        Bundle.open(tmp_path / "x.umtn")


@pytest.mark.parametrize(
    "name", ["../evil", "/etc/passwd", "a/../../b", "C:evil", "a\\b", "folder/", "a//b", "./a"]
)
def test_path_outside(path: Path, name: str) -> None:
    rezip(path, [*entries(path), (name, b"x")])
    with pytest.raises(BundleError, match="points outside"):
        Bundle.open(path)


def test_symbolic_link(path: Path) -> None:
    with zipfile.ZipFile(path, "a") as archive:
        info = zipfile.ZipInfo("link")
        info.external_attr = 0o120777 << 16
        archive.writestr(info, "/etc/passwd")
    with pytest.raises(BundleError, match="symbolic link"):
        Bundle.open(path)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_duplicate_name(path: Path) -> None:
    rezip(path, [*entries(path), ("encoder.onnx", b"another")])
    with pytest.raises(BundleError, match=r"'encoder.onnx' stands in the archive twice"):
        Bundle.open(path)


def test_compressed(path: Path) -> None:
    rezip(path, entries(path), zipfile.ZIP_DEFLATED)
    with pytest.raises(BundleError, match="compressed"):
        Bundle.open(path)


def test_unlisted_and_missing(path: Path) -> None:
    whole = entries(path)
    rezip(path, [*whole, ("extra.bin", b"x")])
    with pytest.raises(BundleError, match=r"'extra.bin' is in the archive, but not in its manifest"):
        Bundle.open(path)
    rezip(path, [entry for entry in whole if entry[0] != "probe.npz"])
    with pytest.raises(BundleError, match=r"'probe.npz' is in the manifest, but not in the archive"):
        Bundle.open(path)


def test_wrong_hash(path: Path) -> None:
    rezip(path, [(n, b"swapped" if n == "torchscript/encoder.ts" else data) for n, data in entries(path)])
    with pytest.raises(BundleError, match=r"'torchscript/encoder.ts' is not what the manifest promises"):
        Bundle.open(path)


def test_replaced_after_open(path: Path) -> None:
    bundle = Bundle.open(path)
    write_bundle(path, manifest(), files() | {"encoder.onnx": b"retrained"})
    with pytest.raises(BundleError, match="wrong SHA-256"):
        bundle.read("encoder.onnx")


def test_oversize(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for limit, value, match in [
        ("MAX_FILE_BYTES", 100, "more than the 100 allowed"),
        ("MAX_BUNDLE_BYTES", 100, "larger than 100 bytes"),
        ("MAX_MANIFEST_BYTES", 100, "manifest.json is larger"),
        ("MAX_FILES", 2, "holds 5 files"),
    ]:
        with monkeypatch.context() as patch:
            patch.setattr(bundle_module, limit, value)
            with pytest.raises(BundleError, match=match):
                Bundle.open(path)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"format_version": 2}, "format version 2, but this program reads up to 1; update it"),
        ({"format_version": "1"}, "format_version is '1'"),
        ({"latency_sample": 3}, "unknown key 'latency_sample' .* nearest known one is 'latency_samples'"),
        ({"sample_rate": "24000"}, "'sample_rate' in manifest.json should be a whole number"),
        ({"sample_rate": True}, "should be a whole number"),
        ({"sample_rate": 5}, "sample_rate is 5, but must lie from 1000"),
        ({"block": 10}, "block 10 is no multiple of hop 4"),
        (
            {"block": 16},
            r"'audio' of encoder.onnx is float32 \[1, 1, 8\], but float32 \[1, 1, 16\] was wanted",
        ),
        ({"latent_channels": 4}, "'latent' of encoder.onnx"),
        ({"latency_samples": -1}, "latency_samples is -1"),
        ({"domains": []}, "number of domains is 0"),
        ({"domains": [{"id": "A b", "name": "", "graph": "decoders/strings.onnx"}]}, "domain id 'A b'"),
        ({"domains": [{"id": "a", "name": "", "graph": "a.onnx"}]}, "names a graph 'a.onnx', but lists only"),
        ({"domains": [{"id": "a", "name": "", "graph": "decoders/strings.onnx"}] * 2}, "'a' is given twice"),
        ({"probe": {"blocks": 4}}, "probe lacks the key 'tolerance'"),
        ({"probe": {"blocks": 4, "tolerance": 3}}, "tolerance is 3.0"),
    ],
)
def test_manifest_is_checked(path: Path, change: dict[str, object], match: str) -> None:
    edit(path, change)
    with pytest.raises(BundleError, match=match):
        Bundle.open(path)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"dtype": "float16"}, "known are float32, float64, int64"),
        ({"shape": [2, 2, 5]}, "holds 1 stream"),
        ({"shape": [1, 0]}, "whole and positive"),
        ({"shape": [1, 1 << 30]}, "state size"),
        ({"output": "latent"}, "one name for two"),
        ({"dtype": "int64", "initial": 0.5}, "cannot start as 0.5 in int64"),
        ({"initial": "zero"}, "'initial' in encoder.onnx states should be a number"),
        ({"inital": 0}, "nearest known one is 'initial'"),
    ],
)
def test_states_are_checked(path: Path, change: dict[str, object], match: str) -> None:
    graphs = json.loads(dict(entries(path))["manifest.json"])["graphs"]
    graphs["encoder.onnx"]["states"][0] |= change
    edit(path, {"graphs": graphs})
    with pytest.raises(BundleError, match=match):
        Bundle.open(path)


@pytest.mark.parametrize(
    ("text", "match"),
    [
        (b"{", "not readable JSON"),
        (b"\xff\xfe\x00", "not readable JSON"),
        (b"[" * 100000, "not readable JSON"),
        (b"[]", "not a bundle"),
        (b'{"a": NaN}', "NaN is not a number"),
        (b'{"a": 1, "a": 2}', "'a' stands twice"),
    ],
)
def test_broken_json(path: Path, text: bytes, match: str) -> None:
    rezip(path, [("manifest.json", text)])
    with pytest.raises(BundleError, match=match):
        Bundle.open(path)


def test_probe_is_checked(tmp_path: Path) -> None:
    path = tmp_path / "toy.umtn"

    def write(**arrays: np.ndarray) -> Bundle:
        packed = io.BytesIO()
        np.savez(packed, **arrays)
        write_bundle(path, manifest(), files() | {"probe.npz": packed.getvalue()})
        return Bundle.open(path)

    with np.load(io.BytesIO(files()["probe.npz"])) as loaded:
        good = dict(loaded)
    assert write(**good).probe().keys() == good.keys()
    for change, match in [
        ({"audio": good["audio"][1:]}, r"'audio' in probe.npz is float32 \[31\]"),
        ({"audio": good["audio"].astype(np.float64)}, "is float64"),
        ({"audio": np.full_like(good["audio"], np.nan)}, "finite"),
        ({"audio.oboe": good["audio"]}, "unknown array 'audio.oboe'"),
        ({"latent": np.array([object()], dtype=object)}, "not a readable numpy archive"),
    ]:
        with pytest.raises(BundleError, match=match):
            write(**{**good, **change}).probe()
    del good["noise"]
    with pytest.raises(BundleError, match="lacks array 'noise'"):
        write(**good).probe()


def test_a_failed_write_leaves_the_old_bundle(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = path.read_bytes()

    def full_disk(fd: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full_disk)
        with pytest.raises(BundleError, match=r"cannot write .* No space left on device"):
            write_bundle(path, manifest(), files() | {"encoder.onnx": b"new"})
    with pytest.raises(BundleError, match="points outside"):
        write_bundle(path, manifest(), files() | {"../x": b""})
    with pytest.raises(BundleError, match="its file was not given"):
        write_bundle(path, manifest(), {"probe.npz": b""})
    with pytest.raises(BundleError, match="hop 5"):
        write_bundle(path, dataclasses.replace(manifest(), hop=5), files())
    assert path.read_bytes() == before
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_unwritable_place(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="cannot write"):
        write_bundle(tmp_path / "no" / "such" / "x.umtn", manifest(), files())


def test_imports_neither_torch_nor_onnx() -> None:
    code = (
        "import sys, export.bundle.bundle; print([m for m in ('torch', 'onnx', 'umtn') if m in sys.modules])"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=root)
    assert done.stdout.strip() == "[]"
