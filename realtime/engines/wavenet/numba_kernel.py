"""The compiled part of `numba_loop`. Importing this imports numba."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, TypeVar

import numpy as np
from numba import njit

__all__ = ["fold", "run"]

_fast = {"reassoc", "contract", "arcp", "nsz"}  # not "nnan": what is not a number must not become anything
_options: dict[str, Any] = {"fastmath": _fast, "error_model": "numpy", "nogil": True, "cache": True}
f = np.float32

_Function = TypeVar("_Function", bound=Callable[..., Any])


class _Decorator(Protocol):
    def __call__(self, function: _Function, /) -> _Function: ...


compiled: Callable[..., _Decorator] = njit  # numba has no types: what it compiles is called as it was written


@compiled(inline="always", **_options)
def _add_product(weights: Any, x: Any, y: Any) -> None:
    """y[m] += sum of weights[k, m] x[k]; eight inputs at a time, so that y is walked through less often."""
    size = y.shape[0]
    whole = x.shape[0] // 8 * 8
    for k in range(0, whole, 8):
        a, b, c, d, e, g, h, i = x[k], x[k + 1], x[k + 2], x[k + 3], x[k + 4], x[k + 5], x[k + 6], x[k + 7]
        p, q, r, s = weights[k], weights[k + 1], weights[k + 2], weights[k + 3]
        t, u, v, w = weights[k + 4], weights[k + 5], weights[k + 6], weights[k + 7]
        for m in range(size):
            y[m] += ((p[m] * a + q[m] * b) + (r[m] * c + s[m] * d)) + (
                (t[m] * e + u[m] * g) + (v[m] * h + w[m] * i)
            )
    for k in range(whole, x.shape[0]):
        row, a = weights[k], x[k]
        for m in range(size):
            y[m] += row[m] * a


@compiled(inline="always", **_options)
def _add_products(weights: Any, x: Any, y: Any) -> None:
    """The same for all rows of x: eight rows of the weights stay in the first cache until all have used them."""
    whole = x.shape[1] // 8 * 8
    for k in range(0, whole, 8):
        for n in range(x.shape[0]):
            _add_product(weights[k : k + 8], x[n, k : k + 8], y[n])
    for n in range(x.shape[0]):
        _add_product(weights[whole:], x[n, whole:], y[n])


@compiled(inline="always", **_options)
def _exp(x: Any) -> Any:
    """e to the x for |x| <= 80: a power series of x / 256, squared eight times; nothing but sums and products."""
    t = x * f(1.0 / 256.0)
    p = f(1.0 / 6.0) + t * (f(1.0 / 24.0) + t * f(1.0 / 120.0))
    p = t * (f(1.0) + t * (f(0.5) + t * p))
    # squaring p = e^t - 1 keeps the digits that squaring e^t would lose
    p = p * (f(2.0) + p)
    p = p * (f(2.0) + p)
    p = p * (f(2.0) + p)
    p = p * (f(2.0) + p)
    p = p * (f(2.0) + p)
    p = p * (f(2.0) + p)
    p = p * (f(2.0) + p)
    p = p * (f(2.0) + p)
    return p + f(1.0)


@compiled(inline="always", **_options)
def _limit(x: Any) -> Any:
    return min(max(x, f(-30.0)), f(30.0))


@compiled(**_options)
def fold(weights: Any, bias: Any, latent: Any, out: Any) -> None:
    """The conditioning of a frame, for all layers: out = bias + latent @ weights."""
    out[:] = bias
    _add_product(weights, latent, out)


@compiled(inline="always", **_options)
def _draw(logits: Any, uniform: Any, temperature: Any) -> Any:
    sharp = f(1.0) / max(temperature, f(1e-3))
    top = logits[0]
    for k in range(logits.shape[0]):
        top = max(top, logits[k])
    total = f(0.0)
    for k in range(logits.shape[0]):
        logits[k] = _exp(max((logits[k] - top) * sharp, f(-80.0)))
    for k in range(logits.shape[0]):
        total += logits[k]
    wanted, passed = uniform * total, f(0.0)
    drawn = logits.shape[0] - 1
    for k in range(logits.shape[0]):
        passed += logits[k]
        if passed > wanted:
            drawn = k
            break
    return max(drawn, 1)  # class 0 is never used by the encoder, so it is never drawn


@compiled(**_options)
def run(
    arrays: Any,
    table: Any,
    state: Any,
    scratch: Any,
    condition: Any,
    noise: Any,
    temperature: Any,
    forced: Any,
    guide: Any,
    audio: Any,
    classes: Any,
    logits: Any,
) -> None:
    """Samples of one stream; empty `forced`, `guide`, `classes`, `logits` are not used."""
    (
        embed,
        first_past,
        first_now,
        guide_embed,
        guide_past,
        guide_now,
        leaned,
        past,
        now,
        outputs,
        biases,
        head,
        head_bias,
        classify,
        classify_bias,
        dilations,
    ) = arrays
    ring, taps, last = state
    hidden, pre, gated, both, total, squeezed, scores = scratch
    layers, r, s = dilations.shape[0], hidden.shape[0], total.shape[0]
    for i in range(noise.shape[0]):
        time = last[2]
        at, at_tap = 1, 1
        for layer in range(1, layers):
            d = dilations[layer]
            batch = min(d, 8)
            if time % batch == 0:
                slot = at + time % d
                ready = taps[at_tap : at_tap + batch]
                ready[:] = f(0.0)
                _add_products(past[layer], ring[slot : slot + batch], ready)
            at += d
            at_tap += batch
        hidden[:] = embed[last[0]]
        hint = 0
        if guide.shape[0] > 0:
            hint = min(max(guide[i], 0), scores.shape[0] - 1)
            for m in range(r):
                hidden[m] += guide_embed[hint, m]
        total[:] = f(0.0)
        at, at_tap = 0, 0
        for layer in range(layers):
            d = dilations[layer]
            batch = min(d, 8)
            c = condition[2 * r * layer : 2 * r * (layer + 1)]
            if layer == 0:
                p, q = first_past[last[1]], first_now[last[0]]
                for m in range(2 * r):
                    pre[m] = p[m] + q[m] + c[m]
                if guide.shape[0] > 0:
                    p, q = guide_past[last[3]], guide_now[hint]
                    for m in range(2 * r):
                        pre[m] += p[m] + q[m]
                    last[3] = hint
            else:
                p = taps[at_tap + time % batch]
                for m in range(2 * r):
                    pre[m] = p[m] + c[m]
                ring[at + time % d] = hidden
                _add_product(now[layer], hidden, pre)
            for m in range(r):
                E = _exp(_limit(f(2.0) * pre[r + m]))
                G = _exp(_limit(-pre[m]))
                gated[m] = (E - f(1.0)) / ((E + f(1.0)) * (f(1.0) + G))
            both[:] = biases[layer]
            _add_product(outputs[layer], gated, both)
            for m in range(r):
                hidden[m] += both[m]
            for m in range(s):
                total[m] += both[r + m]
            at += d
            at_tap += batch
        for m in range(s):
            total[m] = max(total[m], f(0.0))
            squeezed[m] = head_bias[m] + condition[2 * r * layers + m]
        _add_product(head, total, squeezed)
        for m in range(s):
            squeezed[m] = max(squeezed[m], f(0.0))
        scores[:] = classify_bias
        _add_product(classify, squeezed, scores)
        if logits.shape[0] > 0:
            logits[i] = scores
        drawn = _draw(scores, noise[i], temperature)
        audio[i] = table[drawn]
        if classes.shape[0] > 0:
            classes[i] = drawn
        last[1] = last[0]
        last[0] = drawn
        if forced.shape[0] > 0:
            last[0] = min(max(forced[i], 0), scores.shape[0] - 1)
        if guide.shape[0] > 0:
            last[0] = leaned[hint, last[0]]
        last[2] = time + 1
