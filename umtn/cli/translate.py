"""`python -m umtn translate`."""

from __future__ import annotations

import argparse
from pathlib import Path

__all__ = ["register"]


def register(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the `translate` command."""
    parser = commands.add_parser("translate", help="translate a sound file offline", description=__doc__)
    parser.add_argument("input", type=Path, help="a sound file of any rate and channels")
    parser.add_argument("--to", required=True, metavar="DOMAIN")
    parser.add_argument("-o", "--output", type=Path, required=True, help="a WAV file to write")
    parser.add_argument("--checkpoint", type=Path, required=True, help="a checkpoint's folder")
    parser.add_argument(
        "--temperature", type=float, default=1.0, help="of autoregressive decoders (default: 1)"
    )
    parser.add_argument(
        "--seed", type=int, default=0, help="of the noise; the same seed gives the same sound"
    )
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> None:
    import numpy as np
    import torch
    from tqdm import tqdm

    from umtn.errors import UserError
    from umtn.model import checkpoint
    from umtn.offline import read_mono, translate_blocks, write_wav

    if not 0.05 <= args.temperature <= 2:
        raise UserError(f"--temperature is {args.temperature:g}; it should be between 0.05 and 2.")
    # the pieces are small; on a busy machine threads that wait for each other cost 60 times as much
    torch.set_num_threads(1)
    translator = checkpoint.load(args.checkpoint)
    translator.decoder(args.to)  # an unknown domain is told before the file is read
    rate = translator.config.sample_rate
    audio = read_mono(args.input, rate)
    pieces = []
    with tqdm(total=round(len(audio) / rate, 1), unit="s", desc=args.to) as bar:
        for piece in translate_blocks(translator, audio, args.to, args.seed, args.temperature):
            pieces.append(piece)
            bar.update(min(len(piece) / rate, bar.total - bar.n))
    write_wav(args.output, np.asarray(torch.cat(pieces)[: len(audio)]), rate)
