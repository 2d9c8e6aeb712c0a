"""Sound fonts, and FluidSynth as the player that renders a MIDI file through one."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import soxr
from numpy.typing import NDArray

from umtn.data.instruments import Instrument
from umtn.data.score import Score, write_midi
from umtn.errors import UserError

__all__ = ["FONTS", "find_font", "render_score"]

FONTS = {
    "fluidr3": "FluidR3_GM.sf2",
    "musescore": "MuseScore_General.sf3",
    "timgm6mb": "TimGM6mb.sf2",
}
PACKAGES = {
    "fluidr3": "fluid-soundfont-gm",
    "musescore": "musescore-general-soundfont",
    "timgm6mb": "timgm6mb-soundfont",
}
FONT_PATH = "UMTN_SOUNDFONTS"  # environment: folders, separated as in PATH
FOLDERS = (
    "/usr/share/sounds/sf2",
    "/usr/share/sounds/sf3",
    "/usr/share/soundfonts",
    "/usr/local/share/soundfonts",
    "/opt/homebrew/share/soundfonts",
    "~/.local/share/soundfonts",
    "~/Library/Audio/Sounds/Banks",
    "C:/soundfonts",
)
SYNTH_RATE = 48_000  # above the fonts' own 44.1 kHz, so that FluidSynth's resampling does not alias
GAIN = 0.5
POLYPHONY = 512  # no voice is ever stolen


def find_font(name: str) -> Path:
    """Path of a known font (`fluidr3`, `musescore`, `timgm6mb`) or of a given .sf2/.sf3 file."""
    if name.lower().endswith((".sf2", ".sf3")) and Path(name).is_file():
        return Path(name)
    if name not in FONTS:
        known = f"{', '.join(FONTS)}, or the path of an .sf2 or .sf3 file"
        raise UserError(f"unknown sound font '{name}'; known: {known}")
    places = [*filter(None, os.environ.get(FONT_PATH, "").split(os.pathsep)), *FOLDERS]
    for place in places:
        path = Path(place).expanduser() / FONTS[name]
        if path.is_file():
            return path
    raise UserError(
        f"sound font {FONTS[name]} was not found; install it (Debian: {PACKAGES[name]}) "
        f"or name its folder in {FONT_PATH}"
    )


def render_score(score: Score, instrument: Instrument, font: Path, rate: int) -> NDArray[np.float32]:
    """Mono audio [T] of a score at `rate`; sample 0 is time 0 of the score; not normalised, never clipped."""
    if instrument.detune_cents:
        score = score.detuned(instrument.detune_cents)
    with tempfile.TemporaryDirectory(prefix="umtn-") as folder:
        midi, raw = Path(folder) / "score.mid", Path(folder) / "audio.raw"
        write_midi(midi, score, instrument)
        _run_fluidsynth(font, midi, raw)
        stereo = np.fromfile(raw, dtype="<f4").reshape(-1, 2)
    mono = stereo.mean(axis=1, dtype=np.float32)
    length = round(score.duration_s * SYNTH_RATE)
    mono = np.pad(mono[:length], (0, max(0, length - len(mono))))
    audio = soxr.resample(mono, SYNTH_RATE, rate, quality="HQ")
    length = round(score.duration_s * rate)
    return np.pad(audio[:length], (0, max(0, length - len(audio)))).astype(np.float32)


def _run_fluidsynth(font: Path, midi: Path, raw: Path) -> None:
    """FluidSynth as fast as it can, without its room, as 32-bit floats: those cannot clip."""
    program = shutil.which("fluidsynth")
    if program is None:
        raise UserError("the program fluidsynth was not found; install it (Debian: package fluidsynth)")
    settings = {
        "synth.polyphony": POLYPHONY,
        "synth.dynamic-sample-loading": 1,
        "synth.reverb.active": 0,
        "synth.chorus.active": 0,
        "audio.file.type": "raw",
        "audio.file.format": "float",
        "synth.default-soundfont": "",  # else played, with success reported, where ours cannot be read
    }
    options = [item for key, value in settings.items() for item in ("-o", f"{key}={value}")]
    command = [program, "-ni", "-q", "-g", str(GAIN), "-r", str(SYNTH_RATE), *options]
    command += ["-F", str(raw), str(font), str(midi)]
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
    # A font that cannot be read is no failure to FluidSynth: it says so and goes on.
    lines = (done.stderr or done.stdout).strip().splitlines()
    refused = [line for line in lines if "soundfont" in line.lower() and "warning" not in line.lower()]
    if done.returncode != 0 or refused or not raw.is_file() or raw.stat().st_size == 0:
        reason = (refused or lines or ["no output"])[0].removeprefix("fluidsynth: error: ").rstrip(".")
        raise UserError(f"fluidsynth could not render with {font.name}: {reason}")
