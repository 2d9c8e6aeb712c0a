"""A checkpoint's translator becomes the files and the manifest of a bundle, and proves itself on the way."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Sequence

import numpy as np
import onnxruntime
import safetensors.torch
import torch

from export import onnx as onnx_graphs
from export.bundle.bundle import (
    PROBE,
    Bundle,
    BundleError,
    Domain,
    Graph,
    Manifest,
    PitchLayout,
    Probe,
    agreed,
)
from export.latency import measure_latency, measure_onset_ms
from export.native_weights import (
    ENCODER_WEIGHTS,
    TABLES,
    activation_maxima,
    differing,
    encoder_weights,
    packed,
    weights_path,
)
from export.onnx import export_decoder, export_wavenet
from export.probe import OnnxStepper, make_probe, module_stepper, pack, stream, test_signal
from export.torchscript import script_decoder, script_encoder
from umtn.model.config import Config, PitchLatent
from umtn.model.decoders.base import Decoder
from umtn.model.decoders.harmonic import LiveDecoder
from umtn.model.pitch_encoder import encoder_of
from umtn.model.streaming import StreamingModule
from umtn.model.translator import Translator

__all__ = ["check_new_domain", "domain_id", "extended", "freeze", "pick_domains", "streaming_encoder"]


ENCODER = "encoder.onnx"
CALIBRATION_SECONDS = 4
BEND = 0.6  # semitones at most: LiveDecoder.controls bends a pitch by 0.6 tanh(cents)


def domain_id(name: str) -> str:
    """What a domain is called in a bundle: "My Voice" -> "my-voice"."""
    return re.sub(r"[^a-z0-9_]+", "-", name.lower()).strip("-")[:32]


def streaming_encoder(translator: Translator) -> StreamingModule:
    """The encoder, if it can be played live at all."""
    encoder: StreamingModule = translator.encoder
    if not getattr(encoder, "streaming", True):
        raise BundleError(
            f"the encoder of the preset {translator.config.preset!r} is not causal: it needs the whole "
            "recording, so it cannot be played live; use `python -m umtn translate`, "
            "or train `wavenet-live` or `live`"
        )
    return encoder


def pick_domains(config: Config, wanted: Sequence[str] | None) -> dict[str, str]:
    """Bundle id -> the checkpoint's domain name, in the checkpoint's order."""
    known = {domain_id(name): name for name in config.domains}
    if len(known) < len(config.domains) or "" in known or "encoder" in known:
        raise BundleError(f"the domains {', '.join(config.domains)} do not give distinct names for files")
    chosen = {domain_id(name) for name in wanted} if wanted else set(known)
    for id in chosen - known.keys():
        raise BundleError(f"the checkpoint has no domain {id!r}; it has {', '.join(known)}")
    return {id: name for id, name in known.items() if id in chosen}


def freeze(
    translator: Translator,
    name: str,
    domains: Sequence[str] | None = None,
    torchscript: bool = False,
    licence: str = "",
    notes: str = "",
    report: Callable[[str], None] = lambda line: None,
    sound: np.ndarray | None = None,
    temperature: float = 1.0,
    like: Bundle | None = None,
) -> tuple[Manifest, dict[str, bytes]]:
    """The manifest without hashes and every file; BundleError when the model cannot be played or differs.

    sound: [N] at the model's rate, on which int8 engines are calibrated (default: a made-up tune). temperature: that
    autoregressive decoders sound best at. like: an earlier bundle of the checkpoint, whose weights for native engines
    (int8 scales and analysis too) are taken to the bit.
    """
    config = translator.config
    encoder = streaming_encoder(translator)
    chosen = pick_domains(config, domains)
    translator.eval().requires_grad_(False)
    _check_weights(translator)
    decoders = {id: translator.decoder(chosen[id]) for id in chosen}
    files: dict[str, bytes] = {}
    graphs: dict[str, Graph] = {}

    def add(path: str, exported: tuple[bytes, Graph]) -> None:
        files[path], graphs[path] = (
            exported[0],
            dataclasses.replace(exported[1], path=path),
        )
        report(f"{path}: {len(files[path]) / 1e6:.1f} MB, {len(graphs[path].states)} states")

    add(ENCODER, onnx_graphs.export_encoder(encoder))
    for id, decoder in decoders.items():
        add(_path(id), _export(decoder, encoder.block))
    for path, data in _native(encoder, decoders, config, sound).items():
        made = safetensors.torch.load(data)
        wanted = {n: v for n, v in made.items() if not n.startswith((*TABLES, "calibration."))}
        files[path] = _kept(like, path, wanted) or data
    if torchscript:
        files["torchscript/encoder.ts"] = script_encoder(encoder)
        files |= {f"torchscript/{id}.ts": script_decoder(decoder) for id, decoder in decoders.items()}
    blocks, probe = make_probe(encoder, decoders, config.sample_rate)
    files[PROBE] = pack(probe)
    manifest = Manifest(
        name=name,
        preset=config.preset,
        licence=licence,
        notes=notes,
        sample_rate=config.sample_rate,
        block=encoder.block,
        hop=config.hop,
        latent_channels=config.latent_channels,
        latency_samples=_latency(encoder, decoders, config.sample_rate, report),
        domains=tuple(Domain(id, chosen[id].replace("_", " ").title(), _path(id)) for id in chosen),
        encoder=ENCODER,
        graphs=graphs,
        probe=Probe(blocks),
        pitch_latent=_pitch_latent(config, decoders),
        temperature=temperature,
    )
    report(f"probe: {blocks} blocks, ONNX differs from PyTorch by {_self_test(manifest, files, probe):.1e}")
    return manifest, files


def _pitch_latent(config: Config, decoders: dict[str, Decoder]) -> PitchLayout | None:
    """What the latent's channels mean, if encoder and decoders agree that they mean pitches."""
    if config.pitch_layout is None or not all(d.reads_pitches for d in decoders.values()):
        return None
    return PitchLayout(**dataclasses.asdict(config.pitch_layout), bend=BEND)


