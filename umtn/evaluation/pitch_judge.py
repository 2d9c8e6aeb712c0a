"""A transcriber of its own: which pitches sound and begin in each 10 ms frame. Looks ahead; never streams.

It knows nothing of the translator: a small convolutional net over harmonics (after Bittner et al. 2022,
"A lightweight instrument-agnostic model for polyphonic note transcription"), trained on true renderings only.
Legend: B clip, N sample, C channel, P pitch, T frame of 10 ms, H frame of 20 ms.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from umtn.evaluation.spectra import RATE, BandSpectrum
from umtn.evaluation.weights import load_judge

__all__ = ["LOWEST", "PITCHES", "PitchJudge", "Transcript"]

LOWEST, PITCHES = 28, 76
SEMITONES = 99  # of the spectrum, from LOWEST to the top of hearing at 24 kHz
HARMONICS = (0.5, 1, 2, 3, 4, 5, 6, 8)
ASSET = "pitch_judge.safetensors"
CHUNK_S = 20.0
MARGIN_S = 1.0


@dataclass(frozen=True)
class Transcript:
    """Probabilities [P, T] that a pitch sounds, and that it begins, in each 10 ms frame; where to cut."""

    active: NDArray[np.float32]
    onset: NDArray[np.float32]
    active_above: float
    onset_above: float


class _Block(nn.Module):
    def __init__(self, channels: int, dilation: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=(1, dilation), dilation=(1, dilation))
        self.norm = nn.GroupNorm(1, channels)

    def forward(self, x_BCPH: Tensor) -> Tensor:
        return x_BCPH + F.gelu(self.norm(self.conv(x_BCPH)))


class PitchJudge(nn.Module):
    """audio_BN at 24 kHz -> logits (active, onset), each [B, P, T]; T is cut to an even number."""

    def __init__(self, channels: int = 32) -> None:
        super().__init__()
        self.spectrum = BandSpectrum(LOWEST, SEMITONES)
        width = len(BandSpectrum.sizes) * len(HARMONICS) * 3 * 2
        self.inward = nn.Conv2d(width, channels, 1)
        # two octaves to either side: what tells a partial from a note of its own
        self.neighbours = nn.Conv2d(channels, channels, (49, 1), padding=(24, 0), groups=channels)
        self.mix = nn.Conv2d(channels, channels, 1)
        self.blocks = nn.Sequential(*(_Block(channels, d) for d in (1, 2, 4, 1)))
        self.outward = nn.Conv2d(channels, 4, 1)
        self.active_above, self.onset_above = 0.5, 0.5

    def _stack(self, log_BRFT: Tensor) -> Tensor:
        """Each pitch with its harmonics, and two frames of 10 ms in one: [B, C, P, H]."""
        b, r, f, t = log_BRFT.shape
        log_BRFT = log_BRFT[..., : t // 2 * 2]
        shifts = [round(36 * math.log2(h)) for h in HARMONICS]
        above = max(0, max(shifts) + 3 * PITCHES - f)
        x = F.pad(log_BRFT, (0, 0, -shifts[0], above), value=-0.84)
        pieces = [x[:, :, s - shifts[0] : s - shifts[0] + 3 * PITCHES] for s in shifts]
        y = torch.stack(pieces, dim=2).reshape(b, r * len(shifts), PITCHES, 3, t // 2, 2)
        return y.permute(0, 1, 3, 5, 2, 4).reshape(b, -1, PITCHES, t // 2)

    def forward(self, audio_BN: Tensor) -> tuple[Tensor, Tensor]:
        with torch.no_grad(), torch.autocast(audio_BN.device.type, enabled=False):
            x = self._stack(self.spectrum(audio_BN))
        x = F.gelu(self.inward(x))
        x = x + F.gelu(self.mix(self.neighbours(x)))
        y = self.outward(self.blocks(x))
        b, _, p, h = y.shape
        y = y.reshape(b, 2, 2, p, h).permute(0, 1, 3, 4, 2).reshape(b, 2, p, 2 * h)
        return y[:, 0], y[:, 1]

    @torch.inference_mode()
    def transcribe(self, audio: NDArray[np.float32]) -> Transcript:
        """The transcript of audio [N] at 24 kHz, in pieces that overlap so that seams do not show."""
        chunk, margin = round(CHUNK_S * 100), round(MARGIN_S * 100)
        frames = len(audio) * 100 // RATE
        step = RATE // 100
        padded = np.pad(audio, (margin * step, (chunk + margin) * step))
        active = np.zeros((PITCHES, frames), np.float32)
        onset = np.zeros((PITCHES, frames), np.float32)
        for first in range(0, frames, chunk):
            n = min(chunk, frames - first)
            piece = padded[first * step : (first + n + n % 2 + 2 * margin) * step]
            found = self(torch.from_numpy(np.ascontiguousarray(piece, dtype=np.float32))[None])
            for into, logits in zip((active, onset), found, strict=True):
                into[:, first : first + n] = logits[0, :, margin : margin + n].sigmoid().numpy()
        return Transcript(active, onset, self.active_above, self.onset_above)

    @staticmethod
    def load(path: Path | None = None) -> PitchJudge:
        """The judge that comes with the program, or another; UserError when the file is not one."""
        judge = PitchJudge()
        metadata = load_judge(judge, path, ASSET)
        judge.active_above = float(metadata["active_above"])
        judge.onset_above = float(metadata["onset_above"])
        return judge.eval()
