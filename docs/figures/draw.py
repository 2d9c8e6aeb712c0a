"""Draws demo.png and demo-wavenet.png (the built-in clip and what the shipped bundles' live path makes of it) and
training.png.

python docs/figures/draw.py
"""

from __future__ import annotations

import json
from pathlib import Path
from tempfile import TemporaryDirectory

import soundfile

from realtime import run
from realtime.audio.sound_files import DEMO
from umtn.evaluation.examples import draw_pair

HERE = Path(__file__).parent


def draw_training() -> None:
    """Loss of every decoder and of the pitches over the minutes of the checkpoint's runs, one after the other."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    record = json.loads((HERE.parents[1] / "models/live24/checkpoint.json").read_text(encoding="utf-8"))
    runs = [*record["progress"]["earlier"], record["progress"]]
    figure, axis = plt.subplots(figsize=(9, 4))
    for number, name in enumerate((*record["config"]["domains"], "pitch", "domain_accuracy")):
        begun, label = 0.0, name
        for run_ in runs:
            rows = [(begun + row["minutes"], row[name]) for row in run_["curve"] if name in row]
            if rows:
                axis.plot(*zip(*rows, strict=True), label=label, lw=1.2, color=f"C{number}")
                label = ""
            begun += run_["minutes"]
            axis.axvline(begun, color="0.8", lw=0.6)
    axis.set_yscale("log")
    axis.set_xlabel(
        "minutes on two CPU cores: five domains (losses changed at 9, 14 and 27), three more, decoders, ear, all of it"
    )
    axis.legend(ncol=4, frameon=False)
    axis.grid(alpha=0.3)
    figure.tight_layout()
    figure.savefig(HERE / "training.png", dpi=80)


def draw_demo(bundle: str, picture: str) -> None:
    """Input and three outputs, as spectrograms and waveforms."""
    sounds = {}
    audio, rate = soundfile.read(DEMO, dtype="float32")
    sounds["input: flute"] = audio
    with TemporaryDirectory() as folder:
        for domain in ("strings", "piano", "voice"):
            path = Path(folder) / f"{domain}.wav"
            words = ["--bundle", bundle, "--in", "demo", "--out", str(path), "--to", domain]
            assert run.main([*words, "--fast", "--no-osc"]) == 0
            sounds[f"output: {domain}"] = soundfile.read(path, dtype="float32")[0][: len(audio)]
    draw_pair(HERE / picture, sounds, rate)


if __name__ == "__main__":
    draw_training()
    draw_demo("live", "demo.png")
    draw_demo("wavenet-live", "demo-wavenet.png")
