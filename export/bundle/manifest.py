"""What a bundle says of itself: `manifest.json` as frozen dataclasses, checked field by field.

Shapes have the stream first and time last: audio [1, 1, block], latent [1, D, block / hop]. numpy-free.
"""

from __future__ import annotations

import difflib
import json
import math
import re
from dataclasses import asdict, dataclass, field
from typing import Any, NoReturn

__all__ = [
    "FORMAT",
    "FORMAT_VERSION",
    "BundleError",
    "Domain",
    "Graph",
    "Manifest",
    "PitchLayout",
    "Port",
    "Probe",
    "State",
]

FORMAT = "umtn-bundle"
FORMAT_VERSION = 1
DTYPES = ("float32", "float64", "int64")
LARGEST_INITIAL = {"float32": 3.4e38, "float64": 1.7e308, "int64": 2.0**53}
MAX_STATE_ELEMENTS = 1 << 26  # of one graph
MAX_DOMAINS = 128
LEAST_TEMPERATURE, MOST_TEMPERATURE = 0.05, 2.0
_ID = re.compile(r"[a-z0-9][a-z0-9_-]{0,31}")
_SHA256 = re.compile(r"[0-9a-f]{64}")


class BundleError(ValueError):
    """A bundle that cannot be written or must not be loaded; the message is one sentence for a person."""


@dataclass(frozen=True)
class Port:
    """An input or output of a graph that is not state."""

    name: str
    shape: tuple[int, ...]
    dtype: str = "float32"


@dataclass(frozen=True)
class State:
    """A state tensor: the graph's input `name`, its successor `output`, `initial` throughout at the start."""

    name: str
    output: str
    shape: tuple[int, ...]
    dtype: str = "float32"
    initial: float = 0.0


@dataclass(frozen=True)
class Graph:
    """One ONNX file: takes `inputs`, then `states`; gives `outputs`, then the states' successors."""

    path: str
    sha256: str
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    states: tuple[State, ...]


@dataclass(frozen=True)
class Domain:
    """A sound to play as: its id on the command line, its display name, its decoder's graph."""

    id: str
    name: str
    graph: str


@dataclass(frozen=True)
class Probe:
    """How long the self-test is and how far an engine may stray from it."""

    blocks: int
    tolerance: float = 1e-4


@dataclass(frozen=True)
class PitchLayout:
    """A latent that names pitches: planes of `pitches` channels each, then `room` channels of no pitch.

    [ activation | cents | `free` planes | room ]; a plane's first channel is the MIDI note `lowest`. The cents
    plane bends a pitch by `bend` * tanh(z) semitones.
    """

    lowest: int
    pitches: int
    free: int
    room: int
    bend: float

    @property
    def planes(self) -> int:
        return 2 + self.free


