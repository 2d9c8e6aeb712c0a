"""One preset as text: all values of a session, with units and meaning beside them, and back again.

A preset is a whole: a value that its file leaves out counts as its default, so that a recall sounds the same
whatever was set before. Only `glide_ms` belongs to the player: it is written as a comment, and where a file
names it that preset takes so long to arrive.
"""

from __future__ import annotations

import difflib
import math
import os
import shutil
import threading
import unicodedata
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from realtime.control.config_files import flatten, key_lines, quote, read_toml, sync_file, write_atomic
from realtime.control.namespace import VALUES, family_members, find_parameter, nearest
from realtime.control.presets.trash import Trash, Trashed
from realtime.shared.parameters import FAMILIES, Parameter
from umtn.errors import UserError

if TYPE_CHECKING:
    from realtime.control.namespace import Namespace

from realtime.control.presets.names import checked_name, is_name

__all__ = ["FORMAT", "Library", "read_preset", "snapshot", "to_toml"]


FORMAT = 1
GLIDE = "glide_ms"
_ABOUT = ("format", "bundle", "preset", "process")  # entries that are no parameters
_COLUMN = 34
_HEAD = """\
# {title}
# Any editor may change it. A line that is left out counts as its default.
"""


def _kept(namespace: Namespace) -> Iterator[tuple[Parameter, float]]:
    """Every parameter with its value; of the numbered families those that are not at their default."""
    get = namespace.shared.get
    for p in namespace.parameters:
        if p.kind in VALUES:
            yield p, get(p.stored)
    for p in family_members(namespace.latent_channels):
        value = get(p.stored)
        if value != p.default:
            yield p, value


def snapshot(namespace: Namespace) -> dict[str, float]:
    """Every value of the session by name, as a preset keeps it."""
    return {p.name: value for p, value in _kept(namespace)}


def to_toml(
    namespace: Namespace, title: str, about: Mapping[str, str | int] | None = None, glide: bool = False
) -> str:
    """The session's values as a readable file. glide: name `glide_ms` too."""
    head = {"format": FORMAT, "bundle": namespace.texts.get("bundle", ""), **(about or {})}
    lines = [f"{key} = {quote(v) if isinstance(v, str) else v}" for key, v in head.items() if v != ""]
    lines.append("")
    for p, value in _kept(namespace):
        line = _line(p, value)
        lines.append(line if glide or p.name != GLIDE else f"# {line}; else the dial decides")
    return _HEAD.format(title=title) + "\n".join(lines) + "\n"


def _line(p: Parameter, value: float) -> str:
    key = quote(p.name) if "/" in p.name else p.name
    return f"{key} = {_text(p, value)}".ljust(_COLUMN) + f"  # {_range(p)}: {p.description}"


def _text(p: Parameter, value: float) -> str:
    if p.kind == "choice" and 0 <= int(value) < len(p.choices):
        return quote(p.choices[int(value)])
    if p.kind == "bool":
        return "true" if value >= 0.5 else "false"
    return repr(float(value))


def _range(p: Parameter) -> str:
    if p.kind == "choice":
        return ", ".join(p.choices)
    return "true, false" if p.kind == "bool" else f"{p.low:g} to {p.high:g} {p.unit}".rstrip()


def read_preset(path: Path, namespace: Namespace) -> dict[str, float]:
    """A value for every parameter (`glide_ms` only if named), families where named; UserError: all refused."""
    content, text = read_toml(path)
    _check_format(path, content)
    reader = _Reader(path, text, namespace)
    for name, value in flatten(content):
        if name not in _ABOUT:
            reader.take(name, value)
    if reader.foreign:
        raise UserError(_another_bundle(path, content, reader.foreign, namespace))
    values = {p.name: p.default for p in namespace.parameters if p.kind in VALUES and p.name != GLIDE}
    return values | reader.values


