"""The Max for Live audio effect: every parameter a live.* object, saved and automated by the Set; meters back.

The Set is the master: the device sends its values when it is loaded and listens to the program's own values only
while "Follow" is on, because every value that comes from outside is an entry in Live's undo history.
"""

from __future__ import annotations

import struct
from typing import Any

from realtime.patches.max import Patcher, Rect
from realtime.patches.table import Session, info_text, titles
from realtime.shared.parameters import PREFIX, Parameter, Status

__all__ = ["Columns", "DeviceFrame", "amxd", "device_patcher", "max_for_live"]


# What the Max for Live device has apart from its parameters: connection, meters, layout, and its table for Live.


# --- makes a name local to one device, so that two devices do not hear each other
IN, OUT, FOLLOW, BLEND = "---umtn-in", "---umtn-out", "---umtn-follow", "---umtn-blend"
READY = "---umtn-ready"
FLOAT, ENUM = 0, 2  # parameter_type
NATIVE = 10  # parameter_unitstyle
AUTOMATED, STORED_ONLY = 0, 1  # parameter_invisible
METERS = (
    "level_in_db",
    "level_out_db",
    "load",
    "xruns",
    "latency_ms",
    "domain",
    "gate",
    "recording",
    "preset",
)
DEVICE_H, TOP, GAP = 169.0, 5.0, 3.0
BUTTON_W, BUTTON_H = 88.0, 15.0
CELL_W, CELL_H, CELLS_A_ROW = 330, 230, 5
RESUBSCRIBE_MS = 5000
RESTORED_MS = 500  # by then the Set's values have arrived in the dials


class Columns:
    """Fills the device from top to bottom, then begins the next column."""

    def __init__(self, left: float) -> None:
        self.left, self.top, self._width = left, TOP, 0.0

    def place(self, width: float, height: float) -> Rect:
        """Where the next thing of that size goes."""
        if self.top > TOP and self.top + height > DEVICE_H - 2:
            self.next()
        found = (self.left, self.top, width, height)
        self.top += height + GAP
        self._width = max(self._width, width)
        return found

    def next(self) -> None:
        """Begin a new column."""
        if self.top > TOP:
            self.left, self.top, self._width = self.left + self._width + GAP, TOP, 0.0


