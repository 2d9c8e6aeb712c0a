"""What comes out while nobody plays: silence, faint noise, mains hum, breath, knocks in; nothing should come out."""

from __future__ import annotations

import numpy as np
import scipy.signal
from numpy.typing import NDArray

from umtn.evaluation import level
from umtn.evaluation.means import Row
from umtn.evaluation.players import Player

__all__ = ["noises", "unplayed"]

Audio = NDArray[np.float32]
SECONDS = 5.0
FAINT_DBFS = -60.0
HUM_DBFS, BREATH_DBFS, KNOCK_PEAK = -45.0, -45.0, 0.2


def unplayed(player: Player, targets: tuple[str, ...]) -> dict[str, Row]:
    """Per target: dBFS out for digital silence and for noise at -60 dBFS in, loudest tenth of a second included; and
    for hum, breath and knocks dB out above in. The first second is not counted."""
    rate, found = player.sample_rate, {t: Row() for t in targets}
    for name, audio in noises(rate).items():
        for t, made in player.play(audio, targets).items():
            out = level.dbfs(made[rate:])
            if name in ("silence", "noise"):
                tenths = np.split(made[rate:], range(rate // 10, len(made) - rate, rate // 10))
                found[t][f"{name}_dbfs"] = round(out, 1)
                found[t][f"{name}_dbfs_loudest"] = round(max(map(level.dbfs, tenths)), 1)
            else:
                found[t][f"{name}_db"] = round(out - level.dbfs(audio[rate:]), 1)
    return found


def noises(rate: int) -> dict[str, Audio]:
    """Five seconds each, [N]: silence; white noise; 50 Hz with its partials; breaths; knocks of 75 to 120 Hz."""
    n, rng = round(SECONDS * rate), np.random.default_rng(0)
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
