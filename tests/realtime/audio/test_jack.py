"""The real thing: jackd's dummy driver, PortAudio, the audio process, impulses from JACK clients."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests.realtime.fakebundle import write_fake_bundle

pytestmark = pytest.mark.jackd


@pytest.mark.parametrize(("mix", "slack"), [(0.0, 1), (0.5, 1), (1.0, 1), (0.0, 0), (0.0, 4)])
def test_an_impulse_comes_back_after_the_declared_latency(tmp_path: Path, mix: float, slack: int) -> None:
    pytest.importorskip("jack")
    from benchmarks.latency import latency

    bundle = write_fake_bundle(tmp_path / "identity.umtn", identity=True)
    figures = latency(bundle, "onnx", 128, mix=mix, impulses=5, slack=slack)
    assert figures["block"] == 128 and figures["impulses"] >= 4
    path = 32 + 128  # there and back through the resampler, and half a model block at 48 kHz
    extra = figures["port_to_port_frames"] - path - slack * 128
    assert extra in (0, 128)  # the sound server may hand a block on one cycle later
    assert figures["total_ms"] <= 25
    assert sum(figures["split_ms"].values()) == pytest.approx(figures["total_ms"], abs=0.01)


SAMPLE_MS = 1000 / 48000


@pytest.mark.parametrize(
    ("block", "slack"), [(64, 0), (64, 1), (128, 0), (128, 1), (256, 0), (256, 1), (441, 0), (441, 1)]
)
def test_the_latency_shown_is_the_latency_measured(tmp_path: Path, block: int, slack: int) -> None:
    pytest.importorskip("jack")
    from benchmarks.latency import latency

    bundle = write_fake_bundle(tmp_path / "identity.umtn", identity=True)
    figures = latency(bundle, "onnx", block, impulses=4, slack=slack)
    shown = figures["shown_ms"]
    assert shown["device"] == pytest.approx(figures["total_ms"], abs=SAMPLE_MS)
    gathered = block * SAMPLE_MS  # in the ports' word, and no software does without
    assert shown["software"] == pytest.approx(gathered + figures["port_to_port_ms"], abs=SAMPLE_MS)
    assert shown["model"] == pytest.approx(1000 * 128 / 24000, abs=SAMPLE_MS)
    assert shown["model"] <= shown["software"] <= shown["device"]


def test_a_recording_holds_input_and_output_where_they_sounded(tmp_path: Path) -> None:
    pytest.importorskip("jack")
    from benchmarks.latency import latency

    bundle = write_fake_bundle(tmp_path / "identity.umtn", identity=True)
    figures = latency(bundle, "onnx", 128, mix=0.5, impulses=5, record=str(tmp_path / "take.wav"))
    sound, _ = soundfile.read(tmp_path / "take.wav", dtype="float32")
    sent, came = (np.flatnonzero(channel > 0.3) for channel in sound.T)
    assert len(came) >= 4
    late = round(figures["total_ms"] / SAMPLE_MS)
    assert np.array_equal(came, (sent + late)[: len(came)])
