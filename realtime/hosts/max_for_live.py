"""The Max for Live audio effect: every parameter a live.* object, saved and automated by the Set; meters back.

The Set is the master: the device sends its values when it is loaded and listens to the program's own values only
while "Follow" is on, because every value that comes from outside is an entry in Live's undo history.
"""

from __future__ import annotations

import struct
from typing import Any

from realtime.hosts.device_frame import (
    BLEND,
    BUTTON_H,
    BUTTON_W,
    CELL_W,
    CELLS_A_ROW,
    ENUM,
    FLOAT,
    FOLLOW,
    IN,
    NATIVE,
    OUT,
    READY,
    DeviceFrame,
)
from realtime.hosts.maxpat import Rect
from realtime.hosts.table import Session, info_text, titles
from realtime.parameters import Parameter

__all__ = ["amxd", "device_patcher", "max_for_live"]

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