class DeviceFrame:
    """Patcher, layout and everything that is not a parameter of the table."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.patcher = Patcher((60, 80, 1480, 760))
        self.columns = Columns(6)
        self._registered: dict[str, Any] = {}
        self._cells = 0
        self._connection()
        self._follow()
        self._restore_blend()

    def json(self) -> str:
        """The patcher with its table of parameters; Push shows the banks."""
        names = [entry[0] for entry in self._registered.values()]
        banks = [names[i : i + 8] for i in range(0, len(names), 8)]
        parameters: dict[str, Any] = dict(self._registered)
        parameters["parameterbanks"] = {
            str(i): {"index": i, "name": "", "parameters": bank + ["-"] * (8 - len(bank))}
            for i, bank in enumerate(banks)
        }
        parameters["inherited_shortname"] = 1
        width = max(b["box"]["presentation_rect"][0] + b["box"]["presentation_rect"][2]
                    for b in self.patcher.boxes if "presentation_rect" in b["box"])  # fmt: skip
        return self.patcher.json(
            description=f"Remote control of umtn-live ({self.session.bundle}); audio passes unchanged",
            digest="umtn-live remote",
            devicewidth=width + 6.0,
            parameters=parameters,
            latency=0,
        )

    def next_cell(self) -> tuple[float, float]:
        """The next free cell of the patching view."""
        i, self._cells = self._cells, self._cells + 1
        return 40 + i % CELLS_A_ROW * CELL_W, 280 + i // CELLS_A_ROW * CELL_H

    def live(
        self, maxclass: str, name: str, long: str, short: str, shown: Rect, rect: Rect, info: str,
        valueof: dict[str, Any], **attributes: Any,
    ) -> str:  # fmt: skip
        """A live.* box that Live knows under its long name, with what the info view says of it."""
        values = {
            "parameter_longname": long,
            "parameter_shortname": short,
            "parameter_annotation_name": long,
            "parameter_info": info,
            "parameter_initial_enable": 1,
            "parameter_invisible": AUTOMATED,
            "parameter_modmode": 0,
            "parameter_mmin": 0.0,
            **valueof,
        }
        box = self.patcher.widget(
            maxclass, rect, shown, parameter_enable=1, varname=name, annotation_name=long, annotation=info,
            saved_attribute_attributes={"valueof": values}, **attributes,
        )  # fmt: skip
        self._registered[box] = [long, short, 0]
        return box

    def _connection(self) -> None:
        p, session = self.patcher, self.session
        reply = session.reply_port("live")
        p.comment(
            "Audio passes through unchanged: the sound is made by the program. Route a track to the program's "
            "input and its output back to a track with BlackHole, VB-Cable, JACK or PipeWire.",
            (40, 10, 640, 34), linecount=2)  # fmt: skip
        left, right = p.object("plugin~", (40, 60, 60, 22)), p.object("plugout~", (40, 100, 60, 22))
        p.line(left, right, 0, 0)
        p.line(left, right, 1, 1)
        send = p.object(f"udpsend {session.host} {session.port}", (160, 200, 160, 22))
        p.line(p.object(f"r {OUT}", (160, 60, 110, 22)), send)
        heard = p.object(f"udpreceive {reply}", (40, 200, 110, 22))
        p.line(heard, p.object(f"s {IN}", (40, 230, 100, 22)))
        self._ready = p.object("live.thisdevice", (330, 60, 100, 22))
        metro = p.object(f"metro {RESUBSCRIBE_MS}", (330, 100, 90, 22))
        ask = p.widget("message", (330, 140, 180, 22), text=f"{PREFIX}subscribe {reply}")
        p.chain(self._ready, metro, ask, send)
        leave = p.widget("message", (530, 140, 190, 22), text=f"{PREFIX}unsubscribe {reply}")
        p.chain(p.object("closebang", (530, 100, 80, 22)), leave, send)

    def _follow(self) -> None:
        """A switch that is saved with the Set, but is no parameter of the music."""
        box = self.live(
            "live.text", "follow", "Follow", "Follow", self.columns.place(BUTTON_W, BUTTON_H), (750, 60, 90, 20),
            "Show values that were moved elsewhere (phone, preset, MIDI). Off: the Set alone decides",
            {"parameter_type": ENUM, "parameter_enum": ["off", "on"], "parameter_mmax": 1,
             "parameter_initial": [0], "parameter_unitstyle": NATIVE, "parameter_invisible": STORED_ONLY},
            text="Follow", texton="Follow", mode=1)  # fmt: skip
        self.patcher.line(box, self.patcher.object(f"s {FOLLOW}", (750, 100, 130, 22)))

    def _restore_blend(self) -> None:
        """A chosen domain ends a blend in the program: here too. But not while a Set is being loaded, when the
        domain may arrive after the weights, which are therefore sent once more. Nor may a button fire then."""
        p = self.patcher
        self._blends = p.object(f"s {BLEND}", (960, 200, 130, 22))
        again = p.object(f"delay {RESTORED_MS}", (960, 60, 80, 22))
        trigger = p.object("t b b", (960, 90, 60, 22))
        bang = p.widget("message", (960, 140, 60, 22), text="bang")
        opened = p.widget("message", (1040, 90, 40, 22), text="1")
        self.chosen = p.object("gate", (1040, 150, 50, 22))  # right inlet: what ends a blend
        p.chain(self._ready, again, trigger, bang, self._blends)
        p.line(trigger, opened, outlet=1)
        p.line(opened, self.chosen)
        p.line(opened, p.object(f"s {READY}", (1100, 120, 130, 22)))
        zero = p.widget("message", (1040, 175, 60, 22), text="set 0.")
        p.chain(self.chosen, zero, self._blends)

    def add_meters(self) -> None:
        """Name, value and, for levels, a bar of the figures that matter on stage."""
        by_name = {s.name: s for s in self.session.status}
        shown = [by_name[name] for name in METERS if name in by_name]
        labels = titles(s.name for s in shown)
        for status in shown:
            self._meter(status, labels[status.name][0])
        x, y = self.next_cell()
        self.patcher.widget("live.comment", (x, y, 260, 18), self.columns.place(132, 13), fontsize=9.0,
                            text="Audio passes; see README", textjustification=0)  # fmt: skip

    def _meter(self, status: Status, label: str) -> None:
        left, top, _, _ = self.columns.place(132, 13)
        x, y = self.next_cell()
        p, hint = self.patcher, status.description
        p.widget("live.comment", (x, y, 120, 18), (left, top, 56, 13), text=label, textjustification=0,
                 fontsize=9.0)  # fmt: skip
        route = p.object(f"route {status.address}", (x, y + 60, 170, 22))
        p.line(p.object(f"r {IN}", (x, y + 30, 100, 22)), route)
        seen = (left + 58, top - 1, 40.0 if status.unit == "dB" else 74.0, 15.0)
        if status.kind in ("string", "choice"):
            show = p.object("prepend set", (x, y + 90, 80, 22))
            p.chain(route, show, p.widget("message", (x, y + 120, 120, 22), seen, text="", ignoreclick=1,
                                          fontsize=9.0, hint=hint))  # fmt: skip
            return
        kind = "flonum" if status.kind == "float" else "number"
        extra = {"numdecimalplaces": 1 if status.unit else 2} if kind == "flonum" else {}
        p.line(route, p.widget(kind, (x, y + 120, 80, 20), seen, ignoreclick=1, fontsize=9.0, triangle=0,
                               parameter_enable=0, hint=hint, **extra))  # fmt: skip
        if status.unit == "dB":
            bar = p.widget("slider", (x + 100, y + 120, 120, 12), (left + 100, top + 1, 32, 10), orientation=1,
                           floatoutput=1, min=-80.0, size=80.0, ignoreclick=1, parameter_enable=0)  # fmt: skip
            p.line(route, bar)


# parameter_unitstyle
_UNIT_STYLES = {"": 1, "ms": 2, "Hz": 3, "dB": 4, "semitones": 7}
_CUSTOM = 9
_EXPONENTS = {"linear": 1.0, "square": 2.0}
DIAL_W, DIAL_H = 46.0, 48.0
CHOICES_X = 40 + CELLS_A_ROW * CELL_W + 40


def max_for_live(session: Session) -> bytes:
    """Bytes of an unfrozen .amxd file."""
    return amxd(device_patcher(session))


def amxd(patcher: str) -> bytes:
    """The chunks of an audio effect: ampf (its kind), meta, ptch (JSON, newline, zero byte)."""
    content = patcher.encode() + b"\n\0"
    return (
        struct.pack("<4sI4s", b"ampf", 4, b"aaaa")
        + struct.pack("<4sII", b"meta", 4, 1)
        + struct.pack("<4sI", b"ptch", len(content))
        + content
    )


def device_patcher(session: Session) -> str:
    """The device as patcher JSON."""
    device = _Device(session)
    return device.json()


class _Device(DeviceFrame):
    """The frame, filled with the parameters."""

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self._names = titles(p.name for p in session.parameters)
        self._choices_y = 280.0
        groups = (
            [p for p in session.parameters if p.kind == "choice"],
            [p for p in session.parameters if _is_button(p)],
            [p for p in session.parameters if p.kind == "float"],
            [p for p in session.parameters if p.kind == "action" and p.argument in ("text", "text?")],
        )
        for p in groups[0] + groups[1]:
            (self._menu if p.kind == "choice" else self._button)(p)
        self.columns.next()
        for p in groups[2]:
            self._dial(p)
        self.columns.next()
        for p in groups[3]:
            self._named_action(p)
        self.columns.next()
        self.add_meters()

    def _parameter(
        self, maxclass: str, p: Parameter, shown: Rect, valueof: dict[str, Any], **attributes: Any
    ) -> str:
        x, y = self.next_cell()
        self._at = (x, y)
        long, short = self._names[p.name]
        box = self.live(
            maxclass,
            p.name,
            long,
            short,
            shown,
            (x, y, shown[2], shown[3]),
            info_text(p),
            valueof,
            **attributes,
        )
        self._send = self.patcher.object(f"prepend {p.address}", (x, y + 150, 200, 22))
        self.patcher.line(self._send, self.patcher.object(f"s {OUT}", (x, y + 180, 120, 22)))
        return box

    def _heard(self, p: Parameter) -> str:
        """Box that puts out the program's value, while Follow is on."""
        x, y = self._at
        bus = self.patcher.object(f"r {IN}", (x + 110, y, 100, 22))
        route = self.patcher.object(f"route {p.address}", (x + 110, y + 30, 170, 22))
        gate = self.patcher.object("gate", (x + 110, y + 60, 50, 22))
        switch = self.patcher.object(f"r {FOLLOW}", (x + 215, y, 110, 22))
        self.patcher.chain(bus, route)
        self.patcher.line(route, gate, 0, 1)
        self.patcher.line(switch, gate, 0, 0)
        return gate

    def _feedback(self, p: Parameter, control: str) -> None:
        x, y = self._at
        show = self.patcher.object("prepend set", (x + 110, y + 90, 80, 22))
        self.patcher.chain(self._heard(p), show, control)

    def _dial(self, p: Parameter) -> None:
        style = _UNIT_STYLES.get(p.unit, _CUSTOM)
        valueof: dict[str, Any] = {
            "parameter_type": FLOAT,
            "parameter_mmin": p.low,
            "parameter_mmax": p.high,
            "parameter_initial": [p.default],
            "parameter_unitstyle": style,
            "parameter_exponent": _EXPONENTS[p.curve],
        }
        if style == _CUSTOM:
            valueof["parameter_units"] = f"%.2f {p.unit}"
        box = self._parameter("live.dial", p, self.columns.place(DIAL_W, DIAL_H), valueof)
        self.patcher.line(box, self._send)
        self._feedback(p, box)
        if p.name.startswith("blend/"):
            x, y = self._at
            self.patcher.line(self.patcher.object(f"r {BLEND}", (x, y + 90, 100, 22)), box)

    def _menu(self, p: Parameter) -> None:
        valueof = {
            "parameter_type": ENUM,
            "parameter_enum": list(p.choices),
            "parameter_mmax": len(p.choices) - 1,
            "parameter_initial": [int(p.default)],
            "parameter_unitstyle": NATIVE,
        }
        box = self._parameter("live.menu", p, self.columns.place(BUTTON_W, BUTTON_H), valueof)
        self.patcher.line(box, self._send, outlet=1)  # the name; numbers change with the bundle
        if p.name == "to":
            self.patcher.line(box, self.chosen, 0, 1)
        x, y = self._at
        pick = self.patcher.object("sel " + " ".join(p.choices), (x + 110, y + 90, 200, 22))
        self.patcher.line(self._heard(p), pick)
        for i in range(len(p.choices)):
            index = self.patcher.widget(
                "message", (CHOICES_X + i % 8 * 55, self._choices_y + i // 8 * 28, 50, 22), text=f"set {i}"
            )
            self.patcher.line(pick, index, outlet=i)
            self.patcher.line(index, box)
        self._choices_y += (len(p.choices) // 8 + 2) * 28

    def _text(self, p: Parameter, button: bool) -> str:
        valueof = {
            "parameter_type": ENUM,
            "parameter_enum": ["off", "on"],
            "parameter_mmax": 1,
            "parameter_initial": [int(p.default)],
            "parameter_unitstyle": NATIVE,
        }
        label = self._names[p.name][0]
        shown = self.columns.place(BUTTON_W, BUTTON_H)
        return self._parameter(
            "live.text", p, shown, valueof, text=label, texton=label, mode=0 if button else 1
        )

    def _button(self, p: Parameter) -> None:
        if p.kind == "bool" or p.argument == "switch":
            box = self._text(p, button=False)
            if p.kind == "bool":
                self.patcher.line(box, self._send)
                self._feedback(p, box)
            else:
                self.patcher.line(self._once_ready(box), self._send)
            return
        box = self._text(p, button=True)
        self.patcher.chain(self._pressed(box, "1"), self._send)

    def _pressed(self, box: str, text: str) -> str:
        """A message at each press; a button that is let go says 0 and means nothing."""
        x, y = self._at
        press = self.patcher.object("sel 0", (x, y + 82, 50, 22))
        fire = self.patcher.object("t b", (x + 60, y + 82, 40, 22))
        message = self.patcher.widget("message", (x, y + 110, 60, 22), text=text)
        self.patcher.line(self._once_ready(box), press)
        self.patcher.line(press, fire, outlet=1)
        self.patcher.line(fire, message)
        return message

    def _once_ready(self, box: str) -> str:
        """What the box says, but not while a Set is being loaded: that must neither record nor recall."""
        x, y = self._at
        gate = self.patcher.object("gate", (x, y + 52, 50, 22))
        self.patcher.line(self.patcher.object(f"r {READY}", (x, y + 26, 105, 22)), gate)
        self.patcher.line(box, gate, 0, 1)
        return gate

    def _named_action(self, p: Parameter) -> None:
        """A button that can be automated, and the name that it sends; Enter in the field sends it too."""
        box = self._text(p, button=True)
        x, y = self._at
        field = self.patcher.widget(
            "textedit", (x + 110, y + 80, 130, 22), self.columns.place(BUTTON_W, 18), text="", keymode=1,
            outputmode=1, lines=1, fontsize=9.0, parameter_enable=0, hint=info_text(p),
        )  # fmt: skip
        route = self.patcher.object("route text", (x + 110, y + 110, 80, 22))
        self.patcher.chain(self._pressed(box, "bang"), field, route, self._send)


def _is_button(p: Parameter) -> bool:
    return p.kind in ("bool", "event") or (p.kind == "action" and p.argument in ("", "switch"))
