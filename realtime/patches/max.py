"""The Max patch: a control for every parameter, its value back from the program, and all figures.

Each parameter is a cell of its own: incoming messages are heard with `r umtn-in`, outgoing ones leave by
`s umtn-out`, so that cells can be copied into other patches one by one.
"""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

from realtime.patches.table import Session, describe, info_text, titles
from realtime.shared.parameters import PREFIX, Parameter, Status

__all__ = ["Patcher", "Rect", "max_patch"]


# Max patchers as JSON: boxes with the ports their class has, lines between them, rows and cells to lay out.


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


IN, OUT = "umtn-in", "umtn-out"
CELL_W, CELL_H, CELLS_A_ROW = 330, 260, 5  # of the patching view
ROW_H, COLUMN_W, ROWS = 46, 470, 12  # of the presentation
TOP = 90
FIGURES_A_ROW = 8
RESUBSCRIBE_MS = 5000
METER_FLOOR_DB = 80


def max_patch(session: Session) -> str:
    """Text of a .maxpat file."""
    patcher = Patcher((60, 80, 1480, 760))
    _connection(patcher, session)
    names = titles(p.name for p in session.parameters)
    for i, parameter in enumerate(session.parameters):
        _Cell(patcher, i, names[parameter.name][0]).add(parameter)
    columns = -(-len(session.parameters) // ROWS)
    rows = -(-len(session.parameters) // CELLS_A_ROW)
    labels = titles(s.name for s in session.status)
    for i, status in enumerate(session.status):
        shown = (30 + columns * COLUMN_W, TOP + i * 28)
        place = (40 + i % FIGURES_A_ROW * 200, 320 + rows * CELL_H + i // FIGURES_A_ROW * 170)
        _figure(patcher, status, labels[status.name][0], place, shown)
    return patcher.json()


def _connection(patcher: Patcher, session: Session) -> None:
    reply = session.reply_port("max")
    patcher.comment(f"umtn-live: {session.bundle}", (40, 10, 400, 27), (20, 8, 400, 27), fontsize=18.0)
    text = (
        f"Sends to {session.target}, hears port {reply}. Start the program first or later: this patch "
        "subscribes every 5 s."
    )
    patcher.comment(text, (40, 40, 760, 20), (20, 36, 760, 20))
    out = patcher.object(f"r {OUT}", (40, 80, 90, 22))
    send = patcher.object(f"udpsend {session.host} {session.port}", (40, 190, 160, 22))
    patcher.line(out, send)
    load = patcher.object("loadbang", (240, 80, 70, 22))
    metro = patcher.object(f"metro {RESUBSCRIBE_MS}", (240, 110, 90, 22))
    ask = patcher.widget("message", (240, 140, 190, 22), text=f"{PREFIX}subscribe {reply}")
    patcher.chain(load, metro, ask, send)
    close = patcher.object("closebang", (450, 110, 80, 22))
    leave = patcher.widget("message", (450, 140, 200, 22), text=f"{PREFIX}unsubscribe {reply}")
    patcher.chain(close, leave, send)
    patcher.comment("another machine:", (680, 80, 120, 20))
    for i, text in enumerate((f"host {session.host}", f"port {session.port}")):
        patcher.line(patcher.widget("message", (680 + i * 130, 110, 120, 22), text=text), send)
    heard = patcher.object(f"udpreceive {reply}", (40, 230, 130, 22))
    patcher.line(heard, patcher.object(f"s {IN}", (40, 260, 70, 22)))
    _complaints(patcher)


def _complaints(patcher: Patcher) -> None:
    """The program's last error message: a refused value says here why."""
    heard = patcher.object(f"r {IN}", (240, 200, 70, 22))
    route = patcher.object("route /error", (240, 230, 80, 22))
    show = patcher.object("prepend set", (240, 260, 80, 22))
    patcher.comment("last message", (340, 235, 90, 20), (20, 58, 85, 20))
    box = patcher.widget("message", (340, 260, 420, 22), (105, 57, 560, 22), text="")
    patcher.chain(heard, route, show, box)


class _Cell:
    """One parameter: its place in both views, and the boxes between its control and the two buses."""

    def __init__(self, patcher: Patcher, index: int, title: str) -> None:
        self.patcher = patcher
        self.title = title
        self.x = 40 + index % CELLS_A_ROW * CELL_W
        self.y = 310 + index // CELLS_A_ROW * CELL_H
        self.left = 20 + index // ROWS * COLUMN_W
        self.top = TOP + index % ROWS * ROW_H

    def add(self, parameter: Parameter) -> None:
        """Label, control, and what its kind needs."""
        self.patcher.comment(self.title, self.at(0, 0, 300), self.shown(0, 8, 120), fontface=1)
        note = (
            f"{parameter.description} ({describe(parameter)})"
            if describe(parameter)
            else parameter.description
        )
        shown = (self.left + 255.0, self.top + 2.0, 200.0, 40.0)
        self.patcher.comment(note, self.at(0, 22, 300, 33), shown, fontsize=9.0, linecount=3)
        self.send = self.patcher.object(f"prepend {parameter.address}", self.at(0, 200, 200))
        self.patcher.line(self.send, self.patcher.object(f"s {OUT}", self.at(0, 228, 80)))
        {"float": self._float, "bool": self._bool, "choice": self._choice}.get(parameter.kind, self._action)(
            parameter
        )

    def at(self, x: float, y: float, width: float, height: float = 22) -> Rect:
        """A place in the patching view."""
        return (self.x + x, self.y + y, width, height)

    def shown(self, x: float, y: float, width: float, height: float = 22) -> Rect:
        """A place in the presentation."""
        return (self.left + x, self.top + y, width, height)

    def _heard(self, parameter: Parameter) -> str:
        """Box that puts out what the program says of this parameter."""
        bus = self.patcher.object(f"r {IN}", self.at(210, 58, 70))
        route = self.patcher.object(f"route {parameter.address}", self.at(150, 86, 170))
        self.patcher.line(bus, route)
        return route

    def _feedback(self, parameter: Parameter, control: str, word: str = "set") -> str:
        """The program's value moves the control without sending it again."""
        route = self._heard(parameter)
        self.patcher.chain(route, self.patcher.object(f"prepend {word}", self.at(210, 114, 110)), control)
        return route

    def _float(self, p: Parameter) -> None:
        patcher, hint = self.patcher, info_text(p)
        span = p.high - p.low if p.high > p.low else 1.0
        power, root = ("$f1*$f1", "sqrt({})") if p.curve == "square" else ("$f1", "{}")
        dial = patcher.widget("dial", self.at(0, 58, 36, 36), self.shown(125, 2, 36, 36), floatoutput=1, size=1.0,
                              min=0.0, parameter_enable=0, hint=hint)  # fmt: skip
        to_unit = patcher.object(f"expr {_f(p.low)}+{_f(span)}*{power}", self.at(0, 114, 180))
        number = patcher.widget("flonum", self.at(0, 160, 70), self.shown(168, 8, 75), minimum=p.low, maximum=p.high,
                                format=6, parameter_enable=0, hint=hint)  # fmt: skip
        patcher.chain(dial, to_unit, number, self.send)
        inverse = root.format(f"($f1-({_f(p.low)}))/{_f(span)}")
        to_dial = patcher.object(f"expr {inverse}", self.at(100, 142, 200))
        turn = patcher.object("prepend set", self.at(100, 170, 80))
        patcher.chain(number, to_dial, turn, dial)
        patcher.line(self._feedback(p, number), to_dial)
        if p.unit:
            patcher.comment(p.unit, self.at(0, 183, 60, 16), self.shown(168, 31, 70, 15), fontsize=9.0)

    def _bool(self, p: Parameter) -> None:
        self._feedback(p, self._toggle(p))

    def _toggle(self, p: Parameter) -> str:
        toggle = self.patcher.widget("toggle", self.at(0, 58, 28, 28), self.shown(130, 4, 30, 30),
                                     parameter_enable=0, hint=info_text(p))  # fmt: skip
        self.patcher.line(toggle, self.send)
        return toggle

    def _choice(self, p: Parameter) -> None:
        items: list[str] = []
        for choice in p.choices:
            items += [choice, ","]
        menu = self.patcher.widget("umenu", self.at(0, 58, 110), self.shown(125, 8, 115), items=items[:-1],
                                   parameter_enable=0, hint=info_text(p))  # fmt: skip
        self.patcher.line(menu, self.send, outlet=1)  # the name; numbers change with the bundle
        self._feedback(p, menu, "setsymbol")

    def _action(self, p: Parameter) -> None:
        if p.argument == "switch":
            self._toggle(p)  # the program answers with a sentence, which is no state
        elif not p.argument:
            self._press(p)
        if p.argument:
            self._name(p)

    def _press(self, p: Parameter) -> None:
        button = self.patcher.widget("button", self.at(0, 58, 30, 30), self.shown(130, 4, 32, 32),
                                     parameter_enable=0, hint=info_text(p))  # fmt: skip
        one = self.patcher.widget("message", self.at(0, 110, 40), text="1")
        self.patcher.chain(button, one, self.send)

    def _name(self, p: Parameter) -> None:
        """A field for a name: Enter sends it as one string."""
        left = 165 if p.argument == "switch" else 125
        edit = self.patcher.widget(
            "textedit", self.at(0, 110, 130), self.shown(left, 8, 240 - left), text="", keymode=1,
            outputmode=1, lines=1, parameter_enable=0, hint=info_text(p),
        )  # fmt: skip
        route = self.patcher.object("route text", self.at(0, 142, 80))
        self.patcher.chain(edit, route, self.send)


def _figure(
    patcher: Patcher, status: Status, title: str, at: tuple[float, float], shown: tuple[float, float]
) -> None:
    """One figure of the program, with a bar where it is a level."""
    (x, y), (left, top) = at, shown
    patcher.comment(title, (x, y, 170, 20), (left, top, 130, 20))
    bus = patcher.object(f"r {IN}", (x, y + 24, 70, 22))
    route = patcher.object(f"route {status.address}", (x, y + 50, 180, 22))
    patcher.line(bus, route)
    hint, place, seen = status.description, (x, y + 106, 110, 22), (left + 135, top, 110, 22)
    if status.kind in ("string", "choice"):
        show = patcher.object("prepend set", (x, y + 78, 80, 22))
        patcher.chain(route, show, patcher.widget("message", place, seen, text="", ignoreclick=1, hint=hint))
        return
    kind = "flonum" if status.kind == "float" else "number"
    number = patcher.widget(kind, place, seen, ignoreclick=1, parameter_enable=0, hint=hint)
    patcher.line(route, number)
    if status.unit:
        patcher.comment(status.unit, (x + 115, y + 106, 40, 20), (left + 250, top, 40, 20))
    if status.unit == "dB":
        bar = patcher.widget(
            "slider", (x, y + 134, 140, 16), (left + 290, top + 3, 150, 16), orientation=1, floatoutput=1,
            min=-float(METER_FLOOR_DB), size=float(METER_FLOOR_DB), ignoreclick=1, parameter_enable=0,
        )  # fmt: skip
        patcher.line(route, bar)


def _f(number: float) -> str:
    """A number that Max reads as a float: `24` would make an `expr` count in whole numbers."""
    text = f"{number:g}"
    return text if "." in text or "e" in text else text + "."
