"""`python -m umtn train` and `take-ear`."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from umtn.model.config import Config

__all__ = ["register", "register_add_domain", "register_experiments"]


def register(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the `train` and `take-ear` commands."""
    from umtn.model.presets import ABLATIONS, PRESETS

    parser = commands.add_parser("train", help="train a translator", description=__doc__)
    parser.add_argument("--preset", default="live", help=f"one of {', '.join(PRESETS)} (default: live)")
    parser.add_argument("--data", type=Path, required=True, help="a folder made by `render` or `prepare`")
    parser.add_argument("--out", type=Path, required=True, help="the checkpoint's folder")
    parser.add_argument(
        "--minutes", type=float, default=60.0, help="how long to train, earlier runs included"
    )
    parser.add_argument("--steps", type=int, help="stop after so many steps, whatever the minutes")
    parser.add_argument("--resume", action="store_true", help="continue the checkpoint in --out")
    parser.add_argument(
        "--encoder",
        type=Path,
        help="a checkpoint whose pitch encoder is taken and left as it is (any preset but paper)",
    )
    parser.add_argument(
        "--own-decoders", action="store_true", help="WaveNet decoders that began as one go on each alone"
    )
    parser.add_argument(
        "--extend",
        type=Path,
        help="a finished checkpoint that gets the --new-domains, whose decoders learn on --again or whose --ear does, "
        "that learns on as a --whole, or is taken to another --rate; the rest stays",
    )
    parser.add_argument(
        "--new-domains", default="", help="comma-separated: the domains of --data that alone are learned"
    )
    parser.add_argument(
        "--again", default="", help="comma-separated: the domains of --extend whose decoders learn on"
    )
    parser.add_argument(
        "--ear", action="store_true", help="the ear of --extend learns on alone, from the scores of --data"
    )
    parser.add_argument("--whole", action="store_true", help="ear and decoders of --extend learn on")
    parser.add_argument(
        "--rate",
        type=int,
        metavar="HZ",
        help="twice that of --extend, which keeps its sound and learns the octave above from --data at that rate",
    )
    parser.add_argument(
        "--domains", help="comma-separated; default: those of the preset; a resumed run keeps its own"
    )
    parser.add_argument(
        "--without",
        default="",
        help=f"for ablations, comma-separated: {', '.join(ABLATIONS)}; a resumed run keeps its own",
    )
    parser.add_argument("--seed", type=int, default=0, help="of everything random (default: 0)")
    parser.set_defaults(run=_run)

    parser = commands.add_parser(
        "take-ear", help="give a finished model the ear, and its decoders the guides, of a newer live model"
    )
    parser.add_argument(
        "model", type=Path, help="a checkpoint with a pitch encoder inside, as of wavenet-live"
    )
    parser.add_argument("--encoder", type=Path, required=True, help="the live model's checkpoint")
    parser.add_argument("--out", type=Path, required=True, help="the new checkpoint's folder")
    parser.set_defaults(run=_take_encoder)


def _take_encoder(args: argparse.Namespace) -> None:
    from umtn.training.fine_tuning import with_encoder_of

    with_encoder_of(args.model, args.encoder, args.out)
    print(args.out)


def _run(args: argparse.Namespace) -> None:
    from umtn.data.dataset import Dataset
    from umtn.errors import UserError, words
    from umtn.model.presets import preset, without
    from umtn.training.band_extension import at_rate
    from umtn.training.fine_tuning import encoder_alone, learning_on, whole_on, widened
    from umtn.training.train import train

    config = preset(args.preset)
    if args.domains:
        config = replace(config, domains=words(args.domains))
    for part in words(args.without):
        config = without(config, part)
    new, again = words(args.new_domains), words(args.again)
    values = {
        "--new-domains": new,
        "--again": again,
        "--ear": args.ear,
        "--whole": args.whole,
        "--rate": args.rate,
    }
    asked = [name for name, value in values.items() if value]
    if len(asked) > 1:
        raise UserError(
            f"{asked[0]} and {asked[1]} are two runs: what the first has learned is --extend of the second."
        )
    if asked and args.extend is None and not args.resume:
        raise UserError(f"{asked[0]} wants --extend too: the finished checkpoint that is taken.")
    if args.extend is not None and not args.resume:
        if args.rate:
            config = at_rate(config, args.extend, args.rate)
        elif args.ear:
            config = encoder_alone(config, args.extend)
        elif args.whole:
            config = whole_on(config, args.extend)
        else:
            config = learning_on(config, args.extend, again) if again else widened(config, args.extend, new)
    train(
        config,
        Dataset.open(args.data),
        args.out,
        args.minutes,
        args.resume,
        args.steps,
        args.seed,
        args.encoder,
        args.own_decoders,
        None if args.resume else args.extend,
    )


# `python -m umtn add-domain NAME RECORDINGS --to BUNDLE`: your own sound as a domain.


