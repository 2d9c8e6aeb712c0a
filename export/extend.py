"""A further domain for an existing bundle; everything that was in it stays as it is, to the bit."""

from __future__ import annotations

import dataclasses

import numpy as np
import torch

from export.bundle import PROBE, Bundle, BundleError, Domain, Graph, Manifest
from export.freeze import domain_id
from export.live_weights import ENCODER_WEIGHTS, decoder_weights, weights_path
from export.onnx import export_decoder
from export.probe import pack
from export.steppers import OnnxStepper, module_stepper, stream
from export.torchscript import script_decoder
from umtn.decoders.live import LiveDecoder

__all__ = ["check_new_domain", "extended"]

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
        files[weights_path(id)] = decoder_weights(decoder, layout, manifest.sample_rate)
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
