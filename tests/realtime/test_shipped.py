"""The bundles that are shipped: small enough, and they sound."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from export.bundle.bundle import Bundle
from realtime import run
from realtime.audio.model_loader import describe
from realtime.audio.sound_files import DEMO
from realtime.dsp.decoder_mixer import Voices
from realtime.dsp.signal_path import SignalPath
from realtime.engines.select import load_engine
from realtime.shared.audio_config import BUNDLES
from tests.realtime.engines.kernels import wavenet_kernel

SHIPPED = {"live": 12e6, "wavenet-live": 25e6}  # bytes at most


def test_these_are_all() -> None:
    assert sorted(p.stem for p in BUNDLES.glob("*.umtn")) == sorted(SHIPPED)


@pytest.mark.parametrize("name", SHIPPED)
def test_it_is_small_and_says_whose_it_is(name: str) -> None:
    path = BUNDLES / f"{name}.umtn"
    manifest = Bundle.open(path).manifest
    assert path.stat().st_size <= SHIPPED[name]
    assert not any(file.startswith("torchscript/") for file in Bundle.open(path).names)
    assert manifest.licence == "MIT" and manifest.preset == name
    assert {"strings", "piano", "winds", "organ", "voice"} <= {d.id for d in manifest.domains}


@pytest.mark.slow
@pytest.mark.parametrize("name", SHIPPED)
def test_it_says_whether_it_uses_a_temperature(name: str) -> None:
    """The page shows no fader that does nothing."""
    if name == "wavenet-live" and not wavenet_kernel():
        pytest.skip("no compiled kernel and no compiler")
    path = BUNDLES / f"{name}.umtn"
    told = describe(SignalPath(load_engine(Bundle.open(path), "auto"), 48000, 256), path)
    assert told.has_temperature == (name == "wavenet-live")


@pytest.mark.parametrize("name", SHIPPED)
def test_it_plays_what_it_hears(name: str, tmp_path: Path) -> None:
    """Two seconds of silence, then three of the demo: as loud as the demo within 15 dB, and silent before."""
    if name == "wavenet-live" and not wavenet_kernel():
        pytest.skip("no compiled kernel and no compiler")
    audio, rate = soundfile.read(DEMO, dtype="float32")
    given, made = tmp_path / "in.wav", tmp_path / "out.wav"
    soundfile.write(given, np.concatenate([np.zeros(2 * rate, np.float32), audio[: 3 * rate]]), rate)
    words = ["--bundle", name, "--in", str(given), "--out", str(made), "--to", "piano", "--fast", "--no-osc"]
    assert run.main(words) == 0
    heard, _ = soundfile.read(made, dtype="float32")
    silence, sound = heard[: 2 * rate - rate // 10], heard[2 * rate :]
    assert np.abs(silence).max() < 10 ** (-65 / 20)
    loudness = 20 * np.log10(np.sqrt(np.mean(np.square(sound[:, 0] if sound.ndim > 1 else sound))))
    wanted = 20 * np.log10(np.sqrt(np.mean(np.square(audio[: 3 * rate]))))
    assert abs(loudness - wanted) < 15


@pytest.mark.slow
@pytest.mark.parametrize("name", SHIPPED)
def test_a_decoder_that_wakes_in_a_rest_is_silent(name: str) -> None:
    """From domain to domain while nobody plays, and a panic."""
    if name == "wavenet-live" and not wavenet_kernel():
        pytest.skip("no compiled kernel and no compiler")
    engine = load_engine(Bundle.open(BUNDLES / f"{name}.umtn"), seed=0, live=False)
    voices, block = Voices(engine), engine.manifest.block
    heard, out = [], np.zeros(block, np.float32)
    for domain in (*range(len(engine.manifest.domains)), 0):
        voices.choose(domain, 60.0)
        for _ in range(60):
            voices.process(np.zeros(block, np.float32), out)
            heard.append(np.abs(out).max())
    voices.reset()
    for _ in range(60):
        voices.process(np.zeros(block, np.float32), out)
        heard.append(np.abs(out).max())
    assert max(heard) < 10 ** (-65 / 20)
