"""`python -m umtn evaluate`, `compare` and `train-judge`."""

from __future__ import annotations

import argparse
from pathlib import Path

__all__ = ["register", "register_translate"]


def register(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the `evaluate`, `compare` and `train-judge` commands."""
    _register_evaluate(commands)
    parser = commands.add_parser("compare", help="say what is better and what worse in the second report")
    parser.add_argument("before", type=Path, metavar="A.json", help="written by `evaluate --json`")
    parser.add_argument("after", type=Path, metavar="B.json")
    parser.set_defaults(run=_compare)
    parser = commands.add_parser("train-judge", help="train the judges that `evaluate` uses")
    parser.add_argument("--data", type=Path, required=True, help="paired data at 24 kHz made by `render`")
    parser.add_argument("--judge", choices=("pitch", "timbre", "both"), default="both")
    parser.add_argument("--minutes", type=float, default=10.0, help="for each judge (default: 10)")
    parser.add_argument("--out", type=Path, help="folder for the weights (default: inside the program)")
    parser.add_argument("--seed", type=int, default=0, help="of everything random (default: 0)")
    parser.set_defaults(run=_train_judge)


def _register_evaluate(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser("evaluate", help="measure how a bundle or a checkpoint sounds")
    parser.add_argument(
        "model",
        type=Path,
        metavar="BUNDLE|CHECKPOINT",
        help="a .umtn file, a shipped one's name, or a checkpoint's folder",
    )
    parser.add_argument("--data", type=Path, required=True, help="paired data that training never saw")
    parser.add_argument("--json", type=Path, metavar="OUT", help="write every figure here")
    parser.add_argument(
        "--html", type=Path, metavar="OUT", help="write a page with tables, spectrograms, notes and sounds"
    )
    parser.add_argument("--figures", type=Path, metavar="DIR", help="draw spectrograms here")
    parser.add_argument("--minutes-per-source", type=float, default=1.0, metavar="M")
    parser.add_argument(
        "--start", type=float, default=0.0, metavar="S", help="second of the score at which to begin"
    )
    parser.add_argument(
        "--sources", help="comma-separated instruments; NAME+room is one in a noisy room (default: all)"
    )
    parser.add_argument("--targets", help="comma-separated domains (default: all of the model)")
    parser.add_argument(
        "--precision", default="auto", metavar="P", help="of WaveNet decoders: auto, int8, bf16, fp32"
    )
    parser.set_defaults(run=_evaluate)


def _train_judge(args: argparse.Namespace) -> None:
    from umtn.data.dataset import Dataset
    from umtn.errors import UserError
    from umtn.evaluation import classifiers
    from umtn.evaluation.train_classifiers import train_pitch_judge, train_timbre_judge

    if not args.minutes > 0:
        raise UserError(f"--minutes is {args.minutes:g}; it should be above 0.")
    data = Dataset.open(args.data)
    for name, train, asset in (
        ("pitch", train_pitch_judge, classifiers.PITCH_ASSET),
        ("timbre", train_timbre_judge, classifiers.TIMBRE_ASSET),
    ):
        if args.judge in (name, "both"):
            out = args.out / asset if args.out else None
            print(name, train(data, args.minutes, out, args.seed))


def _compare(args: argparse.Namespace) -> None:
    from umtn.evaluation.report import comparison, read_report

    print(comparison(read_report(args.before), read_report(args.after)))


def _evaluate(args: argparse.Namespace) -> None:
    from umtn.data.dataset import Dataset
    from umtn.errors import words
    from umtn.evaluation.evaluate import Material, evaluate
    from umtn.evaluation.examples import draw, examples
    from umtn.evaluation.html_report import write_page
    from umtn.evaluation.report import table, write_json
    from umtn.offline import open_player

    player = open_player(args.model, args.precision)
    chosen = {k: words(v) or None for k, v in (("s", args.sources), ("t", args.targets))}
    data = Dataset.open(args.data)
    material = Material.choose(
        data, args.start, 60 * args.minutes_per_source, chosen["s"], player.sample_rate
    )
    report = evaluate(player, material, chosen["t"])
    print(table(report))
    if args.json:
        write_json(args.json, report)
    if args.html:
        targets = tuple(report["lags"])
        lags_s = {t: float(row["lag_s"]) for t, row in report["lags"].items()}
        write_page(args.html, report, examples(player, material, targets, lags_s), material)
        print(args.html)
    if args.figures:
        for path in draw(player, material, args.figures, chosen["t"]):
            print(path)


# `python -m umtn translate`.


def register_translate(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the `translate` command."""
    parser = commands.add_parser(
        "translate",
        help="translate a sound file offline",
        description="Translate a sound file by a checkpoint, offline.",
    )
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
    parser.set_defaults(run=_translate)


def _translate(args: argparse.Namespace) -> None:
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
