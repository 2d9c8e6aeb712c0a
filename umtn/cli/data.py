"""Commands that make data: `render`, `prepare` and `guide`."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

__all__ = ["register"]

RATE = 24_000
SOUND_A_SECOND = (
    20.0  # of one job at 24 kHz on an ordinary core; half as much where other work runs beside it
)
EXAMPLES = """examples:
  python -m umtn render data --minutes 24                  what `train --preset live` learns from: an hour or two
  python -m umtn render small --preset tiny-live --minutes 1 --instruments domains --fonts fluidr3
                                                           a first try: 8 minutes of sound, then
                                                           python -m umtn train --preset tiny-live --data small ...
"""

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
        description="Make paired data: random (or given) scores, each played by every instrument with every font.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("out", type=Path, metavar="OUT", help="folder to write; a stopped run goes on")
    minutes = "of random score (default 24; 0 with --score); every instrument plays all of it, and with every font: "
    minutes += "one minute by 8 instruments and 2 fonts is 16 minutes of sound"
    parser.add_argument("--minutes", type=_number(float, 0, 6000), help=minutes)
    parser.add_argument(
        "--seed", type=_number(int, 0, 2**31 - 1), default=0, help="another seed, other scores (default 0)"
    )
    fonts = "fluidr3, musescore, timgm6mb or .sf2/.sf3 files, separated by commas"
    parser.add_argument("--fonts", default="fluidr3,musescore", help=fonts)
    instruments = (
        "names separated by commas, or a group: domains (the 8 that are learned) or training (they and "
    )
    instruments += "all that are only heard; default)"
    parser.add_argument("--instruments", default="training", help=instruments)
    parser.add_argument(
        "--score", type=Path, action="extend", nargs="+", default=[], metavar="FILE.mid", help="given scores"
    )
    rate = f"samples a second (default {RATE}, or as --preset wants); `train` takes only data at its preset's rate"
    parser.add_argument("--rate", type=_number(int, 8000, 96000), help=rate)
    parser.add_argument("--preset", help="the preset that will learn from the data, for its rate")
    parser.add_argument("--jobs", type=_number(int, 1, 256), default=2, help="renderings at a time")
    parser.add_argument("--valid-share", type=_number(float, 0, 0.9), default=0.1, help="of the scores")
    parser.set_defaults(run=_run_render)


def _rate(arguments: argparse.Namespace) -> int:
    from umtn.errors import UserError
    from umtn.model.presets import preset

    if arguments.preset is None:
        return arguments.rate or RATE
    wanted = preset(arguments.preset).sample_rate
    if arguments.rate not in (None, wanted):
        raise UserError(
            f"--rate {arguments.rate} is not that of --preset {arguments.preset}, {wanted}; leave one of them out"
        )
    return wanted


def _about(minutes: float) -> str:
    return (
        "a minute of work at most"
        if minutes < 1
        else f"roughly {round(minutes)} to {round(2 * minutes)} minutes of work"
    )


def _run_render(arguments: argparse.Namespace) -> int:
    from tqdm import tqdm

    from umtn.data.instruments import instruments_named
    from umtn.data.render import Plan, make_scores, render
    from umtn.data.soundfont import find_font
    from umtn.errors import words
    from umtn.model.presets import presets_at

    minutes = arguments.minutes if arguments.minutes is not None else (0 if arguments.score else 24)
    fonts, rate = words(arguments.fonts), _rate(arguments)
    chosen = tuple(instruments_named(arguments.instruments))
    if any(not i.synthetic for i in chosen):
        for font in fonts:
            find_font(font)  # say what is missing before the work begins
    scores = make_scores(minutes, arguments.seed, arguments.score)
    plan = Plan(chosen, fonts, rate, arguments.jobs, arguments.valid_share, arguments.seed)
    parts = sum(1 if i.synthetic else len(fonts) for i in chosen)
    score_min = sum(s.duration_s for s in scores.values()) / 60
    sound_min = parts * score_min
    work_min = sound_min * 60 / (SOUND_A_SECOND * arguments.jobs) / 60 * rate / RATE
    print(
        f"{score_min:.1f} minutes of score x {parts} parts (instruments, each with every font) = "
        f"{sound_min:.0f} minutes of sound at {rate} Hz, {sound_min * 60 * rate * 2 / 1e6:.0f} MB; "
        f"{_about(work_min)}",
        flush=True,
    )
    shape = "{desc} {percentage:3.0f}%|{bar}| {n:.1f} of {total:.1f} minutes of sound [{elapsed}, {remaining} left]"
    with tqdm(total=sound_min, desc="render", bar_format=shape) as bar:
        data = render(arguments.out, scores, plan, lambda seconds: bar.update(seconds / 60))
    total_min = sum(t.length for t in data.all_tracks) / data.sample_rate / 60
    print(
        f"{arguments.out}: {len(data.all_tracks)} tracks, {total_min:.0f} minutes of sound, {len(scores)} scores; "
        f"at {rate} Hz it is for {presets_at(rate)}"
    )
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
    parser.add_argument(
        "--bundle", required=True, help="of a `live` model: a .umtn file or a shipped one's name"
    )
    parser.add_argument("--domains", help="comma-separated (default: those of the bundle)")
    parser.add_argument("--seed", type=_number(int, 0, 2**31 - 1), default=0, help="decides who plays")
    parser.set_defaults(run=_run_guide)


def _run_guide(arguments: argparse.Namespace) -> int:
    from tqdm import tqdm

    from realtime.shared.audio_config import bundle_named
    from umtn.data.dataset import Dataset
    from umtn.data.guides import make_guides
    from umtn.errors import words
    from umtn.offline import TonePlayer

    data, player = Dataset.open(arguments.data), TonePlayer(bundle_named(arguments.bundle))
    domains = words(arguments.domains) or player.domains
    player.check(data.sample_rate, domains)
    with tqdm(unit="track", desc="guides") as bar:
        for _ in make_guides(data, player.tones, domains, player.lag, arguments.seed):
            bar.update()
    return 0
