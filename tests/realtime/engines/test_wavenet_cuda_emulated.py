"""The CUDA kernel run by an emulation on the CPU: its arithmetic, its indices and how blocks hand over.

No GPU is in this: the emulation has the programming model's rules (see wavenet_cuda_emulator.h), not a chip's
timing, memory order or rounding of tanh and exp. References are PyTorch's decoders with fresh random weights.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

from benchmarks import gpu
from export.bundle.bundle import Bundle
from realtime.engines.wavenet import WavenetWeights
from realtime.engines.wavenet.autotune import play
from realtime.engines.wavenet.cuda import CudaLoop
from realtime.engines.wavenet.cuda import device as compiler
from realtime.engines.wavenet.cuda.plan import GLOBAL, SHARED, Chip, make_plan
from realtime.engines.wavenet.engine import WavenetCudaEngine
from realtime.engines.wavenet.sample_loop import NumpyLoop
from realtime.recording.restore import restore, save
from realtime.recording.snapshot import Plan
from tests.realtime.engines import wavenet_cuda_emulated as emulated
from tests.realtime.engines import wavenets
from tests.realtime.engines.wavenet_cuda_emulated import EmulatedDevice
from umtn.errors import UserError

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        emulated.compiler() is None or sys.platform != "linux",
        reason="no C++ compiler, or no Linux for its fibers",
    ),
]

wavenets.SIZES.setdefault("gpu, padded", (2, 2, 13, 21, 30, 5, 11))
wavenets.SIZES.setdefault("gpu, the paper's layer", (1, 2, 128, 128, 256, 4, 4))
wavenets.SIZES.setdefault("gpu, exact", (1, 3, 16, 32, 32, 4, 8))
SAME = 0.97  # fp16 weights; a few hundred samples


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("emulated")


@pytest.fixture
def seed() -> int:
    return int.from_bytes(os.urandom(3), "little")


@pytest.mark.parametrize(
    ("size", "streams", "cluster", "warps"),
    [
        ("gpu, exact", 1, 1, 0),  # everything by mail
        ("gpu, exact", 3, 4, 0),  # all in one cluster
        ("gpu, padded", 2, 2, 1),  # links and mail take turns, several tiles a warp, idle block at the end
        ("gpu, padded", 8, 1, 3),  # all columns, a warp without a tile
        ("gpu, the paper's layer", 2, 2, 0),  # 16 warps, 8 classes a lane, a matrix in shared memory
    ],
)
def test_it_draws_what_pytorch_draws(
    folder: Path, seed: int, size: str, streams: int, cluster: int, warps: int
) -> None:
    network = wavenets.random_network(size, seed)
    frames = 2 if "paper" in size else 5
    heard = [wavenets.hear(network, frames, seed + i) for i in range(streams)]
    loop = CudaLoop(network.weights, streams, EmulatedDevice(folder, seed=seed), cluster, warps)
    audio, classes, logits = wavenets.streams_of(loop, heard, (5, 1, 4, 7), forced=True)
    wanted = np.stack([one.logits for one in heard])
    snr_db = 10 * np.log10((wanted**2).mean() / ((logits - wanted) ** 2).mean())
    assert snr_db > 50, f"seed {seed}"
    same = classes == np.stack([one.classes for one in heard])
    assert (~same).sum() <= max(1, (1 - SAME) * same.size), f"seed {seed}"
    assert np.allclose(audio[same], np.stack([one.audio for one in heard])[same], atol=1e-6)


def test_left_alone_it_goes_the_same_way(folder: Path, seed: int) -> None:
    """Free running: equal up to the first draw that hangs on a rounding."""
    network = wavenets.random_network("gpu, exact", seed)
    heard = wavenets.hear(network, 6, seed)
    loop = CudaLoop(network.weights, 1, EmulatedDevice(folder, seed=seed), 2)
    audio = np.full((1, 48), np.nan, np.float32)
    loop.decode(heard.latent[None], heard.noise[None], np.ones(1, np.float32), audio)
    first = next((i for i in range(48) if abs(audio[0, i] - heard.audio[i]) > 1e-6), 48)
    if first < 48:  # allowed only where the uniform number lay within rounding of a border
        p = np.exp(heard.logits[first] - heard.logits[first].max())
        borders = np.cumsum(p / p.sum())
        assert np.abs(borders - heard.noise[first]).min() < 5e-3, f"seed {seed}"
    assert np.isfinite(audio).all()


def test_schedules_change_nothing(folder: Path, seed: int) -> None:
    """Whoever comes first, the numbers are the same to the last bit."""
    network = wavenets.random_network("gpu, exact", seed)
    heard = [wavenets.hear(network, 2, seed + i) for i in range(2)]
    results = []
    for turn in range(3):
        loop = CudaLoop(network.weights, 2, EmulatedDevice(folder, seed=seed + 1000 * turn), 2)
        results.append(wavenets.streams_of(loop, heard, (3, 5), forced=False))
    for other in results[1:]:
        for a, b in zip(results[0], other):
            assert np.array_equal(a, b)


def test_matrices_in_every_place(folder: Path, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    network = wavenets.random_network("gpu, padded", seed)
    heard = wavenets.hear(network, 2, seed)
    results = []
    for places in ([0] * 5, [SHARED] * 5, [GLOBAL] * 5, [GLOBAL, SHARED, 0, SHARED, 0]):
        parts = [places[:3], places[3:]]
        monkeypatch.setattr("realtime.engines.wavenet.cuda.plan._place", lambda *_: parts.pop(0))  # noqa: B023
        loop = CudaLoop(network.weights, 1, EmulatedDevice(folder, seed=seed), 1)
        results.append(wavenets.streams_of(loop, [heard], (7,), forced=False)[2])
    assert all(np.array_equal(results[0], other) for other in results[1:])


def test_one_stream_can_begin_anew(folder: Path, seed: int) -> None:
    network = wavenets.random_network("gpu, exact", seed)
    heard = wavenets.hear(network, 2, seed)
    loop = CudaLoop(network.weights, 2, EmulatedDevice(folder, seed=seed), 1)
    first = wavenets.streams_of(loop, [heard, heard], (8,), forced=True)[2]
    loop.reset(0)
    second = wavenets.streams_of(loop, [heard, heard], (8,), forced=True)[2]
    assert np.array_equal(first[0], first[1]) and np.array_equal(second[0], first[0])
    assert not np.allclose(second[1], first[1])


def test_another_loop_goes_on_from_a_snapshot(folder: Path, seed: int, tmp_path: Path) -> None:
    """Another past, another cluster size, words of other samples in the mail: to the sample all the same."""
    network = wavenets.random_network("gpu, exact", seed)
    heard = [wavenets.hear(network, 3, seed + i) for i in range(2)]
    loop = CudaLoop(network.weights, 2, EmulatedDevice(folder, seed=seed), 1)
    other = CudaLoop(network.weights, 2, EmulatedDevice(folder, seed=seed + 1), 2)
    noise, warm = np.random.default_rng(seed).random((2, 9), np.float32), np.ones(2, np.float32)

    def go_on(loop: CudaLoop, samples: int) -> np.ndarray:
        logits = np.zeros((2, samples, network.weights.classes), np.float32)
        loop.run(noise[:, :samples], warm, np.zeros((2, samples), np.float32), logits=logits)
        return logits

    wavenets.streams_of(loop, heard, (5,), forced=False)
    go_on(loop, 3)
    wavenets.streams_of(other, heard[::-1], (8,), forced=True)
    go_on(other, 3)
    go_on(other, 1)  # one sample further: what it mailed then has the count of the first one to come
    plan = Plan(loop)
    plan.capture()
    assert not plan.unsaved
    wanted = go_on(loop, 9)
    save(plan, tmp_path / "x.npz")
    restore(other, tmp_path / "x.npz")
    assert np.array_equal(go_on(other, 9), wanted)
    with pytest.raises(ValueError, match="beyond the alphabet"):
        other.load_state(np.full(other.state_bytes, 0x7F, np.uint8))


def test_temperature_and_silence(folder: Path, seed: int) -> None:
    """Cold: always the likeliest class, as the numpy loop draws it."""
    weights = wavenets.random_network("gpu, exact", seed).weights
    loops = [CudaLoop(weights, 2, EmulatedDevice(folder, seed=seed), 1), NumpyLoop(weights, 2)]
    noise = np.random.default_rng(seed).random((2, 12), np.float32)
    heard = []
    for loop in loops:
        for stream in range(2):
            loop.condition(stream, np.full(weights.latent, np.nan, np.float32))  # taken for silence
        audio, classes = np.zeros((2, 12), np.float32), np.zeros((2, 12), np.int32)
        logits = np.zeros((2, 12, weights.classes), np.float32)
        forced = np.full((2, 12), weights.classes // 2, np.int32)
        loop.run(noise, np.array([0.0, 0.7], np.float32), audio, forced, classes, logits)
        heard.append((classes, logits))
    assert np.allclose(heard[0][1], heard[1][1], atol=0.05 * np.abs(heard[1][1]).max())
    likeliest = heard[0][1][0].argmax(axis=1).clip(1)  # class 0 is never played: 1 stands for it
    sharp = np.sort(heard[0][1][0], axis=1)
    clear = sharp[:, -1] - sharp[:, -2] > 0.02
    assert (heard[0][0][0] == likeliest)[clear].all()
    assert (heard[0][0][1] == heard[1][0][1]).mean() >= 0.8


@pytest.mark.parametrize("absent", [0, 1, 3])
def test_a_block_that_finds_no_room_cannot_hang_the_rest(folder: Path, seed: int, absent: int) -> None:
    """Every block leaves by itself, the loop says so in a sentence, and afterwards plays as if from new."""
    network = wavenets.random_network("gpu, exact", seed)
    heard = wavenets.hear(network, 2, seed)
    device = EmulatedDevice(folder, seed=seed)
    loop = CudaLoop(network.weights, 1, device, 1)
    wanted = wavenets.streams_of(loop, [heard], (8,), forced=False)
    device.absent, loop.patience_ns = absent, 3000
    with pytest.raises(UserError, match="got stuck: (a layer|the head) waited"):
        loop.decode(
            heard.latent[None], heard.noise[None], np.ones(1, np.float32), np.zeros((1, 16), np.float32)
        )
    device.absent, loop.patience_ns = -1, 10**9
    again = wavenets.streams_of(loop, [heard], (8,), forced=False)
    assert all(np.array_equal(a, b) for a, b in zip(wanted, again))


def test_wrong_shapes_never_reach_the_kernel(folder: Path) -> None:
    weights = wavenets.random_network("gpu, exact", 0).weights
    loop = CudaLoop(weights, 1, EmulatedDevice(folder), 1)
    one = np.ones(1, np.float32)
    with pytest.raises(ValueError, match="latent"):
        loop.condition(0, np.zeros(weights.latent + 1, np.float32))
    with pytest.raises(ValueError, match="noise"):
        loop.run(np.zeros((2, 4), np.float32), one, np.zeros((2, 4), np.float32))
    with pytest.raises(ValueError, match="noise"):
        loop.decode(
            np.zeros((1, 4, 2), np.float32), np.zeros((1, 8), np.float32), one, np.zeros((1, 8), np.float32)
        )


# ---- races: every fiber is a thread to ThreadSanitizer


def race_report(
    folder: Path, streams: int, cluster: int, guided: bool = False
) -> subprocess.CompletedProcess[str]:
    arrays = emulated.decoder_arrays(0, 1, 3, 16, 32, 32, 4, guided=guided)
    plan = make_plan(WavenetWeights.from_arrays(arrays, 8, 1), Chip.of(90), streams, cluster)
    name = f"races-{streams}-{cluster}-{guided}"
    program = emulated.build(plan, folder / name, "-g", "-fsanitize=thread", "-DWN_RACES")
    # ThreadSanitizer wants its addresses where it expects them
    fixed = ["setarch", "-R"] if shutil.which("setarch") else []
    return subprocess.run(
        [*fixed, str(program), "5", "8"], capture_output=True, text=True, check=False, timeout=150
    )


@pytest.fixture(scope="module")
def sanitizer(folder: Path) -> None:
    source = folder / "empty.cpp"
    source.write_text("int main() { return 0; }")
    flags = [str(source), "-fsanitize=thread", "-o", str(folder / "empty")]
    run = subprocess.run([str(emulated.compiler()), *flags], capture_output=True, check=False)
    if run.returncode:
        pytest.skip("this compiler has no ThreadSanitizer")


@pytest.mark.parametrize(
    ("streams", "cluster", "guided"),
    [(1, 1, False), (2, 2, False), (2, 4, False), (2, 1, True), (2, 4, True)],
)
def test_no_two_threads_touch_a_number_at_once(
    folder: Path, sanitizer: None, streams: int, cluster: int, guided: bool
) -> None:
    run = race_report(folder, streams, cluster, guided)
    assert run.returncode == 0 and run.stdout == "finished\n", run.stderr[:2000]


@pytest.mark.parametrize(
    "barrier",
    [
        "    sync_block();\n  }\n}",  # at the end of a layer's turn
        "    sync_block();\n    for (int b = thread() >> 5",  # before the draw
        "staged && sync_block_or(failed)",  # after the mail
    ],
)
def test_a_missing_barrier_is_found(
    folder: Path, sanitizer: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, barrier: str
) -> None:
    """That the test above can fail."""
    text = (compiler.FOLDER / "wavenet.cu").read_text()
    assert barrier in text
    without = barrier.replace("    sync_block();\n", "").replace("sync_block_or(failed)", "false")
    (tmp_path / "wavenet.cu").write_text(text.replace(barrier, without))
    monkeypatch.setattr(emulated, "FOLDER", tmp_path)
    run = race_report(tmp_path, 2, 1)
    assert run.returncode == 66 and "data race" in run.stderr and "wavenet.cu" in run.stderr


# ---- the engine


@pytest.fixture(scope="module")
def bundle(wavenet_bundle: Bundle) -> Bundle:
    return wavenet_bundle


@pytest.fixture
def short_probe(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> dict[str, np.ndarray]:
    """The beginning of the probe: an emulated GPU is slow."""
    whole, m = bundle.probe(), bundle.manifest
    blocks = max(1, 96 // m.block)
    probe = {
        k: v[:, : blocks * m.block // m.hop] if k == "latent" else v[: blocks * m.block]
        for k, v in whole.items()
    }
    monkeypatch.setattr(Bundle, "probe", lambda self: probe)
    return probe


def test_the_engine_meets_the_probe_and_plays(
    bundle: Bundle, folder: Path, short_probe: dict[str, np.ndarray]
) -> None:
    engine = WavenetCudaEngine(bundle, device=lambda: EmulatedDevice(folder))
    assert engine.cost is not None and engine.cost.decode_s > 0
    assert Plan(engine).unsaved == set()
    probe, block = short_probe, bundle.manifest.block
    latent = engine.encode(probe["audio"][:block])
    out, wanted = np.full(block, np.nan, np.float32), np.zeros((1, block), np.float32)
    engine.temperature = 0.5
    engine.decode(1, out, probe["noise"][:block])
    loop = engine._loops[1]
    loop.reset()
    loop.decode(latent[None], probe["noise"][None, :block], np.full(1, 0.5, np.float32), wanted)
    assert np.array_equal(out, wanted[0])
    engine.reset(1)
    again = np.zeros(block, np.float32)
    engine.decode(1, again, probe["noise"][:block])
    assert np.array_equal(out, again)
    engine.decode(0, again)
    assert np.isfinite(again).all()


def test_weights_that_are_not_the_graphs_are_refused(
    bundle: Bundle, folder: Path, short_probe: dict[str, np.ndarray]
) -> None:
    short_probe["audio.piano"] = short_probe["audio.piano"][::-1].copy()
    with pytest.raises(UserError, match="of the probe's samples of piano"):
        WavenetCudaEngine(bundle, device=lambda: EmulatedDevice(folder))


def test_play_hears_every_frame(folder: Path, seed: int) -> None:
    """`decode` of many frames in one launch = frame by frame."""
    network = wavenets.random_network("gpu, exact", seed)
    heard = wavenets.hear(network, 4, seed)
    loop = CudaLoop(network.weights, 1, EmulatedDevice(folder, seed=seed), 1)
    whole = np.zeros((1, 32), np.float32)
    loop.decode(heard.latent[None], heard.noise[None], np.ones(1, np.float32), whole)
    loop.reset()
    assert np.array_equal(play(loop, heard.latent, heard.noise)[0], whole[0])


# ---- the benchmark's parts, so that the first run on a GPU is not their first run


def test_the_benchmarks_comparisons(folder: Path, seed: int) -> None:
    decoder, weights = gpu.random_decoder(gpu.Size(1, 3, 16, 32, 8, 32, 4), seed)
    loop = CudaLoop(weights, 1, EmulatedDevice(folder, seed=seed), 1)
    truth = gpu.compare(loop, decoder, 40, seed)
    assert truth.samples == 40 and truth.equal_share >= 0.9 and truth.logits_snr_db > 50
    assert gpu.time_loop(loop, 8, 1) > 0 and gpu.time_pytorch(decoder, 5) > 0
    long = gpu.long_run(weights, 24, seed, lambda: EmulatedDevice(folder, 80, seed))
    assert long["samples"] == 24 and long["differing_between_two_runs"] == 0
    assert long["equal_share"] >= 0.8


def test_the_benchmarks_table(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny = gpu.Size(1, 3, 16, 32, 8, 32, 4)
    for name in ("PAPER", "MIDDLE", "SMALL"):
        monkeypatch.setattr(gpu, name, tiny)
    monkeypatch.setattr(gpu, "PIECE", 2)
    monkeypatch.setattr(gpu, "time_loop", lambda *_: 12.0)
    figures = gpu.measure(0, 3, lambda: EmulatedDevice(folder, 80))
    assert len(figures["rows"]) == 6 and figures["rows"][0]["rtf_at_16_khz"] == 0.192
    assert "1x3 R16 S32" in "\n".join(gpu._lines(figures))
