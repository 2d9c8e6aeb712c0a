"""The contract of every streaming module, checked by running it: see `umtn/model/streaming.py`.

Shape legend: B stream, C channel, P pitch, T time (always last).
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from umtn.model.streaming import State, StreamingModule

__all__ = ["check_contract", "stream"]

STREAMS = 3
MOST_OFFSETS = 16  # time steps of one block that are tried one by one


def check_contract(module: StreamingModule, x: Tensor, *, tol: float = 1e-5) -> None:
    """Assert every clause for x_BCT or x_BCPT; T a multiple of the block and well beyond the receptive field.

    `tol` is relative to the largest output, or absolute where that is below one.
    """
    torch.manual_seed(0)
    blocks, rest = divmod(x.shape[-1], module.block)
    assert rest == 0, f"x has {x.shape[-1]} steps, no multiple of the block of {module.block}"
    assert blocks >= 8, f"x has only {blocks} blocks of {module.block}; the check needs 8"
    x = _streams(x.detach())
    _check_state(module, x)
    _check_pure(module, x)
    _check_streaming(module, x, tol)
    _check_reset(module, x, tol)
    _check_causal(module, x)
    _check_latency(module, x)
    _check_receptive_field(module, x)
    _check_gradients(module, x, tol)


def stream(
    module: StreamingModule, x: Tensor, pieces: list[int], state: State | None = None
) -> tuple[Tensor, State]:
    """Feed x in pieces of so many blocks each, over and over, until it is used up."""
    state = module.init_state(x.shape[0]) if state is None else state
    outputs, start, turn = [], 0, 0
    while start < x.shape[-1]:
        stop = min(start + pieces[turn % len(pieces)] * module.block, x.shape[-1])
        y, state = module.step(x[..., start:stop], state)
        assert y.shape[-1] == (stop - start) * module.ratio, f"{stop - start} steps gave {y.shape[-1]}"
        outputs.append(y)
        start, turn = stop, turn + 1
    return torch.cat(outputs, -1), state


def _streams(x: Tensor) -> Tensor:
    """At least three streams that differ."""
    rows = [x[i % x.shape[0]].roll(7 * (i // x.shape[0]), -1) for i in range(max(STREAMS, x.shape[0]))]
    return torch.stack(rows)


def _assert_close(got: Tensor, wanted: Tensor, tol: float, what: str) -> None:
    assert got.shape == wanted.shape, f"{what}: shape {tuple(got.shape)}, wanted {tuple(wanted.shape)}"
    assert torch.isfinite(wanted).all(), f"{what}: not finite"
    error = float((got - wanted).abs().max()) if wanted.numel() else 0.0
    limit = tol * max(1.0, float(wanted.abs().max()) if wanted.numel() else 0.0)
    assert error <= limit, f"{what}: differs by {error:.2e}, allowed {limit:.2e}"


def _check_state(module: StreamingModule, x: Tensor) -> None:
    names = module.state_names()
    assert len(set(names)) == len(names), f"state names are not unique: {names}"
    for streams in (1, STREAMS):
        before = module.init_state(streams)
        _, after = module.step(x[:streams, ..., : module.block], before)
        assert len(before) == len(after) == len(names), (
            f"{len(before)} -> {len(after)} states, {len(names)} names"
        )
        for name, old, new in zip(names, before, after, strict=True):
            assert old.shape[0] == streams, (
                f"{name}: shape {tuple(old.shape)} does not begin with the streams"
            )
            assert old.shape == new.shape, f"{name}: {tuple(old.shape)} became {tuple(new.shape)}"
            assert old.dtype == new.dtype, f"{name}: {old.dtype} became {new.dtype}"
            assert old.is_contiguous() and new.is_contiguous(), f"{name} is not contiguous"


def _check_pure(module: StreamingModule, x: Tensor) -> None:
    """`step` changes neither its arguments nor the module, and equal calls give equal results."""
    _, state = module.step(x, module.init_state(x.shape[0]))
    saved = [x.clone(), *(s.clone() for s in state)]
    weights = {name: value.clone() for name, value in module.state_dict(keep_vars=False).items()}
    first, first_state = module.step(x, state)
    kept = [first.clone(), *(s.clone() for s in first_state)]
    again, again_state = module.step(x, state)
    for old, now in zip(saved, [x, *state], strict=True):
        assert torch.equal(old, now), "step changed its input or the state it was given"
    for old, now in zip(kept, [again, *again_state], strict=True):
        assert torch.equal(old, now), "the same call gave another result: something is hidden in the module"
    for old, now in zip(kept, [first, *first_state], strict=True):
        assert torch.equal(old, now), "a later step changed what an earlier one had returned"
    for name, value in module.state_dict().items():
        assert torch.equal(weights[name], value), f"step changed the module's {name}"


@torch.no_grad()
def _check_streaming(module: StreamingModule, x: Tensor, tol: float) -> None:
    blocks = x.shape[-1] // module.block
    for streams in (1, STREAMS):
        rows = x[:streams]
        offline = module(rows)
        whole, end = module.step(rows, module.init_state(streams))
        _assert_close(whole, offline, 0.0, "forward is not step from the initial state")
        for pieces in ([1], [2], [5], [1, 3, 2, 4], [blocks - 1, 1]):
            streamed, state = stream(module, rows, pieces)
            what = f"{streams} streams in pieces of {pieces} blocks"
            _assert_close(streamed, offline, tol, what)
            for name, got, wanted in zip(module.state_names(), state, end, strict=True):
                _assert_close(got, wanted, tol, f"{what}: state {name}")


@torch.no_grad()
def _check_reset(module: StreamingModule, x: Tensor, tol: float) -> None:
    """Writing the initial state into one row restarts that stream and leaves its neighbours alone."""
    half = x.shape[-1] // module.block // 2 * module.block
    _, state = module.step(x[..., :half], module.init_state(x.shape[0]))
    expected, _ = module.step(x[..., half:], state)
    fresh, _ = module.step(x[1:2, ..., half:], module.init_state(1))
    reset = [s.clone() for s in state]
    for row, initial in zip(reset, module.init_state(1), strict=True):
        row[1] = initial[0]
    got, _ = module.step(x[..., half:], reset)
    _assert_close(got[1:2], fresh, tol, "the stream that was reset")
    for i in (0, 2):
        _assert_close(got[i], expected[i], tol, "the neighbour of the stream that was reset")


@torch.no_grad()
def _check_causal(module: StreamingModule, x: Tensor) -> None:
    blocks = x.shape[-1] // module.block
    before = module(x)
    for k in {1, blocks // 2, blocks - 1}:
        changed = x.clone()
        changed[..., k * module.block :] = x.roll(1, 0)[..., k * module.block :]
        known = int(k * module.block * module.ratio)
        same = torch.equal(module(changed)[..., :known], before[..., :known])
        assert same, f"not causal: input from step {k * module.block} on changed an output before {known}"


@torch.no_grad()
def _check_latency(module: StreamingModule, x: Tensor) -> None:
    """Change the last step of one block: a look-ahead-free module answers at the block's first output."""
    before = module(x)
    first = x.shape[-1] // module.block // 2 * module.block
    t = first + module.block - 1
    changed = x.clone()
    changed[..., t] = x.roll(1, 0)[..., t]
    differs = (module(changed) != before).flatten(0, -2).any(0).nonzero()
    assert len(differs), f"input step {t} reaches no output; x is too short or the module is dead"
    lag = int(differs[0]) - int(first * module.ratio)
    assert lag == module.latency, f"latency {module.latency} declared, {lag} measured"


