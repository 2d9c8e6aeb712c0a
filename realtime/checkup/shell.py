"""Asking the system's own programs."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence

__all__ = ["run"]


def run(command: Sequence[str], seconds: float = 10.0) -> str | None:
    """A command's output, or None if it is not there, fails or takes too long."""
    try:
        done = subprocess.run(
            list(command), capture_output=True, text=True, timeout=seconds, check=True, errors="replace"
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout
