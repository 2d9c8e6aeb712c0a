"""The probes give 1 to whoever copies the tone, 0 to whoever flattens it."""

from __future__ import annotations

import numpy as np
import pytest

from umtn.evaluation.classifiers import RATE
from umtn.evaluation.robustness import tremolo_probe, vibrato_probe

WAYS = ("copy", "late", "flat", "half", "fading", "silent")


class _Player:
    name, domains, declared_lag_s, facts = "fake", WAYS, 0.0, {}

    def __init__(self, rate: int) -> None:
        self.sample_rate = rate

    def play(self, audio: np.ndarray, targets: tuple[str, ...]) -> dict[str, np.ndarray]:
        t = np.arange(len(audio)) / self.sample_rate
        spectrum = np.abs(np.fft.rfft(audio * np.hanning(len(audio))))
        flat = 0.1 * np.sin(2 * np.pi * np.argmax(spectrum) * t * self.sample_rate / len(audio))
        made = {
            "copy": audio,
            "late": np.pad(audio, (self.sample_rate // 20, 0))[: len(audio)],
            "flat": flat,
            "half": flat * 10 ** (1.5 * np.sin(2 * np.pi * 5 * t) / 20),
            "fading": flat * np.exp(-2 * t),
            "silent": 0 * audio,
        }
        return {k: made[k].astype(np.float32) for k in targets}


@pytest.mark.parametrize("rate", [RATE, 2 * RATE])
def test_vibrato_of_a_copy_a_late_copy_and_a_flat_tone(rate: int) -> None:
    found = vibrato_probe(_Player(rate), ("copy", "late", "flat"))  # type: ignore[arg-type]
    assert found == {k: pytest.approx(v, abs=0.1) for k, v in (("copy", 1.0), ("late", 1.0), ("flat", 0.0))}


@pytest.mark.parametrize("rate", [RATE, 2 * RATE])
def test_tremolo_of_copies_fades_and_silence(rate: int) -> None:
    found = tremolo_probe(_Player(rate), WAYS)  # type: ignore[arg-type]
    wanted = {"copy": 1.0, "late": 1.0, "flat": 0.0, "half": 0.5, "fading": 0.0, "silent": 0.0}
    assert found == {k: pytest.approx(v, abs=0.06) for k, v in wanted.items()}
