"""Sound files in: any rate, any channels, read ahead of the audio by a thread of their own.

Threading model: `FileSource` belongs to one thread. `ReadAhead` runs a FileSource in its thread and hands the
samples over through a ring, so that the audio thread never waits for a disk.
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np

from realtime.dsp.resample import Resampler
from realtime.dsp.ring_buffer import Fifo, Ring
from realtime.shared.audio_config import MAX_RATE_HZ, names_a_file
from umtn.errors import UserError

__all__ = ["DEMO", "FileSource", "ReadAhead", "file_rate", "sound_path"]

DEMO = Path(__file__).parent.parent / "assets" / "demo.flac"
FRAMES = 4096  # of one read
FILE_WIDTH, FILE_BETA = 64, 8.6  # nobody waits for a file: 85 dB, steep
SILENT = 10 ** (-70 / 20)  # a channel whose peak stays below is one that nobody recorded on


def sound_path(spec: str) -> Path | None:
    """The file that `--in` means ("demo" or a path), or None if it does not look like a file."""
    if spec == "demo":
        return DEMO
    path = Path(spec)
    return path if names_a_file(spec) or path.is_file() or (path.suffix and "/" in path.as_posix()) else None


def _open(path: Path) -> object:
    import soundfile

    if not path.exists():
        raise UserError(f"there is no file {path}; is the path right?")
    try:
        file = soundfile.SoundFile(path)
    except (soundfile.LibsndfileError, RuntimeError, OSError) as error:
        reason = str(error).split(": ")[-1].rstrip(".")
        raise UserError(
            f"{path} cannot be read as a sound file ({reason}); wav, flac, ogg and mp3 can"
        ) from None
    if file.frames < 2:
        file.close()
        held = "is empty" if file.frames == 0 else "holds a single sample"
        raise UserError(f"{path} {held}; a sound of some length was wanted")
    if file.samplerate > MAX_RATE_HZ:
        file.close()
        raise UserError(f"{path} has a rate of {file.samplerate} Hz; at most {MAX_RATE_HZ} Hz can be played")
    return file


def file_rate(path: Path) -> int:
    """Sample rate of a readable file, or UserError."""
    with _open(path) as file:  # type: ignore[attr-defined]
        return int(file.samplerate)


def _sounding(file: Any) -> list[int]:
    """Indices of the channels that are not silent; all of them if none sounds, or where the file breaks off."""
    peaks = np.zeros(file.channels)
    try:
        while len(block := file.read(16 * FRAMES, dtype="float32", always_2d=True)):
            np.maximum(peaks, np.abs(block).max(axis=0), out=peaks)
            if (peaks > SILENT).all():  # soon, as a rule
                break
        file.seek(0)
    except (RuntimeError, OSError):
        peaks[:] = 0.0
    return [i for i, peak in enumerate(peaks) if peak > SILENT] or list(range(file.channels))


class FileSource:
    """A sound file as a mono stream at `rate_hz`: one channel (from 1), or the mean of one or two; of more only of
    those that are not silent, so that sound on one of six is as loud as it was. `frames`: its length.

    heard: which channels that is, in words, where it is not simply all of one or two.
    """

    def __init__(self, path: Path, rate_hz: int, channel: int | None = None) -> None:
        self.path, self.rate_hz = path, rate_hz
        self._file: object = _open(path)
        try:
            self._columns, self.heard = self._choose(self._file, channel)
        except UserError:
            self.close()
            raise
        own = int(self._file.samplerate)  # type: ignore[attr-defined]
        frames = int(self._file.frames)  # type: ignore[attr-defined]
        self.frames = -(-frames * rate_hz // own)
        self._resampler = Resampler(own, rate_hz, FRAMES, width=FILE_WIDTH, beta=FILE_BETA)
        self._skip = round(self._resampler.delay_out)  # the filter's lag, so that time 0 stays time 0
        self._left = self.frames
        self._resampled = np.empty(self._resampler.max_out, np.float32)
        self._ready = Fifo(4 * self._resampler.max_out)
        self.error: str | None = None

    def _choose(self, file: Any, channel: int | None) -> tuple[list[int] | None, str]:
        count = int(file.channels)
        if channel is not None:
            if channel > count:
                has = f"{count} channels" if count > 1 else "a single channel"
                raise UserError(f"--channel {channel} was asked for, but {self.path} has {has}")
            return ([channel - 1], f"channel {channel} of {count}") if count > 1 else (None, "")
        if count <= 2:
            return None, ""
        columns = _sounding(file)
        if len(columns) == count:
            return None, f"its {count} channels mixed, --channel N for one"
        listed = ", ".join(str(i + 1) for i in columns)
        return columns, f"channel{'s' if len(columns) > 1 else ''} {listed} of {count}, the others are silent"

    @property
    def finished(self) -> bool:
        return self._left <= 0

    def read(self, out: np.ndarray) -> int:
        """Fill `out`, after the end with silence; returns how many samples were sound."""
        done = 0
        while done < len(out) and self._left > 0:
            if not len(self._ready):
                self._pull()
                continue
            n = min(len(out) - done, len(self._ready), self._left)
            self._ready.read(out[done : done + n])
            done += n
            self._left -= n
        out[done:] = 0.0
        return done

    def _pull(self) -> None:
        """One piece of the file, or of the silence that pushes its last samples out of the filter."""
        try:
            block = self._file.read(FRAMES, dtype="float32", always_2d=True)  # type: ignore[attr-defined]
        except (RuntimeError, OSError) as error:
            self.error = f"{self.path} breaks off in the middle ({str(error).split(': ')[-1].rstrip('.')})"
            block = np.zeros((0, 1), np.float32)
            self._left = 0
        if self._columns is not None and len(block):
            block = block[:, self._columns]
        mono = block.mean(axis=1) if len(block) else np.zeros(FRAMES, np.float32)
        count = self._resampler.process(mono, self._resampled)
        skip = min(self._skip, count)
        self._skip -= skip
        self._ready.write(self._resampled[skip:count])

    def close(self) -> None:
        self._file.close()  # type: ignore[attr-defined]


class ReadAhead:
    """A FileSource read in a thread, about a second ahead. `read` never waits."""

    def __init__(self, source: FileSource) -> None:
        self._source = source
        self._ring = Ring(source.rate_hz)
        self._piece = np.empty(2048, np.float32)
        self._stop = threading.Event()
        self._all_read = False
        self._fill()
        self._thread = threading.Thread(target=self._run, name="read-ahead", daemon=True)
        self._thread.start()

    @property
    def finished(self) -> bool:
        return self._all_read and len(self._ring) == 0

    @property
    def error(self) -> str | None:
        return self._source.error

    def _fill(self) -> None:
        while self._ring.room >= len(self._piece) and not self._all_read:
            count = self._source.read(self._piece)
            self._ring.write(self._piece[:count])
            self._all_read = self._source.finished

    def _run(self) -> None:
        while not self._all_read and not self._stop.wait(0.1):
            self._fill()

    def read(self, out: np.ndarray) -> int:
        return self._ring.read(out)

    def close(self) -> None:
        self._stop.set()
        self._thread.join()
        self._source.close()
