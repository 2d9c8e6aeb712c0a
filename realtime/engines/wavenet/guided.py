"""A guided WaveNet decoder, live: what its sample loop is told, hop by hop, and its sound made flat again.

    latent -> guide (live_cpu, no breath) -> tones -> pre-emphasis -> classes -.
           -> mouth (live_cpu) -> told -------------------------------------- sample loop -> drawn -> settled -> out

The arithmetic between the parts is that of umtn.model.companding and umtn.model.companding, in numpy's float32.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from export.bundle.safetensors import finite_number, read_safetensors, told_about
from realtime.engines.engine import StreamBuffers, Together
from realtime.engines.live import kernel
from realtime.engines.live.engine import BoundPart, check_model
from realtime.engines.live.kernel import NativePart
from realtime.engines.live.weights import ConditionerWeights, DecoderWeights
from realtime.engines.state import Kept
from realtime.engines.wavenet.sample_loop import LoopMemory, SampleLoop
from realtime.engines.wavenet.weights import WavenetWeights
from realtime.shared.saved_classes import saved
from umtn.errors import UserError

if TYPE_CHECKING:
    from export.bundle.bundle import Bundle

__all__ = ["Emphasis", "Front", "GuidedVoice", "GuideWeights"]

SILENT = 0.5  # half way between 0 and 1: noise that is silent
# rounding moves a tone beside a border into the next class: of few samples, and never further
MOST_MOVED = 0.1
LEAST_DRIVE, MOST_DRIVE = 1e-3, 1e3  # what is drawn is divided by it


@dataclass(frozen=True)
class GuideWeights:
    """What stands before the sample loop of one domain. emphasis, drive: see umtn.model.decoders.guided."""

    guide: DecoderWeights
    mouth: ConditionerWeights
    emphasis: float
    drive: float

    @classmethod
    def from_bundle(cls, bundle: Bundle, domain: str, net: WavenetWeights) -> GuideWeights:
        """UserError: missing, contradictory, of another model; or no kernel here that plays them."""
        try:
            ready = kernel.ready()
        except kernel.CompilerError:
            ready = None
        if ready is None:
            raise UserError(
                f"{bundle.path.name} has guided decoders, whose guides need a native kernel, and {kernel.absence()}; "
                "python -m umtn.native compiles it, a minute, once, or use --engine onnx"
            )
        at = {part: f"weights/{domain}.{part}.safetensors" for part in ("guide", "mouth")}
        for file in at.values():
            if file not in bundle.names:
                raise UserError(
                    f"{bundle.path.name} holds no {file}, but its decoder {domain} is guided; export the bundle "
                    "again, or use --engine onnx"
                )
        names = {part: f"{bundle.path.name}/{file}" for part, file in at.items()}
        guide = DecoderWeights.from_safetensors(bundle.read(at["guide"]), names["guide"])
        mouth = ConditionerWeights.from_safetensors(bundle.read(at["mouth"]), names["mouth"])
        check_model(guide.rate, guide.hop, guide.layout.channels, bundle.manifest, at["guide"])
        if mouth.layout != guide.layout or mouth.latent != net.latent:
            raise UserError(
                f"{names['mouth']} tells {mouth.latent} numbers of {mouth.layout.channels} channels, but "
                f"{net.latent} of {guide.layout.channels} were wanted; its weights are of different models, export "
                "the bundle again"
            )
        own = f"weights/{domain}.safetensors"
        return cls(guide, mouth, *_emphasis(bundle.read(own), f"{bundle.path.name}/{own}"))


def _emphasis(data: bytes, name: str) -> tuple[float, float]:
    about = told_about(read_safetensors(data, name)[1], "guide", name)
    try:
        emphasis, drive = finite_number(about["emphasis"]), finite_number(about["drive"])
    except (KeyError, ValueError, TypeError):
        raise UserError(f"{name} does not say how its guide is heard; export the bundle again") from None
    if not (0 <= emphasis < 1 and LEAST_DRIVE <= drive <= MOST_DRIVE):
        raise UserError(
            f"{name}: an emphasis of {emphasis:g} and a drive of {drive:g} cannot be; export the bundle again"
        )
    return emphasis, drive


@saved("emphasis")
class Emphasis:
    """umtn.model.companding between arrays [1, N] that stay where they are, N a multiple of hop."""

    def __init__(self, amount: float, drive: float, classes: int, hop: int, samples: int) -> None:
        self._amount, self._drive = np.float32(amount), np.float32(drive)
        self._mu, self._half = np.float32(classes - 1), classes // 2
        self._wide = np.float32(math.log1p(classes - 1))
        self._hop = hop
        lag = np.arange(hop)[None, :] - np.arange(hop)[:, None]
        answer = np.where(lag >= 0, amount ** np.maximum(lag, 0).astype(np.float64), 0)
        self._answer = answer.astype(np.float32)
        self._decay = (amount ** np.arange(1.0, hop + 1)).astype(np.float32)
        for constant in (self._answer, self._decay):
            constant.flags.writeable = False  # no state
        self._lifted, self._sign = np.zeros((2, samples), np.float32)
        self._ringing = np.zeros(hop, np.float32)
        self._last = np.zeros(2, np.float32)  # the tone before, and the settled sound before
        kept = Kept(self._last)
        self.keep, self.rest = kept.keep, kept.restore

    def reset(self) -> None:
        self._last[:] = 0

    def classes(self, tones: np.ndarray, guide: np.ndarray) -> None:
        """Tones -> what the loop is told of them, int32."""
        x, y, sign = tones[0], self._lifted, self._sign
        np.multiply(x[:-1], self._amount, out=y[1:])
        y[0] = self._last[0] * self._amount
        np.subtract(x, y, out=y)
        self._last[0] = x[-1]
        np.multiply(y, self._drive, out=y)
        np.fmax(y, np.float32(-1), out=y)  # a number also where a tone is none
        np.fmin(y, np.float32(1), out=y)
        np.sign(y, out=sign)
        np.abs(y, out=y)
        np.multiply(y, self._mu, out=y)
        np.log1p(y, out=y)
        np.multiply(y, sign, out=y)
        np.divide(y, self._wide, out=y)
        np.multiply(y, np.float32(self._half - 1), out=y)
        np.rint(y, out=y)
        np.add(y, np.float32(self._half), out=y)
        guide[0] = y

    def settle(self, drawn: np.ndarray, out: np.ndarray) -> None:
        """What the loop drew -> sound; `drawn` is spent."""
        np.divide(drawn, self._drive, out=drawn)
        for first in range(0, out.shape[1], self._hop):
            here = slice(first, first + self._hop)
            np.matmul(drawn[0, here], self._answer, out=out[0, here])
            np.multiply(self._decay, self._last[1], out=self._ringing)
            np.add(out[0, here], self._ringing, out=out[0, here])
            self._last[1] = out[0, here.stop - 1]


@saved("guide-front")
class Front(Together):
    """All before the loop: the latent -> `told` [1, D, T] and `guide` [1, N]."""

    def __init__(self, weights: GuideWeights, net: WavenetWeights, latent: np.ndarray) -> None:
        frames = latent.shape[2]
        samples = frames * net.hop
        silent = np.full((1, 1, samples), SILENT, np.float32)
        silent.flags.writeable = False  # no state
        self._tones = np.zeros((1, 1, samples), np.float32)
        self.told = np.zeros((1, net.latent, frames), np.float32)
        self.guide = np.zeros((1, samples), np.int32)
        self._sing = BoundPart(NativePart(weights.guide), latent, silent, self._tones, frames)
        self._say = BoundPart(NativePart(weights.mouth), latent, None, self.told, frames)
        self.emphasis = Emphasis(weights.emphasis, weights.drive, net.classes, net.hop, samples)
        super().__init__(self._sing, self._say, self.emphasis)

    def step(self) -> None:
        self._sing.step()
        self._say.step()
        self.emphasis.classes(self._tones[0], self.guide)

    def tell(self, latent: np.ndarray, heard: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """What the loop is told of `heard` [D, T], block by block through the buffer `latent`: [D', T] and the guide's
        classes [N]. Leaves it reset."""
        frames = latent.shape[2]
        told, guide = [], []
        self.reset()
        for first in range(0, heard.shape[1], frames):
            latent[0] = heard[:, first : first + frames]
            self.step()
            told.append(self.told[0].copy())
            guide.append(self.guide[0].copy())
        self.reset()
        return np.concatenate(told, axis=1), np.concatenate(guide)

    def check(self, probe: dict[str, np.ndarray], domain: str, latent: np.ndarray, tolerance: float) -> str:
        """What it computes otherwise than the bundle's probe, in words; "" where nothing. Leaves it reset."""
        guide = probe[f"guide.{domain}"]
        told, classes = self.tell(latent, probe["latent"])
        error = float(np.nan_to_num(np.abs(told - probe[f"told.{domain}"]), nan=np.inf).max())
        by = np.abs(classes.astype(np.int64) - guide)  # a probe may hold any 32 bits
        moved, furthest = int((by > 0).sum()), int(by.max())
        if not error <= tolerance:
            return f"the mouth (off by {error:.2g}, allowed {tolerance:.2g})"
        if furthest > 1 or moved > MOST_MOVED * len(guide):
            return f"the guide ({moved} of {len(guide)} classes are others, by up to {furthest})"
        return ""


@saved("guided-decoder")
class GuidedVoice(Together):
    """See `Part`: front, loop of one stream, and what is settled."""

    noisy = True

    def __init__(self, front: Front, loop: SampleLoop, buffers: StreamBuffers) -> None:
        self._front, self._out = front, buffers.out[0]
        self._drawn = np.zeros_like(self._out)
        self._draw = loop.bind(front.told, buffers.noise[0], buffers.temperature, self._drawn, front.guide)
        super().__init__(front, LoopMemory(loop))

    def step(self) -> None:
        self._front.step()
        self._draw()
        self._front.emphasis.settle(self._drawn, self._out)
