"""`python -m realtime.run --replay NAME.wav`: a recorded performance, rendered again, to the sample.

The state at the recording's first sample comes from NAME.state.npz, the input from the recording's first
channel, what the performer did from NAME.jsonl, each at the sample where the audio thread had it. A WAV keeps
every bit of all of this. While a FLAC is recorded, the model hears its input rounded to 24 bits, as it is stored;
the output agrees after the same rounding. An input beyond full scale is the exception: FLAC clips it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from export.bundle.bundle import Bundle
from realtime.dsp.controls import CELLS, DomainMap, default_cells, put
from realtime.dsp.model_crossfade import Incoming, Player
from realtime.dsp.signal_path import MAX_CALL, SignalPath
from realtime.engines import load_engine
from realtime.recording.restore import restore
from realtime.recording.sound_writers import FULL_SCALE, quantised
from realtime.recording.take_files import beside, read_journal
from realtime.shared.audio_config import RECORD_ENDINGS
from realtime.shared.scheduling import flush_denormals
from umtn.errors import UserError

__all__ = ["Replayed", "main", "replay"]

PIECE = 1 << 16  # samples read from the recording at a time
LARGEST = 1e15  # of any parameter; presses of panic are counted, too


@dataclass
class Replayed:
    """frames rendered to `out`; the largest difference from the recorded output and where; what to know of it."""

    frames: int
    out: Path
    difference: float = 0.0
    at: int = 0
    rate_hz: int = 48000
    notes: list[str] = field(default_factory=list)

    @property
    def sentence(self) -> str:
        seconds = self.frames / self.rate_hz
        if self.difference == 0.0:
            return f"{self.out}: {seconds:.1f} s, identical to the recording, sample for sample"
        where = self.at / self.rate_hz
        worst = f"by up to {self.difference:.3g} (at {where:.3f} s)"
        return f"{self.out}: {seconds:.1f} s, differs from the recording {worst}"


def main(path: str, out: str | None = None, bundle: str | None = None) -> int:
    """Replay, and print what came of it; 0 if it is identical, 1 if not. UserError as `replay`."""
    done = replay(Path(path), Path(out) if out else None, Path(bundle) if bundle else None)
    for line in (*done.notes, done.sentence):
        print(line)
    return 0 if done.difference == 0.0 else 1


def replay(path: Path, out: Path | None = None, bundle: Path | None = None) -> Replayed:
    """Render the performance again into `out` (mono; NAME.replay.wav); an existing file is not overwritten.

    bundle: another one than the journal names, whatever its hash. UserError: something is missing or differs.
    """
    import soundfile

    head, events = read_journal(beside(path))
    out = out or path.with_suffix(".replay.wav")
    if out.suffix.lower() not in RECORD_ENDINGS:
        raise UserError(f"a replay is written to .wav or .flac, but {out} came")
    if out.exists():
        raise UserError(f"{out} exists already; give --out another name")
    try:
        sound = soundfile.SoundFile(path)
    except (soundfile.SoundFileError, OSError) as error:
        raise UserError(f"{path} cannot be read as a sound file ({error})") from None
    with sound:
        if sound.channels != 2:
            raise UserError(
                f"{path} has {sound.channels} channel(s); a recording has input and output, side by side"
            )
        done = Replayed(0, out, rate_hz=sound.samplerate)
        performance = _Performance(path, head, events, sound, bundle, done)
        subtype = "FLOAT" if out.suffix.lower() == ".wav" else "PCM_24"
        try:
            with soundfile.SoundFile(out, "w", sound.samplerate, 1, subtype) as target:
                performance.render(target)
        except OSError as error:
            raise UserError(f"cannot write {out} ({error.strerror or error})") from None
    return done


class _Performance:
    """The recorded one, played by the same player."""

    def __init__(
        self,
        path: Path,
        head: dict[str, Any],
        events: list[dict[str, Any]],
        sound: Any,
        bundle: Path | None,
        done: Replayed,
    ) -> None:
        self._file, self._sound, self._done = path, sound, done
        self._whole = path.suffix.lower() == ".flac"
        _check_journal(beside(path), head, events)
        self._engine = str(head["engine"])
        self._events = [e for e in events if "end" not in e]
        self._late = max(0, int(head.get("late", 0)))  # the output's channel, see `Tape`
        # a recording that was killed has no end: its last sounds are not in it
        self._end = next((int(e["at"]) for e in events if "end" in e), int(sound.frames))
        self._length = head["call"]
        self._cells = default_cells()
        put(self._cells, _known(head["parameters"], done))
        self._player = Player(self._path(head, bundle))
        self._restore(self._player, head)
        self._out = np.zeros(MAX_CALL, np.float32)
        if head.get("unsaved"):
            done.notes.append(
                f"the state of {', '.join(head['unsaved'])} was not kept: a difference is to be expected"
            )
        if bundle is not None and _sha256(bundle) != head["sha256"]:
            done.notes.append(f"played with {bundle}, not with {head['bundle']}: it cannot be the same")

    def _path(self, about: dict[str, Any], other: Path | None = None) -> SignalPath:
        """A fresh signal path with the bundle that the journal names, or another."""
        file = other or Path(str(about["bundle"]))
        if not file.is_file():
            raise UserError(f"the bundle {file} of this recording is not there; --bundle names another place")
        if other is None and _sha256(file) != about["sha256"]:
            raise UserError(
                f"{file} is not the bundle that was recorded (it has another SHA-256); --bundle {file} plays it "
                "all the same"
            )
        name, precision = str(about.get("engine", self._engine)), str(about.get("precision", "auto"))
        engine = load_engine(Bundle.open(file), name, precision=precision, live=False)
        return SignalPath(engine, self._sound.samplerate, self._length)

    def _restore(self, root: Player | SignalPath, about: dict[str, Any]) -> None:
        """The state that the journal names. UserError: what is wrong with it, and what can be had without it."""
        try:
            restore(root, self._file.parent / str(about["state"]))
        except UserError as error:
            raise UserError(
                f"{error}; what was played can still be translated anew: --in {self._file} --channel 1"
            ) from None

    def render(self, target: Any) -> None:
        flush_denormals()
        at = 0
        events = iter(self._events)
        event = next(events, None)
        calls = self._calls()
        for heard, said in calls:
            panic = 0
            while event is not None and event["at"] <= at:
                panic += self._act(event)
                event = next(events, None)
            made = self._out[: len(heard)]
            # an event may have changed the length of this very call, which `_calls` found out by itself
            try:
                self._player.process(self._cells, heard, made)
            except Exception:  # as the worker does, which has noted it
                made[:] = 0.0
            if panic:
                self._player.panic(self._cells, made)
            self._compare(made, said, at)
            target.write(made)
            at += len(heard)
        self._done.frames = at

    def _calls(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Input and output, call by call, of the length that each call had."""
        lengths = iter([(e["at"], e["block"]) for e in self._events if "block" in e])
        following = next(lengths, None)
        at, length = 0, self._length
        held = np.zeros((0, 2), np.float32 if not self._whole else np.int32)
        while True:
            if following is not None and following[0] <= at:
                length, following = following[1], next(lengths, None)
                continue
            while len(held) < length + self._late:
                more = self._sound.read(PIECE, dtype="int32" if self._whole else "float32", always_2d=True)
                held = np.concatenate([held, more])
                if not len(more):
                    break
            if min(len(held), self._end - at) < length:  # the rest of a call that a kill cut through
                return
            yield self._input(held[:length, 0]), held[self._late : self._late + length, 1]
            held = held[length:]
            at += length

    def _input(self, stored: np.ndarray) -> np.ndarray:
        if not self._whole:
            return np.ascontiguousarray(stored)
        return ((stored >> 8) * np.float32(1.0 / FULL_SCALE)).astype(np.float32)

    def _act(self, event: dict[str, Any]) -> int:
        """What the performer did; 1 for a panic, which follows the block."""
        if "set" in event:
            put(self._cells, _known(event["set"], self._done))
        elif "swap" in event:
            self._swap(event["swap"])
        elif "lost" in event:
            self._done.notes.append(
                f"{event['lost']} samples were lost at {event['s']} s: no longer the same from there"
            )
        elif "failure" in event:
            self._done.notes.append(
                f"at {event['s']} s the program failed ({event['failure']}) and gave silence"
            )
        return int("panic" in event)

    def _swap(self, about: dict[str, Any]) -> None:
        path = self._path(about)
        self._restore(path, about)
        old, new = self._player.path.engine.manifest, path.engine.manifest
        same = old.latent_channels == new.latent_channels
        map_ = DomainMap([d.id for d in old.domains], [d.id for d in new.domains], same)
        self._player.swap(Incoming(path, map_, bool(about["overlap"])), self._cells)

    def _compare(self, made: np.ndarray, said: np.ndarray, at: int) -> None:
        made = made[: len(said)]
        if not len(made):
            return
        if self._whole:
            error = np.abs(quantised(made) - (said >> 8)) / FULL_SCALE
        else:
            error = np.abs(made - said)
        index = int(np.argmax(error))
        if error[index] > self._done.difference:
            self._done.difference, self._done.at = float(error[index]), at + index


