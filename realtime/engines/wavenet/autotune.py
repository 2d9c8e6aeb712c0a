"""Which sample loop plays a bundle here: everything that could is heard with the bundle's probe, and timed."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from realtime.engines.wavenet import native_loop
from realtime.engines.wavenet.native_loop import NativeLoop
from realtime.engines.wavenet.sample_loop import NumpyLoop, SampleLoop
from realtime.engines.wavenet.weights import Calibration, WavenetWeights, mulaw_table
from realtime.shared.saved_classes import saved
from umtn.errors import UserError

if TYPE_CHECKING:
    from export.bundle.bundle import Bundle

__all__ = ["CHOICES", "Choice", "Autotune", "Probed", "calibrate", "divergence", "play", "too_slow"]


# What int8 needs to know of a decoder's signals, and what it costs in nats.


TURNS = 3  # a short probe, drawn with other noise each time, visits more of what the decoder can say
SHORT = 1.25  # and what it did not visit may still be louder


def calibrate(
    weights: WavenetWeights, latent: np.ndarray, seed: int = 0, guide: np.ndarray | None = None
) -> Calibration:
    """The largest magnitudes while the decoder plays latent [D, T], widened as befits a short sample.

    guide [T * hop]: what a guided decoder is told.
    """
    random = np.random.default_rng(seed)
    loop = NativeLoop(weights, "fp32")
    maxima = loop.record()
    for _ in range(TURNS):
        loop.reset()
        noise = random.random(latent.shape[1] * weights.hop, dtype=np.float32)
        play(loop, latent, noise, guide=guide)
    found = Calibration.from_flat(maxima, weights.layers, weights.residual, weights.skip)
    return Calibration(*(SHORT * getattr(found, field.name) for field in dataclasses.fields(found)))


def play(
    loop: SampleLoop,
    latent: np.ndarray,
    noise: np.ndarray,
    forced: np.ndarray | None = None,
    guide: np.ndarray | None = None,
    temperature: float = 1.0,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Latent [D, T] and noise [T * hop] through a loop of one stream: audio [N], classes [N], logits [N, A].

    forced, guide [N]: as in `SampleLoop`.
    """
    w, n = loop.weights, latent.shape[1] * loop.weights.hop
    audio, classes = np.zeros((1, n), np.float32), np.zeros((1, n), np.int32)
    logits = np.zeros((1, n, w.classes), np.float32)
    warmth = np.full(1, temperature, np.float32)
    for frame in range(latent.shape[1]):
        piece = slice(frame * w.hop, (frame + 1) * w.hop)
        loop.condition(0, np.ascontiguousarray(latent[:, frame]))
        loop.run(
            noise[None, piece],
            warmth,
            audio[:, piece],
            None if forced is None else forced[None, piece],
            classes[:, piece],
            logits[:, piece],
            None if guide is None else guide[None, piece],
        )
    return audio[0], classes[0], logits[0]


def divergence(
    reference: SampleLoop,
    other: SampleLoop,
    latent: np.ndarray,
    noise: np.ndarray,
    guide: np.ndarray | None = None,
    temperature: float = 1.0,
) -> float:
    """Mean Kullback-Leibler divergence of the other's next-sample distributions from the reference's, in nats.

    Both hear the reference's samples, drawn at the temperature (and a guide, where they are guided), so that each is a
    comparison of its own; the distributions themselves are those of temperature 1.
    """
    reference.reset()
    other.reset()
    _, classes, wanted = play(reference, latent, noise, None, guide, temperature)
    _, _, got = play(other, latent, noise, classes, guide)
    reference.reset()
    other.reset()
    p, q = _log_softmax(wanted), _log_softmax(got)
    return float((np.exp(p) * (p - q)).sum(axis=1).mean())


def _log_softmax(logits: np.ndarray) -> np.ndarray:
    y = logits.astype(np.float64)
    y -= y.max(axis=1, keepdims=True)
    return np.asarray(y - np.log(np.exp(y).sum(axis=1, keepdims=True)))


# What a bundle's self-test tells of one sample loop.


