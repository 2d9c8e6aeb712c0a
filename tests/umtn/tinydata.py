"""A paired data folder made in a moment: sines for one domain, squares for another, a saw as source only."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from umtn.data.compose import compose
from umtn.data.dataset import Dataset, Track, save_audio, write_manifest
from umtn.data.score import Score
from umtn.files import write_atomically
from umtn.model.presets import preset
from umtn.training.train import train

DOMAINS = ("strings", "piano")


def tone(score: Score, rate: int, shape: str) -> np.ndarray:
    """The score as int16 audio."""
    audio = np.zeros(int(score.duration_s * rate), np.float32)
    for note in score.notes:
        first, last = int(note.start_s * rate), min(int(note.end_s * rate), len(audio))
        phase = 2 * np.pi * 440 * 2 ** ((note.pitch - 69) / 12) * np.arange(last - first) / rate
        wave = {"sine": np.sin(phase), "square": np.sign(np.sin(phase)), "saw": (phase / np.pi) % 2 - 1}[
            shape
        ]
        audio[first:last] += 0.1 * note.velocity / 127 * wave
    return np.int16(np.clip(audio, -1, 1) * 32767)


def make(root: Path, rate: int = 8000, seconds: float = 12.0) -> Path:
    """A folder with one training and one validation score."""
    tracks = []
    for index, split in enumerate(("train", "valid")):
        score = compose(index, seconds)
        write_atomically(root / "scores" / f"s{index}.json", score.to_json().encode())
        for domain, shape in (("strings", "sine"), ("piano", "square"), ("saw", "saw")):
            audio = tone(score, rate, shape)
            path = f"audio/s{index}/tiny.{domain}.npy"
            save_audio(root / path, audio)
            role = "domain" if domain in DOMAINS else "source"
            tracks.append(Track(path, split, domain, role, len(audio), f"s{index}", "tiny"))
    write_manifest(root, rate, "paired", tracks)
    return root


def live(data: Dataset, out: Path, steps: int = 1, domains: tuple[str, ...] = DOMAINS) -> Path:
    """A `tiny-live` model's checkpoint after so many steps."""
    config = replace(preset("tiny-live"), domains=domains)
    train(config, data, out, minutes=5, resume=False, whole=steps)  # by steps: the same on any machine
    return out
