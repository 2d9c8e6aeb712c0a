"""Which instrument is this? A classifier of half-second windows, trained on true renderings only.

Legend: B window, N sample, M mel band, T frame (10 ms), K class.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from umtn.data.instruments import DOMAINS, training_instruments
from umtn.errors import UserError

__all__ = [
    "ASSETS",
    "BandSpectrum",
    "CLASSES",
    "FRAME_S",
    "HOP",
    "LOWEST",
    "LogMel",
    "OTHER",
    "PITCHES",
    "PitchJudge",
    "RATE",
    "STEP_S",
    "TimbreJudge",
    "Transcript",
    "WINDOW_S",
    "class_of",
    "load_judge",
    "metadata",
    "save_judge",
]


# Weights of the judges: small safetensors files beside this module, with how they were made inside.


ASSETS = Path(__file__).parent / "assets"


def save_judge(judge: nn.Module, path: Path, metadata: dict[str, str]) -> None:
    """Write weights in half precision with their metadata."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(path.name + ".part")
    save_file({k: v.half().contiguous() for k, v in judge.state_dict().items()}, beside, metadata)
    beside.replace(path)


def metadata(path: Path) -> dict[str, str]:
    """How the weights in a file were made; UserError when it is missing or holds no weights."""
    if not path.is_file():
        raise UserError(f"the judge's weights '{path}' are missing; make them with `umtn train-judge`")
    try:
        with safe_open(path, framework="pt") as file:
            return dict(file.metadata() or {})
    except SafetensorError as error:
        raise UserError(f"'{path}' does not hold a judge's weights: {error}") from None


def load_judge(judge: nn.Module, path: Path | None, asset: str) -> dict[str, str]:
    """Fill a judge from a file (default: the one in the program); -> its metadata."""
    path = path or ASSETS / asset
    made = metadata(path)
    try:
        with safe_open(path, framework="pt") as file:
            judge.load_state_dict({k: file.get_tensor(k).float() for k in file.keys()})  # noqa: SIM118
    except RuntimeError as error:
        raise UserError(f"'{path}' does not hold this judge's weights: {error}") from None
    return made


# Offline spectra that the judges hear by. Windows are centred on their frame: nothing here is causal.
#
# Legend: B clip, N sample, R resolution, F bin, T frame (10 ms).


RATE = 24_000  # the judges' own sample rate; other material is resampled to it
HOP = 240
FRAME_S = HOP / RATE
FLOOR_DB = -80.0


