"""Files that a performer may read and change: where they lie, written whole or not at all, read with care.

Threading model: none of its own; every function may be called from any control thread.
"""

from __future__ import annotations

import json
import os
import re
import sys
import tempfile
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from umtn.errors import UserError

__all__ = ["config_folder", "flatten", "key_lines", "quote", "read_toml", "sync_file", "write_atomic"]

MAX_BYTES = 1 << 18
MAX_DEPTH = 64
_NAME = "umtn-live"
_AT_LINE = re.compile(r"\s*\(at line (\d+), column \d+\)$")
_AT_END = re.compile(r"\s*\(at end of document\)$")


def config_folder() -> Path:
    """The system's place for a user's settings; it need not exist yet."""
    try:
        if sys.platform == "win32":
            base = Path(os.environ.get("APPDATA") or Path.home() / "AppData" / "Roaming")
        elif sys.platform == "darwin":
            base = Path.home() / "Library" / "Application Support"
        else:
            base = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    except RuntimeError as error:
        raise UserError(
            "this user has no home folder to keep settings in; give one with --presets"
        ) from error
    return base / _NAME


def write_atomic(path: Path, text: str) -> None:
    """Replace the file in one step: a reader, or a crash, sees the old text or the new, never half of one.

    The disk gets it when the system sees fit; `sync_file` waits for that, which may take long.
    """
    temporary = ""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(prefix=".umtn-", suffix=".tmp", dir=path.parent)
        with open(handle, "w", encoding="utf-8", newline="\n") as stream:
            stream.write(text)
        os.replace(temporary, path)
    except OSError as error:
        with suppress(OSError):
            if temporary:
                os.unlink(temporary)
        raise UserError(
            f"{path} cannot be written ({error.strerror or error}); nothing was changed"
        ) from error


def sync_file(path: Path) -> None:
    """Wait until the disk has a file that `write_atomic` left in the system's memory."""
    with suppress(OSError), path.open("rb") as stream:
        os.fsync(stream.fileno())


def read_toml(path: Path) -> tuple[dict[str, Any], str]:
    """Content and text of a TOML file; UserError names the line of the first slip."""
    try:
        with path.open("rb") as stream:
            raw = stream.read(MAX_BYTES + 1)
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror or error})") from error
    if len(raw) > MAX_BYTES:
        raise UserError(f"{path.name} is longer than {MAX_BYTES >> 10} KiB; is it the right file?")
    try:
        text = raw.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise UserError(f"{path.name}, line {line}: not UTF-8 text; keep the file as UTF-8") from error
    try:
        content = tomllib.loads(text)
        _check_depth(content)
        return content, text
    except ValueError as error:  # also a number of thousands of digits
        raise UserError(f"{path.name}, line {_line_of_error(str(error), text)}") from error
    except RecursionError as error:
        raise UserError(f"{path.name} is nested too deeply to be read") from error


def _check_depth(content: dict[str, Any]) -> None:
    """RecursionError: tables in tables that nobody wrote by hand, and whoever walks through them would fall."""
    level = [content]
    for _ in range(MAX_DEPTH):
        level = [value for table in level for value in table.values() if isinstance(value, dict)]
    if level:
        raise RecursionError


def _line_of_error(message: str, text: str) -> str:
    found = _AT_LINE.search(message)
    if found:
        return f"{found[1]}: {message[: found.start()]}"
    digits = re.search(r"\d{1000}", text)
    line = text.count("\n", 0, digits.start() if digits else len(text.rstrip())) + 1
    return f"{line}: {_AT_END.sub('', message)}"


def flatten(content: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    """Name and value of every entry; `[input]` with `gain_db` below it is `input/gain_db`."""
    for key, value in content.items():
        name = f"{above}{key}"
        if isinstance(value, dict):
            yield from flatten(value, name + "/")
        else:
            yield name, value


def key_lines(text: str) -> list[tuple[int, str]]:
    """Line (from 1) and name, as `flatten` gives it, of each key and each table's head."""
    found: list[tuple[int, str]] = []
    table = ""
    for number, line in enumerate(text.split("\n"), 1):
        stripped = line.strip()
        if stripped.startswith("["):
            table = _path(stripped)
            found.append((number, table))
        elif "=" in stripped and not stripped.startswith("#"):
            name = _path(stripped.split("=")[0] + "= 0") or _path(_quoted_key(stripped) + "= 0")
            if name:
                found.append((number, f"{table}/{name}" if table else name))
    return found


def _quoted_key(line: str) -> str:
    """The key of a line whose quoted key has a `=` in it."""
    found = re.match(r'"(?:[^"\\]|\\.)*"|\'[^\']*\'', line)
    return found[0] if found else ""


def _path(line: str) -> str:
    try:
        content: Any = tomllib.loads(line)
    except ValueError:
        return ""
    parts = []
    while isinstance(content, (dict, list)) and content:
        if isinstance(content, dict):
            key, content = next(iter(content.items()))
            parts.append(key)
        else:
            content = content[0]
    return "/".join(parts)


def quote(text: str) -> str:
    """A TOML string."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
