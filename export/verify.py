"""Proves that a bundle is its checkpoint: same input, every engine, several block sizes, one table.

Errors are the largest difference from the reference's offline output, relative to its peak where that is
above one. Sampled decoders have no small errors, only equal or other classes: there the first difference must
be a draw that falls on the border of two classes, within rounding. A guided one's guide may fall on such a border too:
it is compared hop by hop, each from the checkpoint's own state, as far as rounding the guide decides nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import safetensors.torch
import torch

from export.bundle.bundle import Bundle, BundleError, Domain, agreed
from export.freeze import pick_domains, streaming_encoder
from export.native_weights import (
    ENCODER_WEIGHTS,
    TOLERANCE,
    analysis_error,
    differing,
    encoder_parameters,
    weights_path,
)
from export.probe import (
    OnnxStepper,
    Stepper,
    clear_tune,
    module_stepper,
    script_stepper,
    stream,
    told,
)
from umtn.model.companding import mulaw_decode
from umtn.model.decoders.base import Decoder, SampledDecoder
from umtn.model.decoders.wavenet import draw
from umtn.model.pitch_encoder import encoder_of
from umtn.model.streaming import StreamingModule
from umtn.model.translator import Translator

__all__ = ["LIMIT", "Row", "format_table", "verify"]

LIMIT = 1e-5
ANALYSIS_LIMIT = 2 * TOLERANCE  # of a kernel's norm: what was left out, and rounding
TIE = 1e-5  # of the uniform number: two engines' sums of up to 256 probabilities differ by less
SECONDS, SAMPLED_SECONDS = 0.6, 0.05
PIECES = (1, 2, 5)


@dataclass(frozen=True)
class Row:
    """One line of the table. `error` is compared with `limit`; `remark` says what else was seen."""

    graph: str
    engine: str
    blocks: str
    error: float
    limit: float = LIMIT
    remark: str = ""

    @property
    def passed(self) -> bool:
        return bool(self.error <= self.limit)  # False for NaN


def format_table(rows: list[Row]) -> str:
    """The rows as aligned text, one verdict each."""
    cells = [("graph", "engine", "blocks a call", "largest error", "")]
    for row in rows:
        verdict = f"{'ok' if row.passed else 'FAIL'}{'  ' if row.remark else ''}{row.remark}"
        cells.append((row.graph, row.engine, row.blocks, f"{row.error:.1e}", verdict))
    widths = [max(len(row[i]) for row in cells) for i in range(4)]
    return "\n".join(
        "  ".join([*(c.ljust(w) for c, w in zip(row, widths)), row[4]]).rstrip() for row in cells
    )


def verify(bundle: Bundle, translator: Translator | None) -> list[Row]:
    """Every comparison that the bundle's content (and the checkpoint, if given) allows."""
    return [*_probe_rows(bundle), *_engine_rows(bundle, translator)]


def _probe_rows(bundle: Bundle) -> Iterator[Row]:
    """ONNX against the stored self-test, which PyTorch made at export."""
    manifest, probe = bundle.manifest, bundle.probe()
    ports = {
        name: probe[name].reshape(1, -1, probe[name].shape[-1])
        for name in ("audio", "latent", "noise")
        if name in probe
    }
    wanted = {manifest.encoder: "latent"} | {d.graph: f"audio.{d.id}" for d in manifest.domains}
    for path, name in wanted.items():
        graph = manifest.graphs[path]
        fed = [ports[port.name] for port in graph.inputs if port.name in ports]
        got = stream(OnnxStepper(bundle.read(path), graph), fed, manifest.probe.blocks)[0]
        first = slice(agreed(probe, name.removeprefix("audio.")))
        yield Row(
            path,
            "onnx = probe",
            "1",
            _error(got[:, first], probe[name].reshape(got.shape)[:, first]),
            manifest.probe.tolerance,
        )


