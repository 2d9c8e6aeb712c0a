"""Recording to a WAV file that is playable at every moment, even after a kill.

Threading model: the audio thread calls `write` (a copy into a ring, nothing else); a thread of the recorder's
own empties the ring to disk and then corrects the header, which never promises what is not there.
"""

from __future__ import annotations

import contextlib
import os
import struct
import threading
import time
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from realtime.dsp.ring_buffer import Ring
from umtn.errors import UserError

__all__ = ["Container", "ENDINGS", "FlacFile", "WavFile", "WavRecorder", "create", "quantised"]


BYTES = 3  # 24-bit
MAX_BYTES = (1 << 32) - 64  # sizes in a WAV header have 32 bits: 8.3 hours at 48 kHz
RING_SECONDS = 10  # how long a disk may stall


def _header(rate_hz: int, data_bytes: int) -> bytes:
    fmt = struct.pack("<HHIIHH", 1, 1, rate_hz, rate_hz * BYTES, BYTES, 8 * BYTES)
    riff = struct.pack("<4sI4s4sI", b"RIFF", 36 + data_bytes, b"WAVE", b"fmt ", len(fmt))
    return riff + fmt + struct.pack("<4sI", b"data", data_bytes)


def _pcm24(samples: np.ndarray) -> bytes:
    """Float in -1..1 to packed little-endian 24-bit."""
    whole = np.clip(np.rint(samples.astype(np.float64) * 8388607), -8388608, 8388607).astype("<i4")
    return whole.view(np.uint8).reshape(-1, 4)[:, :BYTES].tobytes()


def keep_earlier(path: Path) -> Path | None:
    """Moves a take that is there already to NAME.1.wav, NAME.2.wav...: nothing recorded is overwritten."""
    if not path.is_file():
        return None
    number = 1
    while (kept := path.with_name(f"{path.stem}.{number}{path.suffix}")).exists():
        number += 1
    path.rename(kept)
    return kept


class WavRecorder:
    """A mono, 24-bit recording.

    `kept` is where an earlier take of this name went, `error` a sentence once the disk failed, `lost` counts
    samples not recorded.
    """

    def __init__(self, path: Path, rate_hz: int) -> None:
        if path.suffix.lower() != ".wav":
            raise UserError(f"the output file {path} must end in .wav; other formats cannot be recorded live")
        if not path.parent.is_dir():
            raise UserError(f"cannot write {path}: there is no folder {path.parent}; was another one meant?")
        self.path, self._rate = path, rate_hz
        self.error: str | None = None
        try:
            self.kept = keep_earlier(path)
            self._file = open(path, "wb", buffering=0)  # noqa: SIM115
        except OSError as error:
            raise UserError(f"cannot write {path} ({error.strerror or error})") from None
        self._bytes = 0
        self._ring = Ring(rate_hz * RING_SECONDS)
        self._piece = np.empty(self._ring.size, np.float32)
        self._discarded = 0
        self._store(b"")
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="recorder", daemon=True)
        self._thread.start()

    @property
    def lost(self) -> int:
        return self._ring.lost + self._discarded

    def write(self, samples: np.ndarray) -> None:
        """From the audio thread: never waits; what finds no room is counted as lost."""
        self._ring.write(samples)

    def write_all(self, samples: np.ndarray) -> None:
        """Without a clock to keep: waits for the disk instead of losing anything."""
        while self._ring.room < len(samples):
            time.sleep(0.005)
        self._ring.write(samples)

    def _run(self) -> None:
        while not self._stop.wait(0.1):
            self._drain()
        self._drain()

    def _drain(self) -> None:
        count = self._ring.read(self._piece[: len(self._ring)])
        samples = self._piece[:count]
        if self.error is None and self._bytes + count * BYTES > MAX_BYTES:
            self.error = f"{self.path} has reached 4 GB, the most that a WAV file can hold; recording stopped"
        if self.error is not None:
            self._discarded += count
        elif count:
            self._store(_pcm24(samples))

    def _store(self, data: bytes) -> None:
        """Append data, then the header that counts it."""
        try:
            self._file.seek(44 + self._bytes if self._bytes or data else 0)
            if not data:
                self._put(_header(self._rate, 0))
                return
            self._bytes += self._put(data) // BYTES * BYTES
            self._file.seek(0)
            self._put(_header(self._rate, self._bytes))
        except OSError as error:
            self.error = (
                f"cannot write {self.path} ({error.strerror or error}); recording stopped, audio goes on"
            )
            self._discarded += len(data) // BYTES

    def _put(self, data: bytes) -> int:
        """Write everything; a full disk first writes a part and then raises."""
        view, done = memoryview(data), 0
        while done < len(view):
            done += self._file.write(view[done:]) or 0
        return done

    def close(self) -> None:
        """Everything to disk; the file is complete when this returns."""
        self._stop.set()
        self._thread.join()
        with contextlib.suppress(OSError):  # already reported, or a target that cannot be synchronised
            os.fsync(self._file.fileno())
        self._file.close()


# Sound files that are complete at every moment: what a kill leaves behind can be opened and played.
#
# Both keep a promise in their header, the number of frames, and neither library nor format minds if it is
# corrected while the file grows: `append` writes the frames first and the promise after them.
#
# WAV holds 32-bit floats, so that what is read is bit for bit what was written; beyond 4 GB it becomes RF64.
# FLAC holds 24 bits. Left alone, a FLAC that was never closed says "unknown length", and libsndfile cannot
# read such a file (seen with 1.2.2); with the 36 bits of its STREAMINFO kept right, all readers can.


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
