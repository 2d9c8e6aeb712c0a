"""Max patchers as JSON: boxes with the ports their class has, lines between them, rows and cells to lay out."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

__all__ = ["Patcher", "Rect"]

Rect = tuple[float, float, float, float]  # x, y, width, height

# inlets and the types of the outlets, read from published patchers (Max 8)
_WIDGETS: dict[str, tuple[int, tuple[str, ...]]] = {
    "button": (1, ("bang",)),
    "comment": (1, ()),
    "dial": (1, ("float",)),
    "flonum": (1, ("", "bang")),
    "live.comment": (1, ()),
    "live.dial": (1, ("", "float")),
    "live.menu": (1, ("", "", "float")),
    "live.text": (1, ("", "")),
    "message": (2, ("",)),
    "number": (1, ("", "bang")),
    "slider": (1, ("",)),
    "textedit": (1, ("", "int", "", "")),
    "toggle": (1, ("int",)),
    "umenu": (1, ("int", "", "")),
}
_OBJECTS: dict[str, tuple[int, tuple[str, ...]]] = {
    "closebang": (1, ("bang",)),
    "delay": (2, ("bang",)),
    "expr": (1, ("",)),
    "gate": (2, ("",)),
    "live.thisdevice": (1, ("bang", "int", "int")),
    "loadbang": (1, ("bang",)),
    "metro": (2, ("bang",)),
    "plugin~": (2, ("signal", "signal")),
    "plugout~": (2, ("signal", "signal")),
    "prepend": (1, ("",)),
    "print": (1, ()),
    "r": (0, ("",)),
    "s": (1, ()),
    "udpreceive": (1, ("",)),
    "udpsend": (1, ()),
}
_TRIGGERS = {"b": "bang", "f": "float", "i": "int", "l": "", "s": ""}


def _ports(text: str) -> tuple[int, tuple[str, ...]]:
    """Inlets and outlet types of a `newobj` box."""
    name, *arguments = text.split()
    if name in ("route", "sel"):
        types = ("" if name == "route" else "bang",) * len(arguments)
        return len(arguments) + 1, (*types, "")
    if name == "t":
        return 1, tuple(_TRIGGERS[argument] for argument in arguments)
    return _OBJECTS[name]


class Patcher:
    """A patcher under construction; `place` calls return the box's id for `line`."""

    def __init__(self, rect: Rect) -> None:
        self._rect = rect
        self.boxes: list[dict[str, Any]] = []
        self.lines: list[dict[str, Any]] = []

    def widget(self, maxclass: str, rect: Rect, shown: Rect | None = None, **attributes: Any) -> str:
        """A box of a user-interface class; `shown`: its place in the presentation, if it has one."""
        return self._box(maxclass, _WIDGETS[maxclass], rect, shown, attributes)

    def object(self, text: str, rect: Rect) -> str:
        """A `newobj` box with that text."""
        return self._box("newobj", _ports(text), rect, None, {"text": text})

    def line(self, source: str, destination: str, outlet: int = 0, inlet: int = 0) -> None:
        """A patch cord."""
        cord = {"source": [source, outlet], "destination": [destination, inlet]}
        self.lines.append({"patchline": cord})

    def chain(self, *ids: str) -> None:
        """Cords from each to the next, first outlet to first inlet."""
        for source, destination in pairwise(ids):
            self.line(source, destination)

    def comment(self, text: str, rect: Rect, shown: Rect | None = None, **attributes: Any) -> str:
        """Text on the patch."""
        return self.widget("comment", rect, shown, text=text, **attributes)

    def json(self, **patcher_level: Any) -> str:
        """The whole file; further keys go to the patcher itself."""
        version = {"major": 8, "minor": 5, "revision": 5, "architecture": "x64", "modernui": 1}
        patcher = {
            "fileversion": 1,
            "appversion": version,
            "classnamespace": "box",
            "rect": [float(x) for x in self._rect],
            "openinpresentation": 1,
            "default_fontsize": 12.0,
            "default_fontname": "Arial",
            "gridsize": [15.0, 15.0],
            "boxes": self.boxes,
            "lines": self.lines,
            **patcher_level,
            "autosave": 0,
        }
        return json.dumps({"patcher": patcher}, indent=1, ensure_ascii=False)

    def _box(
        self,
        maxclass: str,
        ports: tuple[int, tuple[str, ...]],
        rect: Rect,
        shown: Rect | None,
        attributes: dict[str, Any],
    ) -> str:
        inlets, outlets = ports
        box: dict[str, Any] = {
            "id": f"obj-{len(self.boxes) + 1}",
            "maxclass": maxclass,
            "numinlets": inlets,
            "numoutlets": len(outlets),
            "patching_rect": [float(x) for x in rect],
        }
        if outlets:
            box["outlettype"] = list(outlets)
        if shown is not None:
            box |= {"presentation": 1, "presentation_rect": [float(x) for x in shown]}
        self.boxes.append({"box": box | attributes})
        return str(box["id"])
