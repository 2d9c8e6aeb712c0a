"""The rules of Max patcher files and .amxd devices, written apart from the code that writes them."""

from __future__ import annotations

import json
import re
import struct
from collections import Counter
from typing import Any

__all__ = ["Graph", "amxd_content", "device_faults", "patcher_faults"]

Box = dict[str, Any]

# class or object -> inlets, outlets (patch-formats: read from published patchers)
WIDGETS = {
    "comment": (1, 0), "message": (2, 1), "dial": (1, 1), "flonum": (1, 2), "number": (1, 2), "toggle": (1, 1),
    "button": (1, 1), "umenu": (1, 3), "textedit": (1, 4), "slider": (1, 1), "live.dial": (1, 2), "live.menu": (1, 3),
    "live.text": (1, 2), "live.comment": (1, 0),
}  # fmt: skip
OBJECTS = {
    "udpsend": (1, 0, 2), "udpreceive": (1, 1, 1), "plugin~": (2, 2, 0), "plugout~": (2, 2, 0), "prepend": (1, 1, 1),
    "s": (1, 0, 1), "r": (0, 1, 1), "loadbang": (1, 1, 0), "closebang": (1, 1, 0), "metro": (2, 1, 1),
    "gate": (2, 1, 0), "delay": (2, 1, 1), "live.thisdevice": (1, 3, 0), "expr": (1, 1, 1),
}  # inlets, outlets, arguments  # fmt: skip
LIVE_TYPES = {"live.dial": 0, "live.menu": 2, "live.text": 2}
TEXTED = ("newobj", "message", "comment", "live.comment")
DEVICE_HEIGHT = 169


class Graph:
    """Boxes by id, and who is connected to whom."""

    def __init__(self, patcher: dict[str, Any]) -> None:
        self.boxes: dict[str, Box] = {entry["box"]["id"]: entry["box"] for entry in patcher["boxes"]}
        self.cords = [
            (*line["patchline"]["source"], *line["patchline"]["destination"]) for line in patcher["lines"]
        ]

    def texts(self, text: str) -> list[Box]:
        """`newobj` boxes with exactly that text."""
        return [b for b in self.boxes.values() if b["maxclass"] == "newobj" and b.get("text") == text]

    def reaches(self, start: str, goal: str) -> bool:
        """True if cords lead from one box to the other."""
        seen, rest = {start}, [start]
        while rest:
            here = rest.pop()
            for source, _, destination, _ in self.cords:
                if source == here and destination not in seen:
                    seen.add(destination)
                    rest.append(destination)
        return goal in seen

    def downstream(self, start: str) -> list[Box]:
        """All boxes that cords lead to."""
        return [box for id_, box in self.boxes.items() if id_ != start and self.reaches(start, id_)]

    def upstream(self, goal: str) -> list[Box]:
        """All boxes that lead there."""
        return [box for id_, box in self.boxes.items() if id_ != goal and self.reaches(id_, goal)]


def patcher_faults(text: str) -> list[str]:
    """Everything that breaks a rule; an empty list is a good file."""
    root = json.loads(text)
    if list(root) != ["patcher"]:
        return ["the root has one key, patcher"]
    patcher = root["patcher"]
    wanted = ("fileversion", "appversion", "classnamespace", "rect", "boxes", "lines")
    faults = [f"patcher without {key}" for key in wanted if key not in patcher]
    if faults:
        return faults
    if patcher["fileversion"] != 1 or patcher["classnamespace"] != "box" or len(patcher["rect"]) != 4:
        faults.append("fileversion, classnamespace or rect")
    ids = Counter(entry["box"].get("id") for entry in patcher["boxes"])
    faults += [f"id {id_} given {n} times" for id_, n in ids.items() if n > 1]
    for entry in patcher["boxes"]:
        faults += [f"{entry['box'].get('id')}: {fault}" for fault in _box_faults(entry["box"])]
    return faults + _cord_faults(patcher) + _bus_faults(patcher) + _overlaps(patcher)


