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
from realtime.audio.files import DEMO
from umtn.evaluation.figures import draw_pair

HERE = Path(__file__).parent


def draw_training() -> None:
    """Loss of every decoder and of the pitches over the minutes of the shipped checkpoint's run."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    record = json.loads((HERE.parents[1] / "models/live/checkpoint.json").read_text(encoding="utf-8"))
    curve = record["progress"]["curve"]
    figure, axis = plt.subplots(figsize=(9, 4))
    for name in (*record["config"]["domains"], "pitch", "domain_accuracy"):
        rows = [(row["minutes"], row[name]) for row in curve if name in row]
        axis.plot(*zip(*rows, strict=True), label=name, lw=1.2)
    axis.set_yscale("log")
    axis.set_xlabel("minutes on two CPU cores (the losses were changed at 9, 14 and 27: see docs/log.md)")
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
