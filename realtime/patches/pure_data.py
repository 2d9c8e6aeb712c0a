"""The Pure Data patch (vanilla, 0.51 or newer): controls on the canvas, the wiring in subpatches.

Names for other patches: send a number to `umtn/NAME` and it is set; `umtn/value/NAME` tells its value, and
`umtn/status/NAME` each figure. The socket that sends is the one that listens, so no second port is needed.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from realtime.patches.table import Session, describe, titles
from realtime.shared.parameters import Parameter, Status

__all__ = ["Canvas", "escape", "pure_data"]


# Pure Data canvases as text: objects numbered in file order, cords by number, free text escaped.


class Canvas:
    """One canvas: objects are numbered in the order of the file, comments and subpatches too."""

    def __init__(self, head: str) -> None:
        self._lines = [head]
        self._cords: list[str] = []
        self._count = 0

    def add(self, kind: str, x: float, y: float, content: str) -> int:
        """An object (`obj`, `msg`, `text`, `floatatom`, `symbolatom`); content as it stands in the file."""
        return self._append(f"#X {kind} {x:g} {y:g} {content}".rstrip() + ";")

    def obj(self, x: float, y: float, content: str) -> int:
        """An object box."""
        return self.add("obj", x, y, content)

    def chain(self, *numbers: int) -> None:
        """Cords from each to the next, first outlet to first inlet."""
        for source, destination in pairwise(numbers):
            self.cord(source, 0, destination)

    def cord(self, source: int, outlet: int, destination: int, inlet: int = 0) -> None:
        """A patch cord."""
        self._cords.append(f"#X connect {source} {outlet} {destination} {inlet};")

    def subpatch(self, inner: Canvas, x: float, y: float, name: str) -> int:
        """A canvas within this one."""
        return self._append(inner.text().rstrip("\n") + f"\n#X restore {x:g} {y:g} pd {name};")

    def text(self) -> str:
        """The canvas as it stands in the file."""
        return "\n".join([*self._lines, *self._cords]) + "\n"

    def _append(self, line: str) -> int:
        self._lines.append(line)
        self._count += 1
        return self._count - 1


def escape(text: str) -> str:
    """Free text for a .pd file."""
    for character in "\\,;$":
        text = text.replace(character, ("" if character == "\\" else " ") + "\\" + character)
    return " ".join(text.split())


ROW_H, TOP, COLUMN_W, ROWS = 30, 60, 400, 24
FONT = 10
RETRY_MS = 2000
_GREY, _BLACK, _BLUE = "#fcfcfc", "#000000", "#4080c0"


def pure_data(session: Session) -> str:
    """Text of a .pd file."""
    main = Canvas(f"#N canvas 40 40 1240 840 {FONT};")
    main.add("text", 20, 8, escape(f"umtn-live: {session.bundle}; sends to {session.target}"))
    hint = "From other patches: [s umtn/mix] sets, [r umtn/value/mix] and [r umtn/status/load] tell."
    main.add("text", 20, 26, escape(hint))
    names = titles(p.name for p in session.parameters)
    layout = _Layout()
    for p in session.parameters:
        _control(main, p, names[p.name][0], *layout.place(_height(p)))
    layout.next_column()
    labels = titles(s.name for s in session.status)
    for s in session.status:
        _figure(main, s, labels[s.name][0], *layout.place(ROW_H))
    main.subpatch(_connection(session), 420, 8, "connection")
    main.subpatch(_parameters(session.parameters), 520, 8, "parameters")
    main.subpatch(_status(session.status), 620, 8, "status")
    return main.text()


class _Layout:
    """Rows from top to bottom, then the next column."""

    def __init__(self) -> None:
        self._x, self._y = 20, TOP

    def place(self, height: int) -> tuple[int, int]:
        """Where the next row of that height begins."""
        if self._y > TOP and self._y + height > TOP + ROWS * ROW_H:
            self.next_column()
        found = (self._x, self._y)
        self._y += height
        return found

    def next_column(self) -> None:
        """Begin a new column."""
        self._x, self._y = self._x + COLUMN_W, TOP


# what is seen


def _height(p: Parameter) -> int:
    return max(ROW_H, 18 * len(p.choices) + 8)


def _control(canvas: Canvas, p: Parameter, title: str, x: int, y: int) -> None:
    """Title, control, limits; controls talk to the wiring by their send and receive names alone."""
    canvas.add("text", x, y, escape(title))
    left, limits = x + 120, describe(p)
    if p.kind == "float":
        canvas.obj(left, y, _slider(f"umtn-slider/{p.name}", f"umtn-slider-set/{p.name}"))
        canvas.add(
            "floatatom", left + 140, y, f"8 {p.low:g} {p.high:g} 0 - umtn/{p.name} umtn-send/{p.name} 0"
        )
        canvas.add("text", left + 205, y, escape(p.unit or limits.partition(",")[0]))
    elif p.kind == "choice":
        size = max(len(p.choices), 1)
        canvas.obj(
            left,
            y,
            f"vradio 18 0 0 {size} umtn-send/{p.name} umtn/{p.name} empty 0 -8 0 10 {_GREY} {_BLACK} {_BLACK} 0",
        )
        for i, choice in enumerate(p.choices):
            canvas.add("text", left + 24, y + 18 * i, escape(choice))
    elif p.kind == "bool" or p.argument == "switch":
        canvas.obj(
            left,
            y,
            f"tgl 18 0 umtn-send/{p.name} umtn/{p.name} empty 17 7 0 10 {_GREY} {_BLACK} {_BLACK} 0 1",
        )
    elif p.argument:
        canvas.add("symbolatom", left, y, f"20 0 0 0 - umtn/{p.name} umtn-send/{p.name} 0")
    else:
        canvas.obj(
            left,
            y,
            f"bng 18 250 50 0 umtn-send/{p.name} umtn/{p.name} empty 17 7 0 10 {_GREY} {_BLACK} {_BLACK}",
        )


def _slider(send: str, receive: str, low: int = 0, high: int = 1) -> str:
    return f"hsl 128 15 {low} {high} 0 0 {send} {receive} empty -2 -8 0 10 {_GREY} {_BLUE} {_BLACK} 0 1"


def _figure(canvas: Canvas, s: Status, title: str, x: int, y: int) -> None:
    canvas.add("text", x, y, escape(title))
    kind = "symbolatom" if s.kind in ("string", "choice") else "floatatom"
    canvas.add(kind, x + 120, y, f"{16 if kind == 'symbolatom' else 9} 0 0 0 - umtn/status/{s.name} - 0")
    if s.unit:
        canvas.add("text", x + 190, y, escape(s.unit))
    if s.unit == "dB":
        canvas.obj(x + 220, y, _slider("empty", f"umtn/status/{s.name}", -80, 0))


# what is wired


def _connection(session: Session) -> Canvas:
    """The socket: opened again whenever it is closed, subscribed every two seconds."""
    c = Canvas(f"#N canvas 100 100 620 420 {FONT};")
    clock = c.obj(20, 20, "loadbang"), c.obj(20, 50, f"metro {RETRY_MS}"), c.obj(20, 80, "t b b")
    state, closed = c.obj(200, 110, "f 0"), c.obj(200, 140, "sel 0")
    host = session.host
    connect = c.add("msg", 200, 170, f"connect {host} {session.port}")
    subscribe = c.obj(20, 110, "oscformat umtn subscribe")
    bus, send, trim = (
        c.obj(20, 170, "r umtn-out"),
        c.obj(20, 200, "list prepend send"),
        c.obj(20, 230, "list trim"),
    )
    socket = c.obj(20, 290, "netsend -u -b")
    parse, short, out = (
        c.obj(120, 320, "oscparse"),
        c.obj(120, 350, "list trim"),
        c.obj(120, 380, "s umtn-in"),
    )
    errors, say = c.obj(240, 350, "route error"), c.obj(240, 380, "print umtn")
    c.add("text", 320, 170, "another machine: change this address")
    c.chain(*clock)
    c.cord(clock[2], 1, state)
    c.chain(state, closed, connect, socket)
    c.chain(clock[2], subscribe, send, trim, socket)
    c.cord(bus, 0, send)
    c.cord(socket, 0, state, 1)
    c.cord(socket, 1, parse)
    c.chain(parse, short, out)
    c.chain(short, errors, say)
    return c


def _parameters(parameters: Sequence[Parameter]) -> Canvas:
    c = Canvas(f"#N canvas 120 120 1400 900 {FONT};")
    for i, p in enumerate(parameters):
        x, y = 20 + i % 4 * 340, 20 + i // 4 * 240
        path = " ".join(["umtn", *p.name.split("/")])
        taken = c.obj(x, y, f"r umtn-send/{p.name}")
        formed = c.obj(x, y + 60, f"oscformat {path}")
        c.chain(taken, c.obj(x, y + 30, "list append"), formed, c.obj(x, y + 90, "s umtn-out"))
        if p.kind in ("float", "bool", "choice"):
            _feedback(c, p, x + 150, y)
        if p.kind == "float":
            _dial(c, p, taken, x, y + 120)
    return c


def _feedback(c: Canvas, p: Parameter, x: int, y: int) -> None:
    """What the program says of a parameter: shown, not sent again."""
    routes = [c.obj(x, y, "r umtn-in")]
    for depth, part in enumerate(["umtn", *p.name.split("/")]):
        routes.append(c.obj(x, y + 25 * (depth + 1), f"route {part}"))
    c.chain(*routes)
    bottom = y + 25 * (len(routes) + 1)
    value, show = c.obj(x + 70, bottom, f"s umtn/value/{p.name}"), c.obj(x, bottom + 25, f"s umtn/{p.name}")
    if p.kind != "choice":
        c.cord(routes[-1], 0, value)
        c.chain(routes[-1], c.add("msg", x, bottom, "set \\$1"), show)
        if p.kind == "float":
            to_slider = c.obj(x, bottom + 50, f"s umtn-shown/{p.name}")
            c.cord(routes[-1], 0, to_slider)
        return
    # a lone word leaves `route` as a message of that name; `sel` wants a symbol
    pick, word = (
        c.obj(x, bottom - 25, "sel " + " ".join(p.choices)),
        c.obj(x + 150, bottom - 50, "list append"),
    )
    c.chain(routes[-1], word, pick)
    for i in range(len(p.choices)):
        number, quiet = (
            c.add("msg", x + 40 * i, bottom, f"{i}"),
            c.add("msg", x + 40 * i, bottom + 22, "set \\$1"),
        )
        c.cord(pick, i, number)
        c.chain(number, quiet, show)
        c.cord(number, 0, value)


def _dial(c: Canvas, p: Parameter, taken: int, x: int, y: int) -> None:
    """Between a slider's 0..1 and the number in its unit, both ways."""
    span = p.high - p.low if p.high > p.low else 1.0
    square = p.curve == "square"
    forth = [c.obj(x, y, f"r umtn-slider/{p.name}")]
    forth += [c.obj(x, y + 22, "pow 2")] if square else []
    forth += [
        c.obj(x, y + 44, f"* {span:g}"),
        c.obj(x + 60, y + 44, f"+ {p.low:g}"),
        c.obj(x, y + 66, f"s umtn/{p.name}"),
    ]
    c.chain(*forth)
    shown = c.obj(x + 150, y, f"r umtn-shown/{p.name}")
    back = [c.obj(x + 150, y + 44, f"- {p.low:g}"), c.obj(x + 210, y + 44, f"/ {span:g}")]
    back += [c.obj(x + 150, y + 66, "sqrt")] if square else []
    back += [c.add("msg", x + 210, y + 66, "set \\$1"), c.obj(x + 150, y + 88, f"s umtn-slider-set/{p.name}")]
    c.chain(taken, back[0])
    c.chain(shown, *back)


def _status(status: Sequence[Status]) -> Canvas:
    c = Canvas(f"#N canvas 140 140 900 700 {FONT};")
    names = " ".join(s.name for s in status)
    bus, ours = c.obj(20, 20, "r umtn-in"), c.obj(20, 45, "route umtn")
    mine, each = c.obj(20, 70, "route status"), c.obj(20, 95, f"route {names}")
    c.chain(bus, ours, mine, each)
    for i, s in enumerate(status):
        x, y = 20 + i % 4 * 210, 150 + i // 4 * 60
        # a lone word leaves `route` as a message of that name; a list is what a symbol box takes
        word, name = c.obj(x, y, "list append"), c.obj(x, y + 25, f"s umtn/status/{s.name}")
        c.cord(each, i, word)
        c.chain(word, name)
    return c
