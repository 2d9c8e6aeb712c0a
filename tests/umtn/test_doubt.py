"""Blurred and silenced pasts: within the classes, some clips true, some silent up to a moment."""

from __future__ import annotations

import torch

from umtn.training.decoder_losses import corrupted


def test_a_share_of_the_clips_keeps_the_true_past_and_a_share_begins_in_silence() -> None:
    past = torch.randint(1, 256, (400, 800))
    past[:, 0] = 255
    heard = corrupted(past, 256, 4.0, torch.Generator().manual_seed(1))
    assert heard.min() >= 1 and heard.max() <= 255
    silent = (heard[:, :100] == 128).all(dim=1)
    assert 0.2 < silent.float().mean() < 0.4
    true = (heard[:, -50:] == past[:, -50:]).all(dim=1)  # mostly loud again by then
    assert 0.15 < true.float().mean() < 0.35
    off = (heard - past).float()[~silent & ~true]
    assert 1.5 < off.std() < 3.5
    assert abs(off.mean()) < 0.5


def test_the_same_generator_draws_the_same() -> None:
    past = torch.randint(1, 32, (3, 64))
    first, second = (corrupted(past, 32, 4.0, torch.Generator().manual_seed(7)) for _ in range(2))
    assert torch.equal(first, second)
