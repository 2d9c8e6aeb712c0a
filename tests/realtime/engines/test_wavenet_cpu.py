"""The sample loops against PyTorch: same weights, same noise, same samples; fresh random ones each run."""

from __future__ import annotations

import functools
import time
from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from realtime.engines.wavenet import WavenetWeights, make_loop, native_loop  # noqa: E402
from realtime.engines.wavenet.autotune import calibrate, divergence  # noqa: E402
from realtime.engines.wavenet.native_loop import ISAS, NativeLoop, pick_isa, supported  # noqa: E402
from realtime.engines.wavenet.sample_loop import SampleLoop  # noqa: E402
from tests.realtime.engines.wavenets import SIZES, hear, random_network, streams_of  # noqa: E402
from umtn.errors import UserError  # noqa: E402

SEED = time.time_ns() % 2**31


@pytest.fixture(autouse=True)
def say_the_seed() -> None:
    print(f"seed {SEED}")  # shown when a test fails


def _here(precision: str) -> list[str]:
    try:
        return list(supported(precision))
    except native_loop.CompilerError:
        return []


EXACT = [*(f"native {isa}" for isa in _here("fp32")), pytest.param("numba", marks=pytest.mark.slow), "numpy"]
guided_too = pytest.mark.parametrize("guided", [False, True], ids=["", "guided"])


def exact_loop(kind: str, weights: object, streams: int = 1) -> SampleLoop:
    if kind == "numba":
        pytest.importorskip("numba")
    if kind.startswith("native"):
        return NativeLoop(weights, "fp32", streams, isa=kind.split()[1])  # type: ignore[arg-type]
    return make_loop(weights, kind, "fp32", streams)  # type: ignore[arg-type]


@guided_too
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kind", EXACT)
def test_fp32_is_pytorch(kind: str, size: str, guided: bool) -> None:
    network = random_network(size, SEED, guided)
    heard = hear(network, 2 if size in ("live", "wide") else 5, SEED + 1)
    audio, classes, logits = streams_of(
        exact_loop(kind, network.weights), [heard], (len(heard.noise),), forced=True
    )
    assert np.abs(logits[0] - heard.logits).max() < 1e-4
    # a draw that falls on the edge between two classes may fall to either side, once in some thousand samples
    assert (classes[0] == heard.classes).sum() >= len(heard.classes) - 1
    same = classes[0] == heard.classes
    assert np.abs(audio[0] - heard.audio)[same].max() < 1e-6


@guided_too
@pytest.mark.parametrize("kind", EXACT)
def test_streams_and_ragged_blocks(kind: str, guided: bool) -> None:
    """Three streams in lock step in pieces of any length, each as if it were alone."""
    network = random_network("odd", SEED, guided)
    heard = [hear(network, 4, SEED + i) for i in range(3)]
    pieces = streams_of(exact_loop(kind, network.weights, 3), heard, (1, 7, 33, 2, 16), forced=True)
    for i, one in enumerate(heard):
        alone = streams_of(exact_loop(kind, network.weights), [one], (1000,), forced=True)
        # numpy adds up in another order for three streams than for one
        atol = 1e-5 if kind == "numpy" else 0.0
        for together, single in zip(pieces, alone):
            assert np.allclose(together[i], single[0], rtol=0.0, atol=atol)


@guided_too
@pytest.mark.parametrize("kind", EXACT)
def test_a_reset_stream_starts_anew_and_the_others_go_on(kind: str, guided: bool) -> None:
    network = random_network("odd", SEED, guided)
    heard = [hear(network, 2, SEED + i) for i in range(2)]
    loop, other = (exact_loop(kind, network.weights, 2) for _ in range(2))
    first = streams_of(loop, heard, (11,), forced=True)
    streams_of(other, heard, (11,), forced=True)
    for each in (loop, other):  # so that the reset does not fall on a multiple of every dilation
        guide = np.full((2, 5), 9, np.int32) if guided else None
        noise, audio = np.full((2, 5), 0.5, np.float32), np.zeros((2, 5), np.float32)
        each.run(noise, np.ones(2, np.float32), audio, guide=guide)
    loop.reset(1)
    again = streams_of(loop, heard, (11,), forced=True)
    went_on = streams_of(other, heard, (11,), forced=True)
    assert np.allclose(again[2][1], first[2][1], atol=2e-6)
    assert np.array_equal(again[2][0], went_on[2][0])
    assert not np.allclose(went_on[2][1], first[2][1], atol=1e-3)