def _check_format(path: Path, content: Mapping[str, Any]) -> None:
    version = content.get("format", FORMAT)
    if isinstance(version, bool) or not isinstance(version, int) or version < 1:
        raise UserError(f"{path.name}: format must be {FORMAT}, but {_shown(version)} stands there")
    if version > FORMAT:
        raise UserError(
            f"{path.name} is of format {_shown(version)}, and this program knows up to {FORMAT}; update it"
        )


def _another_bundle(path: Path, content: Mapping[str, Any], foreign: list[str], space: Namespace) -> str:
    made_with = content.get("bundle")
    bundle = f" ({_plain(made_with)})" if isinstance(made_with, str) and made_with else ""
    return (
        f"{path.stem!r} belongs to another bundle{bundle}: {', '.join(foreign)} "
        f"{'is' if len(foreign) == 1 else 'are'} not in this one, which has {', '.join(space.domains)}; "
        "nothing was changed"
    )


class _Reader:
    """Judges the entries of one file one by one."""

    def __init__(self, path: Path, text: str, namespace: Namespace) -> None:
        self.values: dict[str, float] = {}
        self.foreign: list[str] = []  # domains that this bundle does not have
        self._path, self._text, self._namespace = path, text, namespace

    def take(self, name: str, value: object) -> None:
        """Keep one entry; UserError says what is wrong with it and on which line."""
        parameter = find_parameter(self._namespace, name)
        if name in self.values:
            self._refuse(name, f"{name} is given twice")
        if parameter is None:
            self._unknown(name, value)
        elif parameter.kind not in VALUES:
            self._refuse(name, f"{name} is no value that could be kept")
        elif parameter.kind == "choice":
            self._choice(parameter, value)
        else:
            self.values[name] = self._number(parameter, value)

    def _unknown(self, name: str, value: object) -> None:
        head, _, last = name.rpartition("/")
        if head == "blend" and isinstance(value, (int, float)):
            if value != 0:  # a weight of nothing asks nothing of a domain
                self._add_foreign(last)
        elif head in {family.name for family in FAMILIES}:
            channels = self._namespace.latent_channels
            self._refuse(name, f"there is no {name[:60]}; this bundle has {channels} latent channels, from 0")
        else:
            self._refuse(name, f"there is no parameter {name[:60]!r}{nearest(self._namespace, name)}")

    def _choice(self, p: Parameter, value: object) -> None:
        if not isinstance(value, str):
            self._refuse(
                p.name, f"{p.name} takes one of {_range(p)} in quotation marks, but {_shown(value)} came"
            )
        elif value in p.choices:
            self.values[p.name] = float(p.choices.index(value))
        elif p.name == "to":
            self._add_foreign(value)
        else:
            self._refuse(p.name, f"{p.name} knows {_range(p)}, but {_shown(value)} came")

    def _number(self, p: Parameter, value: object) -> float:
        boolean = isinstance(value, bool)
        if not isinstance(value, (int, float)) or (boolean and p.kind != "bool"):
            self._refuse(p.name, f"{p.name} takes {_range(p)}, but {_shown(value)} came")
        number = _finite(value)
        if not p.low <= number <= p.high or (p.kind == "bool" and number not in (0.0, 1.0)):  # also NaN
            self._refuse(p.name, f"{p.name} takes {_range(p)}, but {_shown(value)} came")
        return number

    def _add_foreign(self, domain: str) -> None:
        shown = _plain(domain)
        if shown not in self.foreign:
            self.foreign.append(shown)

    def _refuse(self, name: str, reason: str) -> NoReturn:
        lines = [line for line, key in key_lines(self._text) if key == name]
        where = f", line {lines[-1]}" if lines else ""
        raise UserError(f"{self._path.name}{where}: {reason}; nothing was changed")


def _finite(value: object) -> float:
    try:
        return float(value)  # type: ignore[arg-type]
    except OverflowError:
        return math.inf


def _plain(text: str) -> str:
    """A foreign name for a sentence: short, and nothing in it that could break a line."""
    return text[:60] if text.isprintable() else repr(text)[:60]


def _shown(value: object) -> str:
    return repr(value)[:60]


