"""What a training step of a WaveNet decoder costs on one thread, by our kernel and by PyTorch's products.

python -m benchmarks.teacher_forcing [--preset wavenet-live] [--clips 2] [--runs 6]
"""

from __future__ import annotations

import argparse
import sys
import time

import torch

from umtn.errors import UserError
from umtn.model.decoders import teacher_forcing
from umtn.model.decoders.teacher_forcing import sample_loss
from umtn.model.presets import preset
from umtn.model.translator import build_decoder

__all__ = ["main", "table"]

SECONDS = 0.33


def table(name: str, clips: int, runs: int) -> str:
    """Microseconds a sample, forward and backward, of each way there is here; the best of `runs`, taken in turns."""
    config = preset(name)
    torch.set_num_threads(1)
    torch.manual_seed(0)
    decoder = build_decoder(config, config.domains[0]).sampled
    if decoder is None:
        raise UserError(f"Preset '{name}' has no WaveNet decoder; wavenet-live and paper have.")
    net = decoder.net
    frames = round(SECONDS * config.sample_rate / config.hop)
    latent = torch.randn(clips, net.latent_channels, frames)
    classes = torch.randint(1, net.classes, (clips, frames * config.hop))
    past, even = net.before(classes), torch.ones(clips, frames)
    guide = classes if net.guided else None
    ways = {"PyTorch's products": 0}
    if teacher_forcing.available(net, latent):
        here = {isa: at for isa, at in teacher_forcing.LEVELS.items() if at <= teacher_forcing.kernel_level()}
        ways |= {f"kernel, {isa}": at for isa, at in here.items()}
    best = dict.fromkeys(ways, float("inf"))
    for _ in range(runs):
        for way, level in ways.items():
            net.zero_grad()
            start = time.thread_time()
            sample_loss(net, latent, past, classes, even, level, guide).backward()  # type: ignore[no-untyped-call]
            best[way] = min(best[way], (time.thread_time() - start) / classes.numel() * 1e6)
    rows = [f"{name}, one thread      us a sample   of PyTorch's"]
    first = next(iter(best.values()))
    rows += [f"{way:<24} {us:>10.1f} {us / first:>13.2f}" for way, us in best.items()]
    return "\n".join(rows)


def main() -> int:
    """Print the table; exit code 2 and one sentence for bad input."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--preset", default="wavenet-live")
    parser.add_argument("--clips", type=int, default=2)
    parser.add_argument("--runs", type=int, default=6)
    args = parser.parse_args()
    try:
        print(table(args.preset, args.clips, args.runs))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
