"""Makes and verifies bundles.

python -m export CHECKPOINT -o NAME.umtn [--torchscript] [--name TEXT] [--domains a,b] [--temperature X]
                 [--like OLD.umtn]
python -m export verify NAME.umtn [--checkpoint CHECKPOINT]
"""

from __future__ import annotations

if __name__ == "__main__":
    from umtn.missing import require

    require("numpy")

import argparse
import contextlib
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from export.bundle.bundle import Bundle, BundleError, write_bundle
from export.bundle.manifest import LEAST_TEMPERATURE, MOST_TEMPERATURE

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code: 0 done, 1 the bundle differs from its checkpoint, 2 the input was wrong, 130 interrupted."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    from umtn.errors import UserError  # torch-free
    from umtn.missing import needs_training_packages

    try:
        if words[:1] == ["verify"]:
            verified = _verify_options().parse_args(words[1:])
            with needs_training_packages(), _one_thread():
                return _verify(verified)
        exported = _export_options().parse_args(words)
        with needs_training_packages(), _one_thread():
            return _export(exported)
    except (UserError, BundleError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted; nothing was written", file=sys.stderr)
        return 130


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """Hops and samples are so little work that threads mostly wait for each other: with two it takes five times as
    long."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _export_options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "python -m export",
        description="Turn a checkpoint into a bundle that realtime plays.",
        epilog="python -m export verify NAME.umtn [--checkpoint CHECKPOINT] compares the two.",
    )
    parser.add_argument("checkpoint", type=Path, help="folder that `python -m umtn train` wrote")
    parser.add_argument(
        "-o", "--output", type=Path, required=True, metavar="NAME.umtn", help="the bundle to write"
    )
    parser.add_argument(
        "--torchscript",
        action="store_true",
        help="add TorchScript files for other hosts",
    )
    parser.add_argument("--name", help="the bundle's name; default: the output's")
    parser.add_argument(
        "--domains",
        help="only these, separated by commas; default: all of the checkpoint",
    )
    parser.add_argument(
        "--calibrate",
        type=Path,
        metavar="FILE",
        help="a recording on which int8 engines of WaveNet decoders are calibrated (default: a made-up tune)",
    )
    parser.add_argument(
        "--temperature",
        type=float,
        metavar="X",
        help="that WaveNet decoders sound best at, 0.05 to 2 (default: 1, as trained); a performer's 1 then means it",
    )
    parser.add_argument("--licence", help="of the weights")
    parser.add_argument("--notes", help="what it was trained on")
    parser.add_argument(
        "--like",
        type=Path,
        metavar="OLD.umtn",
        help="an earlier bundle of the same checkpoint: what is not given (name, domains, temperature, licence, notes) "
        "and the weights of native engines, int8 scales too, are taken from it to the bit",
    )
    return parser


def _verify_options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "python -m export verify", description="Compare a bundle with its checkpoint."
    )
    parser.add_argument("bundle", metavar="NAME.umtn", help="a bundle, or a shipped one's name")
    parser.add_argument(
        "--checkpoint",
        type=Path,
        help="the folder it was made from; without it only the bundle's own parts are compared",
    )
    return parser


def _export(options: argparse.Namespace) -> int:
    output: Path = options.output
    if output.suffix != ".umtn":
        raise BundleError(f"a bundle's name ends in .umtn, but {output.name!r} was given")
    if not output.parent.is_dir():
        raise BundleError(f"there is no folder {output.parent} to write {output.name} to")
    if output.is_dir():
        raise BundleError(f"{output} is a folder, but a bundle is one file")
    from export.freeze import freeze
    from umtn.errors import words
    from umtn.model.checkpoint import load

    if options.like is not None and options.calibrate is not None:
        raise BundleError(
            "--like keeps the calibration that is there, and --calibrate makes another: give one of them"
        )
    like = None if options.like is None else Bundle.open(options.like)
    old = None if like is None else like.manifest
    temperature = options.temperature
    if temperature is None:
        temperature = 1.0 if old is None else old.temperature
    if not LEAST_TEMPERATURE <= temperature <= MOST_TEMPERATURE:
        raise BundleError(
            f"--temperature takes {LEAST_TEMPERATURE:g} to {MOST_TEMPERATURE:g}, but {temperature:g} came"
        )
    domains = list(words(options.domains)) or (old and [domain.id for domain in old.domains]) or None
    translator = load(options.checkpoint)
    sound = None
    if options.calibrate is not None:
        from umtn.data.prepare import read_audio

        sound = read_audio(options.calibrate, translator.config.sample_rate).astype("float32") / 32768
    manifest, files = freeze(
        translator,
        options.name or (old and old.name) or output.stem,
        domains,
        options.torchscript,
        _first(options.licence, None if old is None else old.licence),
        _first(options.notes, None if old is None else old.notes),
        lambda line: print(f"  {line}", flush=True),
        sound,
        temperature,
        like,
    )
    write_bundle(output, manifest, files)
    known = ", ".join(domain.id for domain in manifest.domains)
    print(f"{output}: {output.stat().st_size / 1e6:.1f} MB, {known}; prove it with `python -m export verify`")
    return 0


def _first(*texts: str | None) -> str:
    """What was said first; it may be nothing."""
    return next((text for text in texts if text is not None), "")


def _verify(options: argparse.Namespace) -> int:
    from realtime.shared.audio_config import bundle_named

    bundle = Bundle.open(bundle_named(options.bundle))
    from export.verify import format_table, verify
    from umtn.model.checkpoint import load

    rows = verify(bundle, None if options.checkpoint is None else load(options.checkpoint))
    print(format_table(rows))
    failed = sum(not row.passed for row in rows)
    print(f"{bundle.path.name}: {len(rows) - failed} of {len(rows)} comparisons passed")
    if options.checkpoint is None:
        print("compared with its own parts only; give --checkpoint to prove where it came from")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
