"""Augmentation does what it says and nothing else."""

import math

import torch

from umtn.data.augment import colour, frame_level, local_pitch_shift, swell, swing_level

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
    from umtn.data.augment import _grains

    audio = torch.arange(57600.0)[None]
    span = 9000
    read = _grains(audio, torch.tensor([57600 - span]), torch.tensor([2 ** (0.5 / 12)]), span, 960)
    assert read.shape == (1, span)
    assert torch.isfinite(read).all() and float(read.max()) <= 57600


def test_the_level_of_half_the_clips_swings_and_never_rises() -> None:
    """By at most 10 dB, 3 to 8 times a second; the other clips are what they were."""
    x = sine().repeat(50, 1)
    gain_db = 20 * torch.log10((swing_level(x, generator(), RATE) / x)[:, 1::7])  # no sample on a zero
    depth = gain_db.amax(dim=1) - gain_db.amin(dim=1)
    swings = depth > 0.5
    assert 35 <= int(swings.sum()) <= 65
    assert depth.max() < 10.1 and gain_db.max() < 0.01 and (gain_db[~swings].abs() < 1e-4).all()
    turns = (gain_db[swings].diff(dim=1).sign().diff(dim=1) != 0).sum(dim=1)
    a_second = turns / 4  # two turns a swing, two seconds
    assert a_second.min() > 2.5 and a_second.max() < 9


def test_a_quarter_of_the_clips_swells_at_each_note() -> None:
    """Softest where a note begins, whole 300 ms later, never louder, no click; nothing before the first note."""
    x = sine(2.048).repeat(50, 1)
    begins = torch.zeros(len(x), 384)
    begins[:, 100] = begins[:, 250] = 1
    gain_db = 20 * torch.log10((swell(x, begins, generator(), RATE) / x)[:, 1::7])
    swells = gain_db.amin(dim=1) < -0.5
    assert 12 <= int(swells.sum()) <= 40 and (gain_db[~swells].abs() < 1e-4).all()
    first, second = (round(frame * 128 / 7) for frame in (100, 250))
    at = gain_db[swells].argmin(dim=1)
    assert ((at - first).abs().minimum((at - second).abs()) < 40).all()  # 12 ms
    assert gain_db.max() < 0.01 and gain_db.min() > -15.1
    later = round(0.31 * RATE / 7)
    for quiet in (gain_db[:, : first - 20], gain_db[:, first + later : second - 20]):
        assert (quiet.abs() < 0.01).all()
    assert gain_db.diff(dim=1).abs().max() < 0.8  # dB in 7 samples