def _filters(edges_hz: list[tuple[float, float, float]], size: int) -> Tensor:
    """Triangles (low, middle, high) over the bins of an FFT of `size`, each summing to 1, sparse [F, bins].

    No triangle is narrower than a bin to either side, so narrow bands interpolate between two bins.
    """
    bin_hz = RATE / size
    axis = torch.arange(size // 2 + 1, dtype=torch.float64) * bin_hz
    rows = []
    for low, middle, high in edges_hz:
        up = (axis - middle) / max(middle - low, bin_hz) + 1
        down = 1 - (axis - middle) / max(high - middle, bin_hz)
        row = torch.minimum(up, down).clamp(min=0)
        rows.append((row / row.sum()).float())
    table = torch.stack(rows)
    return table[:, : int(table.any(dim=0).nonzero().max()) + 1].to_sparse()


def _filtered(audio_BN: Tensor, window: Tensor, filters_FK: Tensor) -> Tensor:
    """Power in each band [B, F, N / HOP + 1]; a full-scale sine on a band's middle is about 1."""
    size, (_, k) = len(window), filters_FK.shape
    spectrum = torch.stft(
        audio_BN, size, HOP, window=window, center=True, pad_mode="constant", return_complex=True
    )
    b, _, t = spectrum.shape
    lower = torch.view_as_real(spectrum[:, :k].transpose(0, 1).reshape(k, b * t))
    power = lower.square().sum(dim=2) * (2 / window.sum()) ** 2
    return torch.sparse.mm(filters_FK, power).reshape(-1, b, t).transpose(0, 1)


class BandSpectrum(nn.Module):
    """audio_BN -> log power [B, R, F, T]: three bins a semitone, from `lowest` - 1/3, at three resolutions.

    The finest sees nothing above 3 kHz: there the middle one tells semitones apart well enough.
    """

    sizes = (8192, 4096, 1024)
    finest_top_hz = 3000.0

    def __init__(self, lowest: int, semitones: int) -> None:
        super().__init__()
        centres = [440 * 2 ** ((lowest + (i - 1) / 3 - 69) / 12) for i in range(3 * semitones)]
        step = 2 ** (1 / 36)
        edges = [(f / step, f, f * step) for f in centres]
        self.bands = len(edges)
        for size in self.sizes:
            self.register_buffer(f"window{size}", torch.hann_window(size), persistent=False)
            top_hz = self.finest_top_hz if size == max(self.sizes) else RATE
            used = [e for e in edges if e[2] < top_hz]
            self.register_buffer(f"filters{size}", _filters(used, size), persistent=False)

    def forward(self, audio_BN: Tensor) -> Tensor:
        found = []
        for size in self.sizes:
            power = _filtered(audio_BN, getattr(self, f"window{size}"), getattr(self, f"filters{size}"))
            found.append(F.pad(power, (0, 0, 0, self.bands - power.shape[1])))
        return 0.1 * torch.log(torch.stack(found, dim=1) + 1e-8) + 1.0


class LogMel(nn.Module):
    """audio_BN -> mel spectrum in dBFS [B, 64, T], never below -80."""

    bands, size = 64, 1024

    window: Tensor
    filters: Tensor

    def __init__(self) -> None:
        super().__init__()
        low, high = (2595 * math.log10(1 + f / 700) for f in (40.0, 11_500.0))
        points = [low + (high - low) * i / (self.bands + 1) for i in range(self.bands + 2)]
        hz = [700 * (10 ** (m / 2595) - 1) for m in points]
        edges = [(hz[i], hz[i + 1], hz[i + 2]) for i in range(self.bands)]
        self.register_buffer("window", torch.hann_window(self.size), persistent=False)
        self.register_buffer("filters", _filters(edges, self.size), persistent=False)

    def forward(self, audio_BN: Tensor) -> Tensor:
        power = _filtered(audio_BN, self.window, self.filters)
        return 10 * torch.log10(power.clamp(min=10 ** (FLOOR_DB / 10)))


WINDOW_S, STEP_S = 0.5, 0.25
FRAMES = 50
SILENT_DBFS = -60.0  # a quieter window sounds like nothing
OTHER = "other"
TIMBRE_ASSET = "timbre_judge.safetensors"


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
        path = path or ASSETS / TIMBRE_ASSET
        # in the order of its training: instruments have become domains since, or changed places
        named = metadata(path).get("classes", ",".join(CLASSES)).split(",")
        if unheard := [d.id for d in DOMAINS if d.id not in named]:
            raise UserError(
                f"the judge in '{path}' never heard '{unheard[0]}'; train it anew with `umtn train-judge`"
            )
        judge = TimbreJudge(tuple(named))
        load_judge(judge, path, TIMBRE_ASSET)
        return judge.eval()


# A transcriber of its own: which pitches sound and begin in each 10 ms frame. Looks ahead; never streams.
#
# It knows nothing of the translator: a small convolutional net over harmonics (after Bittner et al. 2022,
# "A lightweight instrument-agnostic model for polyphonic note transcription"), trained on true renderings only.
# Legend: B clip, N sample, C channel, P pitch, T frame of 10 ms, H frame of 20 ms.


LOWEST, PITCHES = 28, 76
SEMITONES = 99  # of the spectrum, from LOWEST to the top of hearing at 24 kHz
HARMONICS = (0.5, 1, 2, 3, 4, 5, 6, 8)
PITCH_ASSET = "pitch_judge.safetensors"
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
        metadata = load_judge(judge, path, PITCH_ASSET)
        judge.active_above = float(metadata["active_above"])
        judge.onset_above = float(metadata["onset_above"])
        return judge.eval()
