"""Plays a sequence round and round through one duplex stream and keeps what comes back.

Threading model: PortAudio's thread copies; the main thread sleeps until all has been heard.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from realtime.audio.devices import Device
from realtime.audio.stream import is_jack
from realtime.errors import UserError

__all__ = ["Player", "play", "stream_settings"]

ROUNDS = 3  # heard; one more is played before, while the loop fills
FADE_S = 0.05
WAIT_S = 3.0


class Player:
    """Plays the sequence round and round, keeps what comes in; `callback` is PortAudio's."""

    def __init__(self, sequence: np.ndarray, rate_hz: int) -> None:
        self._sequence, self._at = sequence, 0
        self.heard = np.zeros((ROUNDS + 1) * len(sequence), np.float32)
        self._fade = int(FADE_S * rate_hz)
        self.channel = 0
        self.block = self.lost = 0
        self.said_ms = 0.0

    @property
    def finished(self) -> bool:
        return self._at >= len(self.heard)

    def callback(self, indata: np.ndarray, outdata: np.ndarray, frames: int, clock: Any, status: Any) -> None:
        outdata[:] = 0.0
        at, count = self._at, min(frames, len(self.heard) - self._at)
        if count <= 0:
            return
        self.block = max(self.block, frames)
        if status and at > len(self._sequence) // 2:  # a sound server flags its own rewiring at the start
            self.lost += 1
        self.heard[at : at + count] = indata[:count, self.channel]
        outdata[:count] = self._sequence[np.arange(at, at + count) % len(self._sequence), None]
        if at < self._fade:
            outdata[:count] *= np.minimum(np.arange(at, at + count) / self._fade, 1.0)[:, None]
        self._at += count


def stream_settings(rate_hz: int, block: int, device: Device) -> dict[str, Any]:
    """As audio/stream.py opens it: the same buffers, or another delay would be measured."""
    return {
        "samplerate": rate_hz,
        "blocksize": 0 if is_jack(device) else block,
        "dtype": "float32",
        "latency": "low",
        "clip_off": True,
        "dither_off": True,
    }


def play(
    sd: Any,
    player: Player,
    device_in: Device,
    device_out: Device,
    rate_hz: int,
    block: int,
    channel: int,
    out_channels: int,
) -> None:
    player.channel = channel - 1
    try:
        stream = sd.Stream(
            device=(device_in.index, device_out.index),
            channels=(channel, out_channels),
            callback=player.callback,
            **stream_settings(rate_hz, block, device_out),
        )
    except sd.PortAudioError as error:
        raise UserError(
            f"{device_in.name} and {device_out.name} cannot be opened together at {rate_hz} Hz, block {block} "
            f"({str(error).split(':')[0]}); is another program using them?"
        ) from None
    length_s = len(player.heard) / rate_hz
    with stream:
        deadline = time.monotonic() + length_s + WAIT_S
        while not player.finished and stream.active and time.monotonic() < deadline:
            time.sleep(0.02)
        player.said_ms = 1000.0 * sum(stream.latency)
    if not player.finished:
        raise UserError(
            "the sound device stopped, or never started, while measuring; is the sound server still running?"
        )
