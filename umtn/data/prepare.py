"""Plain data: folders of recordings made into one array for each domain and split."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from umtn.data.dataset import SPLITS, Dataset, Recording, Track, save_audio, write_manifest
from umtn.errors import UserError

__all__ = ["SUFFIXES", "find_domains", "prepare", "read_audio", "split_files"]

SUFFIXES = (".wav", ".flac", ".ogg", ".mp3")
SHORTEST_S = 0.05  # less is a click or an accident, not a recording
CHUNK_S = 30  # read and resampled this much at a time: an hour of 96 kHz stereo does not fit small memories
Samples = NDArray[np.int16]
Advance = Callable[[int], object]  # told how many files were just finished
Skip = Callable[[Path, str], object]  # told which file was left out, and why


@dataclass(frozen=True)
class _Read:
    file: str  # relative to its domain's folder
    samples: Samples


def find_domains(raw: Path) -> dict[str, list[Path]]:
    """Sound files of each folder in RAW, folders within it too; UserError when there is nothing to read."""
    if not raw.is_dir():
        raise UserError(f"'{raw}' is not a folder; a folder that holds one folder for each domain is wanted")
    folders = sorted(p for p in raw.iterdir() if p.is_dir() and not p.name.startswith("."))
    if not folders:
        loose = any(p.suffix.lower() in SUFFIXES for p in raw.iterdir())
        hint = "its sound files must lie in such a folder" if loose else "it has none"
        raise UserError(f"'{raw}' must hold one folder of recordings for each domain; {hint}")
    found = {f.name: sorted(p for p in f.rglob("*") if _is_sound(p)) for f in folders}
    for name, files in found.items():
        if not files:
            raise UserError(f"domain '{name}' in '{raw}' has no sound files ({', '.join(SUFFIXES)} wanted)")
    return found


def _is_sound(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES and path.is_file() and not path.name.startswith(".")


def read_audio(path: Path, rate: int) -> Samples:
    """A sound file as int16 mono [T] at `rate`; UserError when it is unreadable, empty or too short.

    Channels are averaged. Samples that are not finite count as silence; what is over full scale is clipped.
    """
    try:
        with soundfile.SoundFile(str(path)) as file:
            blocks = _resampled_blocks(file, rate)
    except (soundfile.SoundFileError, OSError, RuntimeError) as error:
        raise UserError(f"'{path}' cannot be read as sound: {str(error).rstrip('.')}") from error
    samples = np.concatenate(blocks) if blocks else np.zeros(0, np.int16)
    if len(samples) < SHORTEST_S * rate:
        held = f"{len(samples)} samples at {rate} Hz"
        raise UserError(f"'{path}' holds {held}; at least {SHORTEST_S:g} s is wanted")
    return samples


def _resampled_blocks(file: soundfile.SoundFile, rate: int) -> list[Samples]:
    """The whole file, mixed down and resampled block by block."""
    resampler = soxr.ResampleStream(file.samplerate, rate, 1, dtype="float32", quality="HQ")
    blocks = []
    while len(stereo := file.read(CHUNK_S * file.samplerate, dtype="float32", always_2d=True)):
        blocks.append(_to_int16(resampler.resample_chunk(_mono(stereo))))
    blocks.append(_to_int16(resampler.resample_chunk(np.zeros(0, np.float32), last=True)))
    return blocks


def _mono(channels: NDArray[np.float32]) -> NDArray[np.float32]:
    """[T, C] -> [T]."""
    return np.nan_to_num(channels, nan=0.0, posinf=0.0, neginf=0.0).mean(axis=1, dtype=np.float32)


def _to_int16(samples: NDArray[np.float32]) -> Samples:
    return np.round(np.clip(samples, -1, 1) * 32767).astype(np.int16)


def split_files(lengths: dict[str, int], valid_share: float, seed: int) -> dict[str, str]:
    """Split of each file: files are drawn for validation until they last `valid_share` of the whole.

    A whole file goes to one side. Of two or more files one at least validates (if the share is not 0) and
    one at least trains; a single file trains.
    """
    splits = dict.fromkeys(lengths, "train")
    if valid_share <= 0 or len(lengths) < 2:
        return splits
    wanted, taken = valid_share * sum(lengths.values()), 0
    order = np.random.default_rng(seed).permutation(sorted(lengths))
    for name in order[:-1]:
        # The first is always taken; a later one only if it brings the share nearer to what is wanted.
        if taken and abs(taken + lengths[name] - wanted) >= abs(taken - wanted):
            continue
        splits[str(name)] = "valid"
        taken += lengths[name]
        if taken >= wanted:
            break
    return splits


def prepare(
    raw: Path,
    out: Path,
    rate: int,
    valid_share: float = 0.1,
    seed: int = 0,
    skip: Skip = lambda path, why: None,
    advance: Advance = lambda count: None,
) -> Dataset:
    """Make OUT from RAW/<domain>/*: read, mix down, resample, split by file; unreadable files are left out.

    The manifest is written last: a stopped run leaves no half data set that looks whole.
    """
    if out.resolve() == raw.resolve():
        raise UserError(f"OUT is RAW ('{raw}'); name another folder to write to")
    tracks: list[Track] = []
    for domain, files in find_domains(raw).items():
        read = list(_read_all(raw / domain, files, rate, skip, advance))
        if not read:
            raise UserError(f"domain '{domain}' has no readable sound file among its {len(files)}")
        splits = split_files({r.file: len(r.samples) for r in read}, valid_share, seed)
        for split in SPLITS:
            chosen = [r for r in read if splits[r.file] == split]
            if chosen:
                tracks.append(_store(out, split, domain, chosen))
    write_manifest(out, rate, "plain", tracks)
    return Dataset.open(out)


def _read_all(folder: Path, files: list[Path], rate: int, skip: Skip, advance: Advance) -> list[_Read]:
    read = []
    for path in files:
        try:
            read.append(_Read(path.relative_to(folder).as_posix(), read_audio(path, rate)))
        except UserError as error:
            skip(path, str(error))
        advance(1)
    return read


def _store(out: Path, split: str, domain: str, read: list[_Read]) -> Track:
    """Write the files of one domain and split end to end."""
    path, start, recordings = f"audio/{split}/{domain}.npy", 0, []
    for item in read:
        recordings.append(Recording(item.file, start, len(item.samples)))
        start += len(item.samples)
    save_audio(out / path, np.concatenate([item.samples for item in read]))
    return Track(path, split, domain, "domain", start, recordings=tuple(recordings))
