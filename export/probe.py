"""The bundle's self-test: a short made-up tune, and what PyTorch answers to it block by block."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
import onnxruntime
import torch
from torch import Tensor

from export.bundle.bundle import BundleError, Graph
from export.torchscript import load_script
from umtn.model.companding import mulaw_encode
from umtn.model.decoders.base import Decoder, SampledDecoder
from umtn.model.decoders.guided import GuidedDecoder
from umtn.model.decoders.harmonic import LiveDecoder
from umtn.model.streaming import State, StreamingModule

__all__ = [
    "CLOSE",
    "NEAR",
    "OnnxStepper",
    "Stepper",
    "Told",
    "TorchStepper",
    "clear_frames",
    "clear_tune",
    "make_probe",
    "module_stepper",
    "pack",
    "probe_blocks",
    "script_stepper",
    "stream",
    "test_signal",
    "told",
    "untied_noise",
]


# Where rounding decides what a `live` decoder plays, so that two right engines may part.
#
# Its oscillators choose the loudest pitches of each frame, and round their bends to steps. Two levels that are alike
# but
# for their last bits, or a bend that lies between two steps, fall one way in one engine and the other way in another.
# In
# a trained model that is rare; in one of a few steps, whose pitches are all alike yet, it is met in every fifth
# probe.


CLOSE = 1e-5  # of a level or of a step: engines' own differ by up to 2e-6 where they are fed the same latent
INAUDIBLE = 1e-6  # a voice of which all partials together stay below it may be any


@torch.no_grad()
def clear_frames(decoder: Decoder, latent_1DT: np.ndarray) -> int:
    """For how many frames, from a fresh state on, every right engine plays the same: all, or up to the first border."""
    guide = decoder.guide if isinstance(decoder, GuidedDecoder) else decoder
    frames = int(latent_1DT.shape[2])
    if not isinstance(guide, LiveDecoder):
        return frames
    latent = torch.from_numpy(latent_1DT)
    bank, state = guide.oscillators, guide.init_state(1)[: 1 + guide.hiss_states]
    amplitude_BPHT, semitones_BPT, _, _ = guide.controls(latent, state)
    amplitude_PHT = (amplitude_BPHT * bank.audible.unsqueeze(2))[0]
    level_PT = (amplitude_PHT * amplitude_PHT).sum(dim=1)
    heard_PT = amplitude_PHT.abs().sum(dim=1) > INAUDIBLE
    steps_PT = semitones_BPT[0] * bank.steps
    ordered = level_PT.sort(dim=0, descending=True)
    least_T = ordered.values[bank.voices - 1]
    between_PT = ((steps_PT - steps_PT.floor() - 0.5).abs() < CLOSE) & heard_PT & (level_PT >= least_T)
    disputed_T = between_PT.any(dim=0)
    if bank.voices < bank.pitches:
        alike_T = least_T - ordered.values[bank.voices] < CLOSE * least_T
        disputed_T |= alike_T & heard_PT.gather(0, ordered.indices[bank.voices - 1][None])[0]
    disputed = disputed_T.nonzero()
    return int(disputed[0]) if len(disputed) else frames


# One graph, three ways to run it: PyTorch, TorchScript, ONNX Runtime; all numpy in, numpy out, state inside.
#
# Ports are time-last arrays [1, C, n * size]: audio for an encoder, latent (and noise) for a decoder.


class Stepper(Protocol):
    """`any_length`: whether one call may hold several blocks."""

    any_length: bool

    def reset(self) -> None: ...

    def take(self, state: State) -> None: ...

    def __call__(self, *ports: np.ndarray) -> np.ndarray: ...


class TorchStepper:
    """`step(*ports, state) -> (output, state)` of an eager or scripted module."""

    any_length = True

    def __init__(
        self,
        step: Callable[..., tuple[Tensor, State]],
        init_state: Callable[[int], State],
    ) -> None:
        self._step, self._init_state = step, init_state
        self.reset()

    def reset(self) -> None:
        self._state = self._init_state(1)

    def take(self, state: State) -> None:
        """Go on from a state of the module's."""
        self._state = [value.clone() for value in state]

    @torch.no_grad()
    def __call__(self, *ports: np.ndarray) -> np.ndarray:
        output, self._state = self._step(*map(torch.from_numpy, ports), self._state)
        return output.numpy()  # type: ignore[no-any-return]


