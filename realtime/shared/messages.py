"""What the control process and the audio process say to each other, beyond the parameters in shared memory.

    control -> audio   Record, StopRecording, Load
    audio -> control   Ready, Swapped, Recording, Recorded, RecordFailed, LoadFailed, Failed, Done

One class each, pickled on its way through the pipe and told apart by its type. Whoever hears one that it does not
know leaves it alone and says so in its log.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from realtime.shared.scheduling import Room

__all__ = [
    "Done",
    "Failed",
    "FromAudio",
    "Load",
    "LoadFailed",
    "PlayingBundle",
    "Ready",
    "Record",
    "RecordFailed",
    "Recorded",
    "Recording",
    "StopRecording",
    "Swapped",
    "ToAudio",
]


@dataclass(frozen=True)
class PlayingBundle:
    """A bundle that plays, as audio has loaded it; part of `Ready` and `Swapped`.

    engine_choice, engine_hint: sentences, or "". path: the bundle's file. model_rate: Hz. model_block: samples.
    room: what its encoder and its decoders take; None: not measured.
    """

    name: str = ""
    path: str = ""
    engine: str = ""
    engine_choice: str = ""
    engine_hint: str = ""
    domains: tuple[str, ...] = ()
    latent_channels: int = 0
    model_rate: int = 0
    model_block: int = 0
    room: Room | None = None
    can_transpose: bool = True
    has_temperature: bool = True


# From control to audio


@dataclass(frozen=True)
class Record:
    """Record to that file from now on; "" is one with the date as its name."""

    path: str = ""


@dataclass(frozen=True)
class StopRecording:
    """End the recording that runs, if one does."""


@dataclass(frozen=True)
class Load:
    """Load that bundle beside the music and change to it."""

    path: str


# From audio to control


@dataclass(frozen=True)
class Ready:
    """Audio plays, for the first time or again: what it has opened.

    input, output: devices or files. kept: where an earlier file of the output's name is now, or "". rate: Hz. block:
    the device's, in samples. slack_blocks: computed ahead; None without a device. granted, advice: rights that it
    has, and how to get the others. latency: those that are shown; latency_ms: the parts of the longest; both in ms.
    """

    bundle: PlayingBundle = PlayingBundle()
    input: str = ""
    output: str = ""
    kept: str = ""
    rate: int = 0
    block: int = 0
    slack_blocks: int | None = None
    granted: tuple[str, ...] = ()
    advice: tuple[str, ...] = ()
    latency: Mapping[str, float] = field(default_factory=dict)
    latency_ms: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Swapped:
    """Another bundle plays, after `Load`. latency, latency_ms: as in `Ready`, with it."""

    bundle: PlayingBundle
    latency: Mapping[str, float] = field(default_factory=dict)
    latency_ms: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class LoadFailed:
    """Why a bundle was not loaded; what plays plays on."""

    sentence: str


@dataclass(frozen=True)
class Recording:
    """A recording has begun. unsaved: of what the state is not kept, so that it cannot be rendered again."""

    path: str
    unsaved: tuple[str, ...] = ()


@dataclass(frozen=True)
class Recorded:
    """A recording is complete. lost: samples that a slow disk cost. error: a sentence if it broke off, or ""."""

    path: str
    seconds: float
    lost: int = 0
    error: str = ""


@dataclass(frozen=True)
class RecordFailed:
    """Why no recording has begun."""

    sentence: str


@dataclass(frozen=True)
class Failed:
    """Why audio could not start, or why it had to end: one sentence."""

    sentence: str


@dataclass(frozen=True)
class Done:
    """The last word: all files are closed. figures: how it went, by name (see `Worker.figures`, `Stream.figures`)."""

    figures: Mapping[str, object] = field(default_factory=dict)


ToAudio = Record | StopRecording | Load
FromAudio = Ready | Swapped | LoadFailed | Recording | Recorded | RecordFailed | Failed | Done
