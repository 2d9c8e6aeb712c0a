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

import numpy as np

from realtime.audio.ring import Ring
from realtime.errors import UserError

__all__ = ["WavRecorder"]

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
