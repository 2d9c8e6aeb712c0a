"""Streaming resampler for any rational ratio: polyphase windowed sinc, exact delay, no drift.

Output k stands at input time k * down / up and is made as soon as input sample floor(k * down / up) is there:

    input     0   1   2   3   4   5        up = 2, down = 3 (48 kHz -> 32 kHz)
    output    0     1     2     3          after n inputs there are ceil(n * up / down) outputs

One filter of `up * span + 1` taps at the common rate `up * rate_in`, Kaiser window, -6 dB at half of the
lower rate. It delays by exactly span / 2 samples of the *device* rate, so a resampler to the model's rate
and the one back together delay by `span` device samples: a whole number, and the dry signal can be aligned.
With the default length (16 samples of the lower rate): flat within 0.1 dB up to 0.40 of the lower rate, -6 dB
at 0.50, below -50 dB from 0.61 of it on; 48 <-> 24 kHz delays by 16 + 16 samples, 0.67 ms in all.
"""

from __future__ import annotations

from math import gcd

import numpy as np
from numpy.typing import NDArray

from realtime.shared.saved_classes import saved

__all__ = ["Resampler", "outputs_after", "reblocking_delay", "span_at"]


HALF_WIDTH = 16  # filter length in samples of the lower rate
KAISER_BETA = 4.91  # Kaiser (1974), 0.1102 (A - 8.7) at A = 53.3 dB


def span_at(grid_hz: int, other_hz: int, width: int = HALF_WIDTH) -> int:
    """Filter length in samples of `grid_hz`, even: also the delay of going to the other rate and back."""
    if grid_hz == other_hz:
        return 0
    return 2 * round(width * grid_hz / min(grid_hz, other_hz) / 2)


