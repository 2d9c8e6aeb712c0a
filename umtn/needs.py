"""What a command needs beyond the package itself: a missing one is a sentence, and so is a bundle that is not there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from umtn.errors import UserError

__all__ = ["bundle_named", "needs_training_packages"]

OWN = ("umtn", "export", "realtime")


@contextmanager
def needs_training_packages() -> Iterator[None]:
    """UserError that says how to install them, where a package is missing that only training and export need."""
    try:
        yield
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if not package or package in OWN:
            raise
        raise UserError(
            f"the package '{package}' is missing, which playing does not need, but this does; install it with: "
            'pip install "umtn-live[train]"'
        ) from None


def bundle_named(name: str | Path) -> Path:
    """A bundle's file, or the shipped bundle of that name; UserError lists those."""
    from realtime.shared.audio_config import find_bundle

    path = Path(name).expanduser()
    if path.is_dir():
        raise UserError(f"'{name}' is a folder; a bundle (NAME.umtn, or a shipped one's name) is wanted")
    if not path.exists() and (len(path.parts) > 1 or path.suffix == ".umtn"):
        raise UserError(f"no such file: '{name}'; a bundle (NAME.umtn, or a shipped one's name) is wanted")
    try:
        return find_bundle(str(name))
    except ValueError as error:
        raise UserError(str(error)) from None