def _check_journal(path: Path, head: dict[str, Any], events: list[dict[str, Any]]) -> None:
    """UserError names the first entry that no recording has: a hand may have edited them, and any program may write."""
    wrong = [key for key in ("engine", "call", "parameters", "state", "bundle", "sha256") if key not in head]
    if wrong:
        raise UserError(f"the first line of {path} lacks {wrong[0]!r}; was it edited?")
    lengths = [("call", head["call"]), *(("block", e["block"]) for e in events if "block" in e)]
    for key, length in lengths:
        if type(length) is not int or not 1 <= length <= MAX_CALL:
            raise UserError(f"{path}: {key} is {str(length)[:40]}, but 1 to {MAX_CALL} samples were wanted")
    for values in (head["parameters"], *(e["set"] for e in events if "set" in e)):
        if not isinstance(values, dict):
            raise UserError(f"{path} sets {str(values)[:40]}, but names with their values were wanted")
        for name, value in values.items():
            if type(value) not in (int, float) or not abs(value) <= LARGEST:  # also NaN
                raise UserError(
                    f"{path} sets {name[:40]} to {str(value)[:40]}, but a finite number was wanted"
                )
    for event in events:
        if not {"lost", "failure"}.isdisjoint(event) and type(event.get("s")) not in (int, float):
            raise UserError(f"{path} has an event without its time: {str(event)[:80]}")
        swap = event.get("swap", {"bundle": "", "sha256": "", "state": "", "overlap": 0})
        if not isinstance(swap, dict) or not {"bundle", "sha256", "state", "overlap"} <= swap.keys():
            raise UserError(f"{path} has a change of bundles that does not say to which: {str(event)[:80]}")


def _known(values: dict[str, Any], done: Replayed) -> dict[str, float]:
    """Parameters that this version has; the others are told of."""
    known = np.zeros(CELLS)
    found = {}
    for name, value in values.items():
        try:
            put(known, {name: float(value)})
        except KeyError:
            done.notes.append(f"the journal sets {name}, which this version does not have")
        else:
            found[name] = float(value)
    return found


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
