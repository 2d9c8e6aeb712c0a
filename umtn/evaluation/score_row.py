"""One sound against its score and its true rendering: every figure of a row of the table."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import soxr
from numpy.typing import NDArray

from umtn.data.score import Score
from umtn.evaluation import signal_metrics
from umtn.evaluation.classifiers import RATE, STEP_S, WINDOW_S, LogMel, PitchJudge, TimbreJudge
from umtn.evaluation.note_metrics import note_figures, register
from umtn.evaluation.pitch_tracking import (
    Track,
    Voice,
    dtw_correlation,
    ncc,
    pitch_track,
    raw_pitch_accuracy,
    vibrato_kept,
)
from umtn.evaluation.signal_metrics import attack_s

__all__ = ["Heard", "Judges"]

Audio = NDArray[np.float32]
SOUNDING_DBFS = -50.0
RELEASE_S = 0.5  # a rest begins so long after its last note has ended


@dataclass(frozen=True)
class Heard:
    """What the judges say of a sound: note figures, pitch track, and window by window how it divides among
    the domains and where it lies among timbres (embeddings [windows, 96])."""

    notes: dict[str, float]
    register: int  # semitones by which it sounds beside the score
    track: Track
    shares: dict[str, NDArray[np.float32]]
    embeddings: NDArray[np.float32]

    def share(self, target: str, sounding: NDArray[np.bool_]) -> float:
        """Share of the sounding windows in which `target` is likelier than any other domain, or `other`."""
        if not sounding.any():
            return float("nan")
        names = list(self.shares)
        best = np.argmax(np.stack([self.shares[n][sounding] for n in names]), axis=0)
        return float(np.mean(best == names.index(target)))

    def confusion(self, sounding: NDArray[np.bool_]) -> dict[str, float]:
        """Share of the sounding windows for every domain and `other`."""
        return {name: round(self.share(name, sounding), 4) for name in self.shares}


class Judges:
    """Both judges and the score they listen with; audio is at `rate` and begins at `start_s` of the score."""

    def __init__(self, score: Score, start_s: float, rate: int) -> None:
        self.score, self.start_s, self.rate = score, start_s, rate
        self.pitch, self.timbre, self.mel = PitchJudge.load(), TimbreJudge.load(), LogMel()

    def _at_own_rate(self, audio: Audio) -> Audio:
        return audio if self.rate == RATE else soxr.resample(audio, self.rate, RATE, quality="HQ")

    def hear(self, audio: Audio, octave: int | None = None) -> Heard:
        """octave: semitones (0, -12, 12) beside the score in which it has to sound; None: those in which it does.

        A rendering sounds where its program puts it, and what is made of it has to sound there too.
        """
        own = self._at_own_rate(audio)
        transcript = self.pitch.transcribe(own)
        if octave is None:
            octave = register(self.score, self.start_s, transcript)
        notes = note_figures(self.score.transposed(octave), self.start_s, transcript)
        return Heard(notes, octave, pitch_track(own), *self.timbre.hear(own))

    def melody(self, heard: Heard, source: Heard) -> dict[str, float]:
        """Figures of one-voice passages: against the score, and against the source's pitch track."""
        voice = Voice(self.score.transposed(heard.register), self.start_s, len(heard.track.pitch))
        a, b = (voice.of(h.track) for h in (source, heard))
        return {
            "raw_pitch_accuracy": raw_pitch_accuracy(voice, heard.track),
            "vibrato_kept": vibrato_kept(voice, heard.track),
            "ncc": ncc(a, b),
            "dtw": dtw_correlation(a, b),
        }

    def sounding(self, truth: Audio) -> NDArray[np.bool_]:
        """Half-second windows in which a note is held half of the time and the true rendering is audible."""
        own = self._at_own_rate(truth)
        n, step = round(WINDOW_S * RATE), round(STEP_S * RATE)
        begins = np.arange(0, len(own) - n + 1, step)
        held = self.held_s(len(own) / RATE)
        found = []
        for begin in begins:
            part = held[begin * 100 // RATE : (begin + n) * 100 // RATE]
            found.append(part.mean() >= 0.5 and signal_metrics.dbfs(own[begin : begin + n]) > SOUNDING_DBFS)
        return np.array(found, bool)

    def held_s(self, seconds: float, release_s: float = 0.0) -> NDArray[np.bool_]:
        """For each 10 ms whether a note is held, or was until `release_s` before."""
        held = np.zeros(round(seconds * 100), bool)
        for start, end, _, _ in self.score.table:
            held[
                max(0, int((start - self.start_s) * 100)) : max(
                    0, int((end + release_s - self.start_s) * 100)
                )
            ] = 1
        return held

    def rests(self, audio: Audio) -> Audio:
        """The samples of `audio` in the score's rests, end to end."""
        resting = ~self.held_s(len(audio) / self.rate, RELEASE_S)
        return audio[: len(resting) * self.rate // 100][np.repeat(resting, self.rate // 100)[: len(audio)]]

    def figures(
        self, heard: Heard, audio: Audio, truth: Audio, target: str, lag_s: float = 0.0
    ) -> dict[str, float]:
        """The row for a sound that is meant to be `target` and whose lag, `lag_s`, has been removed."""
        sounding, rests = self.sounding(truth), self.rests(audio)
        own, wanted = self._at_own_rate(audio), self._at_own_rate(truth)
        played = audio[: len(audio) - round(lag_s * self.rate)]  # where the lag was cut off, it breaks off
        return {
            "timbre_share": heard.share(target, sounding),
            **heard.notes,
            "loudness_correlation": signal_metrics.loudness_correlation(audio, truth, self.rate),
            "level_difference_db": signal_metrics.dbfs(audio) - signal_metrics.dbfs(truth),
            "logmel_distance_db": signal_metrics.logmel_distance_db(own, wanted, self.mel),
            "spectral_distance": signal_metrics.spectral_distance(own, wanted),
            "air_difference_db": signal_metrics.air_db(audio, self.rate)
            - signal_metrics.air_db(truth, self.rate),
            "rest_dbfs": signal_metrics.dbfs(rests) if len(rests) else float("nan"),
            "clicks_per_minute": signal_metrics.clicks_per_minute(played, self.rate),
            "dc": float(np.mean(audio)),
            "attack_ms": 1000 * (lag_s + attack_s(audio, self.score, self.start_s, self.rate)),
        }
