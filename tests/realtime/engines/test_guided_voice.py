"""Guided WaveNets on the native engines: what PyTorch plays, from the latent that a performer shapes."""

from __future__ import annotations

import dataclasses
import io
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from export.bundle.bundle import PROBE, Bundle, write_bundle  # noqa: E402
from export.probe import (  # noqa: E402
    told,
    untied_noise,
)
from realtime.dsp.latent_controls import LatentControls  # noqa: E402
from realtime.engines import load_engine  # noqa: E402
from realtime.engines.live import kernel  # noqa: E402
from realtime.engines.onnx import OnnxEngine  # noqa: E402
from realtime.engines.wavenet.autotune import (  # noqa: E402
    Probed,
    make_loop,
)
from realtime.engines.wavenet.engine import (  # noqa: E402
    SAME_SHARE,
    WavenetCpuEngine,
    _same_share,
)
from realtime.engines.wavenet.guided import Emphasis  # noqa: E402
from realtime.recording.restore import restore, save  # noqa: E402
from realtime.recording.snapshot import Plan  # noqa: E402
from tests.realtime.engines.live_kernels import ISAS  # noqa: E402
from umtn.errors import UserError  # noqa: E402
from umtn.model.checkpoint import load  # noqa: E402
from umtn.model.companding import Emphasis as TorchEmphasis  # noqa: E402
from umtn.model.companding import mulaw_encode  # noqa: E402
from umtn.model.decoders.guided import DRIVE, GuidedDecoder  # noqa: E402

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not ISAS, reason="no compiled kernel and no compiler")]

BLOCKS = 24


def _decoder(bundle: Bundle) -> GuidedDecoder:
    """The checkpoint lies beside the bundle."""
    decoder = load(bundle.path.parent / "checkpoint").decoder("strings").eval().requires_grad_(False)
    assert isinstance(decoder, GuidedDecoder)
    return decoder


def _audio(block: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-0.5, 0.5, (BLOCKS, block)).astype(np.float32)


def _played(engine: WavenetCpuEngine, audio: np.ndarray, noise: np.ndarray) -> np.ndarray:
    outs = []
    for x, n in zip(audio, noise, strict=True):
        engine.encode(x)
        out = np.full(len(x), np.nan, np.float32)
        engine.decode(0, out, n)
        outs.append(out)
    return np.stack(outs)


@pytest.mark.parametrize("precision", ["fp32", "numba"])
def test_it_plays_what_pytorch_plays(guided_bundle: Bundle, precision: str) -> None:
    """Every sample, on noise under which no class of the guide beside a border draws another one."""
    if precision == "numba":
        pytest.importorskip("numba")
    engine, decoder = WavenetCpuEngine(guided_bundle, precision), _decoder(guided_bundle)
    audio = _audio(engine.manifest.block)
    latent = np.concatenate([engine.encode(x).copy() for x in audio], axis=1)[None]
    noise, alike = untied_noise({"strings": decoder}, latent, audio.size, BLOCKS, seed=1)
    with torch.no_grad():
        wanted, _ = decoder.decode_step(
            torch.from_numpy(latent),
            torch.from_numpy(noise)[None, None],
            torch.ones(1),
            decoder.init_state(1),
        )
    engine.reset()
    got = _played(engine, audio, noise.reshape(audio.shape)).ravel()
    first = slice(alike["strings"])
    assert alike["strings"] > engine.manifest.block
    assert np.abs(got[first] - wanted[0, 0].numpy()[first]).max() < 1e-5
    assert got.std() > 0.01


def test_auto_plays_it_and_says_what_it_costs(guided_bundle: Bundle) -> None:
    engine = load_engine(guided_bundle)
    assert isinstance(engine, WavenetCpuEngine) and engine.choice.nats <= 1e-3
    assert engine.cost is not None
    assert engine.cost.decode_s > engine.choice.us_per_sample * 1e-6 * engine.manifest.block
    assert load_engine(guided_bundle, "onnx").cost is not None  # its graph passes the probe, too


