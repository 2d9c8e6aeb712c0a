"""Recording to a WAV or FLAC file that is playable at every moment, even after a kill.

Threading model: the audio thread calls `write` (a copy into a ring, nothing else); a thread of the recorder's
own empties the ring to disk and then corrects the header, which never promises what is not there. A FLAC that
was killed holds what libFLAC had made whole blocks of, see containers.py.
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
from realtime.shared.audio_config import RECORD_ENDINGS
from umtn.errors import UserError

__all__ = [
    "Container",
    "FileRecorder",
    "FlacFile",
    "WavFile",
    "check_flac_rate",
    "create",
    "quantised",
]


# Sound files that are complete at every moment: what a kill leaves behind can be opened and played.
#
# Both keep a promise in their header, the number of frames, and neither library nor format minds if it is
# corrected while the file grows: `append` writes the frames first and the promise after them.
#
# WAV holds 32-bit floats, so that what is read is bit for bit what was written; beyond 4 GB it becomes RF64.
# FLAC holds 24 bits. Left alone, a FLAC that was never closed says "unknown length", and libsndfile cannot
# read such a file (seen with 1.2.2); with the 36 bits of its STREAMINFO kept right, all readers can.


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
    raise UserError(f"a recording ends in {' or '.join(RECORD_ENDINGS)}, but {path.name} came")


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


def check_flac_rate(rate_hz: int) -> None:
    """UserError if FLAC's headers cannot say that rate: 16 bits for Hz, or 16 bits for tens of Hz."""
    if rate_hz > FLAC_MAX_HZ or (rate_hz > FLAC_MAX_HZ // 10 and rate_hz % 10):
        raise UserError(f"FLAC holds no sound of {rate_hz} Hz; choose a name that ends in .wav")


class FlacFile:
    """FLAC of 24 bits by libsndfile, its length corrected by us. append: [n, channels]."""

    def __init__(self, path: Path, rate_hz: int, channels: int = CHANNELS) -> None:
        import soundfile

        check_flac_rate(rate_hz)
        path.open("xb").close()
        self._failure = soundfile.SoundFileError
        self._path = path
        self.frames = 0
        try:
            self._sound = soundfile.SoundFile(path, "w", rate_hz, channels, "PCM_24", format="FLAC")
        except self._failure as error:
            raise OSError(str(error)) from None

    def append(self, frames: np.ndarray) -> None:
        if not len(frames):  # before the first ones there is no header to correct
            return
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


BYTES = 3  # 24-bit
MAX_BYTES = (1 << 32) - 64  # sizes in a WAV header have 32 bits: 8.3 hours at 48 kHz
RING_SECONDS = 10  # how long a disk may stall
HEADER_BYTES = 44


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


class _Wav24:
    """A mono, 24-bit WAV; its header is right after every `append`, also of nothing. frames: how many it counts."""

    def __init__(self, path: Path, rate_hz: int) -> None:
        self.frames, self._rate = 0, rate_hz
        self._file = open(path, "wb", buffering=0)  # noqa: SIM115

    def append(self, frames: np.ndarray) -> None:
        """[n, 1] float32; OSError when the disk is full, ValueError beyond what the format can hold."""
        if (self.frames + len(frames)) * BYTES > MAX_BYTES:
            raise ValueError("has reached 4 GB, the most that a WAV file can hold")
        if len(frames):
            self._file.seek(HEADER_BYTES + self.frames * BYTES)
            self.frames += self._put(_pcm24(frames)) // BYTES
        self._file.seek(0)
        self._put(_header(self._rate, self.frames * BYTES))

    def _put(self, data: bytes) -> int:
        """Write everything; a full disk first writes a part and then raises."""
        view, done = memoryview(data), 0
        while done < len(view):
            done += self._file.write(view[done:]) or 0
        return done

    def close(self) -> None:
        with contextlib.suppress(OSError):  # already reported, or a target that cannot be synchronised
            os.fsync(self._file.fileno())
        self._file.close()


class FileRecorder:
    """A mono, 24-bit recording, WAV or FLAC by its ending. Made, it has touched nothing; `open` makes the file.

    What is written before that waits in the ring. `kept` is where an earlier take of this name went, `error` a
    sentence once the disk failed, `lost` counts samples not recorded.
    """

    def __init__(self, path: Path, rate_hz: int) -> None:
        self.path, self._rate = path, rate_hz
        self._check()
        self.error: str | None = None
        self.kept: Path | None = None
        self._ring = Ring(rate_hz * RING_SECONDS)
        self._piece = np.empty(self._ring.size, np.float32)
        self._discarded = 0
        self._file: Container | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="recorder", daemon=True)

    def _check(self) -> None:
        path = self.path
        if path.suffix.lower() not in RECORD_ENDINGS:
            raise UserError(
                f"the output file {path} must end in .wav or .flac; other formats cannot be recorded live"
            )
        if path.suffix.lower() == ".flac":
            check_flac_rate(self._rate)
        if path.is_dir():
            raise UserError(f"cannot write {path}: it is a folder; name a file in it")
        if not path.parent.is_dir():
            if path.parent.exists():
                raise UserError(f"cannot write {path}: {path.parent} is not a folder but a file")
            raise UserError(f"cannot write {path}: there is no folder {path.parent}; was another one meant?")
        if not os.access(path.parent if not path.exists() or path.is_file() else path, os.W_OK):
            raise UserError(f"cannot write {path}: nothing may be written there")

    def open(self) -> None:
        """Move an earlier take aside and begin the file; UserError if that fails, and then all is as it was."""
        try:
            self.kept = keep_earlier(self.path)
            self._file = self._create()
        except OSError as error:
            if self.kept is not None:
                with contextlib.suppress(OSError):
                    self.path.unlink(missing_ok=True)  # FLAC's first bytes
                    self.kept.rename(self.path)
            raise UserError(f"cannot write {self.path} ({error.strerror or error})") from None
        self._append(np.zeros(0, np.float32))
        self._thread.start()

    def _create(self) -> Container:
        if self.path.suffix.lower() == ".flac":
            return FlacFile(self.path, self._rate, 1)
        return _Wav24(self.path, self._rate)

    @property
    def lost(self) -> int:
        return self._ring.lost + self._discarded

    def write(self, samples: np.ndarray) -> None:
        """From the audio thread: never waits; what finds no room is counted as lost."""
        self._ring.write(samples)

    def write_all(self, samples: np.ndarray) -> None:
        """Without a clock to keep: waits for the disk instead of losing anything."""
        while self._ring.room < len(samples) and not self._stop.is_set():
            time.sleep(0.005)
        self._ring.write(samples)

    def _run(self) -> None:
        while not self._stop.wait(0.1):
            self._drain()
        self._drain()

    def _drain(self) -> None:
        count = self._ring.read(self._piece[: len(self._ring)])
        if self.error is not None:
            self._discarded += count
        elif count:
            self._append(self._piece[:count])

    def _append(self, samples: np.ndarray) -> None:
        assert self._file is not None
        before = self._file.frames
        try:
            self._file.append(samples[:, None])
        except ValueError as error:
            self.error = f"{self.path} {error}; recording stopped"
            self._discarded += len(samples)
        except OSError as error:
            self.error = (
                f"cannot write {self.path} ({error.strerror or error}); recording stopped, audio goes on"
            )
            self._discarded += before + len(samples) - self._file.frames

    def close(self) -> None:
        """Everything to disk; the file is complete when this returns."""
        self._stop.set()
        if self._file is None:
            return
        if self._thread.ident is not None:
            self._thread.join()
        try:
            self._file.close()
        except OSError as error:
            self.error = self.error or f"cannot complete {self.path} ({error.strerror or error})"
