"""How much must be buffered between the device's block and the model's: exactly that, and no more.

    device samples n --resample--> m = ceil(n up / down) --blocks--> m' = block floor(m / block)
                                                   --resample back--> k = ceil(m' down / up) <= n

After every call the path has taken n samples and can have made k; it must have given n. So it starts with
max(n - k) zeros, over all n at which a call can end. The pattern repeats, so the maximum is over one period.
"""

from __future__ import annotations

from math import gcd

import numpy as np

from realtime.audio.resample import outputs_after

__all__ = ["reblocking_delay"]


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
