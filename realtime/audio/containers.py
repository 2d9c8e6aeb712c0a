"""Sound files that are complete at every moment: what a kill leaves behind can be opened and played.

Both keep a promise in their header, the number of frames, and neither library nor format minds if it is
corrected while the file grows: `append` writes the frames first and the promise after them.

WAV holds 32-bit floats, so that what is read is bit for bit what was written; beyond 4 GB it becomes RF64.
FLAC holds 24 bits. Left alone, a FLAC that was never closed says "unknown length", and libsndfile cannot
read such a file (seen with 1.2.2); with the 36 bits of its STREAMINFO kept right, all readers can.
"""

from __future__ import annotations

import os
import struct
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from realtime.errors import UserError

__all__ = ["ENDINGS", "Container", "FlacFile", "WavFile", "create", "quantised"]

ENDINGS = (".wav", ".flac")
CHANNELS = 2
MAX_RIFF = (1 << 32) - 1
FULL_SCALE = 1 << 23  # of 24 bits: the steps in which a 24-bit sound card counts
FLAC_FRAMES = 4096  # libFLAC's block; what is not a whole one is still in memory
FLAC_MAX_HZ = 655350
_TOTAL_AT = 18  # the last 8 of STREAMINFO's bytes 10 .. 17: rate, channels, bits and 36 bits of frames


class Container(Protocol):
    """A new file. append: [n, 2] float32. frames: how many the file holds. OSError when the disk is full."""

    frames: int

    def append(self, frames: np.ndarray) -> None: ...

    def close(self) -> None: ...


def create(path: Path, rate_hz: int) -> Container:
    """By the path's ending; OSError (FileExistsError too), or UserError for another ending."""
    if path.suffix.lower() == ".flac":
        return FlacFile(path, rate_hz)
    if path.suffix.lower() == ".wav":
        return WavFile(path, rate_hz)
    raise UserError(f"a recording ends in {' or '.join(ENDINGS)}, but {path.name} came")


class WavFile:
    """RIFF, 32-bit float. The `JUNK` chunk keeps the place of RF64's 64-bit sizes."""

    def __init__(self, path: Path, rate_hz: int) -> None:
        self._rate = rate_hz
        self._frame = 4 * CHANNELS
        self.frames = 0
        self._file = open(path, "xb", buffering=0)  # noqa: SIM115
        self._head = len(self._header())
        self._put(self._header(), 0)

    def _header(self) -> bytes:
        data = self.frames * self._frame
        fmt = struct.pack("<HHIIHHH", 3, CHANNELS, self._rate, self._rate * self._frame, self._frame, 32, 0)
        fact = struct.pack("<I", min(self.frames, MAX_RIFF))
        size = 4 + 36 + 8 + len(fmt) + 8 + len(fact) + 8 + data
        large = size > MAX_RIFF
        start = struct.pack("<4sI4s", b"RF64" if large else b"RIFF", MAX_RIFF if large else size, b"WAVE")
        sizes = struct.pack("<QQQI", size, data, self.frames, 0) if large else bytes(28)
        return b"".join(
            (
                start,
                struct.pack("<4sI", b"ds64" if large else b"JUNK", 28) + sizes,
                struct.pack("<4sI", b"fmt ", len(fmt)) + fmt,
                struct.pack("<4sI", b"fact", len(fact)) + fact,
                struct.pack("<4sI", b"data", MAX_RIFF if large else data),
            )
        )

    def append(self, frames: np.ndarray) -> None:
        self._put(np.ascontiguousarray(frames, "<f4").data.cast("B"), self._head + self.frames * self._frame)
        self.frames += len(frames)
        self._put(self._header(), 0)

    def _put(self, data: Any, at: int) -> None:
        """All of it; a full disk first takes a part and then raises, and the header does not count that part."""
        self._file.seek(at)
        view, done = memoryview(data), 0
        while done < len(view):
            done += self._file.write(view[done:]) or 0

    def close(self) -> None:
        """Cut off what no header counts."""
        try:
            self._file.truncate(self._head + self.frames * self._frame)
            os.fsync(self._file.fileno())
        finally:
            self._file.close()


def quantised(samples: np.ndarray) -> np.ndarray:
    """Float to 24-bit whole numbers (int32): exact for what comes from a card of 24 bits or fewer."""
    scaled = np.nan_to_num(samples.astype(np.float64) * FULL_SCALE, nan=0.0)
    return np.clip(np.rint(scaled), -FULL_SCALE, FULL_SCALE - 1).astype(np.int32)


class FlacFile:
    """FLAC of 24 bits by libsndfile, its length corrected by us."""

    def __init__(self, path: Path, rate_hz: int) -> None:
        import soundfile

        if rate_hz > FLAC_MAX_HZ:
            raise UserError(
                f"FLAC holds up to {FLAC_MAX_HZ} Hz, but the device has {rate_hz}; record to .wav"
            )
        path.open("xb").close()
        self._failure = soundfile.SoundFileError
        self._path = path
        self.frames = 0
        try:
            self._sound = soundfile.SoundFile(path, "w", rate_hz, CHANNELS, "PCM_24", format="FLAC")
        except self._failure as error:
            raise OSError(str(error)) from None

    def append(self, frames: np.ndarray) -> None:
        try:
            self._sound.write(quantised(frames) << 8)
        except (self._failure, AssertionError) as error:
            self.frames = self.frames // FLAC_FRAMES * FLAC_FRAMES
            raise OSError(f"no room for more FLAC ({error})") from None
        self.frames += len(frames)
        self._promise(self.frames // FLAC_FRAMES * FLAC_FRAMES)

    def _promise(self, frames: int) -> None:
        with self._path.open("r+b", buffering=0) as file:
            file.seek(_TOTAL_AT)
            (word,) = struct.unpack(">Q", file.read(8))
            file.seek(_TOTAL_AT)
            file.write(struct.pack(">Q", word >> 36 << 36 | frames))

    def close(self) -> None:
        try:
            self._sound.close()  # writes the last frames and the true length
        except self._failure as error:
            raise OSError(str(error)) from None