def register_add_domain(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the `add-domain` command."""
    parser = commands.add_parser(
        "add-domain", help="train one more decoder on plain recordings and add it to a bundle"
    )
    parser.add_argument("name", help="what the domain is called")
    parser.add_argument("recordings", type=Path, help="a sound file, or a folder of them")
    parser.add_argument(
        "--to",
        required=True,
        metavar="BUNDLE",
        help="a .umtn file of preset live, or a shipped one's name: that one is left as it is and wants -o",
    )
    parser.add_argument("-o", "--output", type=Path, help="write here instead of into BUNDLE")
    parser.add_argument("--minutes", type=float, default=30.0, help="of training (default: 30)")
    parser.add_argument(
        "--start", type=Path, metavar="CHECKPOINT",
        help="begin with the nearest decoder of this checkpoint (default: models/NAME OF BUNDLE if it is there)",
    )  # fmt: skip
    parser.add_argument("--seed", type=int, default=0, help="of everything random (default: 0)")
    parser.set_defaults(run=_add_domain)


def _add_domain(args: argparse.Namespace) -> None:
    from realtime.shared.audio_config import bundle_named
    from umtn.errors import UserError
    from umtn.training.single_decoder import add_domain

    if not args.minutes > 0:
        raise UserError(f"--minutes is {args.minutes:g}; it should be above 0.")
    to = bundle_named(args.to)
    if args.output is None and not Path(args.to).expanduser().is_file():
        raise UserError(
            f"'{args.to}' is shipped with the program and stays as it is; say with -o NAME.umtn what to write."
        )
    print(add_domain(args.name, args.recordings, to, args.output, args.minutes, args.start, args.seed))


# `python -m umtn rivals` and `ablate`: models trained on equal budgets and judged alike.


SHORTEST_CLIP_S = 0.3


def register_experiments(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the `rivals` and `ablate` commands."""
    rivals = commands.add_parser(
        "rivals",
        help="train decoders on equal budgets behind one encoder and compare them",
        description="Presets trained on equal budgets behind one pitch encoder, and judged alike.",
    )
    rivals.add_argument(
        "--encoder", type=Path, required=True, help="a checkpoint whose pitch encoder all get"
    )
    rivals.add_argument("--presets", help="comma-separated (default: live,wavenet-plain)")
    rivals.set_defaults(run=_rivals)
    ablate = commands.add_parser(
        "ablate",
        help="train a preset with each part of its objective left out and compare",
        description="What each part of the objective is worth: a preset trained whole and without it, equal budgets.",
    )
    ablate.add_argument("--preset", default="live", help="(default: live)")
    ablate.set_defaults(run=_ablate)
    for parser in (rivals, ablate):
        _shared_options(parser)


def _shared_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", type=Path, required=True, help="paired data to learn from")
    parser.add_argument("--held-out", type=Path, required=True, help="paired data that training never saw")
    parser.add_argument("--out", type=Path, required=True, help="folder; a stopped run goes on there")
    parser.add_argument("--minutes", type=float, default=20.0, help="of training for each (default: 20)")
    parser.add_argument(
        "--steps",
        type=int,
        help="of training for each, instead of minutes: fair where other work runs beside it",
    )
    parser.add_argument(
        "--clips",
        type=float,
        default=0.0,
        metavar="S",
        help="seconds a clip (default: the preset's); shorter: more steps",
    )
    parser.add_argument("--domains", help="comma-separated; default: those of the presets")
    parser.add_argument("--seed", type=int, default=0, help="of everything random (default: 0)")
    parser.add_argument("--minutes-per-source", type=float, default=1.0, metavar="M", help="that are judged")
    parser.add_argument("--sources", help="comma-separated instruments that are judged (default: all)")


def _rivals(args: argparse.Namespace) -> None:
    from umtn.errors import words
    from umtn.experiments import RIVALS, rivals

    _compete(args, "rivals", rivals(words(args.presets) or RIVALS), args.encoder)


def _ablate(args: argparse.Namespace) -> None:
    from umtn.experiments import ablations

    _compete(args, "ablations", ablations(args.preset), None)


def _compete(args: argparse.Namespace, title: str, configs: dict[str, Config], encoder: Path | None) -> None:
    from umtn.data.dataset import Dataset
    from umtn.errors import UserError, words
    from umtn.evaluation.material import Material
    from umtn.experiments import Budget, compete

    if not args.minutes > 0:
        raise UserError(f"--minutes is {args.minutes:g}; it should be above 0.")
    if args.steps is not None and args.steps < 1:
        raise UserError(f"--steps is {args.steps}; it should be above 0.")
    material = Material.choose(
        Dataset.open(args.held_out), 0.0, 60 * args.minutes_per_source, words(args.sources) or None
    )
    if args.clips and args.clips < SHORTEST_CLIP_S:
        raise UserError(f"--clips is {args.clips:g}; clips should last {SHORTEST_CLIP_S} seconds at least.")
    budget = Budget(
        Dataset.open(args.data),
        args.minutes,
        args.steps,
        args.clips,
        encoder,
        words(args.domains),
        args.seed,
    )
    if table := compete(title, configs, args.out, budget, material):
        print(f"{table}\n{args.out / title}.md")
