"""Pictures of a page as inline SVG: spectrograms (a PNG inside) and note rolls. Text takes the page's colour.

Drawings are 400 units wide: about a phone's width, so that text keeps its size there.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator

import numpy as np
import scipy.signal
from numpy.typing import NDArray

from umtn.evaluation.pitch_judge import LOWEST
from umtn.evaluation.spectra import FRAME_S

__all__ = ["roll_svg", "spectrogram_svg"]

WIDTH, LEFT, BOTTOM = 400, 34, 16
TOP_HZ, LOWEST_HZ = 8000.0, 50.0
FAINT_DB, LOUD_DB = -100.0, -20.0
OCTAVES_HZ = (100, 200, 400, 800, 1600, 3200, 6400)


def _frame(height: int, seconds: float, label: str, inside: str) -> str:
    """An SVG with seconds below and `inside` drawn in a field from (LEFT, 0) to (WIDTH, height)."""
    step = 1 if seconds <= 10 else 5
    ticks = "".join(
        f'<text x="{LEFT + (WIDTH - LEFT) * s / seconds:.1f}" y="{height + 13}">{s}</text>'
        for s in range(step, int(seconds + 0.99), step)
    )
    return (
        f'<svg viewBox="0 0 {WIDTH} {height + BOTTOM}" role="img" aria-label="{label}">{inside}'
        f'<g class="ticks" text-anchor="middle">{ticks}<text x="{LEFT}" y="{height + 13}">0 s</text></g></svg>'
    )


def _left_ticks(places: list[tuple[float, str]]) -> str:
    texts = "".join(
        f'<text x="{LEFT - 4}" y="{max(9.0, y + 4):.1f}">{text}</text>'  # whole, at the upper edge too
        for y, text in places
    )
    return f'<g class="ticks" text-anchor="end">{texts}</g>'


def _spectrum_db(audio: NDArray[np.float32], rate: int, rows: int, columns: int) -> NDArray[np.float64]:
    """Levels [rows, columns] in dB, frequency from 50 Hz to 8 kHz in equal ratios, upwards."""
    size = 2 ** round(np.log2(rate / 12))
    padded = np.pad(audio, size // 2)
    hz, _, z = scipy.signal.stft(
        padded, rate, nperseg=size, noverlap=size * 7 // 8, boundary=None, padded=True
    )
    power_db = 10 * np.log10(np.abs(z) ** 2 + 1e-12)
    edges = np.geomspace(LOWEST_HZ, min(TOP_HZ, rate / 2), rows + 1)
    first = np.searchsorted(hz, edges[:-1])
    last = np.maximum(first + 1, np.searchsorted(hz, edges[1:]))
    bands = np.stack([power_db[a:b].max(axis=0) for a, b in zip(first, last, strict=True)])
    at = np.linspace(0, bands.shape[1] - 1, columns).round().astype(int)
    return bands[:, at]


def spectrogram_svg(audio: NDArray[np.float32], rate: int, label: str, height: int = 150) -> str:
    """Frequency in octaves upwards, -100 .. -20 dB from dark to light."""
    import matplotlib.image

    shown = (_spectrum_db(audio, rate, height, 2 * WIDTH) - FAINT_DB) / (LOUD_DB - FAINT_DB)
    file = io.BytesIO()
    matplotlib.image.imsave(file, np.clip(shown, 0, 1)[::-1], vmin=0, vmax=1, cmap="magma", format="png")
    data = base64.b64encode(file.getvalue()).decode()
    picture = (
        f'<image x="{LEFT}" width="{WIDTH - LEFT}" height="{height}" preserveAspectRatio="none"'
        f' href="data:image/png;base64,{data}"/>'
    )
    octaves = np.log2(min(TOP_HZ, rate / 2) / LOWEST_HZ)
    places = [
        (height * (1 - np.log2(hz / LOWEST_HZ) / octaves), f"{hz / 1000:g}k" if hz >= 1000 else str(hz))
        for hz in OCTAVES_HZ
        if hz < rate / 2
    ]
    return _frame(height, len(audio) / rate, label, picture + _left_ticks(places))


def _runs(active: NDArray[np.bool_]) -> Iterator[tuple[int, int, int]]:
    """(row, first frame, frames) of every unbroken stretch."""
    edges = np.diff(active.astype(np.int8), axis=1, prepend=0, append=0)
    rows, first = np.nonzero(edges == 1)
    _, stop = np.nonzero(edges == -1)
    for row, a, b in zip(rows, first, stop, strict=True):
        yield int(row), int(a), int(b - a)


def roll_svg(wanted: NDArray[np.bool_], found: NDArray[np.bool_], label: str, height: int = 120) -> str:
    """Score and transcription [P, T]: played as written, played but not written, written but not played."""
    frames = min(wanted.shape[1], found.shape[1])
    wanted, found = wanted[:, :frames], found[:, :frames]
    used = np.flatnonzero((wanted | found).any(axis=1))
    low, high = (int(used[0]) - 1, int(used[-1]) + 1) if len(used) else (24, 48)
    row_height, column = height / (high - low + 1), (WIDTH - LEFT) / max(1, frames)
    boxes = []
    for name, active in (("right", wanted & found), ("extra", found & ~wanted), ("missed", wanted & ~found)):
        for row, first, length in _runs(active):
            y = height - (row - low + 1) * row_height
            boxes.append(
                f'<rect class="{name}" x="{LEFT + first * column:.1f}" y="{y:.1f}"'
                f' width="{length * column:.1f}" height="{row_height:.1f}"/>'
            )
    field = f'<rect class="field" x="{LEFT}" y="0" width="{WIDTH - LEFT}" height="{height}"/>'
    octaves = [p for p in range(low, high + 1) if (p + LOWEST) % 12 == 0]
    places = [(height - (p - low + 0.5) * row_height, f"C{(p + LOWEST) // 12 - 1}") for p in octaves]
    return _frame(height, frames * FRAME_S, label, field + "".join(boxes) + _left_ticks(places))
