"""A noise that finds its own delay: play it round, correlate what comes back with what was sent.

A maximum length sequence repeats itself after 2^n - 1 samples, and its circular correlation with itself is one
spike on an even floor (Rife and Vanderkooy, "Transfer-function measurement with maximum-length sequences",
1989). The correlation with what came back is therefore the loop's impulse response, and its first strong spike
the delay; between the samples it is read by trigonometric interpolation.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from umtn.errors import UserError

__all__ = ["Loop", "judge", "listen", "maximum_length_sequence", "order_for"]

# feedback taps of primitive polynomials over GF(2)
_TAPS = {
    10: (10, 7), 11: (11, 9), 12: (12, 11, 10, 4), 13: (13, 12, 11, 8), 14: (14, 13, 12, 2), 15: (15, 14),
    16: (16, 15, 13, 4), 17: (17, 14), 18: (18, 11),
}  # fmt: skip
LONGEST_LOOP_S = 0.6
GUARD_S = 0.001  # around the spike: the converters' own filters ring there
FIRST = 0.5  # of the highest spike: the earliest one above is the direct way
FINE = 16  # steps between two samples
CLIPPED = 0.99
SILENT_DB = -90.0
NOTHING, WEAK = 10.0, 30.0  # spike over noise: below the first there is none, below the second it is not sure
ECHO_REFUSED_DB, ECHO_NOTED_DB = -10.0, -30.0
STEADY = 1.0  # samples that the delay may move between two rounds


def order_for(rate_hz: int) -> int:
    """The shortest sequence that is longer than the longest loop."""
    return next((n for n in _TAPS if (2**n - 1) / rate_hz >= LONGEST_LOOP_S), max(_TAPS))


def maximum_length_sequence(order: int) -> np.ndarray:
    """2^order - 1 values of +1 and -1, float32."""
    state = [1] * order
    taps = [t - 1 for t in _TAPS[order]]
    out = np.empty(2**order - 1, np.float32)
    for i in range(len(out)):
        out[i] = 1.0 - 2.0 * state[-1]
        bit = 0
        for t in taps:
            bit ^= state[t]
        state = [bit, *state[:-1]]
    return out


@dataclass(frozen=True)
class Loop:
    """What came back. delay in samples; gain and echo in dB; spread: how far the rounds disagree, in samples."""

    delay: float
    spread: float
    gain_db: float
    level_db: float
    peak: float
    confidence: float  # height of the spike over the noise around it
    echo_db: float
    echo_after: float  # samples
    inverted: bool


def listen(sequence: np.ndarray, heard: np.ndarray, rate_hz: int, level: float = 1.0) -> Loop:
    """`heard`: one or more whole rounds, starting where the sequence starts; level: amplitude it was played at."""
    period = len(sequence)
    rounds = heard[: len(heard) // period * period].reshape(-1, period).astype(np.float64)
    spectrum = np.fft.rfft(sequence.astype(np.float64)).conj() / (period * level)
    products = [np.fft.rfft(r) * spectrum for r in rounds]
    whole = np.mean(products, axis=0)
    response = np.fft.irfft(whole, period)
    at = _first_spike(np.abs(response))
    near = np.arange(-FINE, FINE + 1) / FINE
    turns = np.exp(2j * np.pi / period * np.outer(near, np.arange(len(spectrum))))
    delays = [_delay(p, period, turns, near) for p in products]
    echo_db, echo_after = _echo(np.abs(response), at, int(GUARD_S * rate_hz))
    rms = float(np.sqrt(np.mean(rounds**2)))
    spike = abs(float(response[at]))
    return Loop(
        delay=float(np.median(delays)),
        spread=float(max(delays) - min(delays)),
        gain_db=_db(spike),
        level_db=_db(rms),
        peak=float(np.abs(rounds).max()),
        confidence=spike / max(float(np.median(np.abs(response))) * 1.4826, 1e-12),
        echo_db=echo_db,
        echo_after=echo_after,
        inverted=bool(response[at] < 0),
    )


def _db(amplitude: float) -> float:
    return 20.0 * math.log10(max(amplitude, 1e-10))


def _first_spike(height: np.ndarray) -> int:
    """The earliest sample near the first strong spike's top."""
    first = int(np.argmax(height >= FIRST * height.max()))
    return first + int(np.argmax(height[first : first + 3]))


def _delay(product: np.ndarray, period: int, turns: np.ndarray, near: np.ndarray) -> float:
    """Top of the band-limited curve through one round's response, within one sample of its spike.

    turns [times, bins]: turns a spectrum by the times in `near` (samples).
    """
    at = _first_spike(np.abs(np.fft.irfft(product, period)))
    there = product * np.exp(2j * np.pi * at / period * np.arange(len(product))) * 2.0
    there[0] /= 2.0  # an odd length has no bin at half the rate
    curve = np.abs((turns @ there).real)
    k = min(max(int(np.argmax(curve)), 1), len(curve) - 2)
    left, top, right = curve[k - 1 : k + 2]
    bend = left - 2 * top + right
    return float(at + near[k] + (0.5 * (left - right) / bend / FINE if bend else 0.0))


def _echo(height: np.ndarray, at: int, guard: int) -> tuple[float, float]:
    """The second way round: its height against the first (dB), and how much later it comes (samples)."""
    rest = np.roll(height, -at).copy()
    rest[: guard + 1] = 0.0
    rest[len(rest) - guard :] = 0.0
    k = int(np.argmax(rest))
    return _db(float(rest[k] / max(height[at], 1e-10))), float(k)


def judge(loop: Loop, rate_hz: int, lost: int = 0) -> list[str]:
    """Remarks on a measurement that can be used; UserError with one sentence on one that cannot."""
    if loop.peak >= CLIPPED:
        raise UserError(
            f"the input clips (peak {loop.peak:.2f}); turn the input gain down, or play softer with --level"
        )
    if loop.confidence < NOTHING:
        if loop.level_db < SILENT_DB:
            raise UserError(
                "nothing at all came back; is a cable plugged from the output to this input, is the input the "
                "right --channel, are output and input turned up?"
            )
        raise UserError(
            f"only noise came back ({loop.level_db:.0f} dB), not what was played; is the cable in this output "
            "and this input, and the input the right --channel?"
        )
    if loop.confidence < WEAK:
        raise UserError(
            f"what came back is too quiet to be sure ({loop.gain_db:.0f} dB, in noise of {loop.level_db:.0f} dB); "
            "turn the input gain up, or play louder with --level"
        )
    if lost:
        raise UserError(
            f"{lost} block(s) were lost while measuring, so the delay is not to be trusted; try again with "
            "other programs closed, or with a larger --block"
        )
    if loop.spread > STEADY:
        raise UserError(
            f"the delay moved by {loop.spread:.1f} samples while measuring: input and output run on two clocks, "
            "or a sound server resamples; use one device for both"
        )
    echo_ms = 1000 * loop.echo_after / rate_hz
    if loop.echo_db > ECHO_REFUSED_DB:
        raise UserError(
            f"the sound comes back by two ways, the second {echo_ms:.1f} ms later and {loop.echo_db:.0f} dB "
            "against the first; use a cable instead of a loudspeaker, and switch direct monitoring off"
        )
    remarks = []
    if loop.echo_db > ECHO_NOTED_DB:
        remarks.append(f"a weak echo follows after {echo_ms:.1f} ms ({loop.echo_db:.0f} dB)")
    if loop.inverted:
        remarks.append("the polarity is inverted on the way")
    return remarks
