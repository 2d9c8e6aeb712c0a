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
from dataclasses import dataclass
from typing import Any

import numpy as np
import safetensors.numpy
import safetensors.torch
import torch
from torch import Tensor

from umtn.model.config import Config
from umtn.model.decoders.base import NativeWeights, SampledDecoder
from umtn.model.decoders.wavenet import WaveNetDecoder
from umtn.model.pitch_encoder import PitchEncoder, ear_of, mouth_of, mouth_parameters, mouth_weights
from umtn.model.semitone_spectrum import CausalSpectrum
from umtn.model.streaming import StreamingModule, parameters

__all__ = [
    "BINS",
    "Bins",
    "ENCODER_WEIGHTS",
    "Source",
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


# The encoder's spectrum, written as a few shapes that many bins share: what a native engine computes from.
#
# A bin's kernel is up to thousands of samples long, and every hop moves it by one hop only. Cut into spans, the
# pieces of neighbouring bins' kernels span a space of few dimensions (sines of nearly one frequency under a smooth
# window; Slepian 1978). Its basis is applied to the newest span once for all bins, the results are kept, and a bin
# combines those of the past: the same numbers for a third of the arithmetic.


BINS = 16  # read together
TOGETHER = 3  # such groups share a source, or as many as have the longest window
TOLERANCE = 1e-7  # of a kernel's norm: what rounding it to float32 costs


@dataclass(frozen=True)
class Source:
    """basis [span, rank]: applied to the last `span` samples; `blocks` results a span apart are kept."""

    basis: np.ndarray
    blocks: int


@dataclass(frozen=True)
class Bins:
    """kernel [2 (re, im), bins, inputs]: of the source's last results, oldest first, or (None) of the samples."""

    source: int | None
    kernel: np.ndarray


def full_kernels(groups: torch.nn.ModuleList, longest: int) -> np.ndarray:
    """A spectrum's kernels, zeros before the older ones' windows: [bins, 2, longest] float64."""
    kernels = []
    for group in groups:
        assert isinstance(group.kernel, torch.Tensor)
        size = len(group.kernel)
        parts = group.kernel.double().numpy().T.reshape(2, -1, size)
        kernels.append(np.pad(parts, ((0, 0), (0, 0), (longest - size, 0))).swapaxes(0, 1))
    return np.concatenate(kernels)


def factorise(spectrum: CausalSpectrum) -> tuple[list[Source], list[Bins], list[Bins]]:
    """Sources, and the fine and the quick bins that read them, in ascending order."""
    sources: list[Source] = []
    fine, quick = (
        _factorise(full_kernels(groups, spectrum.longest), spectrum.hop, sources)
        for groups in (spectrum.fine, spectrum.quick)
    )
    return sources, fine, quick


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


def _factorise(kernels: np.ndarray, hop: int, sources: list[Source]) -> list[Bins]:
    groups = [kernels[first : first + BINS] for first in range(0, len(kernels), BINS)]
    longest = max(map(_length, groups))
    same = sum(all(_length(k[None]) == longest for k in group) for group in groups)
    starts = [0, *range(same, len(groups), TOGETHER)]
    bins: list[Bins] = []
    for start, end in zip(starts, [*starts[1:], len(groups)]):
        if start < end:
            bins += _cheapest(groups[start:end], hop, sources)
    return bins


def _length(kernels: np.ndarray) -> int:
    """Samples from the oldest that any of them reads."""
    return kernels.shape[2] - int(np.flatnonzero(np.abs(kernels).any(axis=(0, 1)))[0])


def _cheapest(groups: list[np.ndarray], hop: int, sources: list[Source]) -> list[Bins]:
    """By the samples themselves, or by a new source of the span that costs least."""
    longest = groups[0].shape[2]
    best = [Bins(None, g[:, :, longest - _length(g) :].swapaxes(0, 1)) for g in groups]
    cost = sum(2 * BINS * b.kernel.shape[2] for b in best)
    chosen: Source | None = None
    span = hop
    while span <= longest:
        blocks = [min(-(-_length(g) // span), longest // span) for g in groups]
        basis = _basis(groups, blocks, span)
        rank = basis.shape[1]
        new_cost = span * rank + sum(2 * BINS * n * rank for n in blocks)
        if new_cost < cost:
            cost, chosen = new_cost, Source(basis, max(blocks))
            best = [
                Bins(len(sources), (_pieces(g, n, span) @ basis).reshape(len(g), 2, -1).swapaxes(0, 1))
                for g, n in zip(groups, blocks)
            ]
        span *= 2
    if chosen is not None:
        sources.append(chosen)
    return best


def _pieces(group: np.ndarray, blocks: int, span: int) -> np.ndarray:
    """[bins, 2, longest] -> the newest blocks, [bins, 2, blocks, span]."""
    return group[:, :, group.shape[2] - blocks * span :].reshape(len(group), 2, blocks, span)


def _basis(groups: list[np.ndarray], blocks: list[int], span: int) -> np.ndarray:
    """Orthonormal [span, rank], in which no kernel loses more than TOLERANCE of its norm."""
    rows: list[np.ndarray] = []
    bins: list[int] = []  # rows of each
    for group, n in zip(groups, blocks):
        norms = np.sqrt((group**2).sum(axis=(1, 2), keepdims=True))
        rows.append(_pieces(group / norms, n, span).reshape(-1, span))
        bins += [2 * n] * len(group)
    pieces = np.concatenate(rows)
    few = np.linalg.qr(pieces, mode="r") if len(pieces) > span else pieces
    basis = np.linalg.svd(few, full_matrices=False)[2].T
    energy = np.add.reduceat((pieces @ basis) ** 2, np.cumsum([0, *bins[:-1]]))  # [bins, rank]
    lost = np.sqrt(np.cumsum(energy[:, ::-1], axis=1)[:, ::-1]).max(axis=0)
    rank = max(1, int((lost > TOLERANCE).sum()))
    return basis[:, :rank]


ENCODER_WEIGHTS = "weights/encoder.safetensors"


def weights_path(domain: str, part: str = "") -> str:
    """Where a bundle keeps a decoder's, or a part's of it (`guide`, `mouth`); no domain's id has a point in it."""
    return f"weights/{domain}.{part}.safetensors" if part else f"weights/{domain}.safetensors"


def encoder_parameters(encoder: StreamingModule) -> dict[str, Tensor]:
    """As the file names them: the ear's own names, `mouth.` before the mouth's."""
    ear, mouth = ear_of(encoder), mouth_of(encoder)
    behind = {} if mouth is None else mouth_parameters(mouth)
    return parameters(encoder if ear is None else ear) | behind


def packed(weights: NativeWeights) -> bytes:
    """The file of a decoder, or of a part of one."""
    about = {name: json.dumps(sizes) for name, sizes in weights.about.items()}
    return safetensors.torch.save(weights.tensors, about)


def encoder_weights(whole: StreamingModule, config: Config) -> bytes:
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
    mouth = mouth_of(whole)
    behind = {} if mouth is None else mouth_weights(mouth, config.ear.layout)[1]
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
