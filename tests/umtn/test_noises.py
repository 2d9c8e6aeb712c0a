"""Noises that nobody plays: how loud, how low, when."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.umtn import tinydata
from umtn.data.augment import add_breaths, add_knocks, add_noise
from umtn.data.dataset import Dataset
from umtn.model.presets import preset
from umtn.model.translator import Translator
from umtn.training import objective
from umtn.training.batches import BatchSource

RATE = 24000


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def sine(clips: int) -> torch.Tensor:
    return 0.3 * torch.sin(2 * math.pi * 440 * torch.arange(RATE * 2) / RATE).repeat(clips, 1)


def two_notes(clips: int) -> torch.Tensor:
    begins = torch.zeros(clips, 375)
    begins[:, 200] = begins[:, 300] = 1
    return begins


def test_noise_keeps_its_distance() -> None:
    x = sine(60)
    noise = add_noise(x, generator(), RATE) - x
    snr_db = 10 * torch.log10(x.square().mean(dim=1) / noise.square().mean(dim=1))
    assert (snr_db > 12).all() and (snr_db < 62).all()


def test_one_clip_in_three_hums_at_50_or_60_hz() -> None:
    x = torch.zeros(100, 2 * RATE)
    spectrum = torch.fft.rfft(add_noise(x, generator(), RATE)).abs()
    mains = torch.stack([spectrum[:, [2 * hz * k for k in range(1, 9)]].amax(dim=1) for hz in (50, 60)])
    beside = spectrum[:, 60:1000].median(dim=1).values
    hums = (mains > 30 * beside).any(dim=0)
    assert 15 <= int(hums.sum()) <= 50
    assert (mains[0] > mains[1])[hums].any() and (mains[1] > mains[0])[hums].any()


def test_knocks_are_low_and_come_with_notes_or_by_chance() -> None:
    """A third of the clips; nothing but what lies below 500 Hz; with the notes never before the first of them."""
    x = sine(60)
    knocks = add_knocks(x, two_notes(60), generator(), RATE) - x
    knocked = knocks.abs().amax(dim=1) > 1e-4
    assert 10 <= int(knocked.sum()) <= 30
    late = knocks[knocked][:, : 200 * 128].abs().amax(dim=1) < 1e-4
    assert 0.2 < late.float().mean() < 0.8
    spectrum = torch.fft.rfft(knocks[knocked]).abs().square()
    share = spectrum[:, 1000:].sum(dim=1) / spectrum.sum(dim=1)  # two seconds: half a Hz a bin
    assert share.max() < 0.05


def test_breaths_come_and_go() -> None:
    """A third of the clips; each burst is over in .6 s; never louder than a few dB above the clip."""
    x = sine(60)
    breaths = add_breaths(x, two_notes(60), generator(), RATE) - x
    there = breaths.abs().amax(dim=1) > 1e-5
    assert 10 <= int(there.sum()) <= 30
    with_notes = there & (breaths[:, : 200 * 128].abs().amax(dim=1) < 1e-5)
    assert with_notes.any()
    early, late = (breaths[with_notes][:, a:b].square().mean() for a, b in ((25600, 30000), (46000, 48000)))
    assert late < early
    assert breaths.abs().max() < 0.3 * 10 ** (3 / 20) * 6


def test_a_clip_too_short_for_whole_frames() -> None:
    """375 frames of 128 samples and 7 samples more: nothing is lost."""
    x = torch.randn(2, 375 * 128 + 7)
    for add in (add_breaths, add_knocks):
        assert add(x, two_notes(2), generator(), RATE).shape == x.shape


def test_where_only_the_room_is_heard_nothing_is_wanted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The source holds none of the music, no target sounds, no pitch is active; without the hush the music is there."""
    config = replace(preset("tiny-live"), domains=tinydata.DOMAINS)
    batches = BatchSource(Dataset.open(tinydata.make(tmp_path, config.sample_rate)), config, "train", 3)
    for share, music in ((1.0, False), (0.0, True)):
        monkeypatch.setattr(objective, "HUSH_SHARE", share)
        batch = next(iter(batches))
        source, targets, _ = objective.Objective(Translator(config)).prepare(batch, generator(2))
        likeness = torch.cosine_similarity(source, batch.source, dim=1)[batch.source.abs().amax(dim=1) > 0.01]
        assert source.abs().max() > 1e-5
        assert bool((likeness > 0.5).any()) == bool(targets.any()) == bool(batch.active.any()) == music