class OnnxStepper:
    """An ONNX graph on the CPU, one thread; a temperature input, where there is one, stays 1."""

    any_length = False

    def __init__(self, data: bytes, graph: Graph) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        try:
            self._session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime has one class per failure, no common base
            reason = (str(error).strip().splitlines() or ["no reason given"])[0]
            raise BundleError(f"{graph.path}: ONNX Runtime cannot load it ({reason})") from None
        self._graph = graph
        self._ports = [port.name for port in graph.inputs if port.name != "temperature"]
        self._fixed = {p.name: np.ones(p.shape, p.dtype) for p in graph.inputs if p.name == "temperature"}
        self.reset()

    def reset(self) -> None:
        self._state = {s.name: np.full(s.shape, s.initial, s.dtype) for s in self._graph.states}

    def take(self, state: State) -> None:
        """Go on from a state of the module's, which the graph's are in order."""
        self._state = {s.name: value.numpy() for s, value in zip(self._graph.states, state, strict=True)}

    def __call__(self, *ports: np.ndarray) -> np.ndarray:
        feed: dict[str, Any] = {
            **dict(zip(self._ports, ports, strict=True)),
            **self._fixed,
            **self._state,
        }
        names = [
            self._graph.outputs[0].name,
            *(state.output for state in self._graph.states),
        ]
        output, *after = self._session.run(names, feed)
        self._state = dict(zip(self._state, after, strict=True))
        return np.asarray(output)


def module_stepper(module: StreamingModule) -> TorchStepper:
    """An encoder or decoder of a checkpoint."""
    if not isinstance(module, Decoder):
        return TorchStepper(module.step, module.init_state)

    def step(latent: Tensor, *rest: Any) -> tuple[Tensor, State]:
        silence = torch.zeros(1, 1, latent.shape[2] * module.hop)
        noise, state = rest if module.needs_noise else (silence, rest[0])
        return module.decode_step(latent, noise, torch.ones(1), state)

    return TorchStepper(step, module.init_state)


def script_stepper(data: bytes, path: str) -> TorchStepper:
    """A TorchScript file. This runs code from the file."""
    try:
        module = load_script(data)
    except RuntimeError as error:
        raise BundleError(f"{path}: PyTorch cannot load it ({str(error).strip().splitlines()[0]})") from None
    return TorchStepper(module.step, module.init_state)


