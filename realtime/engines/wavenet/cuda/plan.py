"""How one decoder lies on one chip: threads, what stays where, how blocks hand over. Decided before compiling.

A block is one layer (or the head). Its matrices go to registers while those last, then to shared memory, and
what is left stays in global memory: every size works, but only what is resident is fast.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from realtime.engines.wavenet import WavenetWeights
from umtn.errors import UserError

__all__ = ["MAX_STREAMS", "Chip", "Plan", "make_plan"]

MAX_STREAMS = 8  # the columns of the matrix unit
REGISTERS, SHARED, GLOBAL = 0, 1, 2
REGISTER_FILE = 65536
WORKING_REGISTERS = 64  # of a thread, for everything that is no weight
KIB = 1024
# CUDA C++ Programming Guide, "Technical Specifications per Compute Capability": shared memory of one block
_SHARED_KIB = {
    80: 163,
    86: 99,
    87: 163,
    89: 99,
    90: 227,
    100: 227,
    101: 227,
    103: 227,
    110: 227,
    120: 99,
    121: 99,
}
OLDEST = 80  # fp16 matrix instruction of this shape, warp reductions


@dataclass(frozen=True)
class Chip:
    """compute capability as one number (9.0 -> 90), multiprocessors, bytes of shared memory a block may have."""

    capability: int
    multiprocessors: int
    shared_bytes: int

    @classmethod
    def of(cls, capability: int, multiprocessors: int = 0) -> Chip:
        """Limits by the table, for compiling without a GPU. UserError: too old."""
        if capability < OLDEST:
            raise UserError(
                f"the WaveNet kernel needs an NVIDIA GPU of compute capability 8.0 or later, and this one has "
                f"{capability // 10}.{capability % 10}; use the CPU engine"
            )
        return cls(capability, multiprocessors, _SHARED_KIB.get(capability, 99) * KIB)

    @property
    def arch(self) -> str:
        return f"sm_{self.capability}"

    @property
    def clusters(self) -> bool:
        """Whether blocks can write into each other's shared memory."""
        return self.capability >= 90