def test_the_loop_alone_draws_the_probe(guided_bundle: Bundle) -> None:
    """As every engine asks of its loops, and that it can fail: along another guide it does not."""
    weights = WavenetCpuEngine(guided_bundle, "fp32").weights[0]
    probed = Probed.of(guided_bundle.probe(), "strings", weights, "x.umtn")
    assert probed.guide is not None
    loop = make_loop(weights, "numpy")
    assert _same_share(loop, probed) == 1.0
    assert _same_share(loop, probed._replace(guide=31 - probed.guide)) < SAME_SHARE


@pytest.mark.parametrize("samples, hop", [(64, 64), (96, 32)])
def test_emphasis_and_classes_are_pytorchs(samples: int, hop: int) -> None:
    """In pieces, with clipping, silence and 256 classes; a tone beside a border may move by one."""
    ours, theirs = Emphasis(0.85, DRIVE, 256, hop, samples), TorchEmphasis(hop, 0.85)
    level = 10 ** np.random.default_rng(0).uniform(-4, 0.3, (20, 1))
    tones = (level * np.random.default_rng(1).standard_normal((20, samples))).astype(np.float32)
    tones[3:5] = 0
    last = settled = torch.zeros(1, 1)
    others = 0
    for x in tones:
        guide = np.full((1, samples), -1, np.int32)
        ours.classes(x[None], guide)
        lifted, last = theirs.lift(torch.from_numpy(x)[None], last)
        off = np.abs(guide - mulaw_encode(DRIVE * lifted, 256).numpy())
        assert off.max() <= 1
        others += int(off.sum())
        out = np.full((1, samples), np.nan, np.float32)
        ours.settle(x[None].copy(), out)
        wanted, settled = theirs.settle(torch.from_numpy(x)[None] / DRIVE, settled)
        assert np.abs(out - wanted.numpy()).max() < 1e-5
    assert others < 0.01 * tones.size
    ours.reset()
    ours.classes(np.zeros((1, samples), np.float32), guide)
    assert (guide == 128).all()


def test_a_tone_that_is_no_number_is_told_as_a_class(guided_bundle: Bundle) -> None:
    ours, guide = Emphasis(0.85, DRIVE, 32, 8, 8), np.zeros((1, 8), np.int32)
    ours.classes(np.full((1, 8), np.nan, np.float32), guide)
    assert ((guide >= 0) & (guide < 32)).all()


def test_a_reset_forgets_one_domain(guided_bundle: Bundle) -> None:
    engine = WavenetCpuEngine(guided_bundle, "fp32")
    audio, block = _audio(engine.manifest.block), engine.manifest.block
    noise = np.random.default_rng(2).random(audio.shape, dtype=np.float32)
    first = _played(engine, audio, noise)
    assert not np.array_equal(_played(engine, audio, noise), first)
    engine.reset()
    assert np.array_equal(_played(engine, audio, noise), first)
    other, again = np.zeros(block, np.float32), np.zeros(block, np.float32)
    engine.decode(1, other, noise[0])
    engine.reset(0)
    engine.decode(1, again, noise[0])
    assert not np.array_equal(other, again)  # it went on
    engine.reset(None)
    assert np.array_equal(_played(engine, audio, noise), first)


def test_a_snapshot_in_the_middle_goes_on(guided_bundle: Bundle, tmp_path: Path) -> None:
    engine, other = (WavenetCpuEngine(guided_bundle, "fp32") for _ in range(2))
    audio = _audio(engine.manifest.block)
    noise = np.random.default_rng(2).random(audio.shape, dtype=np.float32)
    half = BLOCKS // 2
    _played(engine, audio[:half], noise[:half])
    plan = Plan(engine)
    plan.capture()
    assert not plan.unsaved
    save(plan, tmp_path / "x.npz")
    wanted = _played(engine, audio[half:], noise[half:])
    _played(other, audio[:3], noise[:3])
    restore(other, tmp_path / "x.npz")
    assert np.array_equal(_played(other, audio[half:], noise[half:]), wanted)


