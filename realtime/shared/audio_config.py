"""What the audio process is asked to do; picklable, so that it crosses to the spawned process."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from pathlib import Path

from umtn.errors import UserError

__all__ = [
    "BUNDLES",
    "FILE_ENDINGS",
    "MAX_BLOCK",
    "MAX_RATE_HZ",
    "MAX_SLACK",
    "MIN_BLOCK",
    "MIN_RATE_HZ",
    "RECORD_ENDINGS",
    "AudioConfig",
    "bundle_named",
    "find_bundle",
    "names_a_file",
]

MIN_BLOCK, MAX_BLOCK = 16, 8192
MIN_RATE_HZ, MAX_RATE_HZ = 8000, 192000
MAX_SLACK = 8
BUNDLES = Path(__file__).parents[1] / "bundles"


@dataclass(frozen=True)
class AudioConfig:
    """input: "mic", "demo", a device's name or number, a file. output: "default", device, "NAME.wav", "none".

    block in frames at the device's rate; rate in Hz (None: the device's or the file's own); channel counts
    from 1 (None: a device's first, a file's channels together); slack: how many blocks ahead the model works, in
    a thread of its own (devices only), 0 = in the callback; fast: files as quickly as the machine can; seconds:
    stop after so much audio; record: a file for input and output side by side from the first sample on ("": a
    name with the date).
    """

    bundle: str
    input: str = "mic"
    output: str = "default"
    engine: str = "auto"
    precision: str = "auto"
    cores: int = 1
    block: int = 128
    rate: int | None = None
    channel: int | None = None
    slack: int = 1
    fast: bool = False
    seconds: float | None = None
    realtime_priority: bool = True
    tail_seconds: float = 0.5  # what a sound file may ring on after its end
    record: str | None = None


RECORD_ENDINGS = (".wav", ".flac")  # what can be written
FILE_ENDINGS = (".wav", ".flac", ".ogg", ".mp3", ".aif", ".aiff", ".w64", ".caf", ".opus", ".rf64")


def find_bundle(name: str) -> Path:
    """The file itself, or the shipped bundle of that name."""
    path = Path(name).expanduser()
    if path.is_file():
        return path
    shipped = sorted(p.stem for p in BUNDLES.glob("*.umtn"))
    if name in shipped:
        return BUNDLES / f"{name}.umtn"
    if path.is_dir():
        raise UserError(f"--bundle {name} is a folder; a .umtn file is wanted")
    near = difflib.get_close_matches(name, shipped, 1)
    hint = f"; did you mean {near[0]}?" if near else ""
    listed = f"shipped are {', '.join(shipped)}" if shipped else "none is shipped here"
    raise UserError(f"no bundle {name!r}: neither a file nor a shipped name ({listed}){hint}")


def names_a_file(spec: str | Path) -> bool:
    """True if --in or --out has a sound file's ending; a device's number or name has none. Asks no disk."""
    return Path(spec).suffix.lower() in FILE_ENDINGS


def bundle_named(name: str | Path) -> Path:
    """A bundle's file, or the shipped bundle of that name; UserError lists those."""
    path = Path(name).expanduser()
    if path.is_dir():
        raise UserError(f"'{name}' is a folder; a bundle (NAME.umtn, or a shipped one's name) is wanted")
    if not path.exists() and (len(path.parts) > 1 or path.suffix == ".umtn"):
        raise UserError(
            f"no such file: '{name}' does not exist; a bundle (NAME.umtn, or a shipped one's name) is wanted"
        )
    return find_bundle(str(name))
