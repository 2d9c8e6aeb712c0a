"""The sample loop on a GPU: the same interface as the CPU's loops, a launch for each piece of audio.

State (rings, last class: leaned where guided) lives in the GPU's memory between launches. Nothing is allocated
after the first call of each size.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from realtime.engines.wavenet import WavenetWeights
from realtime.engines.wavenet.cuda.device import SMALL_BLOCK, CudaDevice, Device
from realtime.engines.wavenet.cuda.plan import Plan, make_plan
from realtime.engines.wavenet.sample_loop import BEYOND, Piece, SampleLoop, clean_latent
from realtime.engines.wavenet.weights import mulaw_table
from realtime.shared.saved_classes import saved
from umtn.errors import UserError

__all__ = ["CLUSTERS", "CudaLoop", "Packed", "fragments", "pack"]


# PyTorch's weights in the order in which the kernel's threads hold them.
#
# A tile is 16 rows by 16 columns. Lane 4 g + c of a warp holds rows g and g + 8, columns 2c, 2c + 1, 2c + 8,
# 2c + 9 (PTX ISA, "Matrix Fragments for mma.m16n8k16"):
#
#               column 2c..      column 2c + 8..
#     row g     register 0       register 2
#     row g+8   register 1       register 3
#
# Any order of the columns will do if weights and vector agree, so columns 2c, 2c + 1, 2c + 8, 2c + 9 are the
# channels 4c .. 4c + 3: a lane then reads its part of the vector at once. Rows are ordered as it suits who reads
# the result: a gate above the value that it opens, or two neighbours above each other.


LARGEST_HALF = 65504.0
Packed = dict[str, np.ndarray]


def fragments(matrix: np.ndarray, depth: int) -> np.ndarray:
    """Rows [16 n, columns] in the tile's order -> uint16 [n, depth / 16, 32 lanes, 4 registers, 2]."""
    wide = np.zeros((matrix.shape[0], depth), np.float32)
    wide[:, : matrix.shape[1]] = matrix
    if not np.abs(wide).max(initial=0.0) <= LARGEST_HALF:  # also NaN
        raise UserError("a weight of the WaveNet decoder is beyond what fp16 can hold; use the CPU engine")
    # channel 16 k + 4 c + 2 u + e of row 16 n + 8 h + g: register 2 u + h of lane 4 g + c
    tiles = wide.reshape(-1, 2, 8, depth // 16, 4, 2, 2)  # n h g k c u e
    lanes = tiles.transpose(0, 3, 2, 4, 5, 1, 6)  # n k g c u h e
    halves = np.ascontiguousarray(lanes).astype(np.float16).view(np.uint16)
    return halves.reshape(-1, depth // 16, 32, 4, 2)


def gated_rows(matrix: np.ndarray, residual: int) -> np.ndarray:
    """[2 r, columns] -> [2 residual, columns]: in every 16 rows 8 gates, then their values."""
    r = matrix.shape[0] // 2
    out = np.zeros((2, residual, matrix.shape[1]), np.float32)
    out[:, :r] = matrix.reshape(2, r, -1)
    return out.reshape(2, -1, 8, matrix.shape[1]).transpose(1, 0, 2, 3).reshape(2 * residual, -1)


def paired_rows(matrix: np.ndarray) -> np.ndarray:
    """[16 n, columns]: rows 2 g and 2 g + 1 become rows g and g + 8 of their tile."""
    n = matrix.shape[0] // 16
    return matrix.reshape(n, 8, 2, -1).transpose(0, 2, 1, 3).reshape(16 * n, -1)


def _rows(array: np.ndarray, rows: int, fill: float = 0.0) -> np.ndarray:
    """More rows, filled."""
    out = np.full((rows, *array.shape[1:]), fill, np.float32)
    out[: len(array)] = array
    return out


def pack(weights: WavenetWeights, plan: Plan, audio: np.ndarray) -> Packed:
    """The kernel's arrays by the names of its parameters. UserError: beyond the range of fp16."""
    a, w = weights.arrays, plan
    _check_range(weights)
    layers = []
    biases = np.zeros((w.layers, w.width), np.float32)
    for i in range(w.layers):
        taps = a[f"dilated.{i}.weight"]
        out, biases[i] = _output(weights, plan, i)
        layers += [
            fragments(gated_rows(taps[:, :, 1], w.residual), w.residual).ravel(),
            fragments(paired_rows(out), w.residual).ravel(),
            fragments(gated_rows(taps[:, :, 0], w.residual), w.residual).ravel(),
        ]
    head = _rows(a["head.weight"][:, :, 0], w.skip)
    classify = _rows(a["classify.weight"][:, :, 0], w.padded_classes)
    condition, condition_bias = _condition(weights, plan)
    tables = _embeddings(weights)
    embed = np.zeros((len(tables), w.padded_classes, w.residual), np.float32)
    embed[:, : weights.classes, : weights.residual] = tables
    leaned = {} if weights.leaned is None else {"leaned": _leaned(weights.leaned, w.padded_classes)}
    starts = np.concatenate([[0], np.cumsum(weights.dilations)])
    return {
        "layers": np.concatenate(layers),
        "head": np.concatenate([fragments(paired_rows(m), w.skip).ravel() for m in (head, classify)]),
        "embed": embed,
        **leaned,
        "output_bias": biases,
        "classify_bias": _rows(a["classify.bias"], w.padded_classes, -1e30),
        "audio_of": _rows(audio, w.padded_classes),
        "dilation": np.array(weights.dilations, np.int32),
        "ring_start": starts[:-1].astype(np.int32),
        "condition_weight": condition,
        "condition_bias": condition_bias,
    }


def _output(weights: WavenetWeights, plan: Plan, layer: int) -> tuple[np.ndarray, np.ndarray]:
    """Residual rows first, then skip rows (PyTorch has them the other way round; the last layer only skip)."""
    matrix, bias = weights.arrays[f"output.{layer}.weight"][:, :, 0], weights.arrays[f"output.{layer}.bias"]
    s, r = weights.skip, weights.residual
    out = np.zeros((plan.width, r), np.float32)
    offset = np.zeros(plan.width, np.float32)
    out[plan.residual : plan.residual + s], offset[plan.residual : plan.residual + s] = matrix[:s], bias[:s]
    if len(matrix) > s:
        out[:r], offset[:r] = matrix[s:], bias[s:]
    return out, offset


def _condition(weights: WavenetWeights, plan: Plan) -> tuple[np.ndarray, np.ndarray]:
    """Transposed weight [D, rows] and bias [rows]; the head's own bias is in it."""
    a, r, s, n = weights.arrays, weights.residual, weights.skip, weights.layers
    both = np.concatenate([a["condition.weight"][:, :, 0], a["condition.bias"][:, None]], axis=1)
    both[n * 2 * r :, -1] += a["head.bias"]
    out = np.zeros((n * 2 * plan.residual + plan.skip, both.shape[1]), np.float32)
    out[: n * 2 * plan.residual].reshape(n, 2, plan.residual, -1)[:, :, :r] = both[: n * 2 * r].reshape(
        n, 2, r, -1
    )
    out[n * 2 * plan.residual :][:s] = both[n * 2 * r :]
    return np.ascontiguousarray(out[:, :-1].T), np.ascontiguousarray(out[:, -1])


def _embeddings(weights: WavenetWeights) -> np.ndarray:
    """[1, A, R], or [2, A, R] with the guide's."""
    return weights.arrays["embed.weight"].reshape(-1, weights.classes, weights.residual)


def _leaned(table: np.ndarray, columns: int) -> np.ndarray:
    """[A, A] -> uint16 [A, columns]: a block's shared memory ends the alphabet long before 16 bits do."""
    out = np.zeros((len(table), columns), np.uint16)
    out[:, : len(table)] = table
    return out


def _check_range(weights: WavenetWeights) -> None:
    """x is embeddings plus gated values (at most 1) times weights: bounded, whatever is played."""
    largest = float(np.abs(_embeddings(weights)).max(axis=(1, 2)).sum())
    for i in range(weights.layers - 1):
        rows = slice(weights.skip, None)
        matrix, bias = (
            weights.arrays[f"output.{i}.weight"][rows, :, 0],
            weights.arrays[f"output.{i}.bias"][rows],
        )
        largest += float((np.abs(matrix).sum(axis=1) + np.abs(bias)).max())
    if not largest <= LARGEST_HALF:
        raise UserError("signals inside the WaveNet decoder may leave the range of fp16; use the CPU engine")


CLUSTERS = (16, 8, 1)  # the larger, the fewer hops through L2; 16 only on some chips, 1 = none
PATIENCE_S = 0.5
_COUNTS = 1 << 32
_MODEL = (
    "layers", "head", "embed", "leaned", "output_bias", "classify_bias", "audio_of", "dilation", "ring_start",
    "ring", "last", "mail", "token", "error",
)  # fmt: skip


@saved("cuda-loop")
class CudaLoop(SampleLoop):
    """See `SampleLoop`. `cluster`: one of CLUSTERS, or None for the first that
    runs. `device`: None = the GPU. `warps`: of a block, 0 = as many as it has use for.

    UserError: no GPU, a decoder or a number of streams that does not fit, a launch that failed, a stuck kernel.
    """

    precision = "fp16"

    def __init__(
        self,
        weights: WavenetWeights,
        streams: int = 1,
        device: Device | None = None,
        cluster: int | None = None,
        warps: int = 0,
    ) -> None:
        super().__init__(weights, streams)
        self._device = device or CudaDevice()
        self._count = 0  # samples drawn, modulo 2^32
        self._buffers: dict[str, tuple[int, int]] = {}
        self.patience_ns = int(PATIENCE_S * 1e9)
        self.plan = self._choose(cluster, warps)
        self.name = f"cuda {self._device.name}" + (
            f", clusters of {self.plan.cluster}" if self.plan.cluster > 1 else ""
        )

    def _choose(self, cluster: int | None, warps: int) -> Plan:
        """The first cluster size that this GPU takes and that draws two samples."""
        chip = self._device.chip
        sizes = (cluster,) if cluster else CLUSTERS if chip.clusters else (1,)
        for size in sizes:
            plan = make_plan(self.weights, chip, self.streams, size, warps)
            try:
                self._device.load(plan)
                self._upload(plan)
                self._try()
                return plan
            except UserError:
                if size == sizes[-1]:
                    raise
        raise AssertionError("no cluster size was tried")

    def _upload(self, plan: Plan) -> None:
        self._device.free()
        self._buffers.clear()
        self.plan = plan
        packed = pack(self.weights, plan, mulaw_table(self.weights.classes))
        slots, b = sum(self.weights.dilations), self.streams
        at = {"leaned": 0}  # null, unless the decoder is guided
        at |= {key: self._put(array) for key, array in packed.items()}
        empty = {
            "ring": b * slots * plan.residual * 2,
            "last": 4 * b,
            "mail": (plan.layers + 1) * 2 * b * plan.width * 8,
            "token": 2 * b * 8,
            "error": 4,
        }
        at |= {key: self._put(np.zeros(size, np.uint8)) for key, size in empty.items()}
        self._at, self._slots, self._sizes = at, slots, empty
        self._model: tuple[Any, ...] = (*(at[key] for key in _MODEL), np.int64(slots))
        self._rows = plan.layers * 2 * plan.residual + plan.skip
        self._latent = np.zeros((b, self.weights.latent), np.float32)
        self._error = np.zeros(1, np.uint32)
        self._stale = True  # whether `_latent` has yet to be folded
        self.reset()

    def _try(self) -> None:
        noise, audio = np.full((self.streams, 2), 0.5, np.float32), np.zeros((self.streams, 2), np.float32)
        guide = np.zeros((self.streams, 2), np.int32) if self.weights.guided else None
        self.run(noise, np.ones(self.streams, np.float32), audio, guide=guide)
        self.reset()

    def _put(self, array: np.ndarray) -> int:
        address = self._device.allocate(array.nbytes)
        self._device.write(address, np.ascontiguousarray(array))
        return address

    def _buffer(self, name: str, size: int) -> int:
        """Memory that grows: the address of at least `size` bytes."""
        address, held = self._buffers.get(name, (0, 0))
        if held < size:
            address = self._device.allocate(size)
            self._buffers[name] = address, size
        return address

    def reset(self, stream: int | None = None) -> None:
        blocks = 64
        args = (
            np.int64(self._slots),
            np.int32(-1 if stream is None else stream),
            np.int32(blocks * SMALL_BLOCK),
        )
        self._device.launch("wn_reset", blocks, (self._at["ring"], self._at["last"], *args))

    @property
    def state_layout(self) -> str:
        return f"cuda {self.precision}"  # neither the chip nor its clusters matter

    @property
    def state_bytes(self) -> int:
        return 4 + self._latent.nbytes + self._sizes["last"] + self._sizes["ring"]

    def _state_parts(self, state: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Its places for samples drawn [1], latent [B, D], last classes [B], rings (fp16, as bytes)."""
        latent, last = 4, 4 + self._latent.nbytes
        ring = last + self._sizes["last"]
        return (
            state[:latent].view(np.uint32),
            state[latent:last].view(np.float32).reshape(self._latent.shape),
            state[last:ring].view(np.int32),
            state[ring:],
        )

    def save_state(self, out: NDArray[np.uint8]) -> None:
        count, latent, last, ring = self._state_parts(out)
        count[0], latent[:] = self._count, self._latent
        self._device.read(self._at["last"], last)
        self._device.read(self._at["ring"], ring)

    def load_state(self, kept: NDArray[np.uint8]) -> None:
        count, latent, last, ring = self._state_parts(np.ascontiguousarray(kept))
        if ((last < 0) | (last >= self.weights.classes)).any():
            raise ValueError(BEYOND)
        self._count, self._latent[:], self._stale = int(count[0]), clean_latent(latent), True
        self._device.write(self._at["last"], last)
        self._device.write(self._at["ring"], ring)
        # words of other samples must not pass for those to come: the count of the past is never asked for
        for name in ("mail", "token"):
            old = np.full(self._sizes[name] // 8, self._count << 32, np.uint64)
            self._device.write(self._at[name], old)

    def _fold(self, stream: int, latent: NDArray[np.float32]) -> None:
        self._latent[stream] = clean_latent(latent)
        self._stale = True

    def _run(self, piece: Piece) -> None:
        if piece.noise.shape[1] == 0:
            return
        if self._stale:
            self._fold_frames(self._latent[:, :, None])
            self._stale = False
        self._launch(piece, piece.noise.shape[1])

    def _run_frames(self, latent: NDArray[np.float32], piece: Piece) -> None:
        """All of them in one launch."""
        if latent.shape[2] == 0:
            return
        clean = clean_latent(latent)
        self._fold_frames(clean)
        self._launch(piece, self.weights.hop)
        self._latent[:] = clean[:, :, -1]
        self._stale = latent.shape[2] > 1

    def _fold_frames(self, latent: NDArray[np.float32]) -> None:
        """latent [B, D, T] -> what the layers add, on the GPU."""
        frames = latent.shape[2]
        source = self._buffer("latent", latent.nbytes)
        self._device.write(source, np.ascontiguousarray(latent))
        target = self._buffer("condition", 4 * frames * self.streams * self._rows)
        args = (self._at["condition_weight"], self._at["condition_bias"], source, target)
        blocks = math.ceil(frames * self.streams * self._rows / SMALL_BLOCK)
        self._device.launch("wn_condition", blocks, (*args, np.int32(self.weights.latent), np.int32(frames)))

    def _launch(self, piece: Piece, hop: int) -> None:
        n = piece.noise.shape[1]
        outputs = {"audio": piece.audio, "classes": piece.classes, "logits": piece.logits}
        at = {name: self._buffer(name, 4 * self.streams * n) for name in ("audio", "classes")}
        at |= {"condition": self._buffers["condition"][0], "forced": 0, "guide": 0, "logits": 0}
        if piece.logits is not None:
            at["logits"] = self._buffer("logits", piece.logits.nbytes)
        at["noise"] = self._give("noise", piece.noise)
        at["temperature"] = self._give("temperature", piece.temperature)
        if piece.forced is not None:
            at["forced"] = self._give("forced", piece.forced)
        if piece.guide is not None:
            at["guide"] = self._give("guide", piece.guide)
        order = ("condition", "noise", "temperature", "forced", "guide", "audio", "classes", "logits")
        numbers = (np.uint32(self._count), np.int32(n), np.int32(hop), np.uint64(self.patience_ns))
        self._device.launch("wn_run", self.plan.blocks, (*self._model, *(at[k] for k in order), *numbers))
        self._count = (self._count + n) % _COUNTS
        self._device.read(self._at["error"], self._error)
        if self._error[0]:
            self._give_up()
        for name, array in outputs.items():
            if array is not None:
                _read(self._device, at[name], array)

    def _give(self, name: str, array: np.ndarray) -> int:
        address = self._buffer(name, array.nbytes)
        self._device.write(address, np.ascontiguousarray(array))
        return address

    def _give_up(self) -> None:
        """The kernel waited in vain: clear the flag and the state, and say so."""
        where = "the head" if self._error[0] == 2 else "a layer"
        self._device.write(self._at["error"], np.zeros(1, np.uint32))
        self.reset()
        raise UserError(
            f"the WaveNet kernel on {self._device.name} got stuck: {where} waited {self.patience_ns / 1e9:.1f} s for "
            f"the layer before it; it needs {self.plan.wants} (does another program use this GPU?)"
        )

    def close(self) -> None:
        self._device.free()


def _read(device: Device, address: int, array: np.ndarray) -> None:
    if array.flags.c_contiguous:
        device.read(address, array)
    else:
        whole = np.empty(array.shape, array.dtype)
        device.read(address, whole)
        array[...] = whole