def test_it_follows_what_is_done_to_the_latent(guided_bundle: Bundle) -> None:
    """Transposed and held: the guide sings what the shaped latent says."""
    engine, decoder = WavenetCpuEngine(guided_bundle, "fp32"), _decoder(guided_bundle)
    controls = LatentControls(engine)
    assert controls.can_transpose
    front, out = engine._fronts[0], np.zeros(engine.manifest.block, np.float32)
    assert front is not None
    engine.reset()
    plain, shaped, guides = [], [], []
    for i, x in enumerate(_audio(engine.manifest.block)):
        controls.transpose, controls.freeze = (4.0 if i > 5 else 0.0), i > 15
        plain.append(engine.encode(x).copy())
        controls.process(engine.latent)
        shaped.append(engine.latent.copy())
        engine.decode(0, out)
        guides.append(front.guide[0].copy())
    latents = [torch.from_numpy(np.concatenate(z, axis=1))[None] for z in (shaped, plain)]
    followed, ignored = (told(decoder, z).guide[0].numpy() for z in latents)  # type: ignore[index]
    got = np.concatenate(guides)
    assert (got == followed).mean() > 0.999
    assert (ignored != followed).mean() > 0.01
    held = shaped[20:]  # the transposition has glided home
    assert all(np.array_equal(z, held[0]) for z in held) and not np.array_equal(plain[20], plain[21])


def _changed(bundle: Bundle, path: Path, new: dict[str, bytes | None]) -> Bundle:
    """The bundle with other files in it, or without those that are None, hashes and all."""
    files = {name: bundle.read(name) for name in bundle.names} | new
    kept = {name: data for name, data in files.items() if data is not None}
    write_bundle(path, dataclasses.replace(bundle.manifest, files={}), kept)
    return Bundle.open(path)


def test_bad_bundles_are_refused(guided_bundle: Bundle, tmp_path: Path) -> None:
    at = "weights/strings{}.safetensors".format
    own, mouth = guided_bundle.read(at("")), guided_bundle.read(at(".mouth"))
    probe = {
        n: a
        for n, a in guided_bundle.probe().items()
        if n.split(".")[0] not in ("told", "guide", "drawn", "agreed")
    }
    packed = io.BytesIO()
    np.savez(packed, **probe)  # type: ignore[arg-type]
    changes: tuple[tuple[dict[str, bytes | None], str], ...] = (
        ({at(".guide"): None}, "holds no weights/strings.guide.safetensors.*strings is guided"),
        ({at(".mouth"): None}, "holds no weights/strings.mouth.safetensors"),
        (
            {at(".guide"): guided_bundle.read("weights/piano.guide.safetensors")},
            "computes the guide .* of strings in .*wrongly",
        ),
        (
            {at(".mouth"): guided_bundle.read("weights/piano.mouth.safetensors")},
            "computes the mouth .* of strings in .*wrongly",
        ),
        ({at(".mouth"): mouth.replace(b'"lowest\\": 48', b'"lowest\\": 47')}, "are of different models"),
        ({at(""): own.replace(b'"emphasis\\": 0', b'"emphasis\\": 7')}, "an emphasis of 7.85"),
        ({at(""): own.replace(b'"guide"', b'"guild"')}, "does not say which guide"),
        ({PROBE: packed.getvalue()}, "not of the decoder that its probe was made with"),
    )
    for i, (new, sentence) in enumerate(changes):
        assert all(data != guided_bundle.read(name) for name, data in new.items()), sentence
        broken = _changed(guided_bundle, tmp_path / f"{i}.umtn", new)
        with pytest.raises(UserError, match=sentence):
            WavenetCpuEngine(broken, "fp32")


def test_without_the_kernel_of_live_models_onnx_runtime_plays_it(
    guided_bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kernel, "ready", lambda: None)
    with pytest.raises(UserError, match="not here; python -m umtn.native.*use --engine onnx"):
        WavenetCpuEngine(guided_bundle, "fp32")
    assert isinstance(load_engine(guided_bundle, "onnx"), OnnxEngine)