class Probed(NamedTuple):
    """What it hears, latent [D, T], noise [N] and, if guided, guide [N]; and the classes [N] that it must draw."""

    latent: np.ndarray
    noise: np.ndarray
    guide: np.ndarray | None
    classes: np.ndarray

    @classmethod
    def of(cls, probe: Mapping[str, np.ndarray], domain: str, weights: WavenetWeights, bundle: str) -> Probed:
        """UserError: the probe is of a decoder with a guide and this one has none, or the other way round."""
        if weights.guided != (f"told.{domain}" in probe) or (
            weights.guided and len(probe[f"told.{domain}"]) != weights.latent
        ):
            raise UserError(
                f"{bundle}: the weights of {domain} are not of the decoder that its probe was made with; export the "
                "bundle again"
            )
        if weights.guided:
            told, guide, drawn = (probe[f"{part}.{domain}"] for part in ("told", "guide", "drawn"))
            for part, classes in (("guide", guide), ("drawn", drawn)):
                if not ((classes >= 0) & (classes < weights.classes)).all():
                    raise UserError(
                        f"{bundle}: {part}.{domain} of its probe has classes beyond 0 to {weights.classes - 1}; "
                        "export the bundle again"
                    )
            return cls(told, probe["noise"], guide, drawn)
        table = mulaw_table(weights.classes)[1:]  # class 0 is never drawn
        drawn = np.abs(probe[f"audio.{domain}"][:, None] - table).argmin(axis=1).astype(np.int32) + 1
        return cls(probe["latent"], probe["noise"], None, drawn)


CHOICES = ("auto", "int8", "bf16", "fp32", "numba")
MOST_NATS = 1e-3
# two decoders sound while one fades into the other: a little more noise is better than blocks that come late
PINCH_RTF, AT_A_PINCH_NATS = 0.25, 5e-3
PROBE_S = 0.05
LEAST_STEPS = 20  # a busy machine interrupts some of them
SAME_SHARE = 0.999  # of the probe's samples that an exact loop must draw alike


@saved("loop-choice")
@dataclass(frozen=True)
class Choice:
    """How the decoders run here, and what that costs."""

    loop: str  # "native avx512", "numba"
    precision: str
    us_per_sample: float
    rtf: float  # of one decoder
    nats: float  # divergence from fp32, the worst domain's

    def __str__(self) -> str:
        loss = f", {self.nats:.1e} nats from fp32" if self.nats else ""
        return f"{self.loop} {self.precision}: {self.us_per_sample:.1f} us a sample, RTF {self.rtf:.2f}{loss}"


class Autotune:
    """The bundle's self-test, heard by every loop that could play it."""

    def __init__(
        self, bundle: Bundle, weights: list[WavenetWeights], probed: list[Probed], cores: int
    ) -> None:
        self.bundle, self.weights, self.probed, self.cores = bundle, weights, probed, cores

    def pick(self, precision: str) -> tuple[Choice, list[SampleLoop]]:
        """The asked one, or the fastest that is true to fp32, or nearly so where that one would barely keep up.

        UserError: the asked one cannot be had.
        """
        wanted = ("int8", "bf16", "fp32") if precision == "auto" else (precision,)
        try:
            exact = [] if precision == "numba" else self._make("native", "fp32")
        except native_loop.CompilerError:
            if precision != "auto":
                raise
            exact, wanted = [], ("numba",)
        if not exact:
            exact = self._make("numba", "fp32")
        for loop, probed, domain in zip(exact, self.probed, self.bundle.manifest.domains, strict=True):
            self._check(loop, probed, domain.id)
        offers, refused = [], ""
        for name in wanted:
            try:
                offers.append(self._offer(name, exact))
            except UserError as error:
                refused = str(error)
        true = [offer for offer in offers if offer[0].nats <= MOST_NATS or precision != "auto"]
        if not true:
            raise UserError(refused)
        best = min(true, key=lambda offer: offer[0].us_per_sample)
        if best[0].rtf > PINCH_RTF:
            true += [offer for offer in offers if offer[0].nats <= AT_A_PINCH_NATS]
        return min(true, key=lambda offer: offer[0].us_per_sample)

    def _offer(self, name: str, exact: list[SampleLoop]) -> tuple[Choice, list[SampleLoop]]:
        if name in ("fp32", "numba"):
            return self._choice(exact, 0.0), exact
        loops = self._make("native", name)
        nats = float(
            np.max(  # not Python's, which passes over a NaN that comes second
                [
                    divergence(a, b, p.latent, p.noise, p.guide)
                    for a, b, p in zip(exact, loops, self.probed, strict=True)
                ]
            )
        )
        if not np.isfinite(nats):
            raise UserError(
                f"{name} of {self.bundle.path.name} says nothing that fp32 says (its distributions are not finite); "
                "use --precision fp32"
            )
        return self._choice(loops, nats), loops

    def _make(self, kind: str, precision: str) -> list[SampleLoop]:
        return [
            make_loop(w, kind, precision, calibration=self._calibration(w, p, precision), cores=self.cores)
            for w, p in zip(self.weights, self.probed, strict=True)
        ]

    @staticmethod
    def _calibration(weights: WavenetWeights, probed: Probed, precision: str) -> Calibration | None:
        if precision != "int8" or weights.calibration is not None:
            return weights.calibration
        return calibrate(weights, probed.latent, guide=probed.guide)

    def _check(self, loop: SampleLoop, probed: Probed, domain: str) -> None:
        """The probe's noise was chosen so that no draw hangs on the last bits of a sum."""
        loop.reset()
        _, classes, _ = play(loop, probed.latent, probed.noise, guide=probed.guide)
        same = float((classes == probed.classes).mean())
        loop.reset()
        if not same >= SAME_SHARE:
            raise UserError(
                f"the engine wavenet-cpu ({loop.name}) draws other samples than the probe of "
                f"{self.bundle.path.name} for {domain} ({100 * same:.1f} % alike): weights and graph disagree, "
                "export the bundle again, or use --engine onnx"
            )

    def _choice(self, loops: list[SampleLoop], nats: float) -> Choice:
        """Timed on the first domain; all are of one size."""
        loop = loops[0]
        us = _us_per_sample(loop, self.probed[0].latent)
        return Choice(loop.name, loop.precision, us, us * 1e-6 * self.bundle.manifest.sample_rate, nats)