def _box_faults(box: Box) -> list[str]:
    missing = [k for k in ("id", "maxclass", "numinlets", "numoutlets", "patching_rect") if k not in box]
    if missing:
        return [f"no {', '.join(missing)}"]
    faults = []
    if not re.fullmatch(r"obj-\d+", box["id"]):
        faults.append("id is obj-N")
    if any(
        len(box[k]) != 4 or min(box[k][2:]) <= 0 for k in ("patching_rect", "presentation_rect") if k in box
    ):
        faults.append("a rect is x, y, width, height")
    if ("outlettype" in box) != (box["numoutlets"] > 0) or len(box.get("outlettype", [])) != box[
        "numoutlets"
    ]:
        faults.append("one outlettype an outlet, none without outlets")
    if box["maxclass"] in TEXTED and not isinstance(box.get("text"), str):
        faults.append("no text")
    if ("presentation" in box) != ("presentation_rect" in box):
        faults.append("presentation and presentation_rect go together")
    known = _object_ports(box["text"]) if box["maxclass"] == "newobj" else WIDGETS.get(box["maxclass"])
    if known != (box["numinlets"], box["numoutlets"]):
        faults.append(f"{box['maxclass']} {box.get('text', '')!r} has {known} ports")
    if box["maxclass"] == "umenu" and (len(box["items"]) % 2 == 0 or set(box["items"][1::2]) - {","}):
        faults.append("items of a umenu are separated by commas")
    return faults


def _object_ports(text: str) -> tuple[int, int] | None:
    name, *arguments = text.split()
    if name in ("route", "sel", "print"):
        return (1, 0) if name == "print" else (len(arguments) + 1, len(arguments) + 1)
    if name == "t":
        return (1, len(arguments)) if set(arguments) <= set("bfils") else None
    if name not in OBJECTS or len(arguments) != OBJECTS[name][2]:
        return None
    if name == "expr" and not re.fullmatch(r"[-+*/().$0-9fsqrte]+", arguments[0]):
        return None
    return OBJECTS[name][:2]


def _cord_faults(patcher: dict[str, Any]) -> list[str]:
    graph = Graph(patcher)
    faults = []
    for source, outlet, destination, inlet in graph.cords:
        if source not in graph.boxes or destination not in graph.boxes:
            faults.append(f"cord {source} -> {destination}: no such box")
        elif not 0 <= outlet < graph.boxes[source]["numoutlets"]:
            faults.append(f"cord from outlet {outlet} of {source}")
        elif not 0 <= inlet < graph.boxes[destination]["numinlets"]:
            faults.append(f"cord to inlet {inlet} of {destination}")
    faults += [f"cord {cord} twice" for cord, n in Counter(graph.cords).items() if n > 1]
    return faults


def _bus_faults(patcher: dict[str, Any]) -> list[str]:
    """Every name that is sent is received, and the other way round."""
    names: dict[str, set[str]] = {"s": set(), "r": set()}
    for entry in patcher["boxes"]:
        words = entry["box"].get("text", "").split()
        if entry["box"]["maxclass"] == "newobj" and words and words[0] in names:
            names[words[0]].add(words[1])
    return [f"{name} is only sent or only received" for name in names["s"] ^ names["r"]]


def _overlaps(patcher: dict[str, Any]) -> list[str]:
    """Controls may not lie on one another: one could not be reached."""
    faults = []
    for key in ("patching_rect", "presentation_rect"):
        boxes = [e["box"] for e in patcher["boxes"] if key in e["box"]]
        for i, a in enumerate(boxes):
            faults += [f"{key}: {_named(a)} on {_named(b)}" for b in boxes[i + 1 :] if _cover(a[key], b[key])]
    return faults


def _named(box: Box) -> str:
    return f"{box['id']} {box['maxclass']} {box.get('text', '')!r}"


