"""One thing that was looked at, and what became of it."""

from __future__ import annotations

import subprocess
import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

__all__ = ["Finding", "Level", "ok", "page", "run", "stop", "warn", "would_stop"]


Level = Literal["ok", "warn", "stop"]
_MARKS: dict[Level, str] = {"ok": "ok  ", "warn": "warn", "stop": "STOP"}
WIDTH = 110


@dataclass(frozen=True)
class Finding:
    """level: ok; warn, may be heard; stop, no show like this. mend: the command or sentence that helps."""

    topic: str
    level: Level
    text: str
    mend: str = ""


def ok(topic: str, text: str) -> Finding:
    """Nothing to do."""
    return Finding(topic, "ok", text)


def warn(topic: str, text: str, mend: str) -> Finding:
    """May be heard."""
    return Finding(topic, "warn", text, mend)


def stop(topic: str, text: str, mend: str) -> Finding:
    """Would stop the show."""
    return Finding(topic, "stop", text, mend)


def would_stop(findings: Iterable[Finding]) -> bool:
    """Whether any finding is that bad."""
    return any(finding.level == "stop" for finding in findings)


def page(findings: list[Finding]) -> str:
    """For people: one paragraph a finding, the worst repeated in the last line."""
    lines: list[str] = []
    for f in findings:
        head = f"{_MARKS[f.level]}  {f.topic:<10} "
        lines += textwrap.wrap(
            head + f.text, WIDTH, subsequent_indent=" " * len(head), break_on_hyphens=False
        )
        if f.mend:
            indent = " " * len(head)
            lines += textwrap.wrap(
                f"{indent}-> {f.mend}", WIDTH, subsequent_indent=indent + "   ", break_on_hyphens=False
            )
    stops = sum(f.level == "stop" for f in findings)
    warns = sum(f.level == "warn" for f in findings)
    return "\n".join([*lines, "", _sum(stops, warns)])


def _sum(stops: int, warns: int) -> str:
    if stops:
        return f"{stops} thing(s) would stop a show, {warns} more may be heard."
    return f"Nothing would stop a show; {warns} thing(s) may be heard." if warns else "Ready."


# Asking the system's own programs.


def run(command: Sequence[str], seconds: float = 10.0) -> str | None:
    """A command's output, or None if it is not there, fails or takes too long."""
    try:
        done = subprocess.run(
            list(command), capture_output=True, text=True, timeout=seconds, check=True, errors="replace"
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout
