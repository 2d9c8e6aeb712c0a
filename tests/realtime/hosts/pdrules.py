"""The rules of .pd files, written apart from the code that writes them."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field

__all__ = ["Canvas", "parse", "pd_faults"]

# object -> inlets, outlets; None: by its arguments
PORTS: dict[str, tuple[int, int]] = {
    "loadbang": (0, 1), "metro": (2, 1), "f": (2, 1), "oscformat": (1, 1), "oscparse": (1, 1), "netsend": (1, 2),
    "print": (1, 0), "s": (1, 0), "r": (0, 1), "pow": (2, 1), "sqrt": (1, 1), "+": (2, 1), "-": (2, 1), "*": (2, 1),
    "/": (2, 1), "hsl": (1, 1), "tgl": (1, 1), "bng": (1, 1), "vradio": (1, 1), "pd": (0, 0),
}  # fmt: skip
# words of the file after the object's name
GUI_ARGUMENTS = {"hsl": 18, "tgl": 14, "bng": 14, "vradio": 15}
LISTS = {"append": (2, 1), "prepend": (2, 1), "trim": (1, 1)}


@dataclass
class Canvas:
    """Objects as their words, numbered as Pd numbers them; cords; canvases inside."""

    objects: list[list[str]] = field(default_factory=list)
    cords: list[tuple[int, int, int, int]] = field(default_factory=list)
    inner: list[Canvas] = field(default_factory=list)

    def all(self) -> list[Canvas]:
        """This canvas and those within."""
        return [self, *(c for canvas in self.inner for c in canvas.all())]


def _records(text: str) -> list[str]:
    """Split at semicolons that are not escaped, as Pd's reader does."""
    assert text.endswith(";\n")
    return [" ".join(r.split()) for r in re.split(r"(?<!\\);\n", text) if r.strip()]


def parse(text: str) -> Canvas:
    """The canvas of a file; AssertionError for what Pd would not read."""
    open_canvases: list[Canvas] = []
    outermost = None
    for record in _records(text):
        words = record.split(" ")
        if words[:2] == ["#N", "canvas"]:
            assert all(_number(w) for w in words[2:6])
            open_canvases.append(Canvas())
            outermost = outermost or open_canvases[0]
            continue
        assert words[0] == "#X", record
        if words[1] == "restore":
            closed = open_canvases.pop()
            open_canvases[-1].inner.append(closed)
            open_canvases[-1].objects.append(["obj", *words[2:]])
        elif words[1] == "connect":
            a, b, c, d = (int(w) for w in words[2:])
            open_canvases[-1].cords.append((a, b, c, d))
        else:
            assert words[1] in ("obj", "msg", "text", "floatatom", "symbolatom"), record
            assert _number(words[2]) and _number(words[3]), record
            open_canvases[-1].objects.append(words[1:])
    assert len(open_canvases) == 1 and outermost is open_canvases[0]
    return outermost


def _number(word: str) -> bool:
    return re.fullmatch(r"-?[0-9.]+(e[-+]?[0-9]+)?", word) is not None


def pd_faults(text: str) -> list[str]:
    """Everything that breaks a rule; an empty list is a good file."""
    faults = [
        f"not escaped: {line}" for line in text.splitlines() if re.search(r"(?<!\\)[,$]|(?<!\\);(?!$)", line)
    ]
    main = parse(text)
    for canvas in main.all():
        ports = []
        for words in canvas.objects:
            known = _ports(words)
            faults += [f"unknown or wrongly written: {' '.join(words)}"] if known is None else []
            ports.append(known or (0, 0))
        for cord in canvas.cords:
            source, outlet, destination, inlet = cord
            if not (0 <= source < len(ports) and 0 <= destination < len(ports)):
                faults.append(f"cord {cord}: no such object")
            elif outlet >= ports[source][1] or inlet >= ports[destination][0]:
                faults.append(f"cord {cord} from {canvas.objects[source]} to {canvas.objects[destination]}")
        faults += [f"cord {cord} twice" for cord, n in Counter(canvas.cords).items() if n > 1]
    return faults


def _ports(words: list[str]) -> tuple[int, int] | None:
    kind, content = words[0], words[3:]
    if kind == "text":
        return (0, 0)
    if kind == "msg":
        return (1, 1)
    if kind in ("floatatom", "symbolatom"):
        return (1, 1) if len(content) == 8 and all(map(_number, content[:4] + content[7:])) else None
    name, *arguments = content
    if name in GUI_ARGUMENTS and len(arguments) != GUI_ARGUMENTS[name]:
        return None
    if name in ("route", "sel"):
        return (2 if len(arguments) == 1 else 1, len(arguments) + 1) if arguments else None
    if name == "t":
        return (1, len(arguments)) if set(arguments) <= set("bfsal") else None
    if name == "list":
        return LISTS.get(arguments[0])
    return PORTS.get(name)
