"""Training the two judges on true renderings, minutes each: `python -m umtn train-judge --data DATA`."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import soxr
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn
from tqdm import tqdm

from umtn.data.augment import colour
from umtn.data.dataset import Dataset, Track, floats
from umtn.errors import UserError
from umtn.evaluation import classifiers
from umtn.evaluation.classifiers import (
    ASSETS,
    CLASSES,
    HOP,
    RATE,
    LogMel,
    PitchJudge,
    TimbreJudge,
    class_of,
    save_judge,
)
from umtn.evaluation.note_metrics import reference_rolls

__all__ = ["train_pitch_judge", "train_timbre_judge"]

Rng = np.random.Generator
CLIP_S = 3.0
DETUNE_CENTS = 40.0  # a guitar, a singer, a gramophone: still the nearest semitone


def _tracks(data: Dataset, split: str) -> dict[str, list[Track]]:
    """Tracks of a split by instrument; none that is kept for evaluation."""
    if data.kind != "paired" or data.sample_rate != RATE:
        raise UserError(f"the judges learn from paired data at {RATE} Hz; render some with `umtn render`")
    found: dict[str, list[Track]] = {}
    for track in data.tracks(split):
        if track.role != "evaluation":
            found.setdefault(track.domain, []).append(track)
    return found


def _choose(rng: Rng, tracks: dict[str, list[Track]]) -> Track:
    """A domain's instrument half of the time: theirs are the true renderings that set the ceiling."""
    own = [i for i in tracks if tracks[i][0].role == "domain"]
    other = [i for i in tracks if i not in own]
    pool = own if not other or rng.random() < 0.5 else other
    chosen = tracks[pool[rng.integers(len(pool))]]
    return chosen[rng.integers(len(chosen))]


def _spoil(rng: Rng, audio: NDArray[Any]) -> NDArray[np.float32]:
    """Another level, and now and then a noise floor 15-60 dB down: what a translator may add."""
    audio = audio * np.float32(10 ** (rng.uniform(-18, 8) / 20))
    if rng.random() < 0.5:
        rms = np.sqrt(np.mean(audio**2)) + 1e-5
        noise = rng.standard_normal(len(audio)).astype(np.float32)
        audio = audio + noise * np.float32(rms * 10 ** (-rng.uniform(15, 60) / 20))
    return audio


def _pitch_example(
    data: Dataset, tracks: dict[str, list[Track]], rng: Rng, cents: float = 0.0
) -> tuple[NDArray[Any], ...]:
    """A clip played up to `cents` out of tune, as a tape run too fast or slow, and its rolls [P, T]."""
    track, speed = _choose(rng, tracks), 2 ** (rng.uniform(-cents, cents) / 1200)
    n = round(CLIP_S * RATE)
    taken = math.ceil(n * speed) + 1
    start = int(rng.integers(0, track.length - taken))
    audio = soxr.resample(floats(data.audio(track)[start : start + taken]), RATE * speed, RATE, quality="LQ")
    frames = n // HOP // 2 * 2
    wide = math.ceil(frames * speed)
    rolls = reference_rolls(
        data.score(track.score), start / RATE, wide, classifiers.LOWEST, classifiers.PITCHES, track.highest
    )
    first = (np.arange(frames) * speed).astype(int)  # of the score's frames that fall into each of the clip's
    active, onset = (np.maximum.reduceat(roll, first, axis=1) for roll in rolls)
    return _spoil(rng, audio[:n]), active, onset


def _batches(draw: Callable[[], tuple[NDArray[Any], ...]], size: int) -> Iterator[list[Tensor]]:
    while True:
        yield [
            torch.from_numpy(np.stack(column)) for column in zip(*(draw() for _ in range(size)), strict=True)
        ]


def _fit(
    judge: nn.Module,
    batches: Iterator[list[Tensor]],
    loss_of: Callable[[list[Tensor]], Tensor],
    minutes: float,
    rate: float,
) -> int:
    """Adam, the learning rate falling in half a cosine over the minutes; -> steps."""
    adam = torch.optim.Adam(judge.parameters(), lr=rate, betas=(0.9, 0.98))
    began, step, smooth = time.monotonic(), 0, 0.0
    judge.train()
    with tqdm(total=round(60 * minutes), unit="s") as bar:
        while (spent := (time.monotonic() - began) / (60 * minutes)) < 1:
            for group in adam.param_groups:
                group["lr"] = rate * min(1, (step + 1) / 50) * (0.02 + 0.49 * (1 + np.cos(np.pi * spent)))
            loss = loss_of(next(batches))
            adam.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(judge.parameters(), 1.0)
            adam.step()
            step += 1
            smooth = float(loss.detach()) if step == 1 else 0.98 * smooth + 0.02 * float(loss.detach())
            bar.n = min(bar.total, round(spent * bar.total))
            bar.set_postfix_str(f"step {step} loss {smooth:.4f}")
    judge.eval()
    return step


