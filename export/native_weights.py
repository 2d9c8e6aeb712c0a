"""What the native engine of `live` models needs to know, as safetensors: PyTorch's names and shapes, and tables.

`weights/encoder.safetensors` holds the pitch encoder and its analysis as `export.native_weights` writes it, and
the mouth
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

from umtn.model.config import Config
from umtn.model.decoders.base import NativeWeights, SampledDecoder
from umtn.model.decoders.wavenet import WaveNetDecoder
from umtn.model.factored import BINS, TOLERANCE, Bins, Source, factorised
from umtn.model.pitch_encoder import (
    PitchEncoder,
    conditioner_of,
    conditioner_parameters,
    conditioner_weights,
    encoder_of,
)
from umtn.model.semitone_spectrum import CausalSpectrum
from umtn.model.streaming import StreamingModule, parameters

__all__ = [
    "BINS",
    "Bins",
    "ENCODER_WEIGHTS",
    "Source",
    "TABLES",
    "TOLERANCE",
    "activation_maxima",
    "analysis_error",
    "differing",
    "encoder_parameters",
    "encoder_weights",
    "expanded",
    "factorise",
    "full_kernels",
    "packed",
    "weights_path",
]


# The encoder's spectrum as a native engine computes it: few shapes that many bins share (`umtn.model.factored`).
#
# Its engines read groups of 16 bins; each group keeps only as many past results as its own windows reach.


def full_kernels(spectrum: CausalSpectrum) -> np.ndarray:
    """A spectrum's kernels, fine ones first, zeros before their windows: [bins, 2, longest] float64."""
    return np.concatenate(spectrum.kernels())


def factorise(spectrum: CausalSpectrum) -> tuple[list[Source], list[Bins], list[Bins]]:
    """Sources, and the fine and the quick bins that read them, in ascending order."""
    return factorised(*spectrum.kernels(), spectrum.hop)


def expanded(bins: list[Bins], sources: list[Source], longest: int) -> np.ndarray:
    """The kernels [bins, 2, longest] that the bins amount to."""
    kernels = []
    for group in bins:
        k = group.kernel
        if group.source is not None:
            basis = sources[group.source].basis
            k = (k.reshape(2, k.shape[1], -1, basis.shape[1]) @ basis.T).reshape(2, k.shape[1], -1)
        kernels.append(np.pad(k, ((0, 0), (0, 0), (longest - k.shape[2], 0))).swapaxes(0, 1))
    return np.concatenate(kernels)


ENCODER_WEIGHTS = "weights/encoder.safetensors"
# begin the names of what is computed, not learned: another machine may round it otherwise
TABLES = ("analysis.", "oscillators.", "noise.")


def weights_path(domain: str, part: str = "") -> str:
    """Where a bundle keeps a decoder's, or a part's of it (`guide`, `mouth`); no domain's id has a point in it."""
    return f"weights/{domain}.{part}.safetensors" if part else f"weights/{domain}.safetensors"


def encoder_parameters(encoder: StreamingModule) -> dict[str, Tensor]:
    """As the file names them: the ear's own names, `mouth.` before the mouth's."""
    ear, mouth = encoder_of(encoder), conditioner_of(encoder)
    behind = {} if mouth is None else conditioner_parameters(mouth)
    return parameters(encoder if ear is None else ear) | behind


def packed(weights: NativeWeights) -> bytes:
    """The file of a decoder, or of a part of one."""
    about = {name: json.dumps(sizes) for name, sizes in weights.about.items()}
    return safetensors.torch.save(weights.tensors, about)


def encoder_weights(whole: StreamingModule, config: Config) -> bytes:
    """The file of an encoder."""
    encoder = encoder_of(whole)
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
    mouth = conditioner_of(whole)
    behind = {} if mouth is None else conditioner_weights(mouth, config.ear.layout)[1]
    return packed(NativeWeights(tensors, {"encoder": about, **behind}, beside_ear=True))


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
    got = expanded(bins, sources, encoder.spectrum.longest)
    wanted = full_kernels(encoder.spectrum)
    norms = np.sqrt((wanted**2).sum(axis=(1, 2)))
    return float((np.sqrt(((got - wanted) ** 2).sum(axis=(1, 2))) / norms).max())


def _about(data: bytes) -> dict[str, Any]:
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    return json.loads(header["__metadata__"]["encoder"])  # type: ignore[no-any-return]


def _float(array: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array, np.float32))


# How large a WaveNet decoder's signals become while it says real sound: what int8 engines scale by.
#
# The decoder hears the recording as its own past (teacher forcing) and the encoder's latent of it, so that one
# parallel pass sees every layer at work; a guided one also its guide's answer to it. Legend: L layer, R residual, S
# skip.


PIECE = 1 << 16  # samples at once, each such piece after silence: all layers' signals lie in memory


@torch.no_grad()
def activation_maxima(
    encoder: StreamingModule, decoder: SampledDecoder, audio: np.ndarray
) -> dict[str, Tensor]:
    """audio [N] at the model's rate -> `calibration.input` and `.gated` [L, R], `.head` and `.classify` [S]."""
    n = len(audio) // encoder.block * encoder.block
    heard = torch.from_numpy(np.ascontiguousarray(audio[:n], np.float32))[None, None]
    latent, _ = encoder.step(heard, encoder.init_state(1))
    frames = max(1, PIECE // decoder.hop)
    found: dict[str, Tensor] = {}
    for z, x in zip(latent.split(frames, dim=2), heard[:, 0].split(frames * decoder.hop, dim=1), strict=True):
        told, _, guide = decoder.hears(z)
        maxima = _maxima(decoder.net, told, decoder.sound_classes(x), guide)
        for name, largest in maxima.items():
            found[name] = torch.maximum(found.get(name, largest), largest)
    return found


def _maxima(
    decoder: WaveNetDecoder, latent_BDT: Tensor, classes_BN: Tensor, guide_BN: Tensor | None
) -> dict[str, Tensor]:
    seen: dict[str, list[Tensor]] = {"input": [], "gated": [], "head": [], "classify": []}

    def watch(name: str, x_BNC: Tensor) -> None:
        seen[name].append(x_BNC.abs().amax(dim=(0, 1)))

    decoder.logits(latent_BDT, classes_BN, watch, guide_BN=guide_BN)
    return {
        f"calibration.{name}": torch.stack(layers) if name in ("input", "gated") else layers[0]
        for name, layers in seen.items()
    }
