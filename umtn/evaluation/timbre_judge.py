"""Which instrument is this? A classifier of half-second windows, trained on true renderings only.

Legend: B window, N sample, M mel band, T frame (10 ms), K class.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from umtn.data.instruments import DOMAINS, training_instruments
from umtn.errors import UserError
from umtn.evaluation.spectra import RATE, LogMel
from umtn.evaluation.weights import ASSETS, load_judge, metadata

__all__ = ["CLASSES", "OTHER", "STEP_S", "WINDOW_S", "TimbreJudge", "class_of"]

WINDOW_S, STEP_S = 0.5, 0.25
FRAMES = 50
SILENT_DBFS = -60.0  # a quieter window sounds like nothing
OTHER = "other"
ASSET = "timbre_judge.safetensors"


def class_of(instrument: str) -> str:
    """The class of an instrument: its own, or the domain's that plays its programs too (flute: winds)."""
    programs = {i.id: {p for _, _, p in i.section} for i in training_instruments()}
    for domain in DOMAINS:
        if programs.get(instrument) and programs[instrument] <= programs[domain.id]:
            return domain.id
    return instrument


CLASSES: tuple[str, ...] = tuple(dict.fromkeys(class_of(i.id) for i in training_instruments()))


class TimbreJudge(nn.Module):
    """audio_BN (half a second at 24 kHz) -> logits [B, K] over CLASSES; loudness does not matter."""

    def __init__(self, classes: tuple[str, ...] = CLASSES) -> None:
        super().__init__()
        self.classes = classes
        self.mel = LogMel()
        self.c1 = nn.Conv2d(1, 24, 5, stride=2, padding=2)
        self.c2 = nn.Conv2d(24, 48, 3, stride=2, padding=1)
        self.c3 = nn.Conv2d(48, 64, 3, stride=2, padding=1)
        self.norms = nn.ModuleList(nn.GroupNorm(1, c) for c in (24, 48, 64))
        self.hidden = nn.Linear(2 * 64 * 8, 96)
        self.outward = nn.Linear(96, len(classes))

    def forward(self, audio_BN: Tensor, equalizer_BM: Tensor | None = None) -> Tensor:
        return self.outward(self.embed(audio_BN, equalizer_BM))  # type: ignore[no-any-return]

    def embed(self, audio_BN: Tensor, equalizer_BM: Tensor | None = None) -> Tensor:
        """What the verdict is read from, [B, 96].

        `equalizer_BM` (dB) colours the spectrum: the training's stand-in for other fonts and rooms.
        """
        with torch.no_grad():
            rms = audio_BN.square().mean(dim=1, keepdim=True).sqrt()
            x = self.mel(audio_BN * (0.1 / rms.clamp(min=1e-5)))[:, :, :FRAMES]
            if equalizer_BM is not None:
                x = x + equalizer_BM[:, :, None]
            x = (x - x.amax(dim=(1, 2), keepdim=True)).clamp(min=-65) / 20 + 1.5
        x = x[:, None]
        for conv, norm in zip((self.c1, self.c2, self.c3), self.norms, strict=True):
            x = F.gelu(norm(conv(x)))
        x = torch.cat([x.mean(dim=3), x.amax(dim=3)], dim=1).flatten(1)
        if self.training:
            x = F.dropout(x, 0.2)
        return F.gelu(self.hidden(x))

    def shares(self, audio: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
        """The first of `hear`."""
        return self.hear(audio)[0]

    @torch.inference_mode()
    def hear(self, audio: NDArray[np.float32]) -> tuple[dict[str, NDArray[np.float32]], NDArray[np.float32]]:
        """(shares, embeddings [windows, 96]).

        Shares: probability of each domain, and of `other`, for windows that begin every quarter second: [windows].

        A window quieter than -60 dBFS is `other` with probability 1.
        """
        n, step = round(WINDOW_S * RATE), round(STEP_S * RATE)
        windows = torch.from_numpy(np.ascontiguousarray(audio, dtype=np.float32)).unfold(0, n, step)
        embedded = torch.cat([self.embed(part.contiguous()) for part in windows.split(64)])
        p = self.outward(embedded).softmax(1).numpy()
        silent = 20 * np.log10(windows.square().mean(1).sqrt().numpy() + 1e-12) < SILENT_DBFS
        p[silent] = 0
        domains = [d.id for d in DOMAINS]
        found = {d: p[:, self.classes.index(d)] for d in domains}
        found[OTHER] = 1 - np.sum(list(found.values()), axis=0)
        return found, embedded.numpy()

    @staticmethod
    def load(path: Path | None = None) -> TimbreJudge:
        """The judge that comes with the program, or another; UserError when the file is not one."""
        path = path or ASSETS / ASSET
        # in the order of its training: instruments have become domains since, or changed places
        named = metadata(path).get("classes", ",".join(CLASSES)).split(",")
        if unheard := [d.id for d in DOMAINS if d.id not in named]:
            raise UserError(
                f"the judge in '{path}' never heard '{unheard[0]}'; train it anew with `umtn train-judge`"
            )
        judge = TimbreJudge(tuple(named))
        load_judge(judge, path, ASSET)
        return judge.eval()
