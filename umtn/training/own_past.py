"""A guided WaveNet's own past: what it would have drawn so far, beside the truth that it ought to go on with.

Its guide has the truth's phases while it learns, so what it draws by itself lies beside the truth, with the faults that
it has on stage. To be told these and asked for the truth teaches it to come back (Ross et al. 2011, "A reduction of
imitation learning and structured prediction to no-regret online learning").
"""

from __future__ import annotations

import torch
from torch import Tensor

from umtn.decoders.wavenet import WaveNetDecoder
from umtn.mulaw import leaning, mulaw_encode

__all__ = ["own_past"]


@torch.no_grad()
def own_past(
    net: WaveNetDecoder, told_BDT: Tensor, guide_BN: Tensor, generator: torch.Generator
) -> Tensor | None:
    """The class before each sample [B, N] of a free run from silence; None where no native sample loop is to be had."""
    # what only plays or exports a model needs none of this
    from realtime.engines.wavenet_cpu.native_loop import NativeLoop, supported
    from realtime.engines.wavenet_cpu.weights import WavenetWeights
    from realtime.native.build import CompilerError

    try:
        precision = "bf16" if supported("bf16") else "fp32"
    except CompilerError:
        return None
    arrays = {name: value.detach().float().cpu().numpy() for name, value in net.state_dict().items()}
    arrays["leaned"] = leaning(net.classes, 0.0).numpy()  # it leans on stage, and learns to stand
    weights = WavenetWeights.from_arrays(arrays, net.hop, net.dilations.count(1))
    b, n = guide_BN.shape
    loop = NativeLoop(weights, precision, b)
    noise = torch.rand(b, n, generator=generator, device=generator.device).cpu().numpy()
    audio = torch.zeros(b, n)
    told, guide = (x.contiguous().cpu().numpy() for x in (told_BDT.float(), guide_BN.int()))
    loop.decode(told, noise, torch.ones(b).numpy(), audio.numpy(), guide)
    loop.close()
    return net.before(mulaw_encode(audio, net.classes)).to(guide_BN.device)
