"""What comes through of a player's vibrato and tremolo: tones that swing in pitch or in level, and the answer's swing.

A vibrato belongs to the melody; a level that trembles within a note is a bow's or a breath's, not a hammer's.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import scipy.signal
import soxr
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter1d

from umtn.evaluation import signal_metrics
from umtn.evaluation.classifiers import HOP, RATE
from umtn.evaluation.pitch_tracking import pitch_track
from umtn.evaluation.report import Row
from umtn.evaluation.signal_metrics import loudness_db
from umtn.offline import Player

__all__ = ["noises", "tone", "tremolo_probe", "unplayed", "vibrato_probe"]


Audio = NDArray[np.float32]
Floats = NDArray[np.float64]
TONES_HZ = (262.0, 330.0, 440.0, 587.0, 784.0)
SWING_S, SETTLE, LATEST = (
    2.5,
    60,
    20,
)  # s; frames of 10 ms before which nothing counts, by which an answer may be late
VIBRATO_CENTS, VIBRATO_HZ = 30.0, 5.5
TREMOLO_DB, TREMOLO_HZ = 6.0, 5.0


def tone(f0_hz: float, cents: Floats | float = 0.0, level_db: Floats | float = 0.0) -> Audio:
    """A harmonic tone [N] at 24 kHz, bent by cents [N] and louder by dB [N]."""
    t = _times()
    phase = 2 * np.pi * np.cumsum(f0_hz * 2 ** (np.broadcast_to(cents, t.shape) / 1200)) / RATE
    sound = sum(np.sin(h * phase) / h**1.2 for h in range(1, 14) if h * f0_hz < 11_000)
    shape = np.clip(t / 0.03, 0, 1) * np.clip((SWING_S - t) / 0.05, 0, 1)
    return np.asarray(0.1 * sound * shape * 10 ** (np.asarray(level_db) / 20), np.float32)


def vibrato_probe(player: Player, targets: tuple[str, ...]) -> dict[str, float]:
    """Share of a swing in pitch of 30 cents that each target shows, mean over five tones."""
    t = _times()
    cents = VIBRATO_CENTS * np.sin(2 * np.pi * VIBRATO_HZ * t) * np.clip(t / 0.3, 0, 1)

    def swing(made: Audio, f0_hz: float) -> Floats:
        return np.clip(100 * (pitch_track(made).pitch - 69 - 12 * np.log2(f0_hz / 440)), -150, 150)

    return _shares(player, targets, lambda f0_hz: tone(f0_hz, cents=cents), swing, cents[::HOP])


def tremolo_probe(player: Player, targets: tuple[str, ...]) -> dict[str, float]:
    """Share of a swing in level of 6 dB from top to bottom that each target shows, mean over five tones."""
    level_db = TREMOLO_DB / 2 * (np.sin(2 * np.pi * TREMOLO_HZ * _times()) - 1)

    def swing(made: Audio, _: float) -> Floats:
        got = loudness_db(made, RATE, RATE // HOP)
        return got - uniform_filter1d(got, round(RATE / HOP / TREMOLO_HZ))  # a decay is no swing

    wanted = level_db[::HOP] + TREMOLO_DB / 2
    return _shares(player, targets, lambda f0_hz: tone(f0_hz, level_db=level_db), swing, wanted)


def _times() -> Floats:
    return np.arange(int(SWING_S * RATE)) / RATE


def _shares(
    player: Player,
    targets: tuple[str, ...],
    played: Callable[[float], Audio],
    swing: Callable[[Audio, float], Floats],
    wanted: Floats,
) -> dict[str, float]:
    """How much of `wanted` each target's swing holds; both in frames of 10 ms."""
    found: dict[str, list[float]] = {t: [] for t in targets}
    wanted, rate = wanted[SETTLE : len(wanted) - 50], player.sample_rate
    for f0_hz in TONES_HZ:
        for t, made in player.play(soxr.resample(played(f0_hz), RATE, rate), targets).items():
            got = swing(soxr.resample(made, rate, RATE), f0_hz)
            late = [got[SETTLE + s : SETTLE + s + len(wanted)] for s in range(LATEST)]
            found[t].append(max(float(wanted @ (x - x.mean())) for x in late) / float(wanted @ wanted))
    return {t: round(float(np.mean(shares)), 2) for t, shares in found.items()}


# What comes out while nobody plays: silence, faint noise, mains hum, breath, knocks in; nothing should come out.


UNPLAYED_S = 5.0
FAINT_DBFS = -60.0
HUM_DBFS, BREATH_DBFS, KNOCK_PEAK = -45.0, -45.0, 0.2


def unplayed(player: Player, targets: tuple[str, ...]) -> dict[str, Row]:
    """Per target: dBFS out for digital silence and for noise at -60 dBFS in, loudest tenth of a second included; and
    for hum, breath and knocks dB out above in. The first second is not counted."""
    rate, found = player.sample_rate, {t: Row() for t in targets}
    for name, audio in noises(rate).items():
        for t, made in player.play(audio, targets).items():
            out = signal_metrics.dbfs(made[rate:])
            if name in ("silence", "noise"):
                tenths = np.split(made[rate:], range(rate // 10, len(made) - rate, rate // 10))
                found[t][f"{name}_dbfs"] = round(out, 1)
                found[t][f"{name}_dbfs_loudest"] = round(max(map(signal_metrics.dbfs, tenths)), 1)
            else:
                found[t][f"{name}_db"] = round(out - signal_metrics.dbfs(audio[rate:]), 1)
    return found


def noises(rate: int) -> dict[str, Audio]:
    """Five seconds each, [N]: silence; white noise; 50 Hz with its partials; breaths; knocks of 75 to 120 Hz."""
    n, rng = round(UNPLAYED_S * rate), np.random.default_rng(0)
    t = np.arange(n) / rate
    hum = np.sum([np.sin(2 * np.pi * 50 * k * t + k * k) / k for k in range(1, 13)], axis=0)
    band = scipy.signal.butter(2, (400, min(4000, 0.4 * rate)), "bandpass", fs=rate, output="sos")
    breath = (
        scipy.signal.sosfilt(band, rng.standard_normal(n)) * np.sin(np.pi * np.minimum(1, t % 0.9 / 0.5)) ** 2
    )
    knocks = np.zeros(n)
    for i, hz in enumerate((75, 90, 105, 120, 82, 98, 113)):
        rest = t[: n - round((0.3 + 0.65 * i) * rate)]
        knocks[n - len(rest) :] += KNOCK_PEAK * np.sin(2 * np.pi * hz * rest) * np.exp(-6.9 * rest / 0.2)
    return {
        "silence": np.zeros(n, np.float32),
        "noise": _at(rng.standard_normal(n), FAINT_DBFS),
        "hum": _at(hum, HUM_DBFS),
        "breath": _at(breath, BREATH_DBFS),
        "knocks": knocks.astype(np.float32),
    }


def _at(audio: NDArray[np.float64], dbfs: float) -> Audio:
    """The same with this RMS."""
    return (audio * 10 ** (dbfs / 20) / np.sqrt(np.mean(audio**2))).astype(np.float32)
