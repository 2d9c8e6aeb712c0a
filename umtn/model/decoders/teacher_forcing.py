"""The arithmetic of a teacher-forced WaveNet with channels last: every layer two matrix products.

In bfloat16 three to five times faster on a CPU than dilated convolutions over [B, C, N], and what lies between
the products is written by hand where autograd would copy a layer's activations several times. Where our own kernel
runs, the whole pass is its (`umtn.model.decoders.teacher_forcing`), five times faster again.
"""

from __future__ import annotations

import ctypes
import functools
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor

if TYPE_CHECKING:
    from umtn.model.decoders.wavenet import WaveNetDecoder
    from umtn.native.build import Kernel

__all__ = ["LEVELS", "available", "kernel", "kernel_level", "nats", "sample_loss"]


# Teacher forcing on the CPU by our own kernel: loss and gradients of a WaveNet in one pass (`native/pass.h`).
#
# For CPUs that multiply in bfloat16 (AMX, AVX-512 BF16), under Linux; elsewhere `available` is False and PyTorch's
# products are used (`umtn.model.decoders.teacher_forcing`). Compiled once, at the first use, with the system's C++
# compiler.


BLOCK = 32  # the kernel multiplies squares of this many rows and columns
LEVELS = {"amx": 2, "bf16": 1}
_SIZES = ("clips", "samples", "hop", "layers", "residual", "skip", "classes", "first")
_PARAMETERS = (
    "embed", "before", "now", "skip_w", "skip_b", "after_w", "after_b", "head_w", "head_b", "class_w", "class_b",
)  # fmt: skip
_INPUTS = ("past", "guide", "target", "weight", "condition", *_PARAMETERS)
_GRADIENTS = tuple(f"d_{name}" for name in ("condition", *_PARAMETERS))


class _Pass(ctypes.Structure):
    _fields_ = [
        *((name, ctypes.c_int32) for name in _SIZES),
        *((name, ctypes.c_void_p) for name in ("dilations", *_INPUTS, "loss", *_GRADIENTS)),
    ]


@functools.cache
def kernel() -> Kernel:
    """Its sources and how they are compiled."""
    # what only plays or exports a model needs none of this
    from umtn.native.build import AVX512, Kernel

    return Kernel(
        name="teacher",
        title="the kernel that trains WaveNet decoders on a CPU",
        sources=Path(__file__).resolve().with_name("native"),
        units=("api",),
        x86={
            "amx": ((*AVX512, "-mavx512bf16", "-mamx-tile", "-mamx-bf16"), ("/arch:AVX512",)),
            "bf16": ((*AVX512, "-mavx512bf16"), ("/arch:AVX512",)),
        },
        arm={},
        instead="PyTorch's own products",
    )


@functools.cache
def _library() -> ctypes.CDLL:
    from umtn.native.build import opened

    return opened(kernel().library(), kernel().title)


@functools.cache
def kernel_level() -> int:
    """What this CPU's kernel multiplies with: one of LEVELS, or 0 where there is none (no compiler, another CPU)."""
    from umtn.native.build import CompilerError

    try:
        return int(_library().teacher_best())
    except CompilerError:
        return 0


def available(decoder: WaveNetDecoder, like: Tensor) -> bool:
    """Whether the kernel can train this decoder: on a CPU that it knows, with sizes in whole blocks."""
    sizes = (decoder.residual, decoder.skip, decoder.classes, decoder.hop)
    return like.device.type == "cpu" and not any(s % BLOCK for s in sizes) and kernel_level() > 0


