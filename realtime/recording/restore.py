"""A snapshot (snapshot.py) as a file, and from the file into an object that was constructed the same way.

What is there already is filled in place: the buffers of an engine stay the buffers that it is bound to. What
is missing, or of another shape, is made. A class is what has the id that the file names
(realtime.shared.saved_classes): nothing is imported, whatever the file says.
"""

from __future__ import annotations

import dataclasses
import json
import os
import zipfile
import zlib
from collections import deque
from pathlib import Path
from typing import Any

import numpy as np

from realtime.engines.state import Stateful
from realtime.recording.snapshot import Pause, Plan, address, kind_of, root_array
from realtime.shared.saved_classes import class_of, renamed_in
from umtn.errors import UserError

__all__ = ["restore", "save"]

_MISSING = object()


def save(plan: Plan, path: Path, pause: Pause = lambda: None) -> None:
    """Write what `plan` captured; atomic. `Stale` if it is no good, OSError if the disk is not."""
    structure = "\n".join(plan.lines(pause)).encode()
    part = path.with_name(path.name + ".part")
    try:
        with part.open("wb") as file:
            np.savez(file, structure=np.frombuffer(structure, np.uint8), data=plan.blob)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def restore(root: Any, path: Path) -> None:
    """Put the saved state into `root`. UserError: the file cannot be read or does not fit."""
    try:
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            structure, data = bytes(file["structure"]).decode(), file["data"]
        if data.dtype != np.uint8 or data.ndim != 1:
            raise ValueError(f"bytes were wanted, not {data.dtype} {list(data.shape)}")
        nodes = [json.loads(line) for line in structure.split("\n")]
        _Restorer(nodes, data).into(root)
    except UserError as error:
        raise UserError(f"{path} holds {error}") from None
    except FileNotFoundError:
        raise UserError(f"there is no {path}: the state at the recording's start is kept in it") from None
    except (
        OSError,
        KeyError,
        IndexError,
        TypeError,
        AttributeError,
        zipfile.BadZipFile,
        ValueError,
        ImportError,
        OverflowError,
        MemoryError,
        RecursionError,
        EOFError,
        zlib.error,
    ) as error:
        raise UserError(
            f"{path} does not hold the state of what is played here ({type(error).__name__}: {error}); "
            "was it written by another version of the program?"
        ) from None