def stream(stepper: Stepper, ports: Sequence[np.ndarray], blocks: int, piece: int = 1) -> np.ndarray:
    """Run from a fresh state, `piece` blocks a call (the last call may hold fewer); -> the whole output."""
    stepper.reset()
    sizes = [port.shape[-1] // blocks for port in ports]
    outputs = []
    for first in range(0, blocks, piece):
        last = min(first + piece, blocks)
        cut = [np.ascontiguousarray(p[..., first * n : last * n]) for p, n in zip(ports, sizes, strict=True)]
        outputs.append(stepper(*cut))
    return np.concatenate(outputs, axis=-1)


# What a sample loop is told, before it draws: by a WaveNet's latent as it is, by a guided one's guide and mouth.


# two engines' tones differ by up to 1e-6 (of the bundled `live` model at -3 dBFS), their emphasised ones by 1.9e-6
NEAR = 2e-6
MIXED = 2


class Told(NamedTuple):
    """latent [B, D, T]; of a guided net also tones [B, N], the guide's classes [B, N], and `likely` [R, B, N]: classes
    that another engine may have, for rounding decides where tones lie beside a border: the guide itself, the lower
    class everywhere, the upper one, and mixtures."""

    latent: Tensor
    tones: Tensor | None = None
    guide: Tensor | None = None
    likely: Tensor | None = None


@torch.no_grad()
def told(decoder: SampledDecoder, latent_BDT: Tensor) -> Told:
    """From a fresh state, to the last bit as it plays hop by hop."""
    z, tones, guide = decoder.hears(latent_BDT)
    if tones is None or guide is None:
        return Told(z)
    return Told(z, tones, guide, _likely(decoder, tones, guide))


def _likely(decoder: SampledDecoder, tones_BN: Tensor, guide_BN: Tensor) -> Tensor:
    lower, upper = (decoder.sound_classes(tones_BN, x) for x in (-NEAR, NEAR))
    random = torch.Generator().manual_seed(0)
    mixed = [torch.rand(guide_BN.shape, generator=random) < 0.5 for _ in range(MIXED)]
    return torch.stack([guide_BN, lower, upper, *(torch.where(m, lower, upper) for m in mixed)])


SECONDS = 0.5
SAMPLED_SECONDS = 0.06  # autoregressive decoders are slow here, and every sample is a test of its own
TIE = 2e-6  # how far a uniform number must stay from the border between two classes
MOST_DRAWS = 2000
HOPELESS = 16  # draws at one sample, all of them another along another guide
TUNES = 16  # among which one is looked for that no decoder can be in doubt about
PIECE = 32  # samples drawn between two looks for ties


def test_signal(samples: int, rate: int, seed: int = 0) -> np.ndarray:
    """Plucked harmonic notes over faint noise, float32 [samples], peak below 0.6."""
    random = np.random.default_rng(seed)
    audio = 0.003 * random.standard_normal(samples)
    length = rate // 8
    for start in range(0, samples, length):
        time = np.arange(min(length, samples - start)) / rate
        f0_hz = 110.0 * 2 ** (random.integers(0, 36) / 12)
        partials = np.arange(1, max(2, min(12, int(0.45 * rate / f0_hz))))
        tone = (np.sin(2 * np.pi * f0_hz * partials[:, None] * time) / partials[:, None] ** 1.5).sum(0)
        audio[start : start + length] += 0.3 * tone * np.exp(-6 * time) * np.minimum(1, time / 0.004)
    return audio.clip(-0.6, 0.6).astype(np.float32)


test_signal.__test__ = False  # type: ignore[attr-defined]  # its name looks like a test to pytest


def probe_blocks(decoders: Mapping[str, Decoder], block: int, rate: int) -> int:
    """How many blocks the probe lasts."""
    sampled = any(decoder.sampled is not None for decoder in decoders.values())
    return max(4, math.ceil((SAMPLED_SECONDS if sampled else SECONDS) * rate / block))


def clear_tune(
    encoder: StreamingModule, decoders: Mapping[str, Decoder], blocks: int, rate: int, seed: int
) -> tuple[np.ndarray, np.ndarray, dict[str, int]]:
    """A test signal [N], its latent [1, D, T], and for how many samples each decoder plays it the same in any engine.

    That of the seed, where no decoder meets a border; else of the next ones that which stays clear for longest.
    """
    best: tuple[np.ndarray, np.ndarray, dict[str, int]] | None = None
    for other in range(TUNES):
        audio = test_signal(blocks * encoder.block, rate, seed + other)
        latent = stream(module_stepper(encoder), [audio[None, None]], blocks)
        clear = {id: clear_frames(d, latent) * len(audio) // latent.shape[2] for id, d in decoders.items()}
        if best is None or min(clear.values(), default=0) > min(best[2].values()):
            best = audio, latent, clear
        if all(count == len(audio) for count in clear.values()):
            return audio, latent, clear
    assert best is not None
    return best


def make_probe(
    encoder: StreamingModule, decoders: Mapping[str, Decoder], rate: int, seed: int = 0
) -> tuple[int, dict[str, np.ndarray]]:
    """Blocks, and the arrays of probe.npz: audio, latent, noise where a decoder wants it, audio.<domain>.

    Of guided decoders, whose sample loops are also checked and timed alone: told.<domain> [D, T], their net's latent,
    guide.<domain> and drawn.<domain> [N], the classes that it is given and those that it draws, and agreed.<domain>
    [1]: for how many samples every engine draws the same, however it rounds the guide's tones (see `untied_noise`).
    That count also of others, where rounding decides what they play from there on (see `export.probe`).
    """
    blocks = probe_blocks(decoders, encoder.block, rate)
    audio, latent, clear = clear_tune(encoder, decoders, blocks, rate, seed)
    arrays = {"audio": audio, "latent": latent[0]}
    sampled = {id: s for id, d in decoders.items() if (s := d.sampled) is not None}
    if any(decoder.needs_noise for decoder in decoders.values()):
        arrays["noise"], agreed = untied_noise(sampled, latent, len(audio), blocks, seed)
    for id, decoder in decoders.items():
        ports = [latent] + ([arrays["noise"][None, None]] if decoder.needs_noise else [])
        arrays[f"audio.{id}"] = stream(module_stepper(decoder), ports, blocks)[0, 0]
        if decoder.tones is not None:
            arrays |= _of_loop(id, sampled[id], latent, arrays["noise"])
            clear[id] = min(clear[id], agreed[id])
        if decoder.tones is not None or clear[id] < len(audio):
            arrays[f"agreed.{id}"] = np.array([clear[id]], np.int32)
    return blocks, arrays


@torch.no_grad()
def _of_loop(
    id: str, decoder: SampledDecoder, latent_1DT: np.ndarray, noise: np.ndarray
) -> dict[str, np.ndarray]:
    net, heard = decoder.net, told(decoder, torch.from_numpy(latent_1DT))
    assert heard.guide is not None
    uniform = torch.from_numpy(noise)[None, None]
    sound, _ = net.say(heard.latent, uniform, torch.ones(1), net.init_state(1), heard.guide)
    return {
        f"told.{id}": heard.latent[0].numpy(),
        f"guide.{id}": heard.guide[0].numpy().astype(np.int32),
        f"drawn.{id}": mulaw_encode(sound[0, 0], net.classes).numpy().astype(np.int32),
    }


@torch.no_grad()
def untied_noise(
    sampled: Mapping[str, SampledDecoder],
    latent_1DT: np.ndarray,
    samples: int,
    blocks: int,
    seed: int,
) -> tuple[np.ndarray, dict[str, int]]:
    """Uniform noise [samples] under which no decoder's draw hangs on the last bits of a sum, or of a guide's tones.

    A sampled decoder that draws another class once runs elsewhere from then on, so that one rounding
    difference between two engines would look like a fault. So the noise is drawn anew wherever it falls beside a
    border: what is drawn piece by piece is then given to the parallel form, which knows every sample's borders.

    A guide's tone beside a border may move a well-trained net to another class whatever the noise: from there on two
    right engines may part. -> also how many samples each decoder draws before that.
    """
    random = np.random.default_rng(seed)
    noise = random.random(samples, dtype=np.float32)
    agreed = dict.fromkeys(sampled, samples)
    if not sampled:
        return noise, agreed
    frames, size = latent_1DT.shape[2] // blocks, samples // blocks
    hop = size // frames
    latent = torch.from_numpy(latent_1DT)
    voices = {id: _Voice(decoder, latent) for id, decoder in sampled.items()}
    for start in range(0, samples, piece := math.gcd(PIECE, hop)):
        row = noise[start : start + piece]
        tries = np.zeros(piece, int)
        for _ in range(MOST_DRAWS):
            ties = {id: voice.ties(start, row) for id, voice in voices.items()}
            tied = np.stack(list(ties.values())).any(0)
            if not tied.any():
                break
            first = int(tied.argmax())
            tries[first] += 1
            if tries[first] >= HOPELESS:
                for id, voice in voices.items():
                    if ties[id][first] and voice.parts:
                        agreed[id] = start + first
                        voice.follow_one()
            row[first:] = random.random(piece - first, dtype=np.float32)
        else:
            raise BundleError(
                f"no noise without a tie was found in {MOST_DRAWS} draws; are the weights sane?"
            )
        for voice in voices.values():
            voice.keep()
    return noise, agreed


class _Voice:
    """A sampled decoder that draws a piece as often as it must, and keeps the last; a guided one along each of its
    likely guides at once, which must not matter."""

    def __init__(self, decoder: SampledDecoder, latent_1DT: torch.Tensor) -> None:
        heard = told(decoder, latent_1DT)
        self.net, self.guides = decoder.net, None if heard.likely is None else heard.likely[:, 0]
        self.streams = 1 if self.guides is None else len(self.guides)
        self.latent = heard.latent.expand(self.streams, -1, -1)
        self.state = self.next = self.net.init_state(self.streams)
        self.classes = self.drawn = torch.zeros(1, 0, dtype=torch.int64)
        self.parts = False  # the last ties were other guides' draws

    def ties(self, start: int, row: np.ndarray) -> np.ndarray:
        """Of the samples from `start` on: whether the uniform number lies beside a border of its draw, or draws
        another class along another guide."""
        net, uniform, here = self.net, torch.from_numpy(row), slice(start, start + len(row))
        frame = self.latent[:, :, start // net.hop : start // net.hop + 1]
        guides = None if self.guides is None else self.guides[:, here]
        noise = uniform.expand(self.streams, 1, -1)
        audio, self.next = net.say(frame, noise, torch.ones(1), self.state, guides)
        drawn = mulaw_encode(audio[:, 0], net.classes)
        other = (drawn != drawn[:1]).any(0)
        self.parts = bool(other.any())
        if self.parts:
            return other.numpy()  # type: ignore[no-any-return]
        self.drawn = torch.cat([self.classes, drawn[:1]], dim=1)
        frames = math.ceil(self.drawn.shape[1] / net.hop)
        past = torch.nn.functional.pad(self.drawn, [0, frames * net.hop - self.drawn.shape[1]])
        guide = None if self.guides is None else self.guides[:1, : past.shape[1]]
        logits = net.logits(self.latent[:1, :, :frames], past, guide_BN=guide)[0, :, here].T
        borders = torch.cumsum(torch.softmax(logits, dim=1), dim=1)
        return ((borders - uniform[:, None]).abs() <= TIE).any(1).numpy()  # type: ignore[no-any-return]

    def follow_one(self) -> None:
        """From here on along its own guide alone."""
        assert self.guides is not None
        self.streams, self.guides, self.latent = 1, self.guides[:1], self.latent[:1]
        self.state = [value[:1] for value in self.state]

    def keep(self) -> None:
        self.state, self.classes = self.next, self.drawn


def pack(arrays: Mapping[str, np.ndarray]) -> bytes:
    """The file probe.npz: classes int32, everything else float32."""
    buffer = io.BytesIO()
    np.savez(
        buffer,
        allow_pickle=False,
        **{
            n: np.ascontiguousarray(a, np.int32 if a.dtype == np.int32 else np.float32)
            for n, a in arrays.items()
        },
    )
    return buffer.getvalue()
