"""The data folder that rendering and preparing write and training reads.

DATA/manifest.json                          format, kind, sample rate, tracks
DATA/scores/<score>.json                    paired: the ground truth of a score
DATA/audio/<score>/<font>.<instrument>.npy  paired: int16 mono, sample 0 is time 0 of the score
DATA/audio/<split>/<domain>.npy             plain: int16 mono, all recordings of a domain end to end
"""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from umtn.data.score import Score
from umtn.errors import UserError
from umtn.files import write_atomically

__all__ = [
    "Dataset",
    "Recording",
    "Track",
    "floats",
    "one_voice",
    "save_audio",
    "write_manifest",
]

FORMAT, VERSION = "umtn-data", 1
KINDS, SPLITS = ("paired", "plain"), ("train", "valid")
MANIFEST = "manifest.json"
TARGET_FONT = "fluidr3"


@dataclass(frozen=True)
class Recording:
    """One source file within a plain track: samples start .. start + length."""

    file: str
    start: int
    length: int


@dataclass(frozen=True)
class Track:
    """One audio array; `domain` is the instrument's id (paired) or the domain folder's name (plain)."""

    path: str  # relative, with forward slashes
    split: str
    domain: str
    role: str  # "domain", "source" or "evaluation"
    length: int  # samples
    score: str = ""  # paired: score id
    font: str = ""  # paired: sound font, or "synthetic"
    gain_db: float = 0.0  # applied before the audio was stored
    highest: int = 127  # paired: notes of the score above this pitch are mute in this track
    recordings: tuple[Recording, ...] = ()  # plain: what stands where

    def plays_all(self, score: Score, start_s: float, end_s: float) -> bool:
        """Whether the track sounds every note that its score has within start_s .. end_s."""
        notes = score.table
        within = (notes[:, 0] < end_s) & (notes[:, 1] > start_s)
        return not bool(np.any(notes[within, 2] > self.highest))

    @staticmethod
    def from_dict(raw: dict[str, Any]) -> Track:
        """A track from the manifest; TypeError or KeyError when it is not one."""
        known = {f.name for f in fields(Track)}
        if set(raw) - known:
            raise KeyError(f"unknown track field {min(set(raw) - known)!r}")
        pieces = tuple(Recording(**r) for r in raw.get("recordings", ()))
        return Track(**{**raw, "recordings": pieces})