@guided_too
@pytest.mark.parametrize("kind", EXACT)
def test_decode_is_condition_and_run(kind: str, guided: bool) -> None:
    network = random_network("odd", SEED, guided)
    heard = [hear(network, 4, SEED + i) for i in range(2)]
    latent, noise = np.stack([one.latent for one in heard]), np.stack([one.noise for one in heard])
    audio = np.full(noise.shape, np.nan, np.float32)
    guide = np.zeros(noise.shape, np.int32) if guided else None
    loop = exact_loop(kind, network.weights, 2)
    step = loop.bind(latent, noise, np.ones(2, np.float32), audio, guide)
    if guide is not None:  # what is bound is read anew
        guide[:] = [one.guide for one in heard]
    step()
    stepped = streams_of(exact_loop(kind, network.weights, 2), heard, (33,), forced=False)[0]
    assert np.array_equal(audio, stepped)
    again = np.zeros_like(audio)
    loop.reset()
    loop.decode(latent, noise, np.ones(2, np.float32), again, guide)
    assert np.array_equal(again, audio)


@pytest.mark.parametrize("kind", EXACT)
def test_a_guide_beyond_the_alphabet_is_its_nearest_class(kind: str) -> None:
    network = random_network("odd", SEED, guided=True)
    heard = hear(network, 2, SEED)
    wild = np.random.default_rng(SEED).integers(-(2**31), 2**31, len(heard.noise)).astype(np.int32)
    wild[::3] = heard.guide[::3]  # type: ignore[index]
    made = [
        streams_of(exact_loop(kind, network.weights), [replace(heard, guide=guide)], (33,), forced=True)[2]
        for guide in (wild, wild.clip(0, network.weights.classes - 1))
    ]
    assert np.array_equal(*made) and np.isfinite(made[0]).all()


@pytest.mark.parametrize("kind", EXACT)
def test_a_guide_missing_or_unwanted_is_one_sentence(kind: str) -> None:
    ones, quiet, guide = np.ones(1, np.float32), np.zeros((1, 16), np.float32), np.zeros((1, 16), np.int32)
    told, alone = (
        exact_loop(kind, random_network("single", SEED, guided).weights) for guided in (True, False)
    )
    latent = np.zeros((1, told.weights.latent, 1), np.float32)
    for call in (told.run, functools.partial(told.bind, latent), functools.partial(told.decode, latent)):
        with pytest.raises(ValueError, match="this decoder is guided, and no guide came"):
            call(quiet, ones, quiet)
        for wrong in (guide[:, :8], guide.astype(np.int64), quiet):
            with pytest.raises(ValueError, match=r"guide .*int32 \(1, 16\) was wanted"):
                call(quiet, ones, quiet, guide=wrong)
    for call in (alone.run, functools.partial(alone.bind, latent), functools.partial(alone.decode, latent)):
        with pytest.raises(ValueError, match="a guide came, but .* it is not guided"):
            call(quiet, ones, quiet, guide=guide)
    if kind.startswith("native"):
        with pytest.raises(ValueError, match="a contiguous array was wanted"):
            told.run(quiet, ones, quiet, guide=np.zeros((1, 32), np.int32)[:, ::2])


def test_a_decoder_has_embeddings_for_its_classes_or_twice_as_many() -> None:
    network = random_network("single", SEED)
    arrays = dict(network.weights.arrays)
    arrays["embed.weight"] = np.concatenate([arrays["embed.weight"]] * 3)
    with pytest.raises(
        UserError, match=r"has 96 rows, but classify.weight has 32, so 32 were wanted, or 64 in a"
    ):
        WavenetWeights.from_arrays(arrays, 16, 1)