def _path(id: str) -> str:
    return f"decoders/{id}.onnx"


def _export(decoder: Decoder, block: int) -> tuple[bytes, Graph]:
    if (sampled := decoder.sampled) is None:
        return onnx_graphs.export_decoder(decoder, block // decoder.hop)
    if block != decoder.hop:
        raise BundleError(
            f"an autoregressive decoder plays hop by hop, but block {block} is not hop {decoder.hop}"
        )
    return export_wavenet(sampled)


def _native(
    encoder: StreamingModule, decoders: dict[str, Decoder], config: Config, sound: np.ndarray | None
) -> dict[str, bytes]:
    """The files of every decoder's parts, and the encoder's: for engines that need neither ONNX nor PyTorch."""
    if sound is None:
        sound = test_signal(CALIBRATION_SECONDS * config.sample_rate, config.sample_rate)
    files: dict[str, bytes] = {}
    eared = _has_native_encoder(encoder, decoders, config)
    for id, decoder in decoders.items():
        for part, weights in decoder.native_weights(config.sample_rate, config.pitch_layout).items():
            if weights.beside_ear and not eared:
                continue
            if not part and (sampled := decoder.sampled) is not None:  # what int8 engines scale by
                maxima = activation_maxima(encoder, sampled, sound)
                weights = weights._replace(tensors=weights.tensors | maxima)
            files[weights_path(id, part)] = packed(weights)
    return files | ({ENCODER_WEIGHTS: encoder_weights(encoder, config)} if eared else {})


def _has_native_encoder(encoder: StreamingModule, decoders: dict[str, Decoder], config: Config) -> bool:
    """Whether the native engine of `live` models plays it: all of it, or of a WaveNet's bundle the encoder and what
    stands before guided ones."""
    if encoder_of(encoder) is None or config.ear is None:
        return False
    if config.ear.longest % config.hop:  # the native encoder counts windows in hops
        return False
    return config.pitch_layout is None or all(d.reads_pitches for d in decoders.values())


def _kept(like: Bundle | None, path: str, wanted: dict[str, torch.Tensor]) -> bytes:
    """The earlier bundle's file, proved to hold these parameters; empty where there is none."""
    if like is None or path not in like.names:
        return b""
    data = like.read(path)
    if other := differing(safetensors.torch.load(data), wanted):
        raise BundleError(
            f"{path} of {like.path.name} has another {other!r} than the checkpoint: it was made from another one; "
            "export without --like"
        )
    return data


def _check_weights(translator: Translator) -> None:
    for name, value in translator.state_dict().items():
        if value.is_floating_point() and not bool(torch.isfinite(value).all()):
            raise BundleError(
                f"the weight {name!r} is not finite: the training went wrong before this checkpoint"
            )


def _latency(
    encoder: StreamingModule,
    decoders: dict[str, Decoder],
    rate: int,
    report: Callable[[str], None],
) -> int:
    """The slowest domain's."""
    figures = {}
    for id, decoder in decoders.items():
        figures[id] = measure_latency(encoder, decoder, rate)
        # a sample loop in PyTorch takes minutes for five notes
        heard = decoder.tones or decoder
        onset = None if heard.sampled is not None else measure_onset_ms(encoder, heard, rate)
        whose = "of its guide " if heard is not decoder else ""
        half = "" if onset is None else f"; a note {whose}reaches half its level after {onset:.0f} ms"
        report(f"{id}: lags by {figures[id]} samples{half}")
    return max(figures.values())


def _self_test(manifest: Manifest, files: dict[str, bytes], probe: dict[str, np.ndarray]) -> float:
    """The largest difference of any ONNX graph from the probe; refused beyond the tolerance."""
    blocks, worst = manifest.probe.blocks, 0.0
    ports = {"audio": probe["audio"][None, None], "latent": probe["latent"][None]}
    if "noise" in probe:
        ports["noise"] = probe["noise"][None, None]
    wanted = {ENCODER: probe["latent"]} | {
        d.graph: probe[f"audio.{d.id}"][None, : agreed(probe, d.id)] for d in manifest.domains
    }
    for path, reference in wanted.items():
        graph = manifest.graphs[path]
        fed = [ports[port.name] for port in graph.inputs if port.name in ports]
        got = stream(OnnxStepper(files[path], graph), fed, blocks)[0, :, : reference.shape[1]]
        if reference.shape[1] == 0:
            raise BundleError(
                f"{path} cannot be compared with PyTorch: rounding decides from the first block on which of its "
                "notes sound, as in a model whose notes are all alike; train it on, then export again"
            )
        error = float(np.abs(got - reference).max())
        if not error <= manifest.probe.tolerance:
            raise BundleError(
                f"{path} differs from PyTorch by {error:.1e}, more than {manifest.probe.tolerance:.0e}, where rounding "
                f"decides nothing: this ONNX Runtime ({onnxruntime.__version__}) plays another model than this PyTorch "
                f"({torch.__version__}); another version of one of them may agree, more training will not help"
            )
        worst = max(worst, error)
    return worst


# A further domain for an existing bundle; everything that was in it stays as it is, to the bit.


TRIES, HAIR = 8, 1e-4


def check_new_domain(bundle: Bundle, name: str) -> str:
    """The id that a domain of this name gets; BundleError when it is taken or there is nothing in it."""
    id = domain_id(name)
    if not id or id == "encoder":
        raise BundleError(f"{name!r} gives no name for a domain; letters and digits are wanted")
    if any(domain.id == id for domain in bundle.manifest.domains):
        known = ", ".join(domain.id for domain in bundle.manifest.domains)
        raise BundleError(f"{bundle.path.name} has a domain {id!r} already ({known}); choose another name")
    return id


def extended(bundle: Bundle, name: str, decoder: LiveDecoder, note: str) -> tuple[Manifest, dict[str, bytes]]:
    """Manifest and files for `write_bundle`, the new decoder's ONNX graph proved against PyTorch."""
    manifest, id = bundle.manifest, check_new_domain(bundle, name)
    files = {path: bundle.read(path) for path in (*manifest.graphs, *manifest.files)}
    decoder.eval().requires_grad_(False)
    path = f"decoders/{id}.onnx"
    probe = bundle.probe()
    ports = [probe["latent"][None], probe["noise"][None, None]]
    data, graph, wanted = _proved(decoder, manifest, ports, path)
    if "torchscript/encoder.ts" in files:
        files[f"torchscript/{id}.ts"] = script_decoder(decoder)
    if ENCODER_WEIGHTS in files and manifest.pitch_latent is not None:
        layout = dataclasses.asdict(manifest.pitch_latent)
        del layout["bend"]
        for part, weights in decoder.native_weights(manifest.sample_rate, PitchLatent(**layout)).items():
            files[weights_path(id, part)] = packed(weights)
    files[path] = data
    files[PROBE] = pack({**probe, f"audio.{id}": wanted[0, 0]})
    return (
        dataclasses.replace(
            manifest,
            domains=(*manifest.domains, Domain(id, name.replace("_", " ").strip().title(), path)),
            graphs={**manifest.graphs, path: graph},
            notes=f"{manifest.notes} {note}".strip(),
        ),
        files,
    )


def _proved(
    decoder: LiveDecoder, manifest: Manifest, ports: list[np.ndarray], path: str
) -> tuple[bytes, Graph, np.ndarray]:
    """ONNX file, entry and output for the probe, equal to PyTorch's.

    Which voices sound is decided by comparing levels: where two are alike to the last bit, two engines may choose
    differently. Half an hour of training must not be lost to that: the weights are moved by a hair until none is.
    """
    random = torch.Generator().manual_seed(0)
    for _ in range(TRIES):
        data, graph = export_decoder(decoder, manifest.block // manifest.hop)
        graph = dataclasses.replace(graph, path=path)
        wanted = stream(module_stepper(decoder), ports, manifest.probe.blocks)
        error = float(np.abs(stream(OnnxStepper(data, graph), ports, manifest.probe.blocks) - wanted).max())
        if error <= manifest.probe.tolerance:
            return data, graph, wanted
        with torch.no_grad():
            for p in decoder.parameters():
                p.add_(HAIR * p.abs().mean() * torch.randn(p.shape, generator=random))
    raise BundleError(f"{path} differs from PyTorch by {error:.1e}; nothing was written")
