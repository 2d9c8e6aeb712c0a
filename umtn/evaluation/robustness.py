"""What comes through of a player's vibrato and tremolo: tones that swing in pitch or in level, and the answer's swing.

A vibrato belongs to the melody; a level that trembles within a note is a bow's or a breath's, not a hammer's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.signal
import soxr
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter1d

from umtn.evaluation import signal_metrics
from umtn.evaluation.classifiers import FRAME_S, HOP, LOWEST, PITCHES, RATE
from umtn.evaluation.material import Material
from umtn.evaluation.note_metrics import reference_rolls
from umtn.evaluation.pitch_tracking import pitch_track
from umtn.evaluation.report import Row, average_frechet
from umtn.evaluation.signal_metrics import loudness_db
from umtn.offline import Encoder, Player

__all__ = [
    "Timbres",
    "domain_accuracy",
    "frechet",
    "noises",
    "pitch_f1",
    "probe_latent",
    "tone",
    "tremolo_probe",
    "unplayed",
    "vibrato_probe",
]


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


# Fresh linear probes on the latent: does it tell who plays (it should not), and which notes (it should)?
#
# Ridge regression in closed form, so that nothing depends on how long a probe was trained. All domains play the
# same stretch of the same score; probes learn from its even seconds and are tested on the odd ones, so that most
# pitches occur in both.


LONGEST_S = 20.0
RIDGE = 0.1  # of the mean variance


def probe_latent(player: Player, material: Material, targets: tuple[str, ...]) -> dict[str, float]:
    """Both figures, and chance for the first; empty for a player without a latent or with one domain."""
    if not isinstance(player, Encoder) or len(targets) < 2:
        return {}
    n = min(round(LONGEST_S * material.rate), material.samples)
    latents = [player.latent(material.truths[t][:n]).astype(np.float64).T for t in targets]
    times_s = np.arange(len(latents[0])) * n / material.rate / len(latents[0]) - player.declared_lag_s
    active, _ = reference_rolls(
        material.score, material.start_s, round(n / material.rate * 100), LOWEST, PITCHES
    )
    roll = active[:, np.clip((times_s / FRAME_S).round().astype(int), 0, active.shape[1] - 1)].T > 0
    learning = (np.arange(len(roll)) * n // (material.rate * len(roll))) % 2 == 0
    return {
        "probe_domain": round(domain_accuracy(latents, np.asarray(roll.any(axis=1)), learning), 4),
        "probe_chance": round(1 / len(targets), 4),
        "probe_pitch": round(pitch_f1(latents, roll, learning), 4),
        "probed_seconds": round(n / material.rate, 1),
    }


def _fit(x: Floats, y: Floats) -> tuple[Floats, Floats, Floats]:
    """Mean, scale and weights (bias last) of ridge regression of y [n, k] on x [n, d]."""
    mean, scale = x.mean(axis=0), x.std(axis=0) + 1e-6
    z = np.column_stack([(x - mean) / scale, np.ones(len(x))])
    weights = np.linalg.solve(z.T @ z + RIDGE * len(x) * np.eye(z.shape[1]), z.T @ y)
    return mean, scale, weights


def _predict(fitted: tuple[Floats, Floats, Floats], x: Floats) -> Floats:
    mean, scale, weights = fitted
    return np.asarray(np.column_stack([(x - mean) / scale, np.ones(len(x))]) @ weights)


def domain_accuracy(latents: list[Floats], sounding: NDArray[np.bool_], learning: NDArray[np.bool_]) -> float:
    """Share of the other frames [T] whose domain is told from one frame of the latent [T, D] of each domain."""
    train, test = np.flatnonzero(sounding & learning), np.flatnonzero(sounding & ~learning)
    if not len(train) or not len(test):
        return float("nan")
    names = np.repeat(np.arange(len(latents)), len(train))
    fitted = _fit(np.concatenate([z[train] for z in latents]), np.eye(len(latents))[names])
    right = [np.mean(_predict(fitted, z[test]).argmax(axis=1) == i) for i, z in enumerate(latents)]
    return float(np.mean(right))


def pitch_f1(latents: list[Floats], roll: NDArray[np.bool_], learning: NDArray[np.bool_]) -> float:
    """F1 of sounding pitches [T, P] in the other frames; the probe's threshold is chosen where it learned."""
    n = len(latents)
    x, y = np.concatenate([z[learning] for z in latents]), np.tile(roll[learning], (n, 1))
    if not len(x) or learning.all():
        return float("nan")
    fitted = _fit(x, y.astype(np.float64))
    train = _predict(fitted, x)
    best = max((i / 20 for i in range(2, 18)), key=lambda above: _f1(train > above, y))
    test = _predict(fitted, np.concatenate([z[~learning] for z in latents]))
    return _f1(test > best, np.tile(roll[~learning], (n, 1)))


def _f1(found: NDArray[np.bool_], wanted: NDArray[np.bool_]) -> float:
    both = int(found.sum() + wanted.sum())
    return float(2 * (found & wanted).sum() / both) if both else float("nan")


# Frechet distance between two clouds of timbre embeddings (after Kilgour et al. 2019, "Frechet audio distance").


Cloud = NDArray[np.float32]
FEWEST = 64  # windows; fewer say nothing about a spread in 96 dimensions


def frechet(a: Cloud, b: Cloud) -> float:
    """Distance of the normal distributions fitted to [n, d] and [m, d]; NaN below 64 windows in either.

    Few windows make it larger: compare only distances from about equally many.
    """
    if min(len(a), len(b)) < FEWEST:
        return float("nan")
    x, y = (c.astype(np.float64) for c in (a, b))
    first, second = (np.cov(c, rowvar=False) for c in (x, y))
    values, vectors = np.linalg.eigh(first)
    root = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
    cross = np.sqrt(np.maximum(np.linalg.eigvalsh(root @ second @ root), 0)).sum()
    apart = float(np.sum((x.mean(axis=0) - y.mean(axis=0)) ** 2))
    return max(0.0, apart + float(np.trace(first) + np.trace(second) - 2 * cross))


class Timbres:
    """Embeddings of sounding windows by target: of the model, of the inputs and of the true renderings."""

    def __init__(self, truths: dict[str, Cloud]) -> None:
        self.truths = truths
        self.model: dict[str, list[Cloud]] = {t: [] for t in truths}
        self.copy: dict[str, list[Cloud]] = {t: [] for t in truths}

    def add(self, target: str, made: Cloud, given: Cloud) -> None:
        """A translation and its input."""
        self.model[target].append(made)
        self.copy[target].append(given)

    def distances(self, target: str) -> dict[str, float]:
        """Mean over sources for model and copy; for truth its two halves against each other, the floor."""
        truth = self.truths[target]
        half = len(truth) // 2
        found = {"truth": frechet(truth[:half], truth[half:])}
        for kind, clouds in (("model", self.model[target]), ("copy", self.copy[target])):
            each = [d for d in (frechet(c, truth) for c in clouds) if np.isfinite(d)]
            found[kind] = float(np.mean(each)) if each else float("nan")
        return {kind: round(d, 3) for kind, d in found.items() if np.isfinite(d)}

    def into(self, means: dict[str, Any]) -> None:
        """Write `frechet` into the means of each target, and their mean into that of all."""
        for target in self.truths:
            for kind, distance in self.distances(target).items():
                means["targets"][target][kind]["frechet"] = distance
        average_frechet(means)
