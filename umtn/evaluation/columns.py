"""Every figure of a report: its name in tables, how it is written, which direction is good, what it means."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

__all__ = ["COLUMNS", "SIDE_FIGURES", "Column", "Good"]

Good = Literal["higher", "lower", "zero", "one", "neither"]


@dataclass(frozen=True)
class Column:
    """`good`: the better direction; `zero` and `one` mean nearer to that."""

    label: str
    key: str
    form: str
    good: Good
    meaning: str

    def write(self, value: float | None) -> str:
        """The value as text; a dash where there is none."""
        return "-" if value is None or not math.isfinite(value) else self.form.format(value)

    def verdict(self, before: float, after: float) -> str:
        """better, worse, same (as far as `form` shows) or changed (where no direction is good)."""
        if self.write(before) == self.write(after):
            return "same"
        if self.good == "neither":
            return "changed"
        gain = after - before if self.good == "higher" else before - after
        if self.good in ("zero", "one"):
            aim = float(self.good == "one")
            gain = abs(before - aim) - abs(after - aim)
        return "better" if gain > 0 else "worse" if gain < 0 else "same"


COLUMNS = (
    Column("timbre", "timbre_share", "{:.2f}", "higher",
           "share of sounding half-second windows that the timbre judge gives to the target domain"),
    Column("Frechet", "frechet", "{:.1f}", "lower",
           "Fréchet distance of the timbre judge's embeddings to those of true renderings"),
    Column("F1 one", "pitch_f1_one", "{:.2f}", "higher",
           "frame-level pitch F1 against the score where one voice plays"),
    Column("F1 sev", "pitch_f1_several", "{:.2f}", "higher", "the same where several voices play"),
    Column("onset", "onset_f1", "{:.2f}", "higher", "F1 of note onsets within 50 ms"),
    Column("note", "note_f1", "{:.2f}", "higher", "F1 of notes: onset within 50 ms and the right pitch"),
    Column("octave", "octave_errors", "{:.2f}", "lower",
           "share of reported frame pitches that are wrong by one or two octaves"),
    Column("RPA", "raw_pitch_accuracy", "{:.2f}", "higher",
           "share of one-voice frames whose tracked pitch is within 50 cents of the score"),
    Column("vibrato", "vibrato_kept", "{:.2f}", "one",
           "how much of the score's vibrato the one-voice pitch track shows (1 = all of it)"),
    Column("NCC", "ncc", "{:.2f}", "higher",
           "correlation of the pitch tracks of input and output at the best shift (Mor et al. 2018)"),
    Column("DTW", "dtw", "{:.2f}", "higher", "the same after dynamic time warping (Mor et al. 2018)"),
    Column("loud r", "loudness_correlation", "{:.2f}", "higher",
           "correlation of the loudness curves of output and true rendering"),
    Column("level", "level_difference_db", "{:+.1f}", "zero", "dB louder than the true rendering"),
    Column("air", "air_difference_db", "{:+.1f}", "zero", "the same above 12 kHz, where the rate carries it"),
    Column("mel dB", "logmel_distance_db", "{:.1f}", "lower",
           "mean difference of log-mel spectra to the true rendering, in dB"),
    Column("spectra", "spectral_distance", "{:.2f}", "lower",
           "multi-resolution spectral distance to the true rendering (1 = what silence scores)"),
    Column("rest", "rest_dbfs", "{:.0f}", "lower", "level in the score's rests, in dBFS"),
    Column("clicks", "clicks_per_minute", "{:.1f}", "lower", "isolated jumps a minute"),
    Column("attack", "attack_ms", "{:.0f}", "lower",
           "ms from a note's start in the score to half of its power, lag included"),
)  # fmt: skip

SIDE_FIGURES = (
    Column("out for silence, dBFS", "silence_dbfs", "{:.0f}", "lower", "level for digital silence"),
    Column("out for noise at -60, dBFS", "noise_dbfs", "{:.0f}", "lower", "level for faint noise"),
    Column("out for hum, dB", "hum_db", "{:+.0f}", "lower", "level out above level in for mains hum at -45 dBFS"),
    Column("out for breath, dB", "breath_db", "{:+.0f}", "lower", "the same for breaths at -45 dBFS"),
    Column("out for knocks, dB", "knocks_db", "{:+.0f}", "lower", "the same for knocks on a guitar's body, peak .2"),
    Column("tail after a stop, s", "stop_tail_s", "{:.2f}", "lower",
           "from the moment the player stops in the middle of a note to -60 dBFS"),
    Column("vibrato of a made-up singer", "vibrato_probe", "{:.2f}", "one",
           "how much of a swing of 30 cents at 5.5 Hz comes through, mean of five tones"),
    Column("tremolo of a trembling tone", "tremolo_probe", "{:.2f}", "lower",
           "how much of a level's swing of 6 dB, 5 times a second, comes through (a bow may, a hammer cannot)"),
    Column("measured lag, s", "measured_s", "{:.3f}", "lower", "attacks behind the true rendering's"),
    Column("real-time factor", "rtf", "{:.3f}", "lower", "seconds of computing per second on one thread"),
    Column("parameters", "parameters", "{:,.0f}", "neither",
           "weights of encoder and this decoder, for a bundle with their fixed filters"),
    Column("MAC per second", "mac_per_s", "{:,.0f}", "lower", "multiplications of encoder and this decoder"),
    Column("domain probe", "probe_domain", "{:.2f}", "lower",
           "accuracy of a fresh linear probe for the input's domain on the latent (chance is the aim)"),
    Column("pitch probe", "probe_pitch", "{:.2f}", "higher", "frame F1 of a fresh linear pitch probe on the latent"),
)  # fmt: skip
