"""The arrays of one stream, and what every engine does alike with them.

An engine computes in place: its encoder reads `audio` and writes `latent`, its decoders read `latent`, `noise`
and `temperature` and write `out`. All of them are made once, so that kernels may be bound to their addresses.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from realtime.shared.saved_classes import saved
from realtime.shared.scheduling import Room

if TYPE_CHECKING:
    from export.bundle.bundle import Manifest

    pass

__all__ = ["BufferedEngine", "Part", "StreamBuffers", "Together"]

SILENCE_S = 0.5  # after that much of it no part has anything else in its memory


@saved("stream-buffers")
class StreamBuffers:
    """Contiguous float32: audio, noise, out [1, 1, block], latent [1, D, T], temperature [1]."""

    def __init__(self, manifest: Manifest) -> None:
        samples = (1, 1, manifest.block)
        self.audio = np.zeros(samples, np.float32)
        self.latent = np.zeros((1, manifest.latent_channels, manifest.block // manifest.hop), np.float32)
        self.noise = np.zeros(samples, np.float32)
        self.temperature = np.ones(1, np.float32)
        self.out = np.zeros(samples, np.float32)


class Remembers(Protocol):
    """State. reset: it remembers nothing. keep: what it remembers now is what `rest` goes back to."""

    def reset(self) -> None: ...

    def keep(self) -> None: ...

    def rest(self) -> None: ...


class Part(Remembers, Protocol):
    """An encoder or a decoder with its state, bound to the buffers. noisy: whether a step reads the noise."""

    @property
    def noisy(self) -> bool: ...

    def step(self) -> None: ...


class Together:
    """Several that remember, as one."""

    def __init__(self, *members: Remembers) -> None:
        self._members = members

    def reset(self) -> None:
        for member in self._members:
            member.reset()

    def keep(self) -> None:
        for member in self._members:
            member.keep()

    def rest(self) -> None:
        for member in self._members:
            member.rest()


class BufferedEngine:
    """See `Engine`, which this is as soon as a subclass has named itself and set its encoder and decoders."""

    name: str
    _encoder: Part
    _decoders: Sequence[Part]  # in the manifest's order of domains

    def __init__(self, manifest: Manifest, seed: int | None = None) -> None:
        self.manifest = manifest
        self.cost: Cost | None = None
        self.hint = ""
        self.buffers = StreamBuffers(manifest)
        self.temperature = 1.0
        self.latent: NDArray[np.float32] = self.buffers.latent[0]
        self.silence = np.zeros(manifest.latent_channels, np.float32)
        self._random = np.random.default_rng(seed)

    @property
    def temperature(self) -> float:
        return float(self.buffers.temperature[0]) / self.manifest.temperature

    @temperature.setter
    def temperature(self, value: float) -> None:
        self.buffers.temperature[0] = value * self.manifest.temperature

    def encode(self, audio: NDArray[np.float32]) -> NDArray[np.float32]:
        self.buffers.audio[0, 0] = audio
        self._encoder.step()
        return self.latent

    def decode(self, domain: int, out: NDArray[np.float32], noise: NDArray[np.float32] | None = None) -> None:
        decoder, buffers = self._decoders[domain], self.buffers
        if decoder.noisy:
            if noise is None:
                self._random.random(out=buffers.noise, dtype=np.float32)
            else:
                buffers.noise[0, 0] = noise
        decoder.step()
        out[:] = buffers.out[0, 0]

    def reset(self, domain: int | None = None) -> None:
        for part in self._parts(domain):
            part.reset()

    def settle(self) -> None:
        silence, out = np.zeros((2, self.manifest.block), np.float32)
        random = np.random.default_rng(0)  # not the performer's, whose draws a seed has promised
        self.reset()
        for _ in range(math.ceil(SILENCE_S * self.manifest.sample_rate / self.manifest.block)):
            self.encode(silence)
            for domain in range(len(self._decoders)):
                self.decode(domain, out, random.random(self.manifest.block, np.float32))
        self.silence = self.latent[:, -1].copy()
        for part in self._parts(None):
            part.keep()
        self.reset()

    def rest(self, domain: int | None = None) -> None:
        for part in self._parts(domain):
            part.rest()

    def _parts(self, domain: int | None) -> tuple[Part, ...]:
        return (self._encoder, *self._decoders) if domain is None else (self._decoders[domain],)


@saved("step-cost")
@dataclass(frozen=True)
class Cost:
    """Seconds of one undisturbed step on this machine (lower quartile): the encoder's, and the slowest decoder's."""

    encode_s: float
    decode_s: float

    def room(self, block_s: float) -> Room:
        """What it means for a block that must be done in `block_s`."""
        return Room(ON_STAGE * self.encode_s / block_s, ON_STAGE * self.decode_s / block_s)


class Engine(Protocol):
    """One bundle, loaded, with its states. `block` audio samples at the manifest's rate per step.

    encode: audio [block] -> `latent`, which every decoder then reads in place.
    decode: -> out [block]; noise [block] uniform in [0, 1), or None: the engine draws it. Several decoders
    may run in the same step. reset: one domain's decoder, or with None the encoder and all decoders, as if nothing had
    ever been; rest: as if there had been silence, which is where music begins (a decoder that begins from nothing
    thumps). settle, after loading: finds out where silence leaves all, for `rest`, and what the encoder says of it,
    `silence` [D].
    latent: [D, T] float32, written by encode, may be changed in place before decode. temperature: of decoders
    that draw, 1 = the bundle's own. cost: measured by check_probe, None before. hint: what would make it faster here.
    """

    name: str
    manifest: Manifest
    latent: NDArray[np.float32]
    silence: NDArray[np.float32]
    temperature: float
    cost: Cost | None
    hint: str

    def encode(self, audio: NDArray[np.float32]) -> NDArray[np.float32]: ...

    def decode(
        self, domain: int, out: NDArray[np.float32], noise: NDArray[np.float32] | None = None
    ) -> None: ...

    def reset(self, domain: int | None = None) -> None: ...

    def settle(self) -> None: ...

    def rest(self, domain: int | None = None) -> None: ...


ON_STAGE = 1.7  # times the undisturbed steps: mixing, resampling and a busy system (five decoders, ten minutes of OSC)
