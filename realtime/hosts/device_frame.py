"""What the Max for Live device has apart from its parameters: connection, meters, layout, and its table for Live."""

from __future__ import annotations

from typing import Any

from realtime.hosts.maxpat import Patcher, Rect
from realtime.hosts.table import Session, titles
from realtime.parameters import PREFIX, Status

__all__ = ["Columns", "DeviceFrame"]

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