# The folder of presets and its set list; every question is answered from the disk, for a hand may edit it.


ENDING = ".toml"
SET_LIST = "setlist.toml"
BACKUP = ".bak"


class Library:
    """`NAME.toml` each, and `setlist.toml` with `presets = ["Intro", "Verse"]`; the folder may not exist yet."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._trash = Trash(folder)
        self._changing = threading.Lock()

    def names(self) -> list[str]:
        """All presets in alphabetical order."""
        try:
            files = [p for p in self.folder.iterdir() if p.suffix == ENDING]
        except OSError:
            return []
        names = [unicodedata.normalize("NFC", p.stem) for p in files]
        return sorted((n for n in names if is_name(n)), key=lambda n: (n.casefold(), n))

    def set_list(self) -> list[str]:
        """The names of setlist.toml in its order, or all presets if there is none. UserError if broken."""
        path = self.folder / SET_LIST
        if not os.path.exists(path):  # no error where one may not look
            return self.names()
        content, text = read_toml(path)
        listed = content.get("presets")
        if not isinstance(listed, list) or not all(isinstance(name, str) for name in listed):
            lines = [line for line, key in key_lines(text) if key == "presets"]
            where = f", line {lines[0]}" if lines else ""
            raise UserError(f'{SET_LIST}{where}: presets = ["first name", "second name"] is wanted')
        return [unicodedata.normalize("NFC", name).strip() for name in listed]

    def path(self, name: str) -> Path:
        """File of the preset that is called so, whatever its capitals; a new one if none is. UserError."""
        name = checked_name(name)
        same = [n for n in self.names() if n.casefold() == name.casefold()]
        chosen = name if name in same or not same else same[0]
        return self.folder / (chosen + ENDING)

    def existing(self, name: str) -> Path:
        """As `path`; UserError with the nearest names if there is no such preset."""
        path = self.path(name)
        if os.path.isfile(path):
            return path
        known = self.names()
        near = difflib.get_close_matches(name, known, 1)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(known[:12]) or 'none'}"
        raise UserError(f"no preset is called {name[:64]!r}; {hint}")

    def save(self, name: str, text: str) -> str:
        """Keep a preset, the one of that name before in the trash and as NAME.toml.bak; returns its name."""
        with self._changing:
            path = self.path(name)
            if os.path.isfile(path):
                kept = self._trash.copy(path, "saved")
                try:
                    shutil.copyfile(path, path.with_name(path.name + BACKUP))
                    write_atomic(path, text)
                except (OSError, UserError) as error:
                    with suppress(OSError):
                        kept.unlink()  # or an undo would bring back what has never gone
                    raise _nothing_changed(path, error) from error
                _sync(kept)
            else:
                write_atomic(path, text)
        _sync(path)
        return path.stem

    def delete(self, name: str) -> str:
        """Put a preset into the trash; returns its name."""
        with self._changing:
            path = self.existing(name)
            self._trash.move(path, "deleted")
            return path.stem

    def undoable(self) -> Trashed | None:
        """The preset that `undo` would bring back, or None."""
        return self._trash.newest()

    def undo(self) -> str:
        """Bring back what was saved over or deleted last; what stands in its place goes to the trash. The name."""
        with self._changing:
            entry = self._trash.newest()
            if entry is None:
                raise UserError("no preset was saved over or deleted, so there is nothing to undo")
            path = self.path(entry.name)
            if os.path.isfile(path):
                self._trash.copy(path, "undone")
            try:
                os.replace(entry.path, path)
            except OSError as error:
                raise _nothing_changed(path, error) from error
        _sync(path)
        return path.stem


def _nothing_changed(path: Path, error: OSError | UserError) -> UserError:
    if isinstance(error, UserError):
        return error
    return UserError(f"{path} could not be kept aside ({error}); nothing was changed")


def _sync(path: Path) -> None:
    # A slow disk must not hold up whoever asked: that thread also hears OSC.
    threading.Thread(target=sync_file, args=(path,), name="sync").start()