def _us_per_sample(loop: SampleLoop, latent: np.ndarray) -> float:
    """The least over `PROBE_S` seconds: the rest is other programs'. Leaves the loop reset."""
    w = loop.weights
    arrays = (np.ascontiguousarray(latent[None, :, :1]), np.full((1, w.hop), 0.5, np.float32))
    guide = np.full((1, w.hop), w.classes // 2, np.int32) if w.guided else None
    step = loop.bind(*arrays, np.ones(1, np.float32), np.zeros((1, w.hop), np.float32), guide)
    step()
    times: list[float] = []
    while sum(times) < PROBE_S or len(times) < LEAST_STEPS:
        start = time.perf_counter()
        step()
        times.append(time.perf_counter() - start)
    loop.reset()
    return 1e6 * min(times) / w.hop


def too_slow(choice: Choice, weights: WavenetWeights, bundle: Bundle) -> str:
    """One sentence: the figure, and what would keep up."""
    allowed = 1e6 / bundle.manifest.sample_rate
    if choice.loop == "numba":
        would = "a C++ compiler for the native kernel in int8"
    elif choice.precision != "int8":
        would = "--precision int8"
    else:
        would = "a CPU with wider vectors"
    return (
        f"the decoder {weights.name} of {bundle.path.name} needs {choice.us_per_sample:.0f} us a sample on this "
        f"machine ({choice.loop} {choice.precision}, RTF {choice.rtf:.1f}), but {allowed:.1f} are allowed at "
        f"{bundle.manifest.sample_rate} Hz; what would keep up: {would}, a GPU, or a decoder of at most "
        f"1/{choice.rtf * 1.25:.1f} of its size"
    )


def make_loop(
    weights: WavenetWeights,
    kind: str = "native",
    precision: str = "fp32",
    streams: int = 1,
    calibration: Calibration | None = None,
    cores: int = 1,
) -> SampleLoop:
    """A loop of that kind. UserError: unknown kind, or what it needs is missing here."""
    if kind == "native":
        from realtime.engines.wavenet.native_loop import NativeLoop

        return NativeLoop(weights, precision, streams, calibration=calibration, cores=cores)
    if kind not in LOOPS:
        raise UserError(f"unknown sample loop {kind!r}; known are {', '.join(LOOPS)}")
    if precision != "fp32":
        raise UserError(f"{precision} needs the native kernel; {kind} computes in fp32 only")
    if cores != 1:
        raise UserError(f"a second core needs the native kernel; {kind} has but one")
    if kind == "numba":
        from realtime.engines.wavenet.numba_loop import NumbaLoop

        return NumbaLoop(weights, streams)
    pass

    return NumpyLoop(weights, streams)


LOOPS = ("native", "numba", "numpy")
