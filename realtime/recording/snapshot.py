"""The complete state of any object, taken between two blocks of sound in microseconds, and put back later.

The walker knows no fields. It follows attributes, lists, tuples, dicts, sets, deques, arrays and numpy's
generators from a root, each object once however many names it has; a `Stateful` one hands over its state itself.
What cannot be read (an ONNX Runtime session, a function, a lock) stays what it is in the object that is restored
into, which therefore must have been constructed the same way. Of our own objects those are read whose class has an
id (realtime.shared.saved_classes), by which the state names it; all others are reported. No pickle: JSON for the
structure, bytes for the arrays.

Threading model, because a walk takes milliseconds and a block may last one:
    `Plan(root)`          any thread: walks, gets the memory, notes which containers and arrays there are
    `plan.capture()`      the thread that owns the root: copies each of them, shallow; no walk
    `plan.lines()`        any thread: walks again, but through the copies; `Stale` if the root was rebuilt since
"""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from enum import Enum
from typing import Any

import numpy as np

from realtime.engines.state import Stateful
from realtime.shared.saved_classes import id_of

__all__ = ["Plan", "Stale", "polite"]

ALIGN = 64
_PLAIN = (bool, int, float, str)
# Descriptions and machinery: the same in every object that is constructed the same way
_FIXED = ("function", "builtin_function_or_method", "method", "type", "module", "bytes", "PosixPath", "WindowsPath",
          "lock", "partial", "ABCMeta", "EnumType", "mappingproxy", "method-wrapper")  # fmt: skip
CONTAINERS = ("object", "list", "dict", "deque", "set")
Pause = Callable[[], None]


class Stale(RuntimeError):
    """The root got new parts between plan and capture: plan again."""


def polite(every: int = 32, seconds: float = 0.0005) -> Pause:
    """To be called once a node by a walk beside the music: now and then it gives the interpreter away."""
    count = 0

    def pause() -> None:
        nonlocal count
        count += 1
        if count % every == 0:
            time.sleep(seconds)

    return pause


def kind_of(value: Any) -> str:
    """plain, number, array, random, list, tuple, dict, set, deque, object, stateful, fixed or unknown."""
    if value is None or type(value) in _PLAIN:
        return "plain"
    if isinstance(value, np.generic):
        return "number"
    if isinstance(value, Enum):
        return "unknown"
    if isinstance(value, np.ndarray):
        return "array" if value.flags.writeable and not value.dtype.hasobject else "fixed"
    if isinstance(value, np.random.Generator):
        return "random"
    for name, type_ in (("list", list), ("tuple", tuple), ("dict", dict), ("deque", deque)):
        if type(value) is type_:
            return name
    if isinstance(value, (set, frozenset)):
        return "set"
    if isinstance(value, Stateful):
        return "stateful"
    if id_of(type(value)) is not None:
        return "object"
    module = type(value).__module__.split(".")[0]
    return "fixed" if module in ("export", "onnxruntime") or type(value).__name__ in _FIXED else "unknown"


def is_unsaved(value: Any, kind: str) -> bool:
    """Whether state may hide in what the walker leaves alone."""
    device = getattr(value, "device_name", None)
    return kind == "unknown" or (kind == "fixed" and callable(device) and device() != "cpu")


def root_array(array: np.ndarray) -> np.ndarray:
    """The array that owns a view's memory, as far as it can be written to in one piece."""
    owner = array
    while isinstance(owner.base, np.ndarray):
        owner = owner.base
    usable = owner.flags.writeable and owner.flags.c_contiguous and not owner.dtype.hasobject
    return owner if usable else array


