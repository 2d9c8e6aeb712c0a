"""The native engine on bundles: the shipped one, and tiny ones that the exporter wrote."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

from export.bundle.bundle import Bundle, write_bundle
from realtime.engines import load_engine
from realtime.engines.live import kernel
from realtime.engines.live.engine import LiveCpuEngine
from realtime.engines.onnx import OnnxEngine
from realtime.recording.restore import restore, save
from realtime.recording.snapshot import Plan
from realtime.shared.audio_config import find_bundle
from tests.realtime.engines.live_kernels import ISAS
from tests.realtime.fakebundle import write_fake_bundle
from umtn.errors import UserError

pytestmark = pytest.mark.skipif(not ISAS, reason="no compiled kernel and no compiler")


@pytest.fixture(scope="module")
def bundle(live_bundle: Bundle) -> Bundle:
    return live_bundle


def _changed(bundle: Bundle, path: Path, files: dict[str, bytes], without: str = "-") -> Bundle:
    """The bundle with other files in it, hashes and all."""
    kept = {name: bundle.read(name) for name in bundle.names if not name.startswith(without)}
    write_bundle(path, dataclasses.replace(bundle.manifest, files={}), kept | files)
    return Bundle.open(path)


@pytest.mark.parametrize("isa", ISAS)
def test_the_shipped_bundle_sounds_as_its_probe(isa: str) -> None:
    bundle = Bundle.open(find_bundle("live"))
    engine, probe, block = LiveCpuEngine(bundle, isa=isa), bundle.probe(), bundle.manifest.block
    assert len(bundle.manifest.domains) == 8
    out = np.zeros(block, np.float32)
    peak = float(np.abs(probe["latent"]).max())
    for i in range(bundle.manifest.probe.blocks):
        piece = slice(i * block, (i + 1) * block)
        latent = engine.encode(probe["audio"][piece])
        assert np.abs(latent[:, 0] - probe["latent"][:, i]).max() < 1e-5 * peak
        for index, domain in enumerate(bundle.manifest.domains):
            engine.decode(index, out, probe["noise"][piece])
            assert np.abs(out - probe[f"audio.{domain.id}"][piece]).max() < 1e-5


@pytest.mark.slow
def test_it_plays_what_onnx_plays_where_the_latent_is_changed_on_the_way(bundle: Bundle) -> None:
    native, reference = LiveCpuEngine(bundle), OnnxEngine(bundle)
    probe, block = bundle.probe(), bundle.manifest.block
    heard = []
    for i in range(bundle.manifest.probe.blocks):
        piece = slice(i * block, (i + 1) * block)
        both = []
        for engine in (native, reference):
            engine.encode(probe["audio"][piece])
            engine.latent[:24] += 6  # all pitches sound
            engine.latent[24:48] = 0.1
            outs = np.full((2, block), np.nan, np.float32)
            for domain in (1, 0):
                engine.decode(domain, outs[domain], probe["noise"][piece])
            both.append(outs)
        assert np.abs(both[0] - both[1]).max() < 1e-5
        heard.append(both[0])
    plain = probe["audio.strings"]
    assert np.abs(np.concatenate(heard, axis=1)[0] - plain).max() > 1e-3  # the change was heard


def test_a_reset_domain_starts_anew_and_the_others_go_on(bundle: Bundle) -> None:
    engine, probe, block = LiveCpuEngine(bundle), bundle.probe(), bundle.manifest.block
    out = np.zeros((2, block), np.float32)

    def step(i: int) -> np.ndarray:
        engine.encode(probe["audio"][i * block : (i + 1) * block])
        for domain in range(2):
            engine.decode(domain, out[domain], probe["noise"][:block])
        return out.copy()

    first = [step(i) for i in range(20)]
    engine.reset()
    for i in range(10):
        assert np.array_equal(step(i), first[i])
    engine.reset(0)
    again = [step(i) for i in range(10, 20)]
    assert not np.array_equal(again[0][0], first[10][0])
    assert all(np.array_equal(a[1], b[1]) for a, b in zip(again, first[10:]))


def test_a_snapshot_holds_all_of_it(bundle: Bundle, tmp_path: Path) -> None:
    """A recording begun in the middle can be replayed to the sample, by another process with other addresses."""
    probe, block = bundle.probe(), bundle.manifest.block

    def play(engine: LiveCpuEngine, first: int) -> np.ndarray:
        made, out = [], np.zeros(block, np.float32)
        for i in range(first, first + 25):
            made.append(engine.encode(probe["audio"][i * block : (i + 1) * block]).ravel().copy())
            for domain in (0, 1):
                engine.decode(domain, out)
                made.append(out.copy())
        return np.concatenate(made)

    engine, other = LiveCpuEngine(bundle), LiveCpuEngine(bundle)
    play(engine, 0)
    plan = Plan(engine)
    plan.capture()
    assert not plan.unsaved
    save(plan, tmp_path / "x.npz")
    wanted = play(engine, 25)
    play(other, 3)
    restore(other, tmp_path / "x.npz")
    assert np.array_equal(play(other, 25), wanted)


def test_own_noise_follows_the_seed(bundle: Bundle) -> None:
    made = []
    for seed in (5, 5, 6):
        engine, out = LiveCpuEngine(bundle, seed), np.zeros(bundle.manifest.block, np.float32)
        engine.latent[:] = 2
        for _ in range(5):
            engine.decode(0, out)
        made.append(out)
    assert np.array_equal(made[0], made[1]) and not np.array_equal(made[0], made[2])


def test_auto_takes_it_where_bundle_and_kernel_are_there(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("realtime.engines.select.gpu_present", lambda: False)
    kernel.library()
    assert load_engine(bundle).name == "live-cpu"
    older = _changed(bundle, tmp_path / "older.umtn", {}, without="weights/")
    assert load_engine(older).name == "onnx"
    with pytest.raises(
        UserError, match=r"older.umtn holds no weights/encoder.safetensors.*use --engine onnx"
    ):
        load_engine(older, "live-cpu")
    monkeypatch.setattr(kernel, "ready", lambda: None)
    assert load_engine(bundle).name == "onnx"


def test_weights_that_contradict_the_probe_are_not_played(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("realtime.engines.select.gpu_present", lambda: False)
    files = {"weights/piano.safetensors": bundle.read("weights/strings.safetensors")}
    swapped = _changed(bundle, tmp_path / "b.umtn", files)
    with pytest.raises(UserError, match="live-cpu computes the domain piano of b.umtn wrongly"):
        load_engine(swapped, "live-cpu")
    kernel.library()
    assert load_engine(swapped).name == "onnx"


def test_damaged_weights_are_refused(bundle: Bundle, tmp_path: Path) -> None:
    encoder, piano = "weights/encoder.safetensors", "weights/piano.safetensors"
    e, p = bundle.read(encoder), bundle.read(piano)
    for i, (file, damaged, sentence) in enumerate(
        (
            (encoder, e[:-100], "not a readable safetensors file"),
            (encoder, e.replace(b'"hop\\": 64', b'"hop\\": 48'), "its analysis does not fit"),
            (encoder, e.replace(b'"rate\\": 8000', b'"rate\\": 8001'), "the sample rate of .* is 8001"),
            (encoder, e.replace(b"head.bias", b"head.bios"), "head.bias is missing"),
            (encoder, e.replace(b"analysis.source.0", b"analysis.sauce.00"), "analysis.source.0 is missing"),
            (encoder, p, "does not say which encoder"),
            (piano, p.replace(b'"hop\\": 64', b'"hop\\": 65'), "a hop of 65"),
            (piano, p.replace(b'"voices\\": 4', b'"voices\\": 9'), "number of voices is 9"),
            (piano, p.replace(b"oscillators.f0", b"oscillators.f9"), "oscillators.f0 is not finite float64"),
            (piano, p.replace(b'"live\\"', b'"love\\"'), "of the kind 'love'"),
        )
    ):
        assert damaged not in (e if file == encoder else b"", p if file == piano else b""), sentence
        with pytest.raises(UserError, match=sentence):
            LiveCpuEngine(_changed(bundle, tmp_path / f"{i}.umtn", {file: damaged}))


def test_each_engine_refuses_the_other_kind(bundle: Bundle, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="of the kind 'live', which does not draw sample by sample"):
        load_engine(bundle, "wavenet-cpu")
    fake = Bundle.open(write_fake_bundle(tmp_path / "fake.umtn"))
    with pytest.raises(UserError, match="is no `live` model"):
        load_engine(fake, "live-cpu")