@dataclass(frozen=True)
class Manifest:
    """Everything a host needs to know before it loads a graph. `files` maps a path to its SHA-256.

    `latency_samples`: the model's own lag at `sample_rate`, measured, without the block a host must gather.
    `pitch_latent`: what the latent's channels mean, where they mean pitches; optional in the file.
    `temperature`: that autoregressive decoders sound best at, 1 = as trained; optional in the file.
    """

    name: str
    preset: str
    licence: str
    notes: str
    sample_rate: int
    block: int
    hop: int
    latent_channels: int
    latency_samples: int
    domains: tuple[Domain, ...]
    encoder: str
    graphs: dict[str, Graph]
    files: dict[str, str] = field(default_factory=dict)
    probe: Probe = Probe(1)
    pitch_latent: PitchLayout | None = None
    temperature: float = 1.0

    @property
    def sampled(self) -> bool:
        """Whether its decoders draw sample by sample: then their graphs take the temperature of the drawing."""
        return all(any(p.name == "temperature" for p in self.graphs[d.graph].inputs) for d in self.domains)

    def to_json(self) -> str:
        """The text of manifest.json."""
        tree: dict[str, Any] = {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            **asdict(self),
        }
        for graph in tree["graphs"].values():
            del graph["path"]
        if self.pitch_latent is None:
            del tree["pitch_latent"]
        if self.temperature == 1.0:
            del tree["temperature"]
        tree["files"] = {name: {"sha256": digest} for name, digest in self.files.items()}
        return json.dumps(tree, indent=1, ensure_ascii=False, allow_nan=False)

    @classmethod
    def from_json(cls, text: str | bytes) -> Manifest:
        """Parse and check; BundleError says which field is wrong."""
        try:
            tree = json.loads(text, object_pairs_hook=_no_duplicates, parse_constant=_no_constants)
        except (ValueError, RecursionError) as error:
            if isinstance(error, BundleError):
                raise
            raise BundleError(f"manifest.json is not readable JSON ({error})") from None
        _check_version(tree)
        values = _take(tree, "manifest.json", _MANIFEST, {"pitch_latent": dict, "temperature": float})
        del values["format"], values["format_version"]
        values["graphs"] = {path: _graph(path, entry) for path, entry in values["graphs"].items()}
        values["domains"] = tuple(
            Domain(**_take(entry, f"domain {i}", {"id": str, "name": str, "graph": str}))
            for i, entry in enumerate(values["domains"])
        )
        values["files"] = {
            path: _digest(_take(entry, path, {"sha256": str})["sha256"], path)
            for path, entry in values["files"].items()
        }
        values["probe"] = Probe(**_take(values["probe"], "probe", {"blocks": int, "tolerance": float}))
        if "pitch_latent" in values:
            values["pitch_latent"] = PitchLayout(
                **_take(values["pitch_latent"], "pitch_latent", _PITCH_LATENT)
            )
        manifest = cls(**values)
        manifest.check()
        return manifest

    def check(self) -> None:
        """Refuse figures that do not go together."""
        _in_range("sample_rate", self.sample_rate, 1000, 384000)
        _in_range("block", self.block, 1, 1 << 20)
        _in_range("hop", self.hop, 1, self.block)
        _in_range("latent_channels", self.latent_channels, 1, 1 << 16)
        _in_range("latency_samples", self.latency_samples, 0, 10 * self.sample_rate)
        _in_range("number of domains", len(self.domains), 1, MAX_DOMAINS)
        _in_range("probe.blocks", self.probe.blocks, 1, 1 << 20)
        if not 0 < self.probe.tolerance < 1:
            _fail(f"probe.tolerance is {self.probe.tolerance}, but must lie between 0 and 1")
        if self.block % self.hop:
            _fail(f"block {self.block} is no multiple of hop {self.hop}")
        if not LEAST_TEMPERATURE <= self.temperature <= MOST_TEMPERATURE:
            _fail(
                f"temperature is {self.temperature:g}, but must lie from {LEAST_TEMPERATURE:g} to "
                f"{MOST_TEMPERATURE:g}"
            )
        self._check_pitches()
        ids = [domain.id for domain in self.domains]
        for name in ids:
            if not _ID.fullmatch(name):
                _fail(f"domain id {name!r} must be 1 to 32 of a-z, 0-9, - and _")
            if ids.count(name) > 1:
                _fail(f"domain id {name!r} is given twice")
        audio, latent = (
            (1, 1, self.block),
            (1, self.latent_channels, self.block // self.hop),
        )
        _check_graph(self._graph(self.encoder), {"audio": audio}, {"latent": latent})
        optional = {"noise": audio, "temperature": (1,)}
        for domain in self.domains:
            _check_graph(
                self._graph(domain.graph),
                {"latent": latent},
                {"audio": audio},
                optional,
            )

    def _check_pitches(self) -> None:
        layout = self.pitch_latent
        if layout is None:
            return
        _in_range("pitch_latent.lowest", layout.lowest, 0, 127)
        _in_range("pitch_latent.pitches", layout.pitches, 1, 128 - layout.lowest)
        _in_range("pitch_latent.free", layout.free, 0, 1 << 10)
        _in_range("pitch_latent.room", layout.room, 0, 1 << 16)
        channels = layout.planes * layout.pitches + layout.room
        if channels != self.latent_channels:
            _fail(
                f"pitch_latent describes {channels} channels, but latent_channels is {self.latent_channels}"
            )
        if not 0 < layout.bend <= 12:
            _fail(f"pitch_latent.bend is {layout.bend} semitones, but must lie above 0 and up to 12")

    def _graph(self, path: str) -> Graph:
        if path not in self.graphs:
            _fail(f"it names a graph {path!r}, but lists only {', '.join(self.graphs) or 'none'}")
        return self.graphs[path]


_MANIFEST: dict[str, type] = {
    "format": str, "format_version": int, "name": str, "preset": str, "licence": str, "notes": str,
    "sample_rate": int, "block": int, "hop": int, "latent_channels": int, "latency_samples": int,
    "domains": list, "encoder": str, "graphs": dict, "files": dict, "probe": dict,
}  # fmt: skip
_PITCH_LATENT: dict[str, type] = {"lowest": int, "pitches": int, "free": int, "room": int, "bend": float}
_WORD = {
    str: "text",
    int: "a whole number",
    float: "a number",
    list: "a list",
    dict: "an object",
}


def _fail(reason: str) -> NoReturn:
    raise BundleError(f"manifest.json: {reason}")


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    tree = dict(pairs)
    if len(tree) < len(pairs):
        keys = [key for key, _ in pairs]
        _fail(f"the key {next(k for k in keys if keys.count(k) > 1)!r} stands twice in one object")
    return tree


def _no_constants(name: str) -> NoReturn:
    _fail(f"{name} is not a number that a bundle may hold")


def _check_version(tree: Any) -> None:
    if not isinstance(tree, dict) or tree.get("format") != FORMAT:
        _fail(f'it does not say "format": "{FORMAT}", so this is not a bundle of this program')
    version = tree.get("format_version")
    if type(version) is int and version > FORMAT_VERSION:
        _fail(
            f"the bundle has format version {version}, "
            f"but this program reads up to {FORMAT_VERSION}; update it"
        )
    if version != FORMAT_VERSION:
        _fail(f"format_version is {version!r}, but {FORMAT_VERSION} was wanted")


def _take(
    tree: Any, where: str, wanted: dict[str, type], optional: dict[str, type] | None = None
) -> dict[str, Any]:
    """The fields of one JSON object: none unknown, none missing but `optional` ones, each of its type."""
    known = {**wanted, **(optional or {})}
    if not isinstance(tree, dict):
        _fail(f"{where} should be an object, but is {type(tree).__name__}")
    for key in tree:
        if key not in known:
            nearest = difflib.get_close_matches(key, known, 1, cutoff=0.0)[0]
            _fail(f"unknown key {key!r} in {where}; the nearest known one is {nearest!r}")
    values: dict[str, Any] = {}
    for key, kind in known.items():
        if key not in tree:
            if key not in wanted:
                continue
            _fail(f"{where} lacks the key {key!r}")
        value = _float(tree[key]) if kind is float and type(tree[key]) is int else tree[key]
        if type(value) is not kind:
            _fail(f"{key!r} in {where} should be {_WORD[kind]}, but is {tree[key]!r}")
        values[key] = value
    return values


def _float(value: int) -> float:
    try:
        return float(value)
    except OverflowError:
        return math.inf  # which no field may be


def _graph(path: str, entry: Any) -> Graph:
    got = _take(entry, path, {"sha256": str, "inputs": list, "outputs": list, "states": list})
    port: dict[str, type] = {"name": str, "shape": list, "dtype": str}
    state = {**port, "output": str, "initial": float}
    ports = {
        side: tuple(Port(**_tensor(e, f"{path} {side}", port)) for e in got[side])
        for side in ("inputs", "outputs")
    }
    states = tuple(State(**_tensor(e, f"{path} states", state)) for e in got["states"])
    return Graph(path, _digest(got["sha256"], path), ports["inputs"], ports["outputs"], states)


def _digest(text: str, path: str) -> str:
    if text and not _SHA256.fullmatch(text):
        _fail(f"the sha256 of {path} is {text!r}, but must be 64 hexadecimal digits")
    return text


def _tensor(entry: Any, where: str, wanted: dict[str, type]) -> dict[str, Any]:
    values = _take(entry, where, wanted)
    values["shape"] = shape = tuple(values["shape"])
    if not shape or any(type(n) is not int or n < 1 for n in shape):
        _fail(f"{values['name']!r} in {where} has shape {list(shape)}; sizes must be whole and positive")
    if values["dtype"] not in DTYPES:
        _fail(f"{values['name']!r} in {where} has dtype {values['dtype']!r}; known are {', '.join(DTYPES)}")
    return values


def _check_graph(
    graph: Graph,
    inputs: dict[str, tuple[int, ...]],
    outputs: dict[str, tuple[int, ...]],
    optional: dict[str, tuple[int, ...]] | None = None,
) -> None:
    """The ports must be exactly those of the format, the states named once, streams first, and not huge."""
    for side, ports, wanted in (
        ("inputs", graph.inputs, inputs),
        ("outputs", graph.outputs, outputs),
    ):
        allowed = {**wanted, **((optional or {}) if side == "inputs" else {})}
        got = {port.name: port for port in ports}
        if not wanted.keys() <= got.keys() <= allowed.keys():
            _fail(f"{graph.path} has {side} {', '.join(got) or 'none'}, but {', '.join(wanted)} was wanted")
        for name, port in got.items():
            if port.shape != allowed[name] or port.dtype != "float32":
                _fail(
                    f"{name!r} of {graph.path} is {port.dtype} {list(port.shape)}, "
                    f"but float32 {list(allowed[name])} was wanted"
                )
    names = [p.name for p in graph.inputs] + [s.name for s in graph.states]
    names_out = [p.name for p in graph.outputs] + [s.output for s in graph.states]
    if len(set(names)) < len(names) or len(set(names_out)) < len(names_out):
        _fail(f"{graph.path} uses one name for two of its inputs or outputs")
    for state in graph.states:
        if state.shape[0] != 1:
            _fail(
                f"state {state.name!r} of {graph.path} has shape {list(state.shape)}; a bundle holds 1 stream"
            )
        whole = state.dtype == "int64"
        if not abs(state.initial) <= LARGEST_INITIAL[state.dtype] or (
            whole and state.initial % 1
        ):  # also NaN
            _fail(f"state {state.name!r} of {graph.path} cannot start as {state.initial} in {state.dtype}")
    _in_range(
        f"state size of {graph.path}",
        sum(math.prod(s.shape) for s in graph.states),
        0,
        MAX_STATE_ELEMENTS,
    )


def _in_range(what: str, value: int, low: int, high: int) -> None:
    if not low <= value <= high:
        _fail(f"{what} is {value}, but must lie from {low} to {high}")
