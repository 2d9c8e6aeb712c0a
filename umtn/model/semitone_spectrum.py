"""A causal spectrum in semitone thirds: the ear of the pitch encoder.

Every analysis window ends at the newest sample and leans towards it (a quarter rise, three quarters fall,
seen from now backwards), so that a new note shows within milliseconds although the window is long enough to
tell neighbouring semitones apart. Two resolutions: `fine` (three bins a semitone, Q about 68) resolves chords,
`quick` (one bin a semitone, two to eight hops) shows attacks. At twice the rate, with twice the hop and the longest
window twice as long, it says the same.

What is kept and multiplied is not the windows, but the shapes that their pieces share: see `umtn.factored`.
"""

import functools
import math
from fractions import Fraction
from typing import List, Tuple

import numpy as np
import torch
from torch import Tensor, nn

from umtn.factored import Bins, Source, factorised
from umtn.model.streaming import StreamingModule

__all__ = ["CausalSpectrum", "heard_hz", "leaning_window"]

QUALITY = 68.0


def leaning_window(length: int) -> Tensor:
    """Asymmetric raised-cosine window [length] over past samples, oldest first, peak at a quarter from now."""
    rise = max(1, length // 4)
    fall = length - rise
    old = 0.5 - 0.5 * torch.cos(math.pi * (torch.arange(fall, dtype=torch.float64) + 0.5) / fall)
    new = 0.5 + 0.5 * torch.cos(math.pi * (torch.arange(rise, dtype=torch.float64) + 0.5) / rise)
    return torch.cat([old, new])


def heard_hz(top_hz: float, rate: int) -> float:
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
        sources, fine, quick = factorised(*_both_kernels(rate, hop, lowest, semitones, longest), hop)
    finally:
        torch.set_num_threads(threads)
    return sources, [*fine, *quick]


class _Mix(nn.Module):
    """Neighbouring bins: from samples_BN and what their source gave before, [B, past, rank], to [B, T, 2, bins].

    Without a source they read the samples themselves.
    """

    basis: Tensor
    mix: Tensor

    def __init__(self, hop: int, source: Source | None, groups: List[np.ndarray]) -> None:
        super().__init__()
        inputs = max(kernel.shape[2] for kernel in groups)
        padded = [np.pad(k, ((0, 0), (0, 0), (inputs - k.shape[2], 0))) for k in groups]
        mix = np.concatenate(padded, axis=1)  # [2, bins, inputs]
        self.hop = hop
        self.bins = int(mix.shape[1])
        self.shared = source is not None
        self.span = inputs if source is None else len(source.basis)
        self.steps = (
            1 if source is None else self.span // hop
        )  # hops from one result that is read to the next
        self.rank = 0 if source is None else int(source.basis.shape[1])
        self.past = 0 if source is None else (inputs // self.rank - 1) * self.steps
        basis = np.zeros((0, 0)) if source is None else source.basis
        for name, array in (("basis", basis), ("mix", mix.reshape(-1, inputs).T)):
            tensor = torch.from_numpy(np.ascontiguousarray(array, np.float32))
            self.register_buffer(name, tensor, persistent=False)

    def forward(self, samples: Tensor, frames: int, past: Tensor) -> Tuple[Tensor, Tensor]:
        b, n = samples.shape[0], samples.shape[1]
        if frames == 1:  # nothing to gather, and the exported graph stays small
            read = samples[:, n - self.span :].unsqueeze(1)
        else:
            read = samples[:, n - self.span - (frames - 1) * self.hop :].unfold(1, self.span, self.hop)
        if self.shared:
            read = torch.matmul(read, self.basis)
            if self.past > 0:
                kept = torch.cat([past, read], dim=1)
                past = kept[:, frames:].contiguous()
                if frames == 1:
                    read = kept if self.steps == 1 else kept[:, :: self.steps]
                else:
                    read = kept.unfold(1, self.past + 1, 1)[:, :, :, :: self.steps].transpose(2, 3)
                read = read.reshape(b, frames, -1)
        return torch.matmul(read, self.mix).reshape(b, frames, 2, self.bins), past


def _mixes(hop: int, sources: List[Source], bins: List[Bins]) -> nn.ModuleList:
    """Those that read one source read it together."""
    mixes, first = nn.ModuleList(), 0
    for i, group in enumerate(bins):
        if i + 1 == len(bins) or bins[i + 1].source != group.source:
            source = None if group.source is None else sources[group.source]
            mixes.append(_Mix(hop, source, [g.kernel for g in bins[first : i + 1]]))
            first = i + 1
    return mixes


class CausalSpectrum(StreamingModule):
    """audio_B1N -> log power [B, 2, bins, N / hop]: channel 0 fine, channel 1 quick (held over three bins).

    Scaled so that -80 dBFS is about -0.84 and a full-scale sine 1. State: the last samples that a shape reads, and
    what each shape gave in the past that a bin reads.
    """

    def __init__(
        self, rate: int, hop: int, lowest: int, longest: int = 4096, top_hz: float = 11000.0
    ) -> None:
        super().__init__()
        self.block = hop
        self.hop = hop
        self.rate = rate
        self.lowest = lowest
        self.longest = longest
        top_hz = heard_hz(top_hz, rate)
        self.semitones = int(12 * math.log2(top_hz / 440.0) + 69) - lowest + 1
        self.bins = 3 * self.semitones
        self.mixes = _mixes(hop, *_shapes(rate, hop, lowest, self.semitones, longest))
        self.context = max(0, max(mix.span for mix in self.mixes) - hop)  # type: ignore[operator, type-var]
        self.past: List[Tuple[int, int]] = [(mix.past, mix.rank) for mix in self.mixes]  # type: ignore[misc]

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
        samples, at = x[:, 0], 0
        if self.context > 0:
            samples = torch.cat([state[0][:, 0], samples], dim=1)
            new.append(samples[:, samples.shape[1] - self.context :].unsqueeze(1).contiguous())
            at = 1
        waves: List[Tensor] = []
        none = samples[:, :0]
        for mix in self.mixes:
            wave, past = mix(samples, frames, state[at] if mix.past > 0 else none)
            waves.append(wave)
            if mix.past > 0:
                new.append(past)
                at += 1
        re, im = torch.cat(waves, dim=3).unbind(2)
        return 0.1 * torch.log(re * re + im * im + 1e-8) + 1.0, new
