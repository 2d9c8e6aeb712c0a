"""What the native engine of `live` models needs to know, as safetensors: PyTorch's names and shapes, and tables.

`weights/encoder.safetensors` holds the pitch encoder and its analysis as `export.analysis` writes it, and the mouth
of an encoder that WaveNet decoders listen to; `weights/<domain>.safetensors` a decoder; `weights/<domain>.guide` and
`.mouth.safetensors` what stands before a guided WaveNet; the metadata says which kind, and the sizes.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import safetensors.numpy
import safetensors.torch
import torch
from torch import Tensor

from export.analysis import Bins, Source, expanded, factorise, full_kernels
from umtn.config import Config, GuidedConfig, HeardEncoderConfig
from umtn.decoders.guided import GuidedDecoder
from umtn.decoders.live import LiveDecoder
from umtn.heard_encoder import HeardEncoder
from umtn.latent import PitchLatent
from umtn.pitch_encoder import PitchEncoder, ear_of
from umtn.streaming import StreamingModule

__all__ = [
    "ENCODER_WEIGHTS",
    "analysis_error",
    "decoder_weights",
    "differing",
    "encoder_parameters",
    "encoder_weights",
    "guide_path",
    "mouth_parameters",
    "mouth_path",
    "mouth_weights",
    "parameters",
    "smallest",
    "weights_path",
]

ENCODER_WEIGHTS = "weights/encoder.safetensors"


def weights_path(domain: str) -> str:
    """Where a bundle keeps a decoder's."""
    return f"weights/{domain}.safetensors"


def guide_path(domain: str) -> str:
    """Of a guided decoder's guide; no domain's id has a point in it."""
    return weights_path(f"{domain}.guide")


def mouth_path(domain: str) -> str:
    """Of a guided decoder's mouth."""
    return weights_path(f"{domain}.mouth")


def encoder_parameters(encoder: StreamingModule) -> dict[str, Tensor]:
    """As the file names them: the ear's own names, `mouth.` before the mouth's."""
    if not isinstance(encoder, HeardEncoder):
        return parameters(encoder)
    return parameters(encoder.ear) | mouth_parameters(encoder.mouth)


def mouth_parameters(mouth: StreamingModule) -> dict[str, Tensor]:
    """Of umtn.heard_encoder.mouth, as files name them."""
    return {f"mouth.{name}": smallest(value) for name, value in parameters(mouth).items()}


def encoder_weights(whole: PitchEncoder | HeardEncoder, config: Config) -> bytes:
    """The file of an encoder."""
    encoder = ear_of(whole)
    assert encoder is not None and config.ear is not None
    sources, fine, quick = factorise(encoder.spectrum)
    tensors = encoder_parameters(whole)
    for i, source in enumerate(sources):
        tensors[f"analysis.source.{i}"] = _float(source.basis)
    for i, bins in enumerate([*fine, *quick]):
        tensors[f"analysis.bins.{i}"] = _float(bins.kernel)
    about = {
        **dataclasses.asdict(config.ear),
        "rate": config.sample_rate,
        "hop": encoder.hop,
        "semitones": encoder.spectrum.semitones,
        "shifts": [offset - encoder.below for offset in encoder.offsets],
        "blocks": [source.blocks for source in sources],
        "fine": [bins.source for bins in fine],
        "quick": [bins.source for bins in quick],
    }
    metadata = {"encoder": json.dumps(about)}
    if isinstance(config.encoder, HeardEncoderConfig):
        metadata["mouth"] = _about_mouth(config.encoder, config.ear.layout)
    return safetensors.torch.save(tensors, metadata)


def mouth_weights(decoder: GuidedDecoder, config: GuidedConfig, layout: PitchLatent) -> bytes:
    """The file of a guided decoder's mouth."""
    return safetensors.torch.save(mouth_parameters(decoder.mouth), {"mouth": _about_mouth(config, layout)})


def _about_mouth(config: HeardEncoderConfig | GuidedConfig, layout: PitchLatent) -> str:
    about = {
        "kind": "heard",
        "channels": config.channels,
        "dilations": config.dilations,
        "latent": config.latent,
    }
    return json.dumps({**about, "layout": dataclasses.asdict(layout)})


def decoder_weights(decoder: LiveDecoder, layout: dict[str, int], rate: int) -> bytes:
    """The file of one domain; layout: the fields of `PitchLatent`."""
    bank, noise = decoder.oscillators, decoder.noise
    tables = {
        "oscillators.f0": bank.f0,
        "oscillators.multiples": bank.multiples,
        "oscillators.offsets": bank.offsets,
        "oscillators.weights": bank.weights,
        "oscillators.audible": bank.audible,
        "noise.filters": noise.filters,
    }
    about = {
        "kind": "live",
        "rate": rate,
        "hop": decoder.hop,
        "layout": layout,
        "latent_channels": decoder.latent_channels,
        "hidden": decoder.memory.hidden,
        "partials": decoder.partials,
        "bands": noise.bands,
        "voices": bank.voices,
        "sounding": bank.sounding,
        "silent": decoder.silent,
        "stride": decoder.stride,
    }
    tensors = parameters(decoder) | {name: value.contiguous() for name, value in tables.items()}
    return safetensors.torch.save(tensors, {"decoder": json.dumps(about)})


def differing(stored: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> str:
    """The first of the wanted parameters that the file has not or has otherwise; empty where there is none."""
    for name, value in wanted.items():
        if name not in stored or not torch.equal(stored[name].to(value.dtype), value):
            return name
    return ""


def analysis_error(data: bytes, encoder: PitchEncoder) -> float:
    """How far any kernel of an encoder's file is from the encoder's own, over its norm."""
    arrays = {name: a.astype(np.float64) for name, a in safetensors.numpy.load(data).items()}
    about = _about(data)
    sources = [Source(arrays[f"analysis.source.{i}"], n) for i, n in enumerate(about["blocks"])]
    read = [*about["fine"], *about["quick"]]
    bins = [Bins(source, arrays[f"analysis.bins.{i}"]) for i, source in enumerate(read)]
    longest = encoder.spectrum.longest
    got = expanded(bins, sources, longest)
    wanted = np.concatenate(
        [full_kernels(g, longest) for g in (encoder.spectrum.fine, encoder.spectrum.quick)]
    )
    norms = np.sqrt((wanted**2).sum(axis=(1, 2)))
    return float((np.sqrt(((got - wanted) ** 2).sum(axis=(1, 2))) / norms).max())


def _about(data: bytes) -> dict[str, Any]:
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    return json.loads(header["__metadata__"]["encoder"])  # type: ignore[no-any-return]


def parameters(module: StreamingModule) -> dict[str, Tensor]:
    """A module's, as they are written."""
    return {name: value.detach().contiguous() for name, value in module.state_dict().items()}


def smallest(value: Tensor) -> Tensor:
    """In 16 bits if it loses nothing there."""
    if not value.is_floating_point():
        return value
    half = value.half()
    return half if torch.equal(half.float(), value) else value


def _float(array: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array, np.float32))
