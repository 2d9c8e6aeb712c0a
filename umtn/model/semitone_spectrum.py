"""A causal spectrum in semitone thirds: the ear of the pitch encoder.

Every analysis window ends at the newest sample and leans towards it (a quarter rise, three quarters fall,
seen from now backwards), so that a new note shows within milliseconds although the window is long enough to
tell neighbouring semitones apart. Two resolutions: `fine` (three bins a semitone, Q about 68) resolves chords,
`quick` (one bin a semitone, two to eight hops) shows attacks. At twice the rate, with twice the hop and the longest
window twice as long, it says the same.

What is kept and multiplied is not the windows, but the shapes that their pieces share: see `umtn.model.factored`.
"""

import functools
import math
from fractions import Fraction
from typing import Dict, List, Tuple

import numpy as np
import torch
from torch import Tensor, nn

from umtn.model.factored import Bins, Source, factorised
from umtn.model.streaming import StreamingModule

__all__ = ["CausalSpectrum", "audible_hz", "leaning_window"]

QUALITY = 68.0
TOGETHER = (
    2  # groups of bins that share a source: here they are read as one, as far back as the longest of them
)


def leaning_window(length: int) -> Tensor:
    """Asymmetric raised-cosine window [length] over past samples, oldest first, peak at a quarter from now."""
    rise = max(1, length // 4)
    fall = length - rise
    old = 0.5 - 0.5 * torch.cos(math.pi * (torch.arange(fall, dtype=torch.float64) + 0.5) / fall)
    new = 0.5 + 0.5 * torch.cos(math.pi * (torch.arange(rise, dtype=torch.float64) + 0.5) / rise)
    return torch.cat([old, new])


def audible_hz(top_hz: float, rate: int) -> float:
    """The highest frequency that is analysed: the asked one, or what the rate can carry."""
    return min(top_hz, 0.46 * rate)


def _kernels(f_hz: List[float], quality: float, least: int, most: int, rate: int, longest: int) -> np.ndarray:
    """Windowed complex sinusoids [bins, 2 (re, im), longest], as float32 holds them; a full-scale sine on a bin gives
    magnitude 1. A window is `quality` periods long, within least and most samples."""
    kernels = torch.zeros(len(f_hz), 2, longest)
    for kernel, f in zip(kernels, f_hz):
        length = int(min(most, max(least, quality * rate / f)))
        window = leaning_window(length)
        angle = 2 * math.pi * f / rate * torch.arange(length - 1, -1, -1, dtype=torch.float64)
        waves = torch.stack([torch.cos(angle), torch.sin(angle)])
        kernel[:, longest - length :] = 2 / window.sum() * window * waves
    return kernels.double().numpy()  # type: ignore[no-any-return]


def _both_kernels(
    rate: int, hop: int, lowest: int, semitones: int, longest: int
) -> Tuple[np.ndarray, np.ndarray]:
    """Of the fine and of the quick bins, in ascending frequency."""
    fine = [440.0 * 2 ** ((lowest + (b - 1) / 3 - 69) / 12) for b in range(3 * semitones)]
    quick = [440.0 * 2 ** ((lowest + s - 69) / 12) for s in range(semitones)]
    return (
        _kernels(fine, QUALITY, min(4 * hop, longest), longest, rate, longest),
        _kernels(quick, QUALITY / 4, min(2 * hop, longest), min(8 * hop, longest), rate, longest),
    )


@functools.lru_cache(maxsize=4)  # about a second's work, and every model of a preset has the same
def _shapes(
    rate: int, hop: int, lowest: int, semitones: int, longest: int
) -> Tuple[List[Source], List[Bins]]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # small decompositions: threads would mostly wait for each other
    try:
        sources, fine, quick = factorised(
            *_both_kernels(rate, hop, lowest, semitones, longest), hop, TOGETHER
        )
    finally:
        torch.set_num_threads(threads)
    return sources, [*fine, *quick]


class _Mix(nn.Module):
    """Neighbouring bins that read the same: [B, T, rank], and that of the past, to waves [B, T, 2 (re, im) * bins]."""

    mix: Tensor

    def __init__(self, first: int, rank: int, steps: int, kernels: List[np.ndarray]) -> None:
        super().__init__()
        self.first = first  # of its bins
        inputs = max(kernel.shape[2] for kernel in kernels)
        whole = np.concatenate(
            [np.pad(k, ((0, 0), (0, 0), (inputs - k.shape[2], 0))) for k in kernels], axis=1
        )
        self.bins = int(whole.shape[1])
        self.rank = rank
        self.steps = steps  # hops from one result that is read to the next
        self.past = (inputs // rank - 1) * steps
        self.register_buffer("mix", _float(whole.reshape(-1, inputs).T), persistent=False)

    def forward(self, given: Tensor, past: Tensor) -> Tuple[Tensor, Tensor]:
        frames = given.shape[1]
        if self.past > 0:
            kept = torch.cat([past, given], dim=1)
            past = kept[:, frames:].contiguous()
            if frames > 1:
                given = kept.unfold(1, self.past + 1, 1)[:, :, :, :: self.steps].transpose(2, 3)
            else:  # nothing to gather, and the exported graph stays small
                given = kept if self.steps == 1 else kept[:, :: self.steps]
            given = given.reshape(past.shape[0], frames, -1)
        return torch.matmul(given, self.mix), past


class _Shapes(nn.Module):
    """All shapes of one span, applied to the end of samples_B1N: a tensor [B, T, rank] for each mix.

    Without shapes its one mix reads the samples themselves.
    """

    basis: Tensor

    def __init__(self, hop: int, span: int, bases: List[np.ndarray], mixes: List[_Mix]) -> None:
        super().__init__()
        self.hop = hop
        self.span = span
        self.shared = len(bases) > 0
        self.ranks: List[int] = [mix.rank for mix in mixes]
        self.mixes = nn.ModuleList(mixes)
        basis = np.concatenate(bases, axis=1) if bases else np.zeros((0, 0))
        self.register_buffer("basis", _float(basis), persistent=False)

    def forward(self, samples: Tensor, frames: int) -> List[Tensor]:
        read = samples[:, :, samples.shape[2] - self.span - (frames - 1) * self.hop :]
        if frames > 1:
            read = read[:, 0].unfold(1, self.span, self.hop)
        if not self.shared:
            return [read]
        return torch.matmul(read, self.basis).split(self.ranks, dim=2)


def _float(array: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array, np.float32))


def _by_span(hop: int, sources: List[Source], bins: List[Bins]) -> Tuple[List[_Shapes], List[_Mix]]:
    """Those that read one source read it together, and sources of one span are applied together; and all mixes, in
    the order in which they come out."""
    shapes: List[_Shapes] = []
    spans: Dict[int, List[Tuple[np.ndarray, _Mix]]] = {}
    kernels: List[np.ndarray] = []
    first = 0
    for i, group in enumerate(bins):
        kernels.append(group.kernel)
        if i + 1 < len(bins) and bins[i + 1].source == group.source:
            continue
        if group.source is None:
            mix = _Mix(first, max(k.shape[2] for k in kernels), 1, kernels)
            shapes.append(_Shapes(hop, mix.rank, [], [mix]))
        else:
            basis = sources[group.source].basis
            mix = _Mix(first, basis.shape[1], len(basis) // hop, kernels)
            spans.setdefault(len(basis), []).append((basis, mix))
        first += mix.bins
        kernels = []
    for span, members in spans.items():
        shapes.append(_Shapes(hop, span, [basis for basis, _ in members], [mix for _, mix in members]))
    return shapes, [mix for some in shapes for mix in some.mixes]  # type: ignore


class CausalSpectrum(StreamingModule):
    """audio_B1N -> log power [B, 2, bins, N / hop]: channel 0 fine, channel 1 quick (held over three bins).

    Scaled so that -80 dBFS is about -0.84 and a full-scale sine 1. State: the last samples that a shape reads, and
    what each shape gave in the past that a bin reads.
    """

    re: Tensor
    im: Tensor

    def __init__(
        self, rate: int, hop: int, lowest: int, longest: int = 4096, top_hz: float = 11000.0
    ) -> None:
        super().__init__()
        self.block = hop
        self.hop = hop
        self.rate = rate
        self.lowest = lowest
        self.longest = longest
        top_hz = audible_hz(top_hz, rate)
        self.semitones = int(12 * math.log2(top_hz / 440.0) + 69) - lowest + 1
        self.bins = 3 * self.semitones
        shapes, mixes = _by_span(hop, *_shapes(rate, hop, lowest, self.semitones, longest))
        self.shapes = nn.ModuleList(shapes)
        self.context = max(0, max(some.span for some in shapes) - hop)
        self.past: List[Tuple[int, int]] = [(mix.past, mix.rank) for mix in mixes]
        places = np.zeros((2, self.bins + self.semitones), np.int64)  # where a bin's wave comes out
        at = 0
        for mix in mixes:
            here = np.arange(mix.bins)
            places[:, mix.first + here] = at + np.array([here, mix.bins + here])
            at += 2 * mix.bins
        self.register_buffer("re", torch.from_numpy(places[0]), persistent=False)
        self.register_buffer("im", torch.from_numpy(places[1]), persistent=False)

    @property
    def ratio(self) -> Fraction:
        return Fraction(1, self.hop)

    @property
    def receptive_field(self) -> float:
        return self.longest

    @torch.jit.unused
    def kernels(self) -> Tuple[np.ndarray, np.ndarray]:
        """What the shapes amount to, within rounding: of fine and of quick bins, [bins, 2, longest] float64."""
        return _both_kernels(self.rate, self.hop, self.lowest, self.semitones, self.longest)

    @torch.jit.export
    def init_state(self, streams: int) -> List[Tensor]:
        state: List[Tensor] = []
        if self.context > 0:
            state.append(self._anchor.new_zeros([streams, 1, self.context]))
        for past, rank in self.past:
            if past > 0:
                state.append(self._anchor.new_zeros([streams, past, rank]))
        return state

    @torch.jit.unused
    def state_names(self) -> List[str]:
        names = ["context"] if self.context else []
        return names + [f"past.{i}" for i, (past, _) in enumerate(self.past) if past]

    def step(self, x: Tensor, state: List[Tensor]) -> Tuple[Tensor, List[Tensor]]:
        levels, new = self.levels(x, state)
        b, t = levels.shape[0], levels.shape[1]
        quick = levels[:, :, self.bins :].unsqueeze(3)
        held_BTF = quick.expand(b, t, self.semitones, 3).reshape(b, t, self.bins)
        return torch.stack([levels[:, :, : self.bins], held_BTF], dim=1).transpose(2, 3), new

    def levels(self, x: Tensor, state: List[Tensor]) -> Tuple[Tensor, List[Tensor]]:
        """audio_B1N -> log power [B, T, fine bins and quick bins]."""
        frames = x.shape[2] // self.hop
        new: List[Tensor] = []
        at = 0
        if self.context > 0:
            x = torch.cat([state[0], x], dim=2)
            new.append(x[:, :, x.shape[2] - self.context :].contiguous())
            at = 1
        waves: List[Tensor] = []
        for shapes in self.shapes:
            given = shapes(x, frames)
            for i, mix in enumerate(shapes.mixes):  # type: ignore
                wave, past = mix(given[i], state[at] if mix.past > 0 else x)
                waves.append(wave)
                if mix.past > 0:
                    new.append(past)
                    at += 1
        wave = torch.cat(waves, dim=2)
        re, im = wave.index_select(2, self.re), wave.index_select(2, self.im)
        return 0.1 * torch.log(re * re + im * im + 1e-8) + 1.0, new
