"""A bundle's tones without its breath, and what has none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from umtn.__main__ import main
from umtn.errors import UserError, advice, words
from umtn.offline import TonePlayer

SHIPPED = Path(__file__).parents[2] / "realtime" / "bundles" / "live.umtn"


def test_tones_have_no_breath() -> None:
    player = TonePlayer(SHIPPED)
    t = np.arange(48000) / 48000
    audio = (0.2 * np.sin(2 * np.pi * 440 * t) / (1 + 3 * np.abs(np.sin(np.pi * 440 * t)))).astype(np.float32)
    tones, again = (player.tones(audio, "winds") for _ in range(2))
    whole = player.play(audio, ("winds",))["winds"]
    assert np.array_equal(tones, again)  # nothing is drawn
    breath = whole - tones
    assert 1e-4 < breath.std() < tones.std()
    assert player.lag == 512
    with pytest.raises(UserError, match="at 16000 Hz, but 'live.umtn' plays at 48000"):
        player.check(16000, ("winds",))
    with pytest.raises(UserError, match="has no domain 'theremin'"):
        player.check(48000, ("theremin",))


def test_a_missing_bundle_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "manifest.json").write_text(
        '{"format": "umtn-data", "version": 1, "sample_rate": 24000, "kind": "paired", "tracks": []}'
    )
    assert main(["guide", "--data", str(tmp_path), "--bundle", str(tmp_path / "none.umtn")]) == 2
    assert "none.umtn" in capsys.readouterr().err


def test_names_as_people_type_them() -> None:
    assert words(" strings, piano,") == ("strings", "piano") and words(None) == words("") == ()
    assert advice("paino", ["piano", "organ"]) == "did you mean 'piano'?"
    assert advice("xyz", ["piano", "organ"]) == "known are piano, organ"