def _engine_rows(bundle: Bundle, translator: Translator | None) -> Iterator[Row]:
    manifest = bundle.manifest
    sampled = manifest.sampled
    blocks = max(
        11,
        int((SAMPLED_SECONDS if sampled else SECONDS) * manifest.sample_rate / manifest.block),
    )
    engines = _engines(bundle, manifest.encoder, "encoder", None)
    if translator is None:  # whether rounding decides is known of the probe's own tune alone
        probe, blocks = bundle.probe(), manifest.probe.blocks
        audio = probe["audio"][None, None]
        clear = {domain.id: agreed(probe, domain.id) for domain in manifest.domains}
    else:
        _check_same_model(bundle, translator)
        decoders = {domain.id: _decoder(translator, domain) for domain in manifest.domains}
        encoder = streaming_encoder(translator)
        tune, _, clear = clear_tune(encoder, decoders, blocks, manifest.sample_rate, seed=5)
        audio = tune[None, None]
        engines = {
            "checkpoint": module_stepper(streaming_encoder(translator)),
            **engines,
        }
    noise = np.random.default_rng(5).random(audio.shape, dtype=np.float32)
    if len(engines) > 1:
        latent = stream(next(iter(engines.values())), [audio], blocks, blocks)
        yield from _compare(manifest.encoder, engines, [audio], blocks, latent, latent.shape[-1])
    if translator is not None and ENCODER_WEIGHTS in bundle.names:
        yield from _encoder_weights_rows(bundle, streaming_encoder(translator))
    for domain in manifest.domains:
        decoder = None if translator is None else decoders[domain.id]
        engines = _engines(bundle, domain.graph, domain.id, decoder)
        if len(engines) < 2:
            continue
        ports = [latent] + [noise for port in manifest.graphs[domain.graph].inputs if port.name == "noise"]
        if decoder is not None and translator is not None:
            layout = translator.config.pitch_layout
            for part, weights in decoder.native_weights(manifest.sample_rate, layout).items():
                if ENCODER_WEIGHTS in bundle.names or not weights.beside_ear:
                    yield _weights_row(bundle, weights_path(domain.id, part), weights.tensors)
        if decoder is not None and decoder.sampled is not None:
            yield from _compare_draws(domain.graph, decoder.sampled, engines, latent, noise, blocks)
        elif not sampled:
            yield from _compare(
                domain.graph,
                engines,
                ports,
                blocks,
                stream(next(iter(engines.values())), ports, blocks, blocks),
                clear[domain.id],
            )


def _engines(bundle: Bundle, path: str, id: str, decoder: Decoder | None) -> dict[str, Stepper]:
    """The reference first."""
    engines: dict[str, Stepper] = {}
    if decoder is not None:
        engines["checkpoint"] = module_stepper(decoder)
    script = f"torchscript/{id}.ts"
    if script in bundle.names:
        engines["torchscript"] = script_stepper(bundle.read(script), script)
    engines["onnx"] = OnnxStepper(bundle.read(path), bundle.manifest.graphs[path])
    return engines


def _compare(
    path: str,
    engines: dict[str, Stepper],
    ports: list[np.ndarray],
    blocks: int,
    offline: np.ndarray,
    clear: int,
) -> Iterator[Row]:
    """The first `clear` samples or frames: after them rounding decides what is played."""
    share = clear / offline.shape[-1]
    remark = "" if share == 1 else f"the first {100 * share:.0f} % compared, then rounding decides"
    for name, engine in engines.items():
        for piece in PIECES if engine.any_length else PIECES[:1]:
            got = stream(engine, ports, blocks, piece)
            error = _error(got[..., :clear], offline[..., :clear]) if clear else float("nan")
            yield Row(path, name, str(piece), error, remark=remark)


def _compare_draws(
    path: str,
    decoder: SampledDecoder,
    engines: dict[str, Stepper],
    latent: np.ndarray,
    noise: np.ndarray,
    blocks: int,
) -> Iterator[Row]:
    """Sample by sample on the same noise; the offline form of a sampled decoder is its teacher-forced net."""
    reference = stream(engines["checkpoint"], [latent, noise], blocks)
    forced = _teacher_forced(decoder, latent, noise, reference)
    yield _draw_row(path, "teacher-forced", "all", decoder, latent, noise, reference, forced)
    for name, engine in engines.items():
        if decoder.tones is not None:
            got, sure = _hop_by_hop(decoder, engine, latent, noise)
            row = _draw_row(
                path, name, "1", decoder, latent, noise, reference, np.where(sure, got, reference)
            )
            yield replace(row, remark=f"{row.remark}; {100 * sure.mean():.0f} % compared")
            continue
        for piece in PIECES if engine.any_length and name == "checkpoint" else PIECES[:1]:
            got = stream(engine, [latent, noise], blocks, piece)
            yield _draw_row(path, name, str(piece), decoder, latent, noise, reference, got)


