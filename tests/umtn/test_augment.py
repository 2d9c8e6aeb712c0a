"""Augmentation does what it says and nothing else."""

import math

import torch

from umtn.training.augment import colour, frame_level, local_pitch_shift

RATE = 24000


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def sine(seconds: float = 2.0, hz: float = 440.0) -> torch.Tensor:
    return 0.3 * torch.sin(2 * math.pi * hz * torch.arange(int(RATE * seconds)) / RATE).repeat(2, 1)


def test_pitch_shift_touches_one_span_without_a_click() -> None:
    x = sine()
    y = local_pitch_shift(x, generator(), RATE)
    changed = (y - x).abs() > 1e-7
    for row in changed:
        where = torch.nonzero(row)[:, 0]
        assert RATE // 5 < where[-1] - where[0] <= RATE // 2
    # no sample-to-sample step above what the sine itself has (grains half a period apart may add up to 1.5)
    assert y.diff(dim=1).abs().max() < 1.5 * x.diff(dim=1).abs().max()


def test_pitch_shift_shifts() -> None:
    """Within the span the strongest frequency moves by up to half a semitone, the level stays."""
    x = sine(2.0, 1000.0)
    moved = []
    for seed in range(6):
        y = local_pitch_shift(x, generator(seed), RATE)
        for a, b in zip(x, y):
            where = torch.nonzero((a - b).abs() > 1e-7)[:, 0]
            middle = int(where[0] + where[-1]) // 2
            piece = b[middle - 2048 : middle + 2048] * torch.hann_window(4096)
            peak = float(torch.fft.rfft(piece, 1 << 17).abs().argmax()) * RATE / (1 << 17)
            moved.append(12 * math.log2(peak / 1000))
    assert max(abs(m) for m in moved) < 0.9
    assert max(moved) - min(moved) > 0.3


def test_colour_keeps_silence_and_causality() -> None:
    x = sine()
    x[:, : RATE // 2] = 0
    y = colour(x, generator(), RATE)
    assert y.isfinite().all()
    # zero-phase tone control smears a little ahead, not a tenth of a second
    assert y[:, : RATE // 2 - RATE // 10].abs().max() < 0.02


def test_frame_level_measures_rms() -> None:
    level = frame_level(sine(), 128, 375)
    assert level.shape == (2, 375)
    assert abs(float(level[0, 100]) - 0.3 / math.sqrt(2)) < 0.02


def test_a_span_at_the_very_end_of_a_long_clip_is_shifted_too() -> None:
    """A grain that reads past the end once stopped a run after an hour: 57600 samples, last span, fastest shift."""
    from umtn.training.augment import _grains

    audio = torch.arange(57600.0)[None]
    span = 9000
    read = _grains(audio, torch.tensor([57600 - span]), torch.tensor([2 ** (0.5 / 12)]), span, 960)
    assert read.shape == (1, span)
    assert torch.isfinite(read).all() and float(read.max()) <= 57600
