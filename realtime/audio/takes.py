"""What recordings are called: light, for the control process names them too."""

from __future__ import annotations

import datetime
from pathlib import Path

from realtime.errors import UserError

__all__ = ["beside", "default_name", "free_path", "state_beside"]

MAX_TAKES = 10000


def default_name(now: datetime.datetime | None = None) -> str:
    """umtn-20261120-181502.wav"""
    return f"umtn-{now or datetime.datetime.now():%Y%m%d-%H%M%S}.wav"


def beside(sound: Path) -> Path:
    """The journal of a recording."""
    return sound.with_suffix(".jsonl")


def state_beside(sound: Path, number: int = 1) -> Path:
    """The state at its first sample; numbers from 2 on: of the bundles that came later."""
    return sound.with_suffix(".state.npz" if number == 1 else f".state-{number}.npz")


def free_path(path: Path) -> Path:
    """The path, or NAME-2, NAME-3... : neither a recording nor what lies beside it is ever overwritten."""
    for number in range(1, MAX_TAKES):
        free = path if number == 1 else path.with_name(f"{path.stem}-{number}{path.suffix}")
        if not any(p.exists() for p in (free, beside(free), state_beside(free))):
            return free
    raise UserError(f"there are {MAX_TAKES} takes called {path.stem} already; choose another name")