class Dataset:
    """A data folder opened for reading; audio is memory-mapped."""

    def __init__(self, root: Path, sample_rate: int, kind: str, tracks: Sequence[Track]) -> None:
        self.root, self.sample_rate, self.kind = root, sample_rate, kind
        self.all_tracks = tuple(tracks)
        self._audio: dict[str, np.memmap] = {}

    @staticmethod
    def open(path: str | Path) -> Dataset:
        """Open DATA; UserError when it is not a folder made by `umtn render` or `umtn prepare`."""
        root = Path(path)
        file = root / MANIFEST
        if not file.is_file():
            raise UserError(
                f"'{root}' holds no {MANIFEST}; a folder made by `umtn render` or `umtn prepare` is wanted"
            )
        try:
            raw = json.loads(file.read_text(encoding="utf-8"))
            if raw["format"] != FORMAT:
                raise ValueError(f"its format is {raw['format']!r}")
            if raw["version"] > VERSION:
                newer = f"data format {raw['version']}; this one knows {VERSION}"
                raise UserError(f"'{root}' was made by a newer version ({newer})")
            if raw["kind"] not in KINDS:
                raise ValueError(f"its kind is {raw['kind']!r}")
            tracks = [Track.from_dict(t) for t in raw["tracks"]]
            return Dataset(root, int(raw["sample_rate"]), raw["kind"], tracks)
        except UserError:
            raise
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(f"'{file}' is not the manifest of a data folder: {error}") from error

    def tracks(self, split: str, domain: str | None = None, role: str | None = None) -> list[Track]:
        """Tracks of a split ("train", "valid"), of one domain or role if named; UserError if none."""
        if split not in SPLITS:
            raise UserError(f"unknown split '{split}'; wanted: {' or '.join(SPLITS)}")
        found = [
            t
            for t in self.all_tracks
            if t.split == split and domain in (None, t.domain) and role in (None, t.role)
        ]
        if not found:
            known = ", ".join(dict.fromkeys(f"{t.domain} ({t.split}, {t.role})" for t in self.all_tracks))
            what = " ".join(filter(None, (split, domain, role)))
            raise UserError(f"'{self.root}' has no tracks for {what}; it has: {known or 'none'}")
        return found

    @property
    def domains(self) -> list[str]:
        """Ids of the domains that decoders are trained for, in the order of the manifest."""
        return list(dict.fromkeys(t.domain for t in self.all_tracks if t.role == "domain"))

    def command_at(self, rate: int) -> str:
        """The command that makes the same folder at another rate, beside this one."""
        out = shlex.quote(f"{self.root}-{rate}")
        if self.kind == "plain":
            return f"python -m umtn prepare RAW {out} --rate {rate}  (RAW: the folder of the recordings)"
        lengths = {t.score: t.length / self.sample_rate / 60 for t in self.all_tracks}
        random = sum(minutes for score, minutes in lengths.items() if score.startswith("random-"))
        fonts = dict.fromkeys(t.font for t in self.all_tracks if t.font not in ("", "synthetic"))
        names = ",".join(dict.fromkeys(t.domain for t in self.all_tracks))
        words = ["--minutes", f"{random:.3g}"] if random else ["--score", "FILE.mid"]
        words += ["--fonts", ",".join(fonts)] if fonts else []
        return f"python -m umtn render {out} --rate {rate} {' '.join(words)} --instruments {names}"

    def audio(self, track: Track) -> np.memmap:
        """The int16 samples [T] of a track, memory-mapped and kept open; UserError if not as stored."""
        if track.path not in self._audio:
            self._audio[track.path] = self._map(track)
        return self._audio[track.path]

    def _map(self, track: Track) -> np.memmap:
        path = self.root / track.path
        if ".." in Path(track.path).parts or Path(track.path).is_absolute():
            raise UserError(f"track path '{track.path}' leaves the data folder '{self.root}'")
        try:
            samples = np.load(path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise UserError(f"audio '{path}' cannot be read: {error}") from error
        if samples.dtype != np.int16 or samples.shape != (track.length,):
            wanted = f"int16 ({track.length},)"
            raise UserError(f"audio '{path}' is {samples.dtype} {samples.shape}, not {wanted} as listed")
        return samples

    def score(self, score_id: str) -> Score:
        """The ground truth of a score; UserError when the data are plain or the file is missing."""
        if self.kind != "paired":
            raise UserError(f"'{self.root}' holds plain recordings, which have no scores")
        return _read_score(self.root / "scores" / f"{score_id}.json")


@lru_cache(maxsize=256)
def _read_score(path: Path) -> Score:
    try:
        return Score.from_json(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"score '{path}' cannot be read: {error.strerror}") from error


def one_voice(tracks: list[Track]) -> list[Track]:
    """Those of one font, where there are several: a decoder asked for two fonts at once would learn their blur."""
    return [t for t in tracks if t.font == TARGET_FONT] or tracks


def floats(samples: NDArray[np.int16]) -> NDArray[np.float32]:
    """Stored samples as audio in [-1, 1)."""
    return np.asarray(samples, np.float32) / np.float32(32768)


def write_manifest(root: Path, sample_rate: int, kind: str, tracks: Sequence[Track]) -> None:
    """Write DATA/manifest.json in one piece: a reader never sees half of it."""
    raw = {"format": FORMAT, "version": VERSION, "kind": kind, "sample_rate": sample_rate}
    rows = [{k: v for k, v in asdict(t).items() if v not in ("", ())} for t in tracks]
    text = json.dumps(raw, indent=1)[:-2] + ',\n "tracks": [\n  '  # a line for each track
    text += ",\n  ".join(json.dumps(row) for row in rows) + "\n ]\n}\n"
    write_atomically(root / MANIFEST, text.encode())


def save_audio(path: Path, samples: NDArray[np.int16]) -> None:
    """Write int16 mono samples [T] as .npy, in one piece."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(path.name + ".part")
    with beside.open("wb") as file:
        np.save(file, np.ascontiguousarray(samples, dtype=np.int16), allow_pickle=False)
    os.replace(beside, path)
