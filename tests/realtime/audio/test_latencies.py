"""The three latencies that are shown: each holds the one before."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from export.bundle.bundle import Bundle
from realtime.audio.latencies import Latencies, algorithmic_ms
from realtime.audio.stream import said_ms
from realtime.dsp.resample import reblocking_delay
from tests.realtime.fakebundle import write_fake_bundle


def test_the_model_alone_is_the_block_that_it_must_hear_and_its_lag(tmp_path: Path) -> None:
    manifest = Bundle.open(write_fake_bundle(tmp_path / "fake.umtn", 24000, 128)).manifest
    assert algorithmic_ms(manifest) == pytest.approx(1000 * 128 / 24000)
    late = replace(manifest, latency_samples=24)
    assert algorithmic_ms(late) == pytest.approx(1000 * 128 / 24000 + 1.0)


@pytest.mark.parametrize("rate", [44100, 48000])
@pytest.mark.parametrize("block", [1, 32, 64, 128, 256, 441, 1000, 2048])
def test_each_latency_holds_the_one_before(rate: int, block: int) -> None:
    """No block of the device gives an answer before the model has heard what it must."""
    ms = 1000.0 / rate
    path = reblocking_delay(rate, 48000, 256, block)
    for slack in (0, 1, 4):
        now = Latencies(1000 * 256 / 48000, path * ms, slack * block * ms, block * ms, 3 * block * ms)
        assert now.model <= now.software + ms and now.software <= now.device
        assert now.device == pytest.approx((path + (slack + 3) * block) * ms)
        assert now.outside == pytest.approx((slack + 3) * block * ms)


def test_no_device_is_quicker_than_its_block() -> None:
    now = Latencies(model=5.0, path=3.0, slack=2.0, block=2.0, io=0.5)
    assert now.software == now.device == 7.0
    assert Latencies(model=5.0, path=3.0, slack=0.0, block=0.0, io=0.0).device == 3.0  # a file, quickly
    assert now.shown() == {"model": 5.0, "software": 7.0, "device": 7.0}


@pytest.mark.parametrize(
    ("latency", "jack", "frames", "expected"),
    [
        ((0.0, 128 / 48000), True, 384, 8.0),  # as the ports say
        ((0.0, 128 / 48000), True, None, 8.0),  # PortAudio over JACK leaves out a block each way
        ((0.004, 0.006), False, None, 10.0),
        (0.006, False, None, 6.0),
        (128 / 48000, True, None, 16 / 3),
    ],
)
def test_what_the_system_says(latency: float, jack: bool, frames: int | None, expected: float) -> None:
    told_s = None if frames is None else frames / 48000
    assert said_ms(latency, 128 / 48000, jack, told_s) == pytest.approx(expected)