def _cover(a: list[float], b: list[float]) -> bool:
    return a[0] < b[0] + b[2] and b[0] < a[0] + a[2] and a[1] < b[1] + b[3] and b[1] < a[1] + a[3]


def amxd_content(data: bytes) -> str:
    """The patcher's JSON; AssertionError if a chunk is not as it should be."""
    assert data[:12] == bytes.fromhex("616d7066 04000000 61616161"), "ampf: an audio effect"
    assert data[12:24] == bytes.fromhex("6d657461 04000000 01000000"), "meta 1"
    assert data[24:28] == b"ptch"
    (length,) = struct.unpack_from("<I", data, 28)
    assert len(data) == 32 + length, "ptch counts all that follows"
    assert data[-2:] == b"\n\0" and data.count(b"\0", 32) == 1
    return data[32:-2].decode()


def device_faults(text: str) -> list[str]:
    """What Live asks of a device beyond the rules of a patcher."""
    patcher = json.loads(text)["patcher"]
    faults = []
    if patcher.get("openinpresentation") != 1 or patcher.get("latency") != 0:
        faults.append("openinpresentation 1 and a latency")
    boxes = [e["box"] for e in patcher["boxes"]]
    live = {b["id"]: b for b in boxes if b["maxclass"] in LIVE_TYPES}
    table = {k: v for k, v in patcher["parameters"].items() if k.startswith("obj-")}
    if set(table) != set(live):
        faults.append("the parameters table lists other boxes than the live ones")
    for id_, box in live.items():
        faults += [f"{id_}: {fault}" for fault in _live_faults(box, table.get(id_))]
    names = Counter(entry[0] for entry in table.values())
    faults += [f"long name {name} {n} times" for name, n in names.items() if n > 1]
    varnames = Counter(b["varname"] for b in live.values())
    faults += [f"varname {name} {n} times" for name, n in varnames.items() if n > 1]
    known = {entry[0] for entry in table.values()} | {"-"}
    for bank in patcher["parameters"]["parameterbanks"].values():
        if len(bank["parameters"]) != 8 or not set(bank["parameters"]) <= known:
            faults.append("a bank has eight known names")
    for box in boxes:
        x, y, w, h = box.get("presentation_rect", (0, 0, 1, 1))
        if x < 0 or y < 0 or x + w > patcher["devicewidth"] or y + h > DEVICE_HEIGHT:
            faults.append(f"{box['id']} {box.get('varname', box.get('text'))!r} lies outside the device")
        words = box.get("text", "").split()
        if box["maxclass"] == "newobj" and words[0] in ("s", "r") and not words[1].startswith("---"):
            faults.append(f"{words[1]} is not local to the device")
    return faults


def _live_faults(box: Box, entry: list[Any] | None) -> list[str]:
    values = box["saved_attribute_attributes"]["valueof"]
    wanted = ("parameter_longname", "parameter_shortname", "parameter_type", "parameter_mmin", "parameter_mmax",
              "parameter_initial", "parameter_initial_enable", "parameter_unitstyle", "parameter_info")  # fmt: skip
    faults = [f"no {key}" for key in wanted if key not in values]
    if faults:
        return faults
    if box.get("parameter_enable") != 1 or box.get("presentation") != 1 or not box.get("varname"):
        faults.append("parameter_enable, presentation, varname")
    if entry != [values["parameter_longname"], values["parameter_shortname"], 0]:
        faults.append("the parameters table calls it otherwise")
    if values["parameter_type"] != LIVE_TYPES[box["maxclass"]] or values["parameter_initial_enable"] != 1:
        faults.append("parameter_type or initial")
    if not values["parameter_mmin"] <= values["parameter_initial"][0] <= values["parameter_mmax"]:
        faults.append("initial value out of range")
    if values["parameter_type"] == 2 and len(values["parameter_enum"]) != values["parameter_mmax"] + 1:
        faults.append("as many names as values")
    if not 1 <= len(values["parameter_shortname"]) <= 16 or len(values["parameter_info"]) < 10:
        faults.append("names or info text")
    return faults