@dataclass(frozen=True)
class Plan:
    """Sizes (residual, skip and classes padded to 16) and places; `macros` is what the kernel sees of it."""

    residual: int
    skip: int
    classes: int
    padded_classes: int
    layers: int
    streams: int
    guided: bool
    warps: int
    cluster: int
    current: int
    output: int
    previous: int
    head: int
    classify: int

    @property
    def threads(self) -> int:
        return 32 * self.warps

    @property
    def blocks(self) -> int:
        """Layers and head, rounded up to whole clusters."""
        return -(-(self.layers + 1) // self.cluster) * self.cluster

    @property
    def width(self) -> int:
        return self.residual + self.skip

    @property
    def register_limit(self) -> int:
        """Registers a thread can have, so that one block fits a multiprocessor."""
        return min(255, REGISTER_FILE // self.threads // 8 * 8)

    @property
    def layer_matrices(self) -> tuple[tuple[int, int], ...]:
        """(tiles of 16 rows, depth) of current tap, output, previous tap."""
        r, w = self.residual, self.width
        return (2 * r // 16, r), (w // 16, r), (2 * r // 16, r)

    @property
    def head_matrices(self) -> tuple[tuple[int, int], ...]:
        return (self.skip // 16, self.skip), (self.padded_classes // 16, self.skip)

    @property
    def shared_head(self) -> int:
        """Bytes of shared memory before the weights: `struct Shared`."""
        b = self.streams
        deep = max(self.residual, self.skip)
        floats = 2 * b * (self.width + 16) + b * self.padded_classes
        return -(-(4 * floats + 2 * 8 * (deep + 16) + 16) // 128) * 128

    @property
    def shared_bytes(self) -> int:
        layer = self._shared(self.layer_matrices, (self.current, self.output, self.previous))
        return self.shared_head + max(layer, self._shared(self.head_matrices, (self.head, self.classify)))

    @staticmethod
    def _shared(matrices: Sequence[tuple[int, int]], places: Sequence[int]) -> int:
        return sum(_bytes(*m) for m, place in zip(matrices, places) if place == SHARED)

    @property
    def macros(self) -> dict[str, int]:
        return {
            "WN_RESIDUAL": self.residual, "WN_SKIP": self.skip, "WN_CLASSES": self.classes,
            "WN_CLASSES_PADDED": self.padded_classes, "WN_LAYERS": self.layers, "WN_STREAMS": self.streams,
            "WN_GUIDED": int(self.guided), "WN_WARPS": self.warps, "WN_CLUSTER": self.cluster,
            "WN_PLACE_CURRENT": self.current, "WN_PLACE_OUTPUT": self.output, "WN_PLACE_PREVIOUS": self.previous,
            "WN_PLACE_HEAD": self.head, "WN_PLACE_CLASSIFY": self.classify, "WN_SHARED_HEAD": self.shared_head,
        }  # fmt: skip

    @property
    def resident(self) -> bool:
        """Whether all weights stay on the multiprocessors."""
        return GLOBAL not in (self.current, self.output, self.previous, self.head, self.classify)

    @property
    def wants(self) -> str:
        """What it takes to run, for a sentence."""
        return f"{self.blocks} multiprocessors at once, each with {self.shared_bytes / KIB:.0f} KiB of shared memory"


def make_plan(
    weights: WavenetWeights, chip: Chip, streams: int = 1, cluster: int = 1, warps: int = 0
) -> Plan:
    """UserError: more streams than columns, or a block that fits no multiprocessor of this chip."""
    if not 1 <= streams <= MAX_STREAMS:
        raise UserError(f"the WaveNet kernel plays 1 to {MAX_STREAMS} streams at once, not {streams}")
    if cluster > 1 and not chip.clusters:
        raise UserError(f"{chip.arch} has no clusters of blocks; compute capability 9.0 or later has")
    r, s, a = (_padded(n) for n in (weights.residual, weights.skip, weights.classes))
    warps = warps or min(16, max(2 * r, r + s, a) // 16)
    bare = Plan(
        r,
        s,
        weights.classes,
        a,
        weights.layers,
        streams,
        weights.guided,
        warps,
        cluster,
        GLOBAL,
        GLOBAL,
        GLOBAL,
        GLOBAL,
        GLOBAL,
    )
    current, output, previous = _place(bare, bare.layer_matrices, chip)
    head, classify = _place(bare, bare.head_matrices, chip)
    plan = replace(bare, current=current, output=output, previous=previous, head=head, classify=classify)
    if plan.shared_bytes > chip.shared_bytes:
        raise UserError(
            f"the decoder {weights.name} with {streams} streams needs {plan.shared_bytes / KIB:.0f} KiB of shared "
            f"memory a block, and {chip.arch} has {chip.shared_bytes / KIB:.0f}; use fewer streams or the CPU engine"
        )
    return plan


def _padded(n: int) -> int:
    return -(-n // 16) * 16


def _bytes(tiles: int, depth: int) -> int:
    return tiles * 16 * depth * 2


def _place(plan: Plan, matrices: Sequence[tuple[int, int]], chip: Chip) -> list[int]:
    """First come, first served: the matrices are given in the order in which a sample waits for them."""
    registers = plan.register_limit - WORKING_REGISTERS
    room = chip.shared_bytes - plan.shared_head
    places = []
    for tiles, depth in matrices:
        need = -(-tiles // plan.warps) * depth // 16 * 4
        if need <= registers:
            registers -= need
            places.append(REGISTERS)
        elif _bytes(tiles, depth) <= room:
            room -= _bytes(tiles, depth)
            places.append(SHARED)
        else:
            places.append(GLOBAL)
    return places