class _Restorer:
    """Finds for each saved node the live object in its place, then makes or fills each node once."""

    def __init__(self, nodes: list[dict[str, Any]], data: np.ndarray) -> None:
        self._nodes, self._data = nodes, data
        self._made: dict[int, Any] = {}
        self._live: dict[int, Any] = {}

    def into(self, root: Any) -> None:
        self._match(root)
        if self._node(0) is not root:
            raise TypeError(f"a {self._nodes[0].get('class')} was saved, not a {type(root).__name__}")

    def _match(self, root: Any) -> None:
        """All places before anything is filled: one that is missing must not cost a buffer that is elsewhere."""
        claimed: set[int] = set()
        todo: deque[tuple[Any, Any]] = deque([({"node": 0}, root)])
        while todo:
            saved, live = todo.popleft()
            number = saved.get("node", -1) if isinstance(saved, dict) else -1
            if number < 0 or number in self._live:
                continue
            node = self._nodes[number]
            if node["kind"] in ("fixed", "unknown"):
                self._live[number] = live
            elif kind_of(live) == node["kind"] and id(live) not in claimed:
                claimed.add(id(live))
                self._live[number] = live
                todo += _places(node, live)

    def _value(self, saved: Any) -> Any:
        if not isinstance(saved, dict):
            return saved
        if "number" in saved:
            return np.frombuffer(bytes.fromhex(saved["hex"]), saved["number"])[0]
        return self._node(saved["node"])

    def _node(self, number: int) -> Any:
        if number in self._made:
            return self._made[number]
        node, live = self._nodes[number], self._live.get(number, _MISSING)
        if node["kind"] in ("fixed", "unknown"):
            return live
        return getattr(self, f"_{node['kind']}")(number, node, live)

    def _done(self, number: int, made: Any) -> Any:
        self._made[number] = made
        return made

    def _array(self, number: int, node: dict[str, Any], live: Any) -> np.ndarray:
        shape, dtype = tuple(node["shape"]), _dtype(node["dtype"])
        fits = live is not _MISSING and live.shape == shape and live.dtype == dtype
        if "base" in node:
            return self._view(number, node, live if fits else _MISSING)
        saved = np.ndarray(shape, dtype, self._data.data, _offset(node["at"]))
        if fits and root_array(live) is live:
            live[...] = saved
            return self._done(number, live)
        return self._done(number, saved.copy())

    def _view(self, number: int, node: dict[str, Any], live: Any) -> np.ndarray:
        base = self._node(node["base"])
        strides, offset = tuple(node["strides"]), _offset(node["offset"])
        same = live is not _MISSING and root_array(live) is base and live.strides == strides
        if same and address(live) - address(base) == offset:
            return self._done(number, live)
        view = np.ndarray(tuple(node["shape"]), _dtype(node["dtype"]), base.data, offset, strides)
        return self._done(number, view)

    def _stateful(self, number: int, node: dict[str, Any], live: Any) -> Stateful:
        if not isinstance(live, Stateful):
            raise TypeError(f"there is no {node['layout']} here")
        if (node["layout"], node["bytes"]) != (live.state_layout, live.state_bytes):
            raise UserError(
                f"the state of {node['layout']} ({node['bytes']} bytes), but {live.state_layout} "
                f"({live.state_bytes} bytes) plays here; only the same bundle, engine, precision and instruction "
                "set go on from it"
            )
        kept = self._data[_offset(node["at"]) : node["at"] + node["bytes"]]
        if len(kept) != live.state_bytes:
            raise ValueError("a state that breaks off")
        live.load_state(kept)
        return self._done(number, live)

    def _random(self, number: int, node: dict[str, Any], live: Any) -> np.random.Generator:
        if live is _MISSING:
            live = np.random.Generator(getattr(np.random, node["state"]["bit_generator"])())
        live.bit_generator.state = node["state"]
        return self._done(number, live)

    def _object(self, number: int, node: dict[str, Any], live: Any) -> Any:
        class_ = _class(node["class"])
        if issubclass(class_, Stateful):  # as older recordings have it, addresses and all
            raise TypeError(f"a {class_.__name__} was saved without its state")
        frozen = dataclasses.is_dataclass(class_) and class_.__dataclass_params__.frozen  # type: ignore[attr-defined]
        before = {} if live is _MISSING or type(live) is not class_ else dict(live.__dict__)
        made = live if before and not frozen else object.__new__(class_)
        self._done(number, made)
        for name, saved in _fields(node).items():
            old = before.pop(name, _MISSING)
            value = self._value(saved)
            if value is not _MISSING and (made is not live or value is not old):
                _put(made, name, value)
        for name, value in before.items() if made is not live else ():
            object.__setattr__(made, name, value)  # whoever saved it did not have this yet
        return made

    def _list(self, number: int, node: dict[str, Any], live: Any) -> list[Any]:
        made = [] if live is _MISSING else live
        self._done(number, made)
        made[:] = self._items(node)
        return made

    def _tuple(self, number: int, node: dict[str, Any], live: Any) -> tuple[Any, ...]:
        made = tuple(self._items(node))
        same = live is not _MISSING and len(made) == len(live) and all(a is b for a, b in zip(made, live))
        return self._done(number, live if same else made)

    def _deque(self, number: int, node: dict[str, Any], live: Any) -> deque[Any]:
        made = deque(maxlen=node["maxlen"]) if live is _MISSING else live
        self._done(number, made)
        items = self._items(node)
        made.clear()
        made.extend(items)
        return made

    def _set(self, number: int, node: dict[str, Any], live: Any) -> Any:
        items = self._items(node)
        if node.get("frozen"):
            return self._done(number, frozenset(items))
        made = set() if live is _MISSING else live
        made.clear()
        made.update(items)
        return self._done(number, made)

    def _dict(self, number: int, node: dict[str, Any], live: Any) -> dict[Any, Any]:
        made = {} if live is _MISSING else live
        self._done(number, made)
        pairs = [(self._value(key), self._value(saved)) for key, saved in node["items"]]
        made.clear()
        made.update(pairs)
        return made

    def _items(self, node: dict[str, Any]) -> list[Any]:
        made = [self._value(saved) for saved in node["items"]]
        if any(value is _MISSING for value in made):
            raise TypeError("a part that cannot be saved is not there")
        return made


def _places(node: dict[str, Any], live: Any) -> list[tuple[Any, Any]]:
    """The node's children, each with what is in its place now."""
    kind = node["kind"]
    if kind == "object":
        now = live.__dict__
        return [(saved, now[name]) for name, saved in _fields(node).items() if name in now]
    if kind == "dict":
        return [
            (saved, live[key]) for key, saved in node["items"] if not isinstance(key, dict) and key in live
        ]
    if kind in ("list", "tuple", "deque"):
        return list(zip(node["items"], live))
    if kind == "array" and "base" in node and list(live.shape) == node["shape"]:
        return [({"node": node["base"]}, root_array(live))]
    return []


def _dtype(name: str) -> np.dtype[Any]:
    """Of numbers: what a file says of objects would be taken for their addresses."""
    dtype = np.dtype(name)
    if dtype.hasobject:
        raise TypeError("an array of objects")
    return dtype


def _offset(at: int) -> int:
    """numpy asks whether an array ends in its memory, and not whether it begins there."""
    if type(at) is not int or at < 0:
        raise ValueError(f"an array that begins at {at}")
    return at


def _class(name: Any) -> type:
    """Of this id, or of the place in the source that older files name instead."""
    found = class_of(name) if isinstance(name, str) else None
    if found is None:
        raise UserError(
            f"the state of {str(name)[:80]!r}, which is none of this program's classes: another version wrote it, "
            "and only that one goes on from it"
        )
    return found


def _put(made: Any, name: str, value: Any) -> None:
    """`name` as `renamed` may say it: "_fade.position" is an attribute of a part that has it now."""
    *parts, last = name.split(".")
    for part in parts:
        made = made.__dict__[part]
    object.__setattr__(made, last, value)


def _fields(node: dict[str, Any]) -> dict[str, Any]:
    """The saved attributes by the names that they have today."""
    renamed = renamed_in(_class(node["class"]))
    return {renamed.get(name, name): saved for name, saved in node["fields"].items()}
