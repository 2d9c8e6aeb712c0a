"""The real thing: jackd's dummy driver, PortAudio, the audio process, impulses from JACK clients."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.realtime.fakebundle import write_fake_bundle

pytestmark = pytest.mark.skipif(
    not (shutil.which("jackd") and shutil.which("jack_lsp")), reason="jackd is not installed"
)


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