@torch.no_grad()
def _hop_by_hop(
    decoder: SampledDecoder, engine: Stepper, latent: np.ndarray, noise: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """What an engine draws [1, 1, N], each hop from the checkpoint's own state; and where it has to be the same, [N]:
    in each hop before the first tone of the guide that lies beside a border, from where on right engines may part."""
    z, uniform = torch.from_numpy(latent), torch.from_numpy(noise)
    state, made = decoder.init_state(1), []
    for frame, numbers in zip(z.split(1, dim=2), uniform.split(decoder.hop, dim=2), strict=True):
        engine.take(state)
        made.append(engine(frame.numpy(), numbers.numpy()))
        _, state = decoder.decode_step(frame, numbers, torch.ones(1), state)
    likely = told(decoder, z).likely
    assert likely is not None
    doubtful = (likely != likely[:1]).any(dim=0)[0].view(-1, decoder.hop)
    return np.concatenate(made, axis=2), (doubtful.cumsum(dim=1) == 0).flatten().numpy()


@torch.no_grad()
def _teacher_forced(
    decoder: SampledDecoder,
    latent: np.ndarray,
    noise: np.ndarray,
    reference: np.ndarray,
) -> np.ndarray:
    """What the parallel form draws for every sample, given the reference's samples before it."""
    net, (told_latent, _, guide) = decoder.net, decoder.hears(torch.from_numpy(latent))
    classes = decoder.sound_classes(torch.from_numpy(reference[0]))
    logits = net.logits(told_latent, classes, guide_BN=guide)[0].T
    drawn = draw(logits, torch.from_numpy(noise[0, 0]), torch.ones(1))
    sound, _ = decoder.sound_of(mulaw_decode(drawn, net.classes).unsqueeze(0), [])
    return sound.reshape(reference.shape).numpy()  # type: ignore[no-any-return]


def _draw_row(
    path: str,
    engine: str,
    piece: str,
    decoder: SampledDecoder,
    latent: np.ndarray,
    noise: np.ndarray,
    reference: np.ndarray,
    got: np.ndarray,
) -> Row:
    """Up to the first other class the error; after it the engines play different, equally likely audio."""
    other = np.flatnonzero(np.abs(got - reference)[0, 0] > LIMIT)
    share = 1 - len(other) / got.shape[-1]
    remark = f"{100 * share:.2f} % of {got.shape[-1]} samples equal"
    if len(other) == 0:
        return Row(path, engine, piece, _error(got, reference), remark=remark)
    first = int(other[0])
    if not _is_tie(decoder, latent, noise, first, float(got[0, 0, first])):
        return Row(
            path,
            engine,
            piece,
            _error(got, reference),
            remark=f"{remark}; sample {first} is no rounding tie",
        )
    error = _error(got[..., :first], reference[..., :first]) if first else 0.0
    return Row(path, engine, piece, error, remark=f"{remark}; sample {first} is a rounding tie")


@torch.no_grad()
def _is_tie(
    decoder: SampledDecoder,
    latent: np.ndarray,
    noise: np.ndarray,
    sample: int,
    value: float,
) -> bool:
    """Whether the checkpoint draws `value` there too when its uniform number is moved by less than TIE."""
    frames = sample // decoder.hop + 1
    nudged = torch.from_numpy(noise[..., : frames * decoder.hop]).repeat(2, 1, 1)
    nudged[:, 0, sample] += torch.tensor([TIE, -TIE])
    z = torch.from_numpy(latent[..., :frames]).repeat(2, 1, 1)
    audio, _ = decoder.decode_step(z, nudged, torch.ones(1), decoder.init_state(2))
    return bool((audio[:, 0, sample] - value).abs().min() <= LIMIT)


def _weights_row(bundle: Bundle, path: str, wanted: dict[str, torch.Tensor]) -> Row:
    """What a native engine plays from: equal parameters."""
    if path not in bundle.names:
        return Row(path, "safetensors", "-", float("nan"), 0.0, "missing")
    other = differing(safetensors.torch.load(bundle.read(path)), wanted)
    remark = f"other {other}" if other else ""
    return Row(path, "safetensors", "-", float("nan") if other else 0.0, 0.0, remark)


def _encoder_weights_rows(bundle: Bundle, encoder: StreamingModule) -> Iterator[Row]:
    """Its parameters, and an analysis within rounding."""
    yield _weights_row(bundle, ENCODER_WEIGHTS, encoder_parameters(encoder))
    if (ear := encoder_of(encoder)) is not None:
        error = analysis_error(bundle.read(ENCODER_WEIGHTS), ear)
        yield Row(ENCODER_WEIGHTS, "analysis", "-", error, ANALYSIS_LIMIT)


def _check_same_model(bundle: Bundle, translator: Translator) -> None:
    """A checkpoint that cannot be compared at all gets a sentence instead of a shape error."""
    m, c = bundle.manifest, translator.config
    for what, got, wanted in (
        ("preset", c.preset, m.preset),
        ("sample rate", c.sample_rate, m.sample_rate),
        ("hop", c.hop, m.hop),
        ("number of latent channels", c.latent_channels, m.latent_channels),
    ):
        if got != wanted:
            raise BundleError(
                f"the checkpoint's {what} is {got}, but the bundle's is {wanted}; was another one meant?"
            )


def _decoder(translator: Translator, domain: Domain) -> Decoder:
    return translator.decoder(pick_domains(translator.config, [domain.id])[domain.id])


def _error(got: np.ndarray, wanted: np.ndarray) -> float:
    peak = float(np.abs(wanted).max(initial=0.0))
    return float(np.abs(got - wanted).max(initial=0.0)) / max(1.0, peak)
