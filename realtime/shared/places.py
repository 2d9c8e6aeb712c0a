"""What `--in`, `--out`, `--record` and `--presets` name, judged before anything is opened or touched."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from realtime.shared.audio_config import RECORD_ENDINGS
from umtn.errors import UserError

__all__ = ["check_input", "check_output", "check_presets", "check_record", "folder_sentence"]

_STREAMS = ("/dev/stdin", "/dev/stdout", "/dev/stderr", "/dev/fd/", "/proc/self/fd/")
_WANTED = {
    "--in": "a sound file, mic, a device's name or number, or demo is wanted",
    "--out": "a .wav or .flac file, a device's name or number, or none is wanted",
}


def check_input(spec: str) -> None:
    """UserError if `--in` names standard input, a pipe or, with its path, a folder."""
    if _is_stream(spec):
        raise UserError(
            f"--in {spec} is a stream, and sound from one cannot be played; "
            "save it as a file and give its name, such as --in take.wav"
        )
    _refuse_folder("--in", spec)


def check_output(spec: str) -> None:
    """UserError if `--out` names standard output, a pipe or, with its path, a folder."""
    if spec == os.devnull:
        raise UserError(f"--out {spec} is neither a device nor a sound file; did you mean --out none?")
    if _is_stream(spec):
        raise UserError(f"--out {spec} is a stream, which cannot hold a recording; {_WANTED['--out']}")
    _refuse_folder("--out", spec)


def check_record(name: str) -> None:
    """UserError if no recording of that name can be made; "" is a name with the date, in this folder."""
    path = Path(name)
    if name and (path.is_dir() or name.endswith(("/", os.sep))):
        raise UserError(
            f"--record {name} is a folder; name a file in it, such as --record {path / 'take.wav'}"
        )
    if name and path.suffix.lower() not in RECORD_ENDINGS:
        raise UserError(f"a recording ends in {' or '.join(RECORD_ENDINGS)}, but --record {name} came")
    if not path.parent.is_dir():
        raise UserError(f"cannot record to {path}: there is no folder {path.parent}; was another one meant?")
    if not os.access(path.parent, os.W_OK):
        raise UserError(f"cannot record to {path}: nothing may be written in {path.parent.absolute()}")


def check_presets(name: str) -> None:
    """UserError if a file stands where the folder of presets is wanted, or in the way to it."""
    path = Path(name)
    for place in (path, *path.parents):
        if place.is_dir():
            return
        if place.exists():
            hint = f"; did you mean --presets {path.parent}?" if place == path else ""
            raise UserError(f"--presets {name}: {place} is a file, and a folder of presets is wanted{hint}")


def folder_sentence(option: str, spec: str) -> str:
    """Why a folder will not do for `--in` or `--out`."""
    example = f", such as {option} {Path(spec) / 'take.wav'}"
    return f"{option} {spec} is a folder; {_WANTED[option]}{example}"


def _refuse_folder(option: str, spec: str) -> None:
    """A plain word may be a device's name all the same, so that the devices are asked first."""
    path = Path(spec)
    plain = path.name == spec and not path.suffix and spec not in (".", "..")
    if path.is_dir() and not plain:
        raise UserError(folder_sentence(option, spec))


def _is_stream(spec: str) -> bool:
    """Standard input or output, or a pipe; not a device such as /dev/dsp, which may be one for sound."""
    if spec == "-" or spec.startswith(_STREAMS):
        return True
    try:
        mode = os.stat(spec).st_mode
    except (OSError, ValueError):
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)