def _check_receptive_field(module: StreamingModule, x: Tensor) -> None:
    declared = module.receptive_field
    x = x.clone().requires_grad_()
    y = module(x)
    if math.isinf(declared) and not y.requires_grad:
        return  # sampled output: the past is heard through the samples drawn, and for ever
    span, step = 0, int(module.block * module.ratio)
    weights = torch.randn(y.shape[:-1], dtype=y.dtype)
    for n in (y.shape[-1] - step + offset for offset in _offsets(step)):
        (gradient,) = torch.autograd.grad((y[..., n] * weights).sum(), x, retain_graph=True)
        heard = gradient.flatten(0, -2).any(0).nonzero()
        assert len(heard), f"output step {n} hears no input"
        assert int(heard[0]) > 0 or math.isinf(declared), "x is too short to see the receptive field's end"
        span = max(span, int(heard[-1] - heard[0]) + 1)
    # where layers change the rate up and down, the worst phases of all of them need not meet
    composite = any(isinstance(child, StreamingModule) for child in module.modules() if child is not module)
    slack = 2 * module.block if composite else 0
    message = f"receptive field {declared} declared, {span} measured"
    assert span <= declared and (declared <= span + slack or math.isinf(declared)), message


def _check_gradients(module: StreamingModule, x: Tensor, tol: float) -> None:
    x = x.clone().requires_grad_()
    offline = module(x)
    if not offline.requires_grad:
        return
    weights = torch.randn_like(offline)
    variables = [x, *(p for p in module.parameters() if p.requires_grad)]
    streamed, _ = stream(module, x, [1, 3, 2])
    pairs = [
        torch.autograd.grad((y * weights).sum(), variables, allow_unused=True) for y in (streamed, offline)
    ]
    for got, wanted in zip(*pairs, strict=True):
        assert (got is None) == (wanted is None), "a weight gets its gradient only offline, or only streamed"
        if got is not None and wanted is not None:
            _assert_close(got, wanted, 10 * tol, "gradient")


def _offsets(length: int) -> Iterator[int]:
    """All steps of a short block; of a long one the first, the last and some between."""
    count = min(length, MOST_OFFSETS)
    return (round(i * (length - 1) / max(1, count - 1)) for i in range(count))
