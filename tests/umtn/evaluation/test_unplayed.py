"""Noises that nobody plays: as loud as they say, and measured against what comes out."""

import numpy as np
import pytest

from umtn.evaluation import signal_metrics
from umtn.evaluation.robustness import noises, unplayed

RATE = 24000


class Wire:
    """A player whose output is its input, 20 dB quieter."""

    name, domains, sample_rate, declared_lag_s = "wire", ("strings",), RATE, 0.0
    facts: dict[str, float | int | str] = {}

    def play(self, audio: np.ndarray, targets: tuple[str, ...]) -> dict[str, np.ndarray]:
        return dict.fromkeys(targets, 0.1 * audio)


def test_a_wire_passes_everything_on() -> None:
    row = unplayed(Wire(), ("strings",))["strings"]
    assert row["silence_dbfs"] == -120
    assert row["noise_dbfs"] == pytest.approx(-80, abs=0.2) and row["noise_dbfs_loudest"] < -79
    assert all(row[f"{name}_db"] == pytest.approx(-20, abs=0.1) for name in ("hum", "breath", "knocks"))


@pytest.mark.parametrize("rate", [24000, 48000])
def test_noises_are_what_they_say(rate: int) -> None:
    made = noises(rate)
    assert (
        signal_metrics.dbfs(made["hum"]) == pytest.approx(-45, abs=0.1) == signal_metrics.dbfs(made["breath"])
    )
    spectrum = np.abs(np.fft.rfft(made["hum"]))
    loudest = {int(k) for k in np.argsort(spectrum)[-4:]}
    assert loudest == {250, 500, 750, 1000}  # five seconds: lines a fifth of a hertz apart
    assert 0.15 < np.abs(made["knocks"]).max() <= 0.3
    low = np.abs(np.fft.rfft(made["knocks"])) ** 2
    assert low[: 5 * 200].sum() > 0.99 * low.sum()