class Plan:
    """See the head of this file. `unsaved`: types whose state could not be read. `bytes`: of all arrays."""

    def __init__(self, root: Any, pause: Pause = lambda: None) -> None:
        self._root = root
        self._owners: list[Any] = []  # keeps every id valid
        self._containers: list[Any] = []
        self._shallow: list[Callable[[], Any]] = []
        self._copies: dict[int, Any] = {}
        self._sources: list[np.ndarray] = []
        self._stateful: list[Stateful] = []
        self._random: list[np.random.Generator] = []
        self._states: list[Any] = []
        self._copied: list[Any] = []
        self._drawn: dict[int, Any] = {}
        self.unsaved: set[str] = set()
        self._walk(pause)
        self._at: dict[int, int] = {}  # where in `blob`
        self._targets, self._states_at, self.blob = self._memory()

    def _walk(self, pause: Pause) -> None:
        seen: set[int] = set()
        todo = [self._root]
        while todo:
            value = todo.pop()
            kind = kind_of(value)
            if kind in ("plain", "number"):
                continue
            if kind == "array":
                value = root_array(value)
            if id(value) in seen:
                continue
            seen.add(id(value))
            pause()
            self._note(value, kind)
            todo += _parts(value, kind, _shallow(value, kind))

    def _note(self, value: Any, kind: str) -> None:
        self._owners.append(value)
        if kind == "array":
            self._sources.append(value)
        elif kind == "stateful":
            self._stateful.append(value)
        elif kind == "random":
            self._random.append(value)
        elif kind in CONTAINERS:
            self._containers.append(value)
            self._shallow.append((value.__dict__ if kind == "object" else value).copy)
        elif is_unsaved(value, kind):
            self.unsaved.add(f"{type(value).__module__}.{type(value).__name__}")

    def _memory(self) -> tuple[list[np.ndarray], list[np.ndarray], np.ndarray]:
        """Places of each array's shape and of each `Stateful` one's size, and the piece of memory that they are in."""
        size = 0
        lengths = [source.nbytes for source in self._sources] + [s.state_bytes for s in self._stateful]
        for owner, length in zip([*self._sources, *self._stateful], lengths, strict=True):
            self._at[id(owner)] = size
            size += -(-length // ALIGN) * ALIGN
        blob = np.zeros(size, np.uint8)  # zeros, and touched: no page may be missing while the music waits
        blob.fill(0)
        targets = [np.ndarray(s.shape, s.dtype, blob, self._at[id(s)]) for s in self._sources]
        states = [np.ndarray(s.state_bytes, np.uint8, blob, self._at[id(s)]) for s in self._stateful]
        return targets, states, blob

    @property
    def bytes(self) -> int:
        return len(self.blob)

    def capture(self) -> None:
        """Copy everything that can change; nothing else may use the root meanwhile."""
        self._copied = [copy() for copy in self._shallow]
        for target, source in zip(self._targets, self._sources, strict=True):
            target[...] = source
        for kept, owner in zip(self._states_at, self._stateful, strict=True):
            owner.save_state(kept)
        self._states = [generator.bit_generator.state for generator in self._random]

    def parts(self) -> list[Any]:
        """All that the root consists of, parents before their parts."""
        parts = self._owners
        self._owners = []
        self.forget()
        return parts

    def forget(self) -> None:
        """Let go of the root, which may be large."""
        self._root = None
        for held in (self._owners, self._containers, self._shallow, self._sources, self._stateful, self._random,
                     self._targets, self._states_at, self._copied, self._states):  # fmt: skip
            held.clear()
        for named in (self._copies, self._drawn, self._at):
            named.clear()
        self.blob = self.blob[:0]

    def lines(self, pause: Pause = lambda: None) -> Iterator[str]:
        """The captured structure, one JSON object a node; node 0 is the root. `Stale`: see there."""
        self._copies = {id(o): c for o, c in zip(self._containers, self._copied, strict=True)}
        self._drawn = {id(g): s for g, s in zip(self._random, self._states, strict=True)}
        numbers: dict[int, int] = {}
        todo: deque[Any] = deque()
        keep: list[Any] = []  # an id is good for as long as its object lives

        def refer(value: Any) -> Any:
            kind = kind_of(value)
            if kind == "plain":
                return value
            if kind == "number":
                return {"number": value.dtype.str, "hex": value.tobytes().hex()}
            return {"node": number(value)}

        def number(value: Any) -> int:
            if id(value) not in numbers:
                numbers[id(value)] = len(numbers)
                todo.append(value)
            return numbers[id(value)]

        number(self._root)
        while todo:
            value = todo.popleft()
            keep.append(value)
            pause()
            yield json.dumps(self._node(value, refer, number))

    def _node(self, value: Any, refer: Callable[[Any], Any], number: Callable[[Any], int]) -> dict[str, Any]:
        kind = kind_of(value)
        node: dict[str, Any] = {"kind": kind}
        if kind == "array":
            return node | self._array(value, number)
        if kind == "stateful":
            return node | {
                "layout": value.state_layout,
                "bytes": value.state_bytes,
                "at": self._captured(value, self._at),
            }
        if kind in ("fixed", "unknown"):
            return node | {"class": type(value).__name__}
        if kind == "random":
            return node | {"state": self._captured(value, self._drawn)}
        if kind == "tuple":
            return node | {"items": [refer(v) for v in value]}
        held = self._captured(value, self._copies)
        if kind == "object":
            node["class"] = id_of(type(value))
            return node | {"fields": {name: refer(v) for name, v in held.items()}}
        if kind == "dict":
            return node | {"items": [[refer(k), refer(v)] for k, v in held.items()]}
        if kind == "deque":
            node["maxlen"] = value.maxlen
        if isinstance(value, frozenset):
            node["frozen"] = True
        return node | {"items": [refer(v) for v in held]}

    def _array(self, array: np.ndarray, number: Callable[[Any], int]) -> dict[str, Any]:
        root = root_array(array)
        node = {"dtype": array.dtype.str, "shape": array.shape}
        if root is array:
            return node | {"at": self._captured(array, self._at)}
        return node | {
            "base": number(root),
            "strides": array.strides,
            "offset": address(array) - address(root),
        }

    @staticmethod
    def _captured(value: Any, copies: Mapping[int, Any]) -> Any:
        if id(value) not in copies:
            raise Stale(f"a {type(value).__name__} that was not planned for")
        return copies[id(value)]


def address(array: np.ndarray) -> int:
    """Where its first element lies."""
    return int(array.__array_interface__["data"][0])


def _shallow(value: Any, kind: str) -> Any:
    """The value's direct contents in a copy: whoever owns it may change it while we look."""
    if kind == "object":
        return value.__dict__.copy()
    return value.copy() if kind in CONTAINERS else value


def _parts(value: Any, kind: str, held: Any) -> list[Any]:
    if kind == "object":
        return list(held.values())
    if kind == "dict":
        return [*held.keys(), *held.values()]
    return list(held) if kind in ("list", "tuple", "deque", "set") else []
