"""The parameters' cells (one float64 each, in the order of the shared memory) into a signal path's controls.

Also from one bundle's domains to another's: while the control process does not yet know of a new bundle, what
it writes to `to` and `blend/...` are still numbers in the old list.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from realtime.shared.memory import PARAMETER_INDEX
from realtime.shared.parameters import FAMILIES, MAX_DOMAINS, PARAMETERS, VALUES
from realtime.shared.saved_classes import saved

__all__ = ["CELLS", "Controls", "DomainMap", "default_cells", "fill", "named", "put"]

CELLS = len(PARAMETER_INDEX)
_NAMES = tuple(PARAMETER_INDEX)
_TO = PARAMETER_INDEX["to"]


def _cells_of(name: str, count: int) -> slice:
    return slice(PARAMETER_INDEX[f"{name}/0"], PARAMETER_INDEX[f"{name}/0"] + count)


# Attribute of Controls -> its cell and what it is there, or its cells: made from the table, as the cells are
_KINDS: dict[str, Callable[[float], float]] = {
    "float": float,
    "bool": lambda x: bool(x >= 0.5),
    "choice": int,
}
_SINGLE = {
    p.attribute: (PARAMETER_INDEX[p.name], _KINDS[p.kind])
    for p in PARAMETERS
    if p.kind in VALUES and not p.per_domain
}
_SEVERAL = {p.attribute: _cells_of(p.name, MAX_DOMAINS) for p in PARAMETERS if p.per_domain}
_SEVERAL |= {f.attribute: _cells_of(f.name, f.count) for f in FAMILIES}
_BLEND, _SCALE, _BIAS = (_SEVERAL[name] for name in ("blend", "latent_scale", "latent_bias"))


def fill(controls: Controls, cells: np.ndarray) -> None:
    """Every control from its cell."""
    held = vars(controls)
    for name, (cell, kind) in _SINGLE.items():
        held[name] = kind(cells[cell])
    for name, several in _SEVERAL.items():
        np.copyto(held[name], cells[several])


def default_cells() -> np.ndarray:
    """Every cell at its parameter's default."""
    table = {p.name: p.default for p in PARAMETERS} | {f.name: f.default for f in FAMILIES}
    return np.array([table.get(name, table.get(name.rpartition("/")[0], 0.0)) for name in _NAMES])


def named(cells: np.ndarray, indices: Sequence[int] | np.ndarray) -> dict[str, float]:
    """Cells by name, for people."""
    return {_NAMES[i]: float(cells[i]) for i in indices}


def put(cells: np.ndarray, values: Mapping[str, float]) -> None:
    """The reverse; KeyError for a name that this version does not have."""
    for name, value in values.items():
        cells[PARAMETER_INDEX[name]] = value


@saved("domain-map")
class DomainMap:
    """Numbers in the list `old` to numbers in the list `new`, by the domains' ids; unknown ones to the first.

    settle(cells): the new bundle plays now; as soon as those cells change, someone who knows the new list has
    written them, and `apply` says False.
    """

    def __init__(self, old: Sequence[str], new: Sequence[str], same_latent: bool = True) -> None:
        self.table = [new.index(id) if id in new else -1 for id in old]
        self.same_latent = same_latent
        self.identity = tuple(old) == tuple(new) and same_latent
        self._held: np.ndarray | None = None

    def index(self, to: int) -> int:
        """The domain's new number."""
        return max(0, self.table[to]) if 0 <= to < len(self.table) else 0

    def weights(self, old: np.ndarray) -> np.ndarray:
        """The blend's weights in their new places; those of domains that are gone are dropped."""
        new = np.zeros_like(old)
        for before, after in enumerate(self.table):
            if after >= 0:
                new[after] = old[before]
        return new

    def settle(self, cells: np.ndarray) -> None:
        self._held = _domain_cells(cells)

    def apply(self, controls: Controls, cells: np.ndarray) -> bool:
        """Translate what `fill` has just put there; False once that is over."""
        if self._held is not None and not np.array_equal(self._held, _domain_cells(cells)):
            return False
        controls.to = self.index(controls.to)
        controls.blend[:] = self.weights(controls.blend)
        if not self.same_latent:
            controls.latent_scale.fill(1.0)
            controls.latent_bias.fill(0.0)
        return True

    def rewrite(self, cells: np.ndarray) -> None:
        """In the shared memory itself (control process): `to`, weights and latent channels as they now count."""
        changed = cells.copy()
        changed[_TO] = self.index(int(cells[_TO]))
        changed[_BLEND] = self.weights(cells[_BLEND])
        if not self.same_latent:
            changed[_SCALE], changed[_BIAS] = 1.0, 0.0
        first = min(_TO, _BLEND.start)
        cells[first : _BLEND.stop] = changed[first : _BLEND.stop]  # in one go: audio reads at any moment
        if not self.same_latent:
            cells[_SCALE], cells[_BIAS] = changed[_SCALE], changed[_BIAS]


def _domain_cells(cells: np.ndarray) -> np.ndarray:
    return np.concatenate([cells[_TO : _TO + 1], cells[_BLEND], cells[_SCALE], cells[_BIAS]])


@saved("controls", renamed={"gate_db": "input_gate_db"})
class Controls:
    """What the performer sets; the audio thread copies it from the shared memory before each block.

    One attribute a value of the table, `input_gain_db` of `input/gain_db`, and three arrays: `blend`
    [MAX_DOMAINS] (weights; all 0: `to` alone), `latent_scale` and `latent_bias` [MAX_LATENT]. Given ones replace
    the table's defaults; TypeError for a name that it does not have.
    """

    def __init__(self, **given: Any) -> None:
        held, cells = vars(self), default_cells()
        held.update({name: cells[several].copy() for name, several in _SEVERAL.items()})
        fill(self, cells)
        if unknown := given.keys() - held.keys():
            raise TypeError(f"the table has no {', '.join(sorted(unknown))}")
        held.update(given)

    if TYPE_CHECKING:
        # Which attributes there are is known when the table has been read, not before
        def __getattr__(self, name: str) -> Any: ...
        def __setattr__(self, name: str, value: Any) -> None: ...
