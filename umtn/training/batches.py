"""Clips drawn on the fly: any source in, the same bars of a target domain out."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor

from umtn.data.dataset import Dataset, Track, floats, one_voice
from umtn.data.guides import guide_of
from umtn.data.score import rasterize
from umtn.errors import UserError
from umtn.model.config import Config
from umtn.model.presets import presets_at

__all__ = ["Batch", "BatchSource", "prefetch"]

SOLO_TRIES = 8


@dataclass
class Batch:
    """Clips and what each target domain makes of the same bars.

    source [B, N]; domains [K]: the step's target domains; targets [B, K, N]; guides [B, K, N]: what a guided decoder is
    told (N = 0: nothing); known [B, K]: whether there is a true answer; source_domain [B] (-1: no domain's, or nobody
    learns to tell domains apart); paired [B]; active, onset, cents [B, P, T] of the score (zeros, and `scored` False,
    where there is none).
    """

    source: Tensor
    domains: Tensor
    targets: Tensor
    guides: Tensor
    known: Tensor
    source_domain: Tensor
    paired: Tensor
    scored: Tensor
    active: Tensor
    onset: Tensor
    cents: Tensor

    def to(self, device: torch.device) -> Batch:
        return Batch(**{f.name: getattr(self, f.name).to(device, non_blocking=True) for f in fields(self)})


class BatchSource:
    """Draws batches from a data folder; the target domains take turns so that each decoder sees its share."""

    def __init__(self, data: Dataset, config: Config, split: str, seed: int) -> None:
        if data.sample_rate != config.sample_rate:
            raise UserError(
                f"The data are at {data.sample_rate} Hz, for {presets_at(data.sample_rate)}, and the preset "
                f"'{config.preset}' wants {config.sample_rate} Hz; render or prepare them with "
                f"--rate {config.sample_rate}: {data.command_at(config.sample_rate)}"
            )
        missing = [d for d in config.training.learning or config.domains if d not in data.domains]
        if missing:
            raise UserError(f"The data have no domain '{missing[0]}'; they hold {', '.join(data.domains)}.")
        self.data, self.config, self.split = data, config, split
        self.rng = np.random.default_rng(seed)
        self.samples = int(config.training.seconds * config.sample_rate) // config.hop * config.hop
        self.frames = self.samples // config.hop
        self.lag = config.training.target_lag_frames * config.hop
        self.layout = config.ear.layout if config.ear else None
        self.learning = config.training.learning or config.domains
        self.targets = {d: self._targets(d) for d in self.learning}
        self.sources = self._by_score() if data.kind == "paired" else {}
        self.guided = config.decoder.guide is not None
        self.guides = (
            {t.path: guide_of(data, t) for ts in self.targets.values() for t in ts} if self.guided else {}
        )

    def _targets(self, domain: str) -> list[Track]:
        tracks = self.data.tracks(self.split, domain=domain, role="domain")
        tracks = [t for t in tracks if t.length >= self.samples + self.lag + self.config.hop]
        if not tracks:
            need = self.config.training.seconds
            raise UserError(f"Domain '{domain}' has no recording as long as a clip of {need:g} seconds.")
        return one_voice(tracks)

    def _by_score(self) -> dict[str, dict[str, list[Track]]]:
        found: dict[str, dict[str, list[Track]]] = {}
        for track in self.data.tracks(self.split):
            if track.role != "evaluation":
                found.setdefault(track.score, {}).setdefault(track.domain, []).append(track)
        return found

    def _choose_source(self, score: str, start: int) -> Track:
        """Half of the time a domain's instrument (the confusion network needs them), else any other.

        An instrument whose font is mute in a register that these bars use is drawn again, a few times.
        """
        rate = self.config.sample_rate
        span = (start / rate, (start + self.samples) / rate)
        for _ in range(8):
            track = self._any_source(score)
            if track.plays_all(self.data.score(score), *span):
                break
        return track

    def _any_source(self, score: str) -> Track:
        instruments = self.sources[score]
        own = [i for i in instruments if i in self.config.domains]
        other = [i for i in instruments if i not in self.config.domains]
        pool = own if not other or self.rng.random() < 0.5 else other
        tracks = instruments[pool[self.rng.integers(len(pool))]]
        return tracks[self.rng.integers(len(tracks))]

    def _clip(self, track: Track, start: int) -> np.ndarray:
        return _cut(self.data.audio(track), start, self.samples)

    def _draw(self, domains: list[str], first: int) -> dict[str, object]:
        """One clip; domains[first] is the one whose recordings are drawn, by duration."""
        config, rng = self.config, self.rng
        own, start = self._bars(domains[first])
        pairs = config.training.pairs and bool(self.sources)
        paired = pairs and rng.random() < config.training.share_paired
        source = self._choose_source(own.score, start) if paired else own
        targets = [own if d == own.domain else self._same_bars(d, own) if paired else None for d in domains]
        active, onset, cents = self._rolls(own, start)
        silence = np.zeros(self.samples, np.float32)
        guides = [
            _cut(self.guides[t.path], start, self.samples) if t else silence for t in targets if self.guided
        ]
        return {
            "source": self._clip(source, start),
            "targets": np.stack([self._clip(t, start - self.lag) if t else silence for t in targets]),
            "guides": np.stack(guides) if guides else np.zeros((len(targets), 0), np.float32),
            "known": np.array([t is not None for t in targets]),
            "source_domain": self._domain_of(source),
            "paired": paired,
            "scored": bool(own.score) and self.layout is not None,
            "active": active,
            "onset": onset,
            "cents": cents,
        }

    def _bars(self, domain: str) -> tuple[Track, int]:
        """A track of the domain, by duration, and where in it; for some clips only where one voice plays alone."""
        rng, tracks = self.rng, self.targets[domain]
        weights = np.array([t.length for t in tracks], dtype=float)
        solo = rng.random() < self.config.training.solo_share
        for _ in range(SOLO_TRIES):
            own = tracks[rng.choice(len(tracks), p=weights / weights.sum())]
            start = int(rng.integers(0, own.length - self.samples + 1))
            if not solo or not own.score or not self.layout:
                break
            voices = self._rolls(own, start)[0].sum(axis=0)
            if voices.max() == 1 and voices.mean() > 0.7:
                break
        return own, start

    def _rolls(self, track: Track, start: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """active, onset, cents [P, T] of the score there; zeros where there is none."""
        if not self.layout or not track.score:
            shape = (self.layout.pitches if self.layout else 1, self.frames)
            return tuple(np.zeros(shape, np.float32) for _ in range(3))  # type: ignore[return-value]
        score, rate = self.data.score(track.score), self.config.sample_rate
        span = (start / rate, self.frames, self.config.hop / rate)
        active, onset, _, cents = rasterize(score, *span, self.layout.lowest, self.layout.pitches)
        return active, onset, cents

    def _domain_of(self, source: Track) -> int:
        known = () if self.config.training.learning else self.config.domains
        return known.index(source.domain) if source.domain in known else -1

    def _same_bars(self, domain: str, own: Track) -> Track | None:
        """The track in which another domain plays what `own` plays; None for plain recordings."""
        return next((t for t in self.targets[domain] if t.score and t.score == own.score), None)

    def __iter__(self) -> Iterator[Batch]:
        size, k = self.config.training.batch, len(self.learning)
        each = min(self.config.training.domains_per_step, k)
        turn = 0
        while True:
            chosen = [(turn + i) % k for i in range(each)]
            names = [self.learning[i] for i in chosen]
            rows = [self._draw(names, i % each) for i in range(size)]
            turn += each
            stacked = {name: torch.from_numpy(np.stack([r[name] for r in rows])) for name in rows[0]}  # type: ignore
            yield Batch(domains=torch.tensor([self.config.domains.index(n) for n in names]), **stacked)


def _cut(raw: np.ndarray, start: int, samples: int) -> np.ndarray:
    """A stretch of 16-bit sound, silence where it reaches beyond."""
    first = max(start, 0)
    part = floats(raw[first : start + samples])
    before = first - start
    return np.pad(part, (before, samples - before - len(part)))


def prefetch(batches: Iterator[Batch], depth: int = 3) -> Iterator[Batch]:
    """Draws the next batches in a thread while the current one is trained on."""
    waiting: queue.Queue[Batch | BaseException] = queue.Queue(depth)

    def fill() -> None:
        try:
            for batch in batches:
                waiting.put(batch)
        except BaseException as error:  # handed to the trainer, which raises it
            waiting.put(error)

    threading.Thread(target=fill, daemon=True).start()
    while True:
        item = waiting.get()
        if isinstance(item, BaseException):
            raise item
        yield item