@pytest.mark.parametrize("kind", EXACT)
@pytest.mark.parametrize("temperature", [0.0, 0.3, 2.0])
def test_temperature(kind: str, temperature: float) -> None:
    network = random_network("odd", SEED)
    heard = hear(network, 3, SEED, max(temperature, 1e-3))
    classes = np.zeros((1, len(heard.noise)), np.int32)
    loop = exact_loop(kind, network.weights)
    hop = network.weights.hop
    for frame in range(3):
        piece = slice(frame * hop, (frame + 1) * hop)
        loop.condition(0, np.ascontiguousarray(heard.latent[:, frame]))
        loop.run(
            heard.noise[None, piece],
            np.full(1, temperature, np.float32),
            np.zeros((1, hop), np.float32),
            heard.classes[None, piece],
            classes[:, piece],
        )
    # a hundred samples: one may lie within rounding of its neighbour
    assert (classes[0] != heard.classes).sum() <= 1


@pytest.mark.parametrize("kind", EXACT)
def test_whatever_comes_in_finite_audio_comes_out_and_it_recovers(kind: str) -> None:
    network = random_network("odd", SEED)
    heard = hear(network, 1, SEED)
    loop, hop = exact_loop(kind, network.weights), network.weights.hop
    for bad in (np.nan, np.inf, -np.inf, 3e38, 1e-42):
        latent = heard.latent[:, 0].copy()
        latent[2:5] = bad
        loop.condition(0, latent)
        audio = np.full((1, hop), np.nan, np.float32)
        noise = heard.noise[None].copy()
        noise[0, :3] = np.nan, 1.0, 7.0
        loop.run(noise, np.array([np.nan], np.float32), audio)
        assert np.isfinite(audio).all() and np.abs(audio).max() <= 1.0
    for _ in range(3):  # longer than the receptive field: nothing of it is left
        loop.condition(0, np.zeros(network.weights.latent, np.float32))
        logits = np.zeros((1, hop, network.weights.classes), np.float32)
        quiet = np.full((1, hop), 25, np.int32)
        loop.run(heard.noise[None], np.ones(1, np.float32), audio, quiet, None, logits)
    fresh = exact_loop(kind, network.weights)
    for _ in range(3):
        fresh.condition(0, np.zeros(network.weights.latent, np.float32))
        wanted = np.zeros_like(logits)
        fresh.run(heard.noise[None], np.ones(1, np.float32), audio, quiet, None, wanted)
    assert np.allclose(logits[0, -1], wanted[0, -1], atol=1e-5)


@pytest.mark.slow
@guided_too
@pytest.mark.parametrize("isa", _here("int8"))
@pytest.mark.parametrize("size", ["odd", "live", "wide"])
def test_int8_stays_near_fp32(size: str, isa: str, guided: bool) -> None:
    network = random_network(size, SEED, guided)
    heard = hear(network, 4 if size == "live" else 12, SEED + 1)
    # calibrated on what is played: how far int8 strays, not how far a calibration carries
    calibration = calibrate(network.weights, heard.latent, guide=heard.guide)
    int8 = NativeLoop(network.weights, "int8", isa=isa, calibration=calibration)
    nats = divergence(NativeLoop(network.weights), int8, heard.latent, heard.noise, heard.guide)
    print(f"int8 {isa} {network.weights.name}: {nats:.1e} nats")
    assert 0 < nats < 1e-3


