"""Commands that make data: `render`, `prepare` and `guide`."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

__all__ = ["register"]

Subparsers = argparse._SubParsersAction  # the type argparse itself returns, and has no public name for


def register(subparsers: Subparsers) -> None:
    """Add them; each sets `run`, called with the parsed arguments, which returns 0."""
    _register_render(subparsers)
    _register_prepare(subparsers)
    _register_guide(subparsers)


def _number(kind: Callable[[str], float], low: float, high: float) -> Callable[[str], float]:
    """An argparse type: a number within low..high."""

    def parse(text: str) -> float:
        try:
            value = kind(text)
        except ValueError:
            raise argparse.ArgumentTypeError(
                f"'{text}' is not a number ({low:g} .. {high:g} wanted)"
            ) from None
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(f"{text} is outside {low:g} .. {high:g}")
        return value

    return parse


def _register_render(subparsers: Subparsers) -> None:
    parser = subparsers.add_parser(
        "render",
        help="make paired data: random or given scores played by many instruments",
        description="Make paired data. Example: python -m umtn render data/paired --minutes 24 --seed 1",
    )
    parser.add_argument("out", type=Path, metavar="OUT", help="folder to write; a stopped run goes on")
    minutes = "random score in all (default 24; 0 with --score)"
    parser.add_argument("--minutes", type=_number(float, 0, 6000), help=minutes)
    parser.add_argument("--seed", type=_number(int, 0, 2**31 - 1), default=0)
    fonts = "fluidr3, musescore, timgm6mb or .sf2/.sf3 files, separated by commas"
    parser.add_argument("--fonts", default="fluidr3,musescore", help=fonts)
    instruments = "names separated by commas, or the groups domains, training (default)"
    parser.add_argument("--instruments", default="training", help=instruments)
    parser.add_argument(
        "--score", type=Path, action="extend", nargs="+", default=[], metavar="FILE.mid", help="given scores"
    )
    parser.add_argument("--rate", type=_number(int, 8000, 96000), default=24_000, help="samples a second")
    parser.add_argument("--jobs", type=_number(int, 1, 256), default=2, help="renderings at a time")
    parser.add_argument("--valid-share", type=_number(float, 0, 0.9), default=0.1, help="of the scores")
    parser.set_defaults(run=_run_render)


def _run_render(arguments: argparse.Namespace) -> int:
    from tqdm import tqdm

    from umtn.data.instruments import instruments_named
    from umtn.data.render import Plan, make_scores, render
    from umtn.data.soundfont import find_font
    from umtn.errors import words

    minutes = arguments.minutes if arguments.minutes is not None else (0 if arguments.score else 24)
    fonts = words(arguments.fonts)
    chosen = tuple(instruments_named(arguments.instruments))
    if any(not i.synthetic for i in chosen):
        for font in fonts:
            find_font(font)  # say what is missing before the work begins
    scores = make_scores(minutes, arguments.seed, arguments.score)
    plan = Plan(chosen, fonts, arguments.rate, arguments.jobs, arguments.valid_share, arguments.seed)
    seconds = sum(s.duration_s for s in scores.values())
    parts = sum(1 if i.synthetic else len(fonts) for i in chosen)
    with tqdm(total=round(seconds * parts), unit="s", unit_scale=True, desc="render (audio)") as bar:
        data = render(arguments.out, scores, plan, bar.update)
    hours = sum(t.length for t in data.all_tracks) / data.sample_rate / 3600
    print(f"{arguments.out}: {len(data.all_tracks)} tracks, {hours:.2f} hours of audio, {len(scores)} scores")
    return 0


def _register_prepare(subparsers: Subparsers) -> None:
    parser = subparsers.add_parser(
        "prepare",
        help="make plain data: a folder of recordings for each domain",
        description="Make plain data from RAW/<domain>/*.{wav,flac,ogg,mp3}, any rate, any channels.",
    )
    parser.add_argument(
        "raw", type=Path, metavar="RAW", help="folder with a folder of recordings for each domain"
    )
    parser.add_argument("out", type=Path, metavar="OUT", help="folder to write")
    parser.add_argument("--rate", type=_number(int, 8000, 96000), default=24_000, help="samples a second")
    validates = "decides which files validate"
    parser.add_argument("--seed", type=_number(int, 0, 2**31 - 1), default=0, help=validates)
    share = "of each domain's duration"
    parser.add_argument("--valid-share", type=_number(float, 0, 0.9), default=0.1, help=share)
    parser.set_defaults(run=_run_prepare)


def _run_prepare(arguments: argparse.Namespace) -> int:
    import sys

    from tqdm import tqdm

    from umtn.data.prepare import find_domains, prepare

    files = sum(len(f) for f in find_domains(arguments.raw).values())
    with tqdm(total=files, unit="file", desc="prepare") as bar:
        data = prepare(
            arguments.raw,
            arguments.out,
            arguments.rate,
            arguments.valid_share,
            arguments.seed,
            skip=lambda path, why: bar.write(f"left out: {why}", file=sys.stderr),
            advance=bar.update,
        )
    for track in data.all_tracks:
        seconds = track.length / data.sample_rate
        print(f"{track.domain} ({track.split}): {len(track.recordings)} files, {seconds / 60:.1f} minutes")
    return 0


def _register_guide(subparsers: Subparsers) -> None:
    parser = subparsers.add_parser(
        "guide",
        help="add to paired data what guided WaveNets are told: a live bundle's tones",
        description="Play paired data through a `live` bundle and keep its tones beside the true renderings.",
    )
    parser.add_argument("--data", type=Path, required=True, help="paired data; DATA/guides is written")
    parser.add_argument("--bundle", type=Path, required=True, help="a bundle of a `live` model")
    parser.add_argument("--domains", help="comma-separated (default: those of the bundle)")
    parser.add_argument("--seed", type=_number(int, 0, 2**31 - 1), default=0, help="decides who plays")
    parser.set_defaults(run=_run_guide)


def _run_guide(arguments: argparse.Namespace) -> int:
    from tqdm import tqdm

    from umtn.data.dataset import Dataset
    from umtn.data.guides import make_guides
    from umtn.errors import words
    from umtn.offline import TonePlayer

    data, player = Dataset.open(arguments.data), TonePlayer(arguments.bundle)
    domains = words(arguments.domains) or player.domains
    player.check(data.sample_rate, domains)
    with tqdm(unit="track", desc="guides") as bar:
        for _ in make_guides(data, player.tones, domains, player.lag, arguments.seed):
            bar.update()
    return 0