def train_pitch_judge(
    data: Dataset, minutes: float, out: Path | None = None, seed: int = 0
) -> dict[str, str]:
    """Train, choose thresholds on the validation scores and write the weights; -> their metadata."""
    torch.manual_seed(seed)
    rng, tracks, judge = np.random.default_rng(seed), _tracks(data, "train"), PitchJudge()
    chance = torch.Generator().manual_seed(seed)

    def loss_of(batch: list[Tensor]) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):  # what is learned; the spectrum is not
            active, onset = (x.float() for x in judge(colour(batch[0], chance, RATE)))
        begins = F.max_pool1d(batch[2], 3, 1, 1)  # an onset within 10 ms is right
        t = batch[1].shape[2]
        weight = torch.tensor(2.0)
        return F.binary_cross_entropy_with_logits(
            active[..., :t], batch[1], pos_weight=weight
        ) + F.binary_cross_entropy_with_logits(onset[..., :t], begins, pos_weight=weight)

    draw = _batches(lambda: _pitch_example(data, tracks, rng, DETUNE_CENTS), 6)
    steps = _fit(judge, draw, loss_of, minutes, 3e-3)
    found = _thresholds(judge, data, _tracks(data, "valid"), np.random.default_rng(seed + 1))
    found |= {"steps": str(steps), "minutes": f"{minutes:g}", "seed": str(seed)}
    save_judge(judge, out or ASSETS / classifiers.PITCH_ASSET, found)
    return found


@torch.inference_mode()
def _thresholds(judge: PitchJudge, data: Dataset, tracks: dict[str, list[Track]], rng: Rng) -> dict[str, str]:
    """The cuts with the best F1 over 60 clips of the validation scores' domain renderings."""
    own = {name: found for name, found in tracks.items() if found[0].role == "domain"}
    rows = [_pitch_example(data, own, rng) for _ in range(60)]
    p: list[Tensor] = []
    q: list[Tensor] = []
    for audio, active, _ in rows:
        a, o = judge(torch.from_numpy(audio)[None])
        p.append(a[0, :, : active.shape[1]].sigmoid())
        q.append(F.max_pool1d(o[0, :, : active.shape[1]].sigmoid(), 5, 1, 2))
    truth = torch.from_numpy(np.concatenate([r[1] for r in rows], axis=1)) > 0
    begins = F.max_pool1d(torch.from_numpy(np.concatenate([r[2] for r in rows], axis=1)), 5, 1, 2) > 0
    cuts = [i / 20 for i in range(2, 18)]
    a_f1 = {c: _f1(torch.cat(p, 1) > c, truth) for c in cuts}
    o_f1 = {c: _f1(torch.cat(q, 1) > c, begins) for c in cuts}
    best_a, best_o = max(cuts, key=lambda c: a_f1[c]), max(cuts, key=lambda c: o_f1[c])
    return {
        "active_above": str(best_a),
        "onset_above": str(best_o),
        "valid_active_f1": f"{a_f1[best_a]:.3f}",
        "valid_onset_f1": f"{o_f1[best_o]:.3f}",
    }


def _f1(found: Tensor, truth: Tensor) -> float:
    return float(2 * (found & truth).sum() / (found.sum() + truth.sum()).clamp(min=1))


def _timbre_example(data: Dataset, tracks: dict[str, list[Track]], rng: Rng) -> tuple[NDArray[Any], ...]:
    """A window in which something sounds, its class, and an equalizer curve for it."""
    n = round(classifiers.WINDOW_S * RATE)
    while True:
        track = _choose(rng, tracks)
        start = int(rng.integers(0, track.length - n))
        audio = floats(data.audio(track)[start : start + n])
        if np.sqrt(np.mean(audio**2)) > 10 ** (-45 / 20):
            break
    knots = rng.normal(0, 3.0, 6)
    curve = np.interp(np.linspace(0, 5, LogMel.bands), np.arange(6), knots).astype(np.float32)
    return _spoil(rng, audio), np.array(CLASSES.index(class_of(track.domain))), curve


def train_timbre_judge(
    data: Dataset, minutes: float, out: Path | None = None, seed: int = 0
) -> dict[str, str]:
    """Train, measure on the validation scores and write the weights; -> their metadata."""
    torch.manual_seed(seed)
    rng, tracks, judge = np.random.default_rng(seed), _tracks(data, "train"), TimbreJudge()

    def loss_of(batch: list[Tensor]) -> Tensor:
        return F.cross_entropy(judge(batch[0], batch[2]), batch[1], label_smoothing=0.02)

    steps = _fit(judge, _batches(lambda: _timbre_example(data, tracks, rng), 48), loss_of, minutes, 2e-3)
    held, rng = _tracks(data, "valid"), np.random.default_rng(seed + 1)
    audio, wanted, _ = next(_batches(lambda: _timbre_example(data, held, rng), 600))
    with torch.inference_mode():
        right = torch.cat([judge(part) for part in audio.split(60)]).argmax(1) == wanted
    found = {"valid_accuracy": f"{float(right.float().mean()):.3f}", "steps": str(steps)}
    found |= {"minutes": f"{minutes:g}", "seed": str(seed), "classes": ",".join(judge.classes)}
    save_judge(judge, out or ASSETS / classifiers.TIMBRE_ASSET, found)
    return found