@pytest.mark.skipif(not _here("fp32"), reason="no compiled kernel and no compiler")
def test_the_recorded_maxima_are_of_both_embeddings() -> None:
    network = random_network("odd", SEED, guided=True)
    heard, table = hear(network, 3, SEED), network.weights.arrays["embed.weight"]
    loop, a = NativeLoop(network.weights), network.weights.classes
    maxima = loop.record()
    streams_of(loop, [heard], (33,), forced=True)
    assert heard.guide is not None
    assert network.weights.leaned is not None
    kept = network.weights.leaned[heard.guide, heard.classes]
    entered = table[np.concatenate([[a // 2], kept[:-1]])] + table[a + heard.guide]
    assert np.allclose(maxima[: network.weights.residual], np.abs(entered).max(axis=0), rtol=1e-6)


@guided_too
@pytest.mark.parametrize("isa", _here("bf16"))
def test_bf16_stays_near_fp32(isa: str, guided: bool) -> None:
    network = random_network("live", SEED, guided)
    heard = hear(network, 2, SEED + 1)
    bf16 = NativeLoop(network.weights, "bf16", isa=isa)
    nats = divergence(NativeLoop(network.weights), bf16, heard.latent, heard.noise, heard.guide)
    assert 0 < nats < 1e-4


@guided_too
@pytest.mark.skipif(len(_here("int8")) < 2, reason="one instruction set only")
def test_int8_is_the_same_with_every_instruction_set(guided: bool) -> None:
    """Its sums are whole numbers; only the gates round differently."""
    network = random_network("odd", SEED, guided)
    heard = hear(network, 6, SEED)
    calibration = calibrate(network.weights, heard.latent, guide=heard.guide)
    loops = [NativeLoop(network.weights, "int8", isa=isa, calibration=calibration) for isa in _here("int8")]
    first, *rest = (streams_of(loop, [heard], (33,), forced=True)[2] for loop in loops)
    for other in rest:
        # an activation within rounding of the next step takes that step, and is one of thousands
        assert np.median(np.abs(other - first)) < 1e-4 and np.abs(other - first).max() < 0.3


def test_an_instruction_set_that_is_not_here_is_one_sentence() -> None:
    absent = next(isa for isa in ISAS if isa not in supported("fp32"))
    with pytest.raises(UserError, match=rf"fp32 by {absent} needs .*fp32 can run here with"):
        pick_isa("fp32", absent)
    with pytest.raises(UserError, match="unknown instruction set 'sse9'; known are plain"):
        pick_isa("fp32", "sse9")


def test_int8_without_a_calibration_is_one_sentence() -> None:
    with pytest.raises(UserError, match="int8 needs a calibration"):
        NativeLoop(random_network("single", SEED).weights, "int8")


@pytest.mark.parametrize("kind", EXACT)
def test_a_wrong_buffer_never_reaches_the_kernel(kind: str) -> None:
    weights = random_network("single", SEED).weights
    loop, ones = exact_loop(kind, weights), np.ones(1, np.float32)
    good = np.zeros((1, 8), np.float32)
    for noise, audio, sentence in (
        (np.zeros((1, 8)), good, r"noise float64 \(1, 8\), float32 \(1, 8\) was wanted"),
        (good, np.zeros((1, 7), np.float32), r"audio float32 \(1, 7\), float32 \(1, 8\) was wanted"),
        (np.zeros((2, 8), np.float32), np.zeros((2, 8), np.float32), r"noise .*\(1, 8\) was wanted"),
    ):
        with pytest.raises(ValueError, match=sentence):
            loop.run(noise, ones, audio)
    if kind.startswith("native"):
        with pytest.raises(ValueError, match="a contiguous array was wanted"):
            loop.run(np.zeros((1, 16), np.float32)[:, ::2], ones, good)
    with pytest.raises(ValueError, match="classes int64"):
        loop.run(good, ones, good, classes=np.zeros((1, 8), np.int64))
    with pytest.raises(ValueError, match="latent float32"):
        loop.condition(0, np.zeros(weights.latent + 1, np.float32))
    with pytest.raises(ValueError, match="stream 1 of 1"):
        loop.condition(1, np.zeros(weights.latent, np.float32))
    with pytest.raises(ValueError, match=r"latent float32 .* was wanted"):
        loop.bind(np.zeros((1, weights.latent + 1, 2), np.float32), good, ones, good)
    with pytest.raises(ValueError, match=r"noise float32 .* was wanted"):
        loop.bind(np.zeros((1, weights.latent, 2), np.float32), good[:, :1], ones, good)


@pytest.mark.slow
def test_numba_compiles_once_for_weights_of_a_bundle_and_of_pytorch() -> None:
    """Those of a bundle are read-only, which is another type to numba, and each costs seconds."""
    pytest.importorskip("numba")
    from realtime.engines.wavenet import numba_kernel

    weights = random_network("single", SEED).weights
    make_loop(weights, "numba")
    compiled = len(numba_kernel.run.signatures), len(numba_kernel.fold.signatures)
    arrays = {
        name: np.frombuffer(a.tobytes(), a.dtype).reshape(a.shape) for name, a in weights.arrays.items()
    }
    make_loop(replace(weights, arrays=arrays), "numba")
    assert (len(numba_kernel.run.signatures), len(numba_kernel.fold.signatures)) == compiled
