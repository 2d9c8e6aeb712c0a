"""A `live` model's weights as numpy arrays under PyTorch's names, checked, with the sizes that the export noted.

Legend: P pitch, C channel, H partial, U string of a unison, M noise band, G room channel.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from export.bundle.safetensors import (
    checked_floats,
    finite_number,
    read_safetensors,
    told_about,
    whole_number,
)
from umtn.errors import UserError

__all__ = ["DecoderWeights", "EncoderWeights", "Layout", "ConditionerWeights"]

BINS = 16  # analysed together, see export.native_weights
OCTAVE, ENTRY = 25, (7, 2)  # taps over pitch; over pitch and time
MOST_PITCHES, MOST_HOP = 128, 4096
TAPS = 3  # in time
MOST_CYCLES = 1e6  # of a frequency, a partial's number or an offset: further up a phase has no digits left


@dataclass(frozen=True)
class Layout:
    """What the latent's channels mean: see `export.bundle.manifest.PitchLayout`."""

    lowest: int
    pitches: int
    free: int
    room: int

    @property
    def per_pitch(self) -> int:
        return 2 + self.free

    @property
    def channels(self) -> int:
        return self.per_pitch * self.pitches + self.room


@dataclass(frozen=True)
class EncoderWeights:
    """shifts: of the stacked harmonics, in bins. sources: number of the source of each group of bins, -1 the samples.

    arrays: also `analysis.source.I` [span, rank] and `analysis.bins.I` [2, bins, inputs], fine ones first.
    """

    arrays: dict[str, np.ndarray]
    layout: Layout
    rate: int
    hop: int
    longest: int
    semitones: int
    channels: int
    dilations: tuple[int, ...]
    shifts: tuple[int, ...]
    blocks: tuple[int, ...]
    fine: tuple[int, ...]
    quick: tuple[int, ...]

    @classmethod
    def from_safetensors(cls, data: bytes, name: str = "the encoder's weights") -> EncoderWeights:
        """UserError: damaged, of another kind, or in itself contradictory."""
        arrays, about = _read(data, "encoder", "pitch", name)
        try:
            fields: dict[str, Any] = {
                key: whole_number(about[key]) for key in ("rate", "hop", "longest", "semitones", "channels")
            }
            fields |= {key: tuple(map(whole_number, about[key])) for key in ("dilations", "shifts", "blocks")}
            for key in ("fine", "quick"):
                fields[key] = tuple(-1 if i is None else whole_number(i) for i in about[key])
            layout = _layout(about)
        except (KeyError, ValueError, TypeError) as error:
            raise _incomplete(name, error) from None
        e = cls({}, layout, **fields)
        e._check(name)
        e.arrays.update(checked_floats(arrays, e._shapes(arrays, name), name))
        return e

    def _check(self, name: str) -> None:
        _in_range(name, "hop", self.hop, 16, MOST_HOP)
        _in_range(name, "number of channels", self.channels, 1, 4096)
        _in_range(name, "number of semitones", self.semitones, 1, 512)
        _in_range(name, "longest window", self.longest, self.hop, 1 << 20)
        _in_range(name, "number of shifts", len(self.shifts), 1, 256)
        for what, values, low, high in (
            ("dilation", self.dilations, 1, 4096),
            ("shift", self.shifts, -4096, 4096),
            ("number of blocks", self.blocks, 1, 4096),
            ("source", (*self.fine, *self.quick), -1, len(self.blocks) - 1),
        ):
            for value in values:
                _in_range(name, what, value, low, high)
        groups = (-(-3 * self.semitones // BINS), -(-self.semitones // BINS))
        if self.longest % self.hop or (len(self.fine), len(self.quick)) != groups:
            raise UserError(f"{name}: its analysis does not fit its sizes; export the bundle again")

    def _shapes(self, arrays: Mapping[str, np.ndarray], name: str) -> dict[str, tuple[int, ...]]:
        c, rows = self.channels, 2 * len(self.shifts)
        hidden = _first_size(arrays, "room.layers.0.conv.weight", name)
        shapes = {
            **_conv("body.layers.0.conv", c, rows, *ENTRY),
            **_conv("head", self.layout.per_pitch, c, 1, 1),
            **_conv("room.layers.0.conv", hidden, 6 * self.semitones, 1),
            **_conv("room.layers.2.conv", hidden, hidden, TAPS),
            **_conv("room.layers.4.conv", self.layout.room, hidden, 1),
        }
        for i in range(len(self.dilations)):
            at = f"body.layers.{2 + i}.inner.layers"
            shapes |= _conv(f"{at}.0.conv", c, c, 1, TAPS) | _conv(f"{at}.2.conv", c, 1, OCTAVE, 1)
            shapes |= _conv(f"{at}.3.module", c, c, 1, 1) | _conv(f"{at}.5.module", c, c, 1, 1)
        return shapes | self._analysis_shapes(arrays, name)

    def _analysis_shapes(self, arrays: Mapping[str, np.ndarray], name: str) -> dict[str, tuple[int, ...]]:
        shapes: dict[str, tuple[int, ...]] = {}
        ranks = []
        for i, blocks in enumerate(self.blocks):
            span, rank = _sizes(arrays, f"analysis.source.{i}", 2, name)
            steps = span // self.hop
            if span % self.hop or steps & (steps - 1) or span * blocks > self.longest:
                raise UserError(
                    f"{name}: its analysis has a span of {span}, which does not fit; export it again"
                )
            shapes[f"analysis.source.{i}"] = (span, rank)
            ranks.append(rank)
        bins = 0
        for i, source in enumerate((*self.fine, *self.quick)):
            bins = 0 if i == len(self.fine) else bins
            inputs = _sizes(arrays, f"analysis.bins.{i}", 3, name)[2]
            most = self.longest if source < 0 else ranks[source] * self.blocks[source]
            _in_range(name, "length of an analysis", inputs, 1, most)
            all_bins = 3 * self.semitones if i < len(self.fine) else self.semitones
            shapes[f"analysis.bins.{i}"] = (2, min(BINS, all_bins - bins), inputs)
            bins += BINS
        return shapes


@dataclass(frozen=True)
class DecoderWeights:
    """One domain's. arrays: also the oscillators' tables, of which `doubles` are float64: f0 [P], multiples and
    offsets [P, H, U]. silent, stride: see `umtn.model.decoders.harmonic`."""

    arrays: dict[str, np.ndarray]
    doubles: dict[str, np.ndarray]
    layout: Layout
    rate: int
    hop: int
    hidden: int
    partials: int
    bands: int
    voices: int
    sounding: int
    silent: float
    stride: float

    @property
    def unison(self) -> int:
        return len(self.arrays["oscillators.weights"])

    @classmethod
    def from_safetensors(cls, data: bytes, name: str = "the decoder's weights") -> DecoderWeights:
        """UserError: damaged, of another kind, or in itself contradictory."""
        arrays, about = _read(data, "decoder", "live", name)
        keys = ("rate", "hop", "hidden", "partials", "bands", "voices", "sounding")
        try:
            sizes = {key: whole_number(about[key]) for key in keys}
            silent, stride = finite_number(about["silent"]), finite_number(about["stride"])
            layout = _layout(about)
        except (KeyError, ValueError, TypeError) as error:
            raise _incomplete(name, error) from None
        d = cls({}, {}, layout, **sizes, silent=silent, stride=stride)
        d._check(name)
        d.arrays.update(checked_floats(arrays, d._shapes(arrays, name), name))
        u = d.unison
        for key, shape in {
            "f0": (layout.pitches,),
            "multiples": (layout.pitches, d.partials, u),
            "offsets": (layout.pitches, d.partials, u),
        }.items():
            array = arrays.get(f"oscillators.{key}")
            if (
                array is None
                or array.shape != shape
                or array.dtype != np.float64
                or not (np.abs(array) <= MOST_CYCLES).all()  # False for NaN
            ):
                raise UserError(
                    f"{name}: oscillators.{key} is not finite float64 {list(shape)} of a sane size; export it again"
                )
            d.doubles[key] = np.require(array, np.float64, ["C", "A"])
        return d

    def _check(self, name: str) -> None:
        if self.hop not in (16 << n for n in range(9)):
            raise UserError(f"{name}: a hop of {self.hop} is not 16 * 2^n samples; export the bundle again")
        for what in ("hidden", "partials", "bands"):
            _in_range(name, what, getattr(self, what), 1, 4096)
        if abs(self.silent) > MOST_CYCLES or abs(self.stride) > MOST_CYCLES:
            raise UserError(
                f"{name}: silent = {self.silent:g} and stride = {self.stride:g} cannot be; export it again"
            )
        _in_range(name, "number of sounding voices", self.sounding, 1, self.layout.pitches)
        _in_range(name, "number of voices", self.voices, 1, self.sounding)

    def _shapes(self, arrays: Mapping[str, np.ndarray], name: str) -> dict[str, tuple[int, ...]]:
        p, room, h = self.layout.pitches, self.layout.room, self.hidden
        place = _first_size(arrays, "place", name)
        said = _first_size(arrays, "room_in.weight", name)
        features = _first_size(arrays, "shape.0.weight", name)
        keys = _first_size(arrays, "keys.weight", name)
        hiss = _first_size(arrays, "hiss.layers.0.conv.weight", name)
        inputs = self.layout.per_pitch + place + said
        _, _, taps = _sizes(arrays, "noise.filters", 3, name)
        (unison,) = _sizes(arrays, "oscillators.weights", 1, name)
        return {
            "place": (place, p),
            "table": (p, self.partials),
            "memory.gru.weight_ih_l0": (3 * h, inputs),
            "memory.gru.weight_hh_l0": (3 * h, h),
            "memory.gru.bias_ih_l0": (3 * h,),
            "memory.gru.bias_hh_l0": (3 * h,),
            **_conv("room_in", said, room, 1),
            **_conv("shape.0", features, h + inputs, 1, 1),
            **_conv("shape.2", features, features, TAPS, 1),
            **_conv("level", 1, features, 1, 1),
            **_conv("timbre", self.partials, features, 1, 1),
            **_conv("keys", keys, features, 1, 1),
            **_conv("hiss.layers.0.conv", hiss, keys * p + room, 1),
            **_conv("hiss.layers.2.conv", hiss, hiss, TAPS),
            **_conv("hiss.layers.4.conv", self.bands, hiss, 1),
            "oscillators.weights": (unison,),
            "oscillators.audible": (p, self.partials),
            "noise.filters": (self.bands, 1, taps),
        }


@dataclass(frozen=True)
class ConditionerWeights:
    """What stands between a pitch encoder and WaveNet decoders (umtn.model.pitch_encoder); it lies in the
    encoder's file.

    dilations: of its layers, in frames. latent: channels that it tells the decoders.
    """

    arrays: dict[str, np.ndarray]
    layout: Layout
    channels: int
    dilations: tuple[int, ...]
    latent: int

    @classmethod
    def from_safetensors(cls, data: bytes, name: str = "the encoder's weights") -> ConditionerWeights:
        """UserError: damaged, without a mouth, or in itself contradictory."""
        arrays, about = _read(data, "mouth", "heard", name)
        try:
            channels, latent = whole_number(about["channels"]), whole_number(about["latent"])
            m = cls({}, _layout(about), channels, tuple(map(whole_number, about["dilations"])), latent)
        except (KeyError, ValueError, TypeError) as error:
            raise _incomplete(name, error) from None
        _in_range(name, "number of channels", channels, 1, 4096)
        _in_range(name, "number of latent channels", latent, 1, 1 << 16)
        for dilation in m.dilations:
            _in_range(name, "dilation", dilation, 1, 4096)
        m.arrays.update(checked_floats(arrays, m._shapes(), name))
        return m

    @property
    def layer_names(self) -> tuple[tuple[str, str], ...]:
        """Of each layer's two convolutions: over time, and of one frame."""
        at = [f"mouth.layers.{1 + i}.inner.layers" for i in range(len(self.dilations))]
        return tuple((f"{a}.1.conv", f"{a}.3.module") for a in at)

    @property
    def last_name(self) -> str:
        return f"mouth.layers.{2 + len(self.dilations)}.conv"

    def _shapes(self) -> dict[str, tuple[int, ...]]:
        c = self.channels
        shapes = _conv("mouth.layers.0.conv", c, self.layout.channels, 1) | _conv(
            self.last_name, self.latent, c, 1
        )
        for over_time, point in self.layer_names:
            shapes |= _conv(over_time, c, c, TAPS) | _conv(point, c, c, 1)
        return shapes


def _read(data: bytes, part: str, kind: str, name: str) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    arrays, metadata = read_safetensors(data, name)
    about = told_about(metadata, part, name)
    if about["kind"] != kind:
        raise UserError(
            f"{name} is of a {part} of the kind {about['kind']!r}, which the engine live-cpu cannot play; "
            "use --engine auto"
        )
    return arrays, about


def _layout(about: dict[str, Any]) -> Layout:
    layout = Layout(
        **{key: whole_number(about["layout"][key]) for key in ("lowest", "pitches", "free", "room")}
    )
    if not 0 <= layout.lowest <= 127:
        raise ValueError(f"a layout whose lowest pitch is {layout.lowest}")
    if not (1 <= layout.pitches <= MOST_PITCHES and 0 <= layout.free <= 64 and 1 <= layout.room <= 4096):
        raise ValueError(f"a layout of {layout.pitches} pitches, {layout.free} free and {layout.room} others")
    return layout


def _incomplete(name: str, error: Exception) -> UserError:
    return UserError(f"{name} does not say what the model is ({error}); export the bundle again")


def _in_range(name: str, what: str, value: int, low: int, high: int) -> None:
    if not low <= value <= high:
        raise UserError(f"{name}: the {what} is {value}, but {low} to {high} was wanted; export it again")


def _sizes(arrays: Mapping[str, np.ndarray], key: str, dimensions: int, name: str) -> tuple[int, ...]:
    if key not in arrays or arrays[key].ndim != dimensions or not all(arrays[key].shape):
        came = list(arrays[key].shape) if key in arrays else "missing"
        raise UserError(f"{name}: {key} is {came}, but {dimensions} dimensions were wanted; export it again")
    return arrays[key].shape


def _first_size(arrays: Mapping[str, np.ndarray], key: str, name: str) -> int:
    """How many outputs a layer has; that the rest of its shape fits is checked with the others."""
    return _sizes(arrays, key, max(1, arrays[key].ndim) if key in arrays else 1, name)[0]


def _conv(key: str, *shape: int) -> dict[str, tuple[int, ...]]:
    return {f"{key}.weight": shape, f"{key}.bias": shape[:1]}
