"""Measured loops, kept in a small JSON file in the user's own configuration folder.

One entry for each pair of devices, rate and block: change one of them and the loop is another.
"""

from __future__ import annotations

import json
import os
import sys
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

from umtn.errors import UserError

__all__ = ["config_folder", "loops", "remember_loop", "store_path", "stored_loop_ms"]

FOLDER = "umtn-live"
FORMAT = 1


def config_folder() -> Path:
    """Where this system keeps a user's settings; UMTN_CONFIG names another place."""
    if own := os.environ.get("UMTN_CONFIG"):
        return Path(own).expanduser()
    if sys.platform == "win32":
        return Path(os.environ.get("APPDATA") or Path.home() / "AppData" / "Roaming") / FOLDER
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support" / FOLDER
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / FOLDER


def store_path() -> Path:
    """The file itself; it may not exist yet."""
    return config_folder() / "latency.json"


def loops() -> list[dict[str, Any]]:
    """All entries; none if there is no file, or nothing in it that can be used."""
    try:
        content = json.loads(store_path().read_text("utf-8"))
        entries = content["loops"] if content["format"] == FORMAT else []
        return [e for e in entries if isinstance(e, dict)] if isinstance(entries, list) else []
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return []


def stored_loop_ms(device_in: str, device_out: str, rate: int, block: int) -> float | None:
    """Measured time from the output back to the input in ms, or None; devices by their full names."""
    for entry in loops():
        if _key(entry) == (device_in, device_out, rate, block):
            value = entry.get("loop_ms")
            if (
                isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < 10000
            ):  # not NaN
                return float(value)
    return None


def remember_loop(
    device_in: str, device_out: str, rate: int, block: int, loop_ms: float, spread: float
) -> Path:
    """Store one measurement in place of an older one of the same four; atomic; UserError if it cannot be."""
    entry = {
        "input": device_in,
        "output": device_out,
        "rate": rate,
        "block": block,
        "loop_ms": round(loop_ms, 4),
        "samples": round(loop_ms * rate / 1000, 3),
        "spread_samples": round(spread, 3),
        "measured": datetime.now().astimezone().isoformat(timespec="seconds"),
    }
    kept = [e for e in loops() if _key(e) != _key(entry)]
    path = store_path()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists() and not kept and not loops():  # unreadable, or of a newer format: not ours to lose
            with suppress(OSError):
                os.replace(path, path.with_suffix(".old.json"))
        fresh = path.with_suffix(".new")
        fresh.write_text(json.dumps({"format": FORMAT, "loops": [*kept, entry]}, indent=1) + "\n", "utf-8")
        os.replace(fresh, path)
    except OSError as error:
        raise UserError(f"the measured loop could not be stored in {path} ({error.strerror})") from None
    return path


def _key(entry: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(entry.get(name) for name in ("input", "output", "rate", "block"))
