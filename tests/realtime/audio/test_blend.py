"""Which decoders run: never more than there is room for, and always at what was asked last."""

from __future__ import annotations

import numpy as np
import pytest

from realtime.dsp.decoder_mixer import Blend, powers_of
from realtime.shared.scheduling import Room, blend_room

RATE, BLOCK = 24000, 128


def weights(*given: float) -> np.ndarray:
    return np.array([*given, *[0.0] * (5 - len(given))])


def make(room: int, resets: list[int] | None = None) -> Blend:
    return Blend(5, RATE, BLOCK, 0, room, (resets if resets is not None else []).append)


def play(blend: Blend, seconds: float) -> list[int]:
    """How many decoders ran in each block; heard ones are warm and their powers add up to one."""
    counts = []
    for _ in range(int(seconds * RATE / BLOCK)):
        blend.begin()
        counts.append(len(blend.running))
        assert len(set(blend.running)) == len(blend.running)
        for powers in (blend.start, blend.goal):
            assert sum(powers) == pytest.approx(1)
            heard = [k for k, power in enumerate(powers) if power > 0]
            assert all(k in blend.running and blend.cold[k] == 0 for k in heard)
        blend.end()
    return counts


def test_powers_add_up_and_the_strongest_are_kept() -> None:
    assert powers_of(weights(), 3, 2) == [0, 0, 0, 1, 0]
    assert powers_of(weights(0.5, 0.5), 3, 2) == [0.5, 0.5, 0, 0, 0]
    assert powers_of(weights(0.3, 0.1, 0.4), 0, 2) == pytest.approx([0.36, 0, 0.64, 0, 0])
    assert powers_of(weights(1, 1e-4), 0, 2) == [1, 0, 0, 0, 0]  # -80 dB costs a decoder and is not heard
    assert powers_of(weights(np.nan, 0), 1, 2) == [0, 1, 0, 0, 0]


@pytest.mark.parametrize("room", [2, 3, 4, 5])
def test_random_wishes_never_need_more_than_the_room_and_all_come_true(room: int) -> None:
    random = np.random.default_rng(room)
    blend = make(room)
    for _ in range(150):
        wish = random.random(5) * (random.random(5) > 0.6)
        to = int(random.integers(5))
        blend.choose(to, float(random.choice([0, 60, 500])), wish)
        assert max(play(blend, float(random.choice([0.01, 0.03, 0.1])))) <= room
    blend.choose(to, 60, wish)
    play(blend, 1.0)
    assert blend.goal == powers_of(wish, to, room) and not blend.moving


def test_a_new_decoder_is_reset_and_warm_before_it_is_heard() -> None:
    resets: list[int] = []
    blend = make(5, resets)
    blend.choose(0, 60, weights(1, 1, 1))
    play(blend, 3 * BLOCK / RATE)
    assert resets == [1, 2] and blend.goal == [1, 0, 0, 0, 0]  # 16 ms are three blocks
    play(blend, 1.5 * BLOCK / RATE)
    assert blend.goal[1] == pytest.approx(1 / 3)


def test_weights_move_in_20_ms_and_domains_in_their_own_time() -> None:
    blend = make(5)
    blend.choose(0, 1000, weights(1, 1))
    play(blend, 0.2)
    blend.choose(0, 1000, weights(1, 0.5))
    play(blend, 0.016)
    assert blend.moving
    play(blend, 0.011)
    assert not blend.moving
    blend.choose(1, 1000, weights())
    play(blend, 0.9)
    assert blend.moving
    play(blend, 0.2)
    assert not blend.moving and blend.domain == 1


def test_a_silent_decoder_stops_costing_after_a_while() -> None:
    blend = make(5)
    blend.choose(0, 60, weights(1, 1))
    play(blend, 0.2)
    blend.choose(0, 60, weights(1))
    assert play(blend, 0.15)[-1] == 2
    assert play(blend, 0.15)[-1] == 1


def test_back_and_forth_on_a_pad_resets_nobody() -> None:
    resets: list[int] = []
    blend = make(5, resets)
    for i in range(50):
        blend.choose(0, 60, weights(1, i % 2))
        play(blend, 0.05)
    assert resets == [1]


def test_a_change_of_mind_in_the_middle_turns_back_from_there() -> None:
    resets: list[int] = []
    blend = make(2, resets)
    blend.choose(1, 200, weights())
    play(blend, 0.1)
    blend.choose(0, 200, weights())
    play(blend, 0.3)
    assert resets == [1] and blend.running == [0]


def test_room_is_what_fits_into_seven_tenths_of_the_block_but_two_at_least() -> None:
    assert blend_room(0.1, 0.2, 1.0) == 3
    assert blend_room(0.1, 0.1, 1.0) == 6
    assert blend_room(0.9, 0.5, 1.0) == 2
    assert blend_room(0.35e-3, 0.44e-3, 5.333e-3) == 7


def test_the_refusal_gives_the_figures() -> None:
    room = Room(0.22, 0.30)
    assert room.refusal(2) is None
    sentence = room.refusal(3)
    assert sentence == "3 decoders need 112 % of a block (up to 70 % is safe), this machine holds 2"
