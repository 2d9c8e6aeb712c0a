"""Vibrato that comes through: a made-up singer's tone that swings by 30 cents, and the swing of what answers."""

from __future__ import annotations

import numpy as np
import soxr
from numpy.typing import NDArray

from umtn.evaluation.players import Player
from umtn.evaluation.spectra import RATE
from umtn.evaluation.tracks import pitch_track

__all__ = ["swinging_tone", "vibrato_probe"]

Floats = NDArray[np.float64]
TONES_HZ = (262.0, 330.0, 440.0, 587.0, 784.0)
DEPTH_CENTS, SPEED_HZ, SECONDS, SETTLE_S, LATEST = 30.0, 5.5, 2.5, 0.6, 15


def swinging_tone(f0_hz: float) -> tuple[NDArray[np.float32], Floats]:
    """A harmonic tone [N] at 24 kHz whose vibrato fades in within 0.3 s, and its cents in frames of 10 ms."""
    t = np.arange(int(SECONDS * RATE)) / RATE
    cents = DEPTH_CENTS * np.sin(2 * np.pi * SPEED_HZ * t) * np.clip(t / 0.3, 0, 1)
    phase = 2 * np.pi * np.cumsum(f0_hz * 2 ** (cents / 1200)) / RATE
    tone = sum(np.sin(h * phase) / h**1.2 for h in range(1, 14) if h * f0_hz < 11_000)
    shape = np.clip(t / 0.03, 0, 1) * np.clip((SECONDS - t) / 0.05, 0, 1)
    return np.asarray(0.1 * tone * shape, np.float32), cents[:: RATE // 100]


def vibrato_probe(player: Player, targets: tuple[str, ...]) -> dict[str, float]:
    """Share of the swing that each target shows, mean over five tones; a lag up to 150 ms is allowed for."""
    found: dict[str, list[float]] = {t: [] for t in targets}
    for f0_hz in TONES_HZ:
        audio, cents = swinging_tone(f0_hz)
        first = round(SETTLE_S * 100)
        wanted = cents[first : len(cents) - 50]
        rate = player.sample_rate
        for t, made in player.play(soxr.resample(audio, RATE, rate), targets).items():
            pitch = pitch_track(soxr.resample(made, rate, RATE)).pitch
            swing = np.clip(100 * (pitch - 69 - 12 * np.log2(f0_hz / 440)), -150, 150)
            late = [swing[first + s : first + s + len(wanted)] for s in range(LATEST)]
            found[t].append(max(float(wanted @ (x - x.mean())) for x in late) / float(wanted @ wanted))
    return {t: round(float(np.mean(shares)), 2) for t, shares in found.items()}
