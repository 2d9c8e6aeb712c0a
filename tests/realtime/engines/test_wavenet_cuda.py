"""The CUDA kernel without a GPU: it compiles for six chips within their limits, and what fails is a sentence."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from realtime.engines.select import gpu_present
from realtime.engines.wavenet import WavenetWeights
from realtime.engines.wavenet.cuda import device
from realtime.engines.wavenet.cuda.device import CudaDevice, compile_kernel, usage
from realtime.engines.wavenet.cuda.loop import fragments, gated_rows, pack, paired_rows
from realtime.engines.wavenet.cuda.plan import GLOBAL, REGISTER_FILE, REGISTERS, SHARED, Chip, Plan, make_plan
from tests.realtime.engines.wavenet_cuda_emulated import decoder_arrays
from umtn.errors import UserError

CONFIGURATIONS = {
    (4, 10, 128, 128): "4x10 R128 S128",
    (3, 10, 96, 128): "3x10 R96 S128",
    (2, 10, 64, 128): "2x10 R64 S128",
}
CHIPS = (80, 86, 89, 90, 100, 120)


def weights_of(
    blocks: int,
    layers: int,
    residual: int,
    skip: int,
    classes: int = 256,
    latent: int = 8,
    guided: bool = False,
) -> WavenetWeights:
    arrays = decoder_arrays(0, blocks, layers, residual, skip, classes, latent, guided=guided)
    return WavenetWeights.from_arrays(arrays, 160, blocks)


@pytest.fixture
def nvrtc() -> None:
    pytest.importorskip("cuda.core", reason="the package cuda-core is missing")
    pytest.importorskip("cuda.bindings.nvrtc", reason="the package cuda-bindings is missing")


def check_fit(plan: Plan, chip: Chip) -> None:
    """Compiles, and the report names registers and memory that one multiprocessor has."""
    code, log = compile_kernel(plan, chip, cache=False)
    assert code[:4] == b"\x7fELF"
    found = usage(log)
    assert set(found) == {"wn_run", "wn_condition", "wn_reset"}
    run = found["wn_run"]
    assert (run.stack, run.spilled) == (0, 0)
    # registers are given to warps by 256
    assert 0 < -(-run.registers * 32 // 256) * 256 * plan.warps <= REGISTER_FILE
    assert run.registers >= weight_registers(plan), "the weights are not held in registers"
    assert run.shared == 0  # all of it is asked for at the launch
    assert plan.shared_bytes <= chip.shared_bytes


def weight_registers(plan: Plan) -> int:
    layer = zip(plan.layer_matrices, (plan.current, plan.output, plan.previous))
    return sum(-(-tiles // plan.warps) * depth // 4 for (tiles, depth), at in layer if at == REGISTERS)


@pytest.mark.parametrize("size", CONFIGURATIONS, ids=CONFIGURATIONS.get)
@pytest.mark.parametrize("guided", [False, True], ids=["plain", "guided"])
@pytest.mark.parametrize("capability", CHIPS)
def test_it_compiles_within_the_chips_limits(
    nvrtc: None, capability: int, guided: bool, size: tuple[int, ...]
) -> None:
    chip, weights = Chip.of(capability), weights_of(*size, guided=guided)
    assert weights.name == CONFIGURATIONS[size]
    for streams in (1, 8):
        plan = make_plan(weights, chip, streams, 8 if chip.clusters else 1)
        assert plan.resident
        check_fit(plan, chip)


@pytest.mark.slow
def test_odd_sizes_and_the_way_through_l2_compile_too(nvrtc: None) -> None:
    for size, capability, cluster in (
        ((2, 5, 13, 21, 50), 120, 1),
        ((1, 3, 200, 256), 90, 16),
        ((2, 10, 64, 128), 90, 1),
    ):
        chip = Chip.of(capability)
        check_fit(make_plan(weights_of(*size), chip, 3, cluster), chip)


def test_the_report_is_read_as_ptxas_writes_it() -> None:
    log = """ptxas info    : Compiling entry function 'wn_run' for 'sm_90'
ptxas info    : Function properties for wn_run
    24 bytes stack frame, 16 bytes spill stores, 8 bytes spill loads
