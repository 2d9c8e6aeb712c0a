"""Evaluation, top to bottom: every source to every domain, with the copy and the true rendering beside it."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import soxr
import torch
from numpy.typing import NDArray
from torch.utils.flop_counter import FlopCounterMode
from tqdm import tqdm

from umtn.data.score import Score
from umtn.errors import UserError
from umtn.evaluation import signal_metrics
from umtn.evaluation.classifiers import RATE, STEP_S, WINDOW_S, LogMel, PitchJudge, TimbreJudge
from umtn.evaluation.material import Material, base_of
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
from umtn.evaluation.report import Row, mean_row, means_of
from umtn.evaluation.robustness import Timbres, probe_latent, tremolo_probe, unplayed, vibrato_probe
from umtn.evaluation.signal_metrics import attack_s
from umtn.offline import BundlePlayer, CheckpointPlayer, Player

__all__ = ["Judged", "Judges", "cost", "evaluate", "graph_macs", "graph_parameters", "measured_lags", "size"]


# What a model costs: time on one thread, weights, multiplications.


# Weights and multiplications of an ONNX graph, read off its shapes.


LOOPS = ("Loop", "Scan", "If")


def graph_parameters(data: bytes) -> int:
    """Numbers in the floating-point initialisers and constants of a graph, fixed filters included."""
    graph = onnx.load_from_string(data).graph
    tensors = list(graph.initializer)
    tensors += [a.t for n in graph.node if n.op_type == "Constant" for a in n.attribute if a.HasField("t")]
    kinds = (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16, onnx.TensorProto.DOUBLE)
    return sum(math.prod(t.dims) for t in tensors if t.data_type in kinds)


def graph_macs(data: bytes) -> int | None:
    """Multiply-accumulates of convolutions and matrix products in one run; None if it loops or a shape is open."""
    model = onnx.shape_inference.infer_shapes(onnx.load_from_string(data))
    graph = model.graph
    if any(n.op_type in LOOPS for n in graph.node):
        return None
    shapes = {t.name: list(t.dims) for t in graph.initializer}
    for value in (*graph.input, *graph.output, *graph.value_info):
        shapes[value.name] = [d.dim_value for d in value.type.tensor_type.shape.dim]
    for node in graph.node:
        for attribute in node.attribute:
            if node.op_type == "Constant" and attribute.HasField("t"):
                shapes[node.output[0]] = list(attribute.t.dims)
    total = 0
    for node in graph.node:
        each = _per_output(node, shapes)
        if each is None:
            continue
        made = math.prod(shapes.get(node.output[0], [0]))
        if each * made == 0:
            return None
        total += each * made
    return total


def _per_output(node: onnx.NodeProto, shapes: dict[str, list[int]]) -> int | None:
    """Multiplications for each output number; None for a node that is no product, 0 for an unknown shape."""
    if node.op_type == "Conv":  # weight: [out, in / groups, kernel...]
        return math.prod(shapes.get(node.input[1], [0, 0])[1:])
    if node.op_type == "ConvTranspose":
        weight = shapes.get(node.input[1], [0])
        strides = next((list(a.ints) for a in node.attribute if a.name == "strides"), [1])
        groups = next((a.i for a in node.attribute if a.name == "group"), 1)
        return math.prod(weight[:1] + weight[2:]) // (math.prod(strides) * groups)
    if node.op_type == "MatMul":
        return shapes.get(node.input[0], [0])[-1]
    if node.op_type == "Gemm":
        turned = any(a.name == "transA" and a.i for a in node.attribute)
        return shapes.get(node.input[0], [0, 0])[0 if turned else 1]
    return None


TIMED_S = 4.0
COUNTED_FRAMES = 16


def cost(player: Player, target: str, material: Material) -> dict[str, float]:
    """`rtf` (encoder and one decoder, one thread), and `parameters` and `mac_per_s` where they can be counted."""
    audio = next(iter(material.sources.values()))[: round(TIMED_S * material.rate)]
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        player.play(audio[: material.rate // 10], (target,))  # the first call also makes plans and buffers
        began = time.perf_counter()
        player.play(audio, (target,))
        seconds = time.perf_counter() - began
    finally:
        torch.set_num_threads(threads)
    return {"rtf": round(seconds * material.rate / len(audio), 4), **size(player, target)}


def size(player: Player, target: str) -> dict[str, float]:
    """Parameters and multiply-accumulates per second of encoder and one decoder; empty for other players."""
    if isinstance(player, CheckpointPlayer):
        return _of_checkpoint(player, target)
    if isinstance(player, BundlePlayer):
        return _of_bundle(player, target)
    return {}


@torch.no_grad()
def _of_checkpoint(player: CheckpointPlayer, target: str) -> dict[str, float]:
    translator = player.translator
    n = COUNTED_FRAMES * translator.config.hop
    parts = (translator.encoder, translator.decoder(target))
    with FlopCounterMode(display=False) as counter:
        player.play(np.zeros(n, np.float32), (target,))
    macs = counter.get_total_flops() / 2 * translator.config.sample_rate / n
    return {
        "parameters": sum(p.numel() for part in parts for p in part.parameters()),
        "mac_per_s": round(macs),
    }


def _of_bundle(player: BundlePlayer, target: str) -> dict[str, float]:
    bundle = player.bundle
    manifest = bundle.manifest
    graphs = [bundle.read(p) for p in (manifest.encoder, bundle.domain(target).graph)]
    macs = [graph_macs(g) for g in graphs]
    found: dict[str, float] = {"parameters": sum(graph_parameters(g) for g in graphs)}
    if all(m is not None for m in macs):
        blocks_per_s = manifest.sample_rate / manifest.block
        found["mac_per_s"] = round(sum(m for m in macs if m is not None) * blocks_per_s)
    return found


# One sound against its score and its true rendering: every figure of a row of the table.


Audio = NDArray[np.float32]
SOUNDING_DBFS = -50.0
RELEASE_S = 0.5  # a rest begins so long after its last note has ended


@dataclass(frozen=True)
class Judged:
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

    def hear(self, audio: Audio, octave: int | None = None) -> Judged:
        """octave: semitones (0, -12, 12) beside the score in which it has to sound; None: those in which it does.

        A rendering sounds where its program puts it, and what is made of it has to sound there too.
        """
        own = self._at_own_rate(audio)
        transcript = self.pitch.transcribe(own)
        if octave is None:
            octave = register(self.score, self.start_s, transcript)
        notes = note_figures(self.score.transposed(octave), self.start_s, transcript)
        return Judged(notes, octave, pitch_track(own), *self.timbre.hear(own))

    def melody(self, heard: Judged, source: Judged) -> dict[str, float]:
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
        self, heard: Judged, audio: Audio, truth: Audio, target: str, lag_s: float = 0.0
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


LAG_PROBE_S, LAG_SOURCES = 20.0, 3
QUIET_S = 5.0


def evaluate(player: Player, material: Material, only: tuple[str, ...] | None = None) -> dict[str, Any]:
    """The report: model, material, lags, `rows` (source, target, kind, figures), means and silence."""
    targets = _targets(player, material, only)
    judges = Judges(material.score, material.start_s, material.rate)
    lags = measured_lags(player, material, targets)
    copies = {s: judges.hear(audio) for s, audio in tqdm(material.sources.items(), desc="inputs")}
    truths = {t: judges.hear(material.truths[t]) for t in tqdm(targets, desc="true renderings")}
    rows: list[dict[str, Any]] = []
    timbres = Timbres({t: truths[t].embeddings[judges.sounding(material.truths[t])] for t in targets})
    for t in targets:
        truth = material.truths[t]
        figures = judges.figures(truths[t], truth, truth, t)
        figures["register"] = float(truths[t].register)
        rows.append(_row("truth", t, t, figures | _melody_of_truth(judges, truths[t], copies)))
    for s, audio in tqdm(material.sources.items(), desc="translations"):
        others = tuple(t for t in targets if t != base_of(s))
        made = player.play(audio, others)
        for t in others:
            truth, copy = material.truths[t], judges.figures(copies[s], audio, material.truths[t], t)
            heard_audio = signal_metrics.advance(made[t], lags[t]["lag_s"], material.rate)
            heard = judges.hear(heard_audio, copies[s].register)
            model = judges.figures(heard, heard_audio, truth, t, lags[t]["lag_s"])
            sounding = judges.sounding(truth)
            given = heard.confusion(sounding)
            rows.append(_row("model", s, t, model | judges.melody(heard, copies[s])) | {"given_to": given})
            rows.append(_row("copy", s, t, copy | judges.melody(copies[s], copies[s])))
            timbres.add(t, heard.embeddings[sounding], copies[s].embeddings[sounding])
    means = means_of(rows, targets, material.sources, material.never_trained)
    timbres.into(means)
    return {
        "model": {"name": player.name, **player.facts, "declared_lag_ms": 1000 * player.declared_lag_s},
        "material": _described(material) | {"registers": {s: h.register for s, h in copies.items()}},
        "lags": lags,
        "rows": rows,
        "means": means,
        "silence": _silence(player, targets, material),
        "cost": {t: cost(player, t, material) for t in targets},
        "latent": probe_latent(player, material, targets),
        "judges": _ceiling(judges, material, copies, truths),
    }


def _targets(player: Player, material: Material, only: tuple[str, ...] | None) -> tuple[str, ...]:
    if player.sample_rate != material.rate:
        raise UserError(
            f"the data are at {material.rate} Hz and '{player.name}' plays at {player.sample_rate} Hz"
        )
    if unknown := [t for t in only or () if t not in player.domains]:
        raise UserError(f"'{player.name}' has no domain '{unknown[0]}'; it knows {', '.join(player.domains)}")
    wanted = only or player.domains
    if missing := [t for t in wanted if t not in material.truths]:
        raise UserError(f"the data hold no true rendering of '{missing[0]}'")
    return tuple(wanted)


def _melody_of_truth(judges: Judges, truth: Judged, sources: dict[str, Judged]) -> Row:
    """The true rendering against each source: a mean."""
    return mean_row([judges.melody(truth, source) for source in sources.values()])


def measured_lags(player: Player, material: Material, targets: tuple[str, ...]) -> dict[str, Row]:
    """By how much attacks lag the true rendering's, per target: median over a few sources.

    Where the attacks do not match at all (correlation below 0.1), the declared lag is taken.
    """
    n = round(LAG_PROBE_S * material.rate)
    found: dict[str, list[tuple[float, float]]] = {t: [] for t in targets}
    for source, audio in list(material.sources.items())[:LAG_SOURCES]:
        others = tuple(t for t in targets if t != base_of(source)) or targets
        for t, made in player.play(audio[:n], others).items():
            found[t].append(signal_metrics.lag_s(made, material.truths[t][:n], material.rate))
    lags: dict[str, Row] = {}
    for t, pairs in found.items():
        lag, match = (float(np.median([p[i] for p in pairs])) if pairs else 0.0 for i in (0, 1))
        lags[t] = {
            "measured_s": lag,
            "match": round(match, 3),
            "lag_s": lag if match >= 0.1 else player.declared_lag_s,
        }
    return lags


def _row(kind: str, source: str, target: str, figures: Row) -> dict[str, Any]:
    rounded = {k: round(v, 6) if k == "dc" else round(v, 4) for k, v in figures.items()}
    return {"kind": kind, "source": source, "target": target, **rounded}


def _silence(player: Player, targets: tuple[str, ...], material: Material) -> dict[str, Row]:
    """What comes out for noises that nobody plays, and how long the output sounds on when the input stops dead in the
    middle of a note."""
    rate, found = material.rate, unplayed(player, targets)
    stop = _mid_note(material)
    audio = next(iter(material.sources.values()))[: round(stop * rate)]
    for t, made in player.play(np.pad(audio, (0, round(QUIET_S * rate))), targets).items():
        found[t]["stop_tail_s"] = round(max(0.0, signal_metrics.tail_s(made, rate) - stop), 2)
    if rate >= RATE:
        for t, share in vibrato_probe(player, targets).items():
            found[t]["vibrato_probe"] = share
        for t, share in tremolo_probe(player, targets).items():
            found[t]["tremolo_probe"] = share
    return found


def _mid_note(material: Material) -> float:
    """Seconds from the start to the middle of the first long note after three seconds."""
    for start, end, *_ in material.score.table:
        if start >= material.start_s + 3 and end - start > 0.3:
            return float((start + end) / 2 - material.start_s)
    return 3.0


def _described(material: Material) -> dict[str, Any]:
    return {
        "score": material.score_id,
        "start_s": material.start_s,
        "seconds": material.samples / material.rate,
        "sources": list(material.sources),
        "never_trained": sorted(material.never_trained & set(material.sources)),
    }


def _ceiling(
    judges: Judges, material: Material, copies: dict[str, Any], truths: dict[str, Any]
) -> dict[str, Any]:
    """How good the judges are on this material: true renderings, each against its score and name."""
    notes = {t: h.notes for t, h in truths.items()} | {s: h.notes for s, h in copies.items()}
    given = {t: h.confusion(judges.sounding(material.truths[t])) for t, h in truths.items()}
    given |= {s: h.confusion(judges.sounding(material.sources[s])) for s, h in copies.items()}
    accuracy = float(np.mean([given[t][t] for t in truths]))
    return {"notes": notes, "given_to": given, "timbre_accuracy": round(accuracy, 4)}
