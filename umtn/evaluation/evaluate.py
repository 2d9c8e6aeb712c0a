"""Evaluation, top to bottom: every source to every domain, with the copy and the true rendering beside it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from umtn.errors import UserError
from umtn.evaluation import signal_metrics
from umtn.evaluation.classifiers import RATE
from umtn.evaluation.cost import cost
from umtn.evaluation.latent_probes import Timbres, probe_latent
from umtn.evaluation.material import Material, base_of
from umtn.evaluation.report import Row, mean_row, means_of
from umtn.evaluation.robustness import tremolo_probe, unplayed, vibrato_probe
from umtn.evaluation.score_row import Heard, Judges
from umtn.offline import Player

__all__ = ["evaluate", "measured_lags"]

Audio = NDArray[np.float32]
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


def _melody_of_truth(judges: Judges, truth: Heard, sources: dict[str, Heard]) -> Row:
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