class _Nats(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        dilations: list[int],
        at: int,
        past: Tensor,
        guide: Tensor | None,
        target: Tensor,
        weight: Tensor,
        *real: Tensor,
    ) -> Tensor:
        whole = [x if x is None else x.int().contiguous() for x in (past, guide, target)]
        inputs = [weight.float().contiguous(), *(x.detach().float().contiguous() for x in real)]
        gradients = [torch.zeros_like(x) for x in inputs[1:]]
        loss, steps = torch.zeros(1, dtype=torch.float64), torch.tensor(dilations, dtype=torch.int32)
        residual, skip, classes = inputs[2].shape[1], inputs[5].shape[1], len(inputs[-1])
        clips, samples = past.shape
        frames = weight.shape[1]
        first = int((weight > 0).any(dim=0).int().argmax()) * (samples // frames)
        sizes = (clips, samples, samples // frames, len(dilations), residual, skip, classes, first)
        arrays = (steps, *whole, *inputs, loss, *gradients)
        done = _Pass(*sizes, *(None if x is None else x.data_ptr() for x in arrays))
        if _library().teacher_pass(ctypes.byref(done), at):
            raise MemoryError("too little memory for a training step; make the batch smaller")
        ctx.gradients = gradients
        return loss[0].float()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        return (None,) * 6 + tuple(g * grads[0] for g in ctx.gradients)


def nats(
    decoder: WaveNetDecoder,
    condition_BTC: Tensor,
    past_BN: Tensor,
    classes_BN: Tensor,
    weight_BT: Tensor,
    at: int,
    guide_BN: Tensor | None = None,
) -> Tensor:
    """Sum over samples of weight * -log p(class | past, guide, condition), with gradients; a scalar.

    past_BN: the class before each sample. guide_BN: the guide's at each. at: one of LEVELS' values.
    """
    s = decoder.skip
    taps = [d.weight for d in decoder.dilated]
    out, bias = [o.weight for o in decoder.output], [o.bias for o in decoder.output]
    real = (
        condition_BTC,
        decoder.embed.weight,
        torch.stack([w[:, :, 0] for w in taps]),  # type: ignore[index]
        torch.stack([w[:, :, 1] for w in taps]),  # type: ignore[index]
        torch.stack([w[:s, :, 0] for w in out]),  # type: ignore[index]
        torch.stack([b[:s] for b in bias]).sum(dim=0),  # type: ignore[index]
        torch.stack([w[s:, :, 0] for w in out[:-1]]),  # type: ignore[index]
        torch.stack([b[s:] for b in bias[:-1]]),  # type: ignore[index]
        decoder.head.weight[:, :, 0],
        decoder.head.bias,
        decoder.classify.weight[:, :, 0],
        decoder.classify.bias,
    )
    return _Nats.apply(decoder.dilations, at, past_BN, guide_BN, classes_BN, weight_BT, *real)  # type: ignore[no-any-return, no-untyped-call]


def sample_loss(
    decoder: WaveNetDecoder,
    latent_BDT: Tensor,
    past_BN: Tensor,
    classes_BN: Tensor,
    weight_BT: Tensor,
    level: int | None = None,
    guide_BN: Tensor | None = None,
) -> Tensor:
    """Nats a sample, -log p(class | the classes before it, guide, latent), as a mean weighted by frame.

    past_BN: the class that the decoder is told came before each sample. guide_BN: the guide's, for a decoder that has
    one. level: one of `teacher_kernel.LEVELS`' values, 0 for PyTorch's products (default: the best
    there is). In mixed precision; gradients flow to all.
    """
    if level is None:
        level = kernel_level() if available(decoder, latent_BDT) else 0
    weight = weight_BT / (weight_BT.sum() * decoder.hop).clamp(min=1.0)
    with torch.autocast(latent_BDT.device.type, torch.bfloat16):
        if level:
            condition = decoder.condition(latent_BDT).transpose(1, 2)
            return nats(decoder, condition, past_BN, classes_BN, weight, level, guide_BN)
        logits = decoder.logits(latent_BDT, classes_BN, past_BN=past_BN, guide_BN=guide_BN)
    nll = F.cross_entropy(logits.float(), classes_BN, reduction="none")
    return (nll * weight.repeat_interleave(decoder.hop, dim=1)).sum()
