"""What a preset may be called, on every system that its file may travel to."""

from __future__ import annotations

import unicodedata

from umtn.errors import UserError

__all__ = ["MAX_BYTES", "MAX_CHARACTERS", "RESERVED", "checked_name", "is_name"]

MAX_CHARACTERS = 64
MAX_BYTES = 200
RESERVED = ("last", "setlist", "midi")  # files of the program's own beside the presets
_FORBIDDEN = '/\\:*?"<>|'
_DEVICES = {"con", "prn", "aux", "nul"} | {f"{port}{n}" for port in ("com", "lpt") for n in range(10)}
_TAKEN = _DEVICES | set(RESERVED)


def checked_name(name: str) -> str:
    """The name as it is kept (Unicode composed, no spaces around); UserError says why it cannot be one."""
    name = unicodedata.normalize("NFC", name).strip()
    shown = repr(name[:MAX_CHARACTERS])
    if not name:
        raise UserError("a preset needs a name, but none came")
    if len(name) > MAX_CHARACTERS or len(name.encode("utf-8", "replace")) > MAX_BYTES:
        raise UserError(f"a preset's name has at most {MAX_CHARACTERS} characters, but {shown}... is longer")
    if any(c in _FORBIDDEN or unicodedata.category(c).startswith("C") for c in name):
        raise UserError(f"a preset's name goes without {' '.join(_FORBIDDEN)} and control signs, not {shown}")
    if name.startswith(".") or name.endswith("."):
        raise UserError(f"a preset's name neither begins nor ends with a full stop, as {shown} does")
    if name.isdecimal():
        raise UserError(
            f"{shown} is a number, and numbers count the set list; add a letter to make it a name"
        )
    if name.casefold().split(".")[0].strip() in _TAKEN:
        raise UserError(f"{shown} is reserved; choose another name for the preset")
    return name


def is_name(name: str) -> bool:
    """Whether a preset can be called just so."""
    try:
        return checked_name(name) == name
    except UserError:
        return False
