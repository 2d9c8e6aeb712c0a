"""What was done to a performance and when: NAME.jsonl beside NAME.wav, one JSON object a line, for people too.

{"umtn": "journal", "version": 1, "bundle": "...", "sha256": "...", "rate": 48000, "parameters": {...}, ...}
{"at": 96000, "s": 2.0, "set": {"mix": 0.5}}          the block that begins with sample 96000 has it
{"at": 96128, "s": 2.003, "block": 256}               from here on the device asks for 256 samples
{"at": 120000, "s": 2.5, "panic": 1}                  the block that begins here falls to silence
{"at": 144000, "s": 3.0, "swap": {"bundle": ...}}     another bundle begins to take over
{"at": 150000, "s": 3.125, "lost": 4096}              the disk was too slow for those
{"at": 480000, "s": 10.0, "end": "stopped"}
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from realtime.errors import UserError

__all__ = ["Journal", "read_journal"]

VERSION = 1


class Journal:
    """A new file; every line reaches the system at once. OSError as it comes (FileExistsError too)."""

    def __init__(self, path: Path, rate_hz: int) -> None:
        self._file = open(path, "x", encoding="utf-8", newline="\n")  # noqa: SIM115
        self._rate = rate_hz

    def head(self, facts: dict[str, Any]) -> None:
        self._write([json.dumps({"umtn": "journal", "version": VERSION, **facts})])

    def note(self, events: list[tuple[int, str, Any]]) -> None:
        """(sample position, kind, content)."""
        self._write(
            [json.dumps({"at": at, "s": round(at / self._rate, 3), kind: what}) for at, kind, what in events]
        )

    def _write(self, lines: list[str]) -> None:
        if lines:
            self._file.write("\n".join(lines) + "\n")
            self._file.flush()

    def close(self) -> None:
        self._file.close()


def read_journal(path: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The head and the events. UserError for what is no journal; a last line cut off by a kill is left out."""
    try:
        with path.open(encoding="utf-8") as file:
            lines = list(_objects(file.read().split("\n")))
    except FileNotFoundError:
        raise UserError(f"there is no {path}: without its journal a recording cannot be replayed") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read ({error})") from None
    if not lines or lines[0].get("umtn") != "journal":
        raise UserError(f"{path} is no journal of a recording; its first line should say so")
    if lines[0].get("version") != VERSION:
        raise UserError(
            f"{path} is of version {lines[0].get('version')}, this program reads {VERSION}; use a newer one"
        )
    for line in lines[1:]:
        if not isinstance(line.get("at"), int):
            raise UserError(f"{path} has an event without a position: {json.dumps(line)[:80]}")
    return lines[0], lines[1:]


def _objects(lines: list[str]) -> Iterator[dict[str, Any]]:
    for line in lines:
        try:
            found = json.loads(line)
        except ValueError:
            return
        if not isinstance(found, dict):
            return
        yield found
