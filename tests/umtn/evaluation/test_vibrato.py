"""The probe gives 1 to whoever copies the tone and 0 to whoever flattens it."""

from __future__ import annotations

import numpy as np
import pytest

from umtn.evaluation.spectra import RATE
from umtn.evaluation.vibrato import vibrato_probe


class _Player:
    name, domains, declared_lag_s, facts = "fake", ("copy", "flat", "late"), 0.0, {}

    def __init__(self, rate: int) -> None:
        self.sample_rate = rate

    def play(self, audio: np.ndarray, targets: tuple[str, ...]) -> dict[str, np.ndarray]:
        spectrum = np.abs(np.fft.rfft(audio * np.hanning(len(audio))))
        f0 = np.argmax(spectrum) * self.sample_rate / len(audio)
        flat = 0.1 * np.sin(2 * np.pi * f0 * np.arange(len(audio)) / self.sample_rate)
        late = np.pad(audio, (self.sample_rate // 20, 0))[: len(audio)]
        return {"copy": audio, "flat": flat.astype(np.float32), "late": late}


@pytest.mark.parametrize("rate", [RATE, 2 * RATE])
def test_copy_late_copy_and_flat(rate: int) -> None:
    found = vibrato_probe(_Player(rate), ("copy", "flat", "late"))  # type: ignore[arg-type]
    assert found["copy"] == pytest.approx(1.0, abs=0.1)
    assert found["late"] == pytest.approx(1.0, abs=0.1)
    assert abs(found["flat"]) < 0.1