def outputs_after(n: int | np.ndarray, up: int, down: int) -> int | np.ndarray:
    """How many outputs exist once `n` inputs have come."""
    return -((-n * up) // down)


def _prototype(up: int, down: int, span_taps: int, beta: float) -> NDArray[np.float64]:
    """Low-pass with `span_taps + 1` taps at the common rate, unity gain for every output phase."""
    t = np.arange(span_taps + 1) - span_taps / 2
    cutoff = 1.0 / max(up, down)
    taps: NDArray[np.float64] = np.sinc(t * cutoff) * np.kaiser(span_taps + 1, beta)
    return taps


@saved("resampler")
class Resampler:
    """Mono float32 stream from `rate_in` to `rate_out` Hz in pieces of any size up to `max_chunk` inputs.

    grid_hz: the rate, of the two, on whose grid the round trip's delay is whole (default: rate_in).
    delay_out: group delay in output samples, exact. Equal rates pass through.
    """

    def __init__(
        self,
        rate_in: int,
        rate_out: int,
        max_chunk: int = 1024,
        grid_hz: int | None = None,
        width: int = HALF_WIDTH,
        beta: float = KAISER_BETA,
    ) -> None:
        divisor = gcd(rate_in, rate_out)
        self.up, self.down = rate_out // divisor, rate_in // divisor
        self.rate_in, self.rate_out, self.max_chunk = rate_in, rate_out, max_chunk
        self.max_out = int(outputs_after(max_chunk, self.up, self.down)) + 1
        # both directions between two rates share one length, whole on one end's grid
        on_output = grid_hz == rate_out
        span = span_at(rate_out, rate_in, width) if on_output else span_at(rate_in, rate_out, width)
        self.span_taps = span * (self.down if on_output else self.up)
        self.delay_out = self.span_taps / 2 / self.down
        self._build(beta)
        self.reset()

    def _build(self, beta: float) -> None:
        taps = _prototype(self.up, self.down, self.span_taps, beta)
        self.taps = self.span_taps // self.up + 1
        padded = np.zeros(self.taps * self.up)
        padded[: len(taps)] = taps
        phases = padded.reshape(self.taps, self.up).T  # [phase, age]
        phases = phases / phases.sum(axis=1, keepdims=True)  # no gain ripple from phase to phase at 0 Hz
        self.table = np.ascontiguousarray(phases[:, ::-1], np.float32)  # oldest first, like the history
        self._history = np.zeros(self.taps - 1 + self.max_chunk, np.float32)
        self._windows = np.lib.stride_tricks.sliding_window_view(self._history, self.taps)
        self._few_phases = self.up <= 4
        if not self._few_phases:
            self._ages = np.arange(self.taps)
            self._index = np.zeros((self.max_out, self.taps), np.intp)
            self._rows = np.zeros((self.max_out, self.taps), np.float32)
            self._coefficients = np.zeros((self.max_out, self.taps), np.float32)
            self._count = np.arange(self.max_out)
            self._base = np.zeros(self.max_out, np.intp)
            self._phase = np.zeros(self.max_out, np.intp)

    def reset(self) -> None:
        """Forget the past; the next output is output 0 again."""
        self._history[:] = 0.0
        self._position = 0  # of the next output, in common-rate steps after the first input of the next chunk

    def process(self, chunk: np.ndarray, out: np.ndarray) -> int:
        """Write the outputs that `chunk` makes possible to `out`; returns how many."""
        n = len(chunk)
        if self.up == self.down:
            out[:n] = chunk
            return n
        if n > self.max_chunk:
            raise ValueError(f"a chunk of {n} samples came, at most {self.max_chunk} were announced")
        keep = self.taps - 1
        self._history[keep : keep + n] = chunk
        end = n * self.up
        count = max(0, -((self._position - end) // self.down))
        if self._few_phases:
            self._by_phase(count, out)
        else:
            self._by_row(count, out)
        self._position += count * self.down - end
        self._history[:keep] = self._history[n : n + keep]
        return count

    def _by_phase(self, count: int, out: np.ndarray) -> None:
        """Every `up`-th output has the same phase and moves by `down` inputs: one strided product each."""
        for first in range(min(self.up, count)):
            base, phase = divmod(self._position + first * self.down, self.up)
            here = out[first : count : self.up]
            rows = self._windows[base : base + (len(here) - 1) * self.down + 1 : self.down]
            np.einsum("kt,t->k", rows, self.table[phase], out=here)

    def _by_row(self, count: int, out: np.ndarray) -> None:
        """Many phases (44.1 kHz): gather each output's window and coefficients."""
        base, phase = self._base[:count], self._phase[:count]
        np.multiply(self._count[:count], self.down, out=phase)
        phase += self._position
        np.floor_divide(phase, self.up, out=base)
        np.remainder(phase, self.up, out=phase)
        rows, coefficients = self._rows[:count], self._coefficients[:count]
        np.add(base[:, None], self._ages, out=self._index[:count])
        np.take(self._history, self._index[:count], out=rows, mode="clip")
        np.take(self.table, phase, axis=0, out=coefficients, mode="clip")
        np.einsum("kt,kt->k", rows, coefficients, out=out[:count])


# How much must be buffered between the device's block and the model's: exactly that, and no more.
#
#     device samples n --resample--> m = ceil(n up / down) --blocks--> m' = block floor(m / block)
#                                                    --resample back--> k = ceil(m' down / up) <= n
#
# After every call the path has taken n samples and can have made k; it must have given n. So it starts with
# max(n - k) zeros, over all n at which a call can end. The pattern repeats, so the maximum is over one period.


def reblocking_delay(device_hz: int, model_hz: int, model_block: int, device_block: int | None) -> int:
    """Samples at the device's rate. device_block None: calls may bring any number of samples."""
    divisor = gcd(device_hz, model_hz)
    up, down = model_hz // divisor, device_hz // divisor
    # after `period` device samples a whole number of model blocks has come, and everything starts over
    period = down * (model_block // gcd(up, model_block))
    step = device_block or 1
    calls = period // gcd(period, step)
    taken = np.arange(1, calls + 1, dtype=np.int64) * step
    gathered = outputs_after(taken, up, down) // model_block * model_block
    made = outputs_after(gathered, down, up)
    return int(np.max(taken - made))