ptxas info    : Used 128 registers, used 1 barriers, 24 bytes cumulative stack size, 512 bytes smem
"""
    assert dataclasses.astuple(usage(log)["wn_run"]) == (128, 24, 24, 512)


def test_compiled_code_is_kept(nvrtc: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "cache_folder", lambda: tmp_path)
    chip = Chip.of(90)
    plan = make_plan(weights_of(1, 2, 16, 16, 16), chip)
    first = compile_kernel(plan, chip)
    monkeypatch.setattr(device, "_compile", lambda *_: pytest.fail("compiled twice"))
    assert compile_kernel(plan, chip) == first
    other = make_plan(weights_of(1, 2, 16, 32, 16), chip)
    with pytest.raises(pytest.fail.Exception):
        compile_kernel(other, chip)


def test_a_program_that_does_not_compile_is_a_sentence(nvrtc: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "source", lambda plan: "this is no C++")
    chip = Chip.of(90)
    with pytest.raises(UserError, match="cannot make the WaveNet kernel for sm_90"):
        compile_kernel(make_plan(weights_of(1, 2, 16, 16, 16), chip), chip, cache=False)


def test_matrices_go_where_there_is_room() -> None:
    paper = weights_of(4, 10, 128, 128)
    plan = make_plan(paper, Chip.of(86))
    assert (plan.current, plan.output, plan.previous) == (REGISTERS, REGISTERS, SHARED)
    assert plan.blocks == 41 and make_plan(paper, Chip.of(90), cluster=16).blocks == 48
    huge = make_plan(weights_of(1, 2, 256, 256), Chip.of(86))
    assert GLOBAL in (huge.current, huge.output, huge.previous) and not huge.resident
    assert huge.shared_bytes <= Chip.of(86).shared_bytes


def test_what_does_not_fit_is_a_sentence() -> None:
    weights = weights_of(1, 2, 16, 16, 16)
    with pytest.raises(UserError, match=r"compute capability 8.0 or later, and this one has 7.5"):
        Chip.of(75)
    with pytest.raises(UserError, match="1 to 8 streams at once, not 9"):
        make_plan(weights, Chip.of(90), 9)
    with pytest.raises(UserError, match="sm_89 has no clusters"):
        make_plan(weights, Chip.of(89), 1, 8)
    with pytest.raises(UserError, match="KiB of shared memory a block, and sm_86 has 99"):
        make_plan(weights_of(1, 1, 512, 1024), Chip.of(86), 8)
    loud = decoder_arrays(0, 1, 2, 16, 16, 16, 8)
    loud["head.weight"][3, 3] = 1e5
    plan = make_plan(weights, Chip.of(90))
    with pytest.raises(UserError, match="beyond what fp16 can hold"):
        pack(WavenetWeights.from_arrays(loud, 160, 1), plan, np.zeros(16, np.float32))
    loud["head.weight"][3, 3] = 0
    loud["output.0.weight"][20] = 6e4
    with pytest.raises(UserError, match="leave the range of fp16"):
        pack(WavenetWeights.from_arrays(loud, 160, 1), plan, np.zeros(16, np.float32))


def test_both_embeddings_count_for_the_range() -> None:
    """Each within fp16, their sum beyond it; one over the other in the kernel's table, padded."""
    arrays = decoder_arrays(0, 1, 2, 16, 16, 30, 8, guided=True)
    weights = WavenetWeights.from_arrays(arrays, 160, 1)
    plan = make_plan(weights, Chip.of(90))
    assert plan.macros["WN_GUIDED"] == 1 and plan.macros["WN_CLASSES_PADDED"] == 32
    table = pack(weights, plan, np.zeros(30, np.float32))["embed"]
    assert np.array_equal(table[:, :30].reshape(60, 16), arrays["embed.weight"])
    assert table.shape == (2, 32, 16) and not table[:, 30:].any()
    for loud in ([3], [33], [3, 33]):
        embed = arrays["embed.weight"].copy()
        embed[loud, 5] = 4e4
        given = WavenetWeights.from_arrays(arrays | {"embed.weight": embed}, 160, 1)
        if len(loud) == 1:
            pack(given, plan, np.zeros(30, np.float32))
            continue
        with pytest.raises(UserError, match="leave the range of fp16"):
            pack(given, plan, np.zeros(30, np.float32))


def test_what_is_leaned_lies_in_rows_of_whole_words() -> None:
    """Guide by guide, the classes drawn padded; a decoder without a guide brings no table."""
    for classes in (30, 256):
        weights = weights_of(1, 2, 16, 16, classes, guided=True)
        plan = make_plan(weights, Chip.of(90))
        table = pack(weights, plan, np.zeros(classes, np.float32))["leaned"]
        assert table.dtype == np.uint16 and table.shape == (classes, plan.padded_classes)
        assert np.array_equal(table[:, :classes], weights.leaned) and not table[:, classes:].any()
    plain = weights_of(1, 2, 16, 16, 30)
    assert "leaned" not in pack(plain, make_plan(plain, Chip.of(90)), np.zeros(30, np.float32))


def test_fragments_lie_as_the_matrix_instruction_wants_them() -> None:
    """PTX ISA: row g + 8 h of a tile, columns 2c + 8u + e; here the column's channel is 4c + 2u + e."""
    matrix = np.arange(32 * 32, dtype=np.float32).reshape(32, 32)
    packed = fragments(matrix, 32).view(np.float16).astype(np.float32)
    for n, k, g, c, u, h, e in np.ndindex(2, 2, 8, 4, 2, 2, 2):
        assert packed[n, k, 4 * g + c, 2 * u + h, e] == matrix[16 * n + 8 * h + g, 16 * k + 4 * c + 2 * u + e]


def test_rows_are_paired_for_who_reads_them() -> None:
    rows = np.arange(32, dtype=np.float32)[:, None]
    assert paired_rows(rows)[:16, 0].tolist() == [*range(0, 16, 2), *range(1, 16, 2)]
    gates = gated_rows(np.arange(24, dtype=np.float32)[:, None], 16)[:, 0]  # 12 channels in 16
    assert gates[:16].tolist() == [*range(8), *range(12, 20)]
    assert gates[16:].tolist() == [8, 9, 10, 11, 0, 0, 0, 0, 20, 21, 22, 23, 0, 0, 0, 0]


@pytest.mark.skipif(gpu_present(), reason="there is a GPU here")
def test_without_a_gpu_there_is_a_sentence(nvrtc: None) -> None:
    with pytest.raises(UserError, match="needs an NVIDIA GPU and a driver"):
        CudaDevice()


def test_without_cuda_core_there_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cuda.core", None)
    with pytest.raises(UserError, match="needs the package cuda-core"):
        CudaDevice()


def test_cuda_is_imported_only_when_it_is_asked_for() -> None:
    code = "import sys, realtime.engines.wavenet.engine; sys.exit(bool({'cuda.core', 'torch'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.skipif(gpu_present(), reason="there is a GPU here")
def test_the_benchmark_without_a_gpu_says_so() -> None:
    run = subprocess.run(
        [sys.executable, "-m", "benchmarks.gpu"], capture_output=True, text=True, check=False
    )
    assert run.returncode == 2
    assert run.stderr.startswith("error: ") and len(run.stderr.strip().splitlines()) == 1
    assert "GPU" in run.stderr
