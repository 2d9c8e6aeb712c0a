"""Draws demo.png: the built-in clip and what the shipped bundle's live path makes of it.

python docs/figures/draw.py
"""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import soundfile

from realtime import run
from realtime.audio.files import DEMO
from umtn.evaluation.figures import draw_pair

HERE = Path(__file__).parent


def main() -> None:
    sounds = {}
    audio, rate = soundfile.read(DEMO, dtype="float32")
    sounds["input: flute"] = audio
    with TemporaryDirectory() as folder:
        for domain in ("strings", "piano", "voice"):
            path = Path(folder) / f"{domain}.wav"
            assert run.main(["--in", "demo", "--out", str(path), "--to", domain, "--fast", "--no-osc"]) == 0
            sounds[f"output: {domain}"] = soundfile.read(path, dtype="float32")[0][: len(audio)]
    draw_pair(HERE / "demo.png", sounds, rate)


if __name__ == "__main__":
    main()
