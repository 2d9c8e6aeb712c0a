"""The Open Stage Control session: one widget for every parameter and figure, addressed to the program."""

from __future__ import annotations

import json
from typing import Any

from realtime.patches.table import Session, info_text, titles
from realtime.shared.parameters import PREFIX, Parameter, Status

__all__ = ["open_stage_control"]

WIDTH, FADER_H, BUTTON_H, LABEL_H = 110, 220, 60, 24
RESUBSCRIBE_MS = 5000
NOTE = (
    "All addresses with their ranges are also offered by OSCQuery on the program's web port: apps that know OSCQuery "
    "find everything there by themselves."
)


def open_stage_control(session: Session) -> str:
    """Text of a session file (version 1.x); what is not said here has the program's default."""
    names = titles(p.name for p in session.parameters)
    labels = titles(s.name for s in session.status)
    parameters = session.parameters
    faders = [_labelled(_float(p, session), names[p.name][0]) for p in parameters if p.kind == "float"]
    others = [
        widget for p in parameters if p.kind != "float" for widget in _others(p, session, names[p.name][0])
    ]
    figures = [_figure(s, session, labels[s.name][0]) for s in session.status]
    script = f"setInterval('subscribe', () => {{send('{session.target}', '{PREFIX}subscribe')}}, {RESUBSCRIBE_MS})\n"
    root = {
        "type": "root",
        "id": "root",
        "comments": NOTE,
        "layout": "vertical",
        "scroll": True,
        "onCreate": f"send('{session.target}', '{PREFIX}subscribe')\n{script}",
        "widgets": [
            _row("switches", others, 2 * BUTTON_H),
            _row("faders", faders, FADER_H + LABEL_H + 20),
            _row("figures", figures, 2 * (BUTTON_H + 10)),
        ],
        "tabs": [],
    }
    file = {"createdWith": "Open Stage Control", "version": "1.27.0", "type": "session", "content": root}
    return json.dumps(file, indent=1, ensure_ascii=False)


def _row(name: str, widgets: list[dict[str, Any]], height: int) -> dict[str, Any]:
    """A panel that wraps its widgets; as high as it must be."""
    return {"type": "panel", "id": f"panel/{name}", "layout": "default", "scroll": True, "height": height,
            "expand": True, "bypass": True, "widgets": widgets, "tabs": []}  # fmt: skip


def _widget(kind: str, p: Parameter, session: Session, **more: Any) -> dict[str, Any]:
    return {
        "type": kind,
        "id": p.name,
        "comments": info_text(p),
        "width": WIDTH,
        "address": p.address,
        "target": [session.target],
        **more,
    }


def _labelled(widget: dict[str, Any], title: str) -> dict[str, Any]:
    label = {
        "type": "text",
        "id": f"label/{widget['id']}",
        "default": title,
        "height": LABEL_H,
        "bypass": True,
    }
    return {
        "type": "panel", "id": f"cell/{widget['id']}", "layout": "vertical", "width": WIDTH, "bypass": True,
        "height": FADER_H + LABEL_H, "scroll": False, "widgets": [label, widget], "tabs": [],
    }  # fmt: skip


def _float(p: Parameter, session: Session) -> dict[str, Any]:
    return _widget("fader", p, session, expand=True, range=_scale(p), default=p.default, decimals=4, typeTags="f",
                   doubleTap=True, pips=True)  # fmt: skip


def _scale(p: Parameter) -> dict[str, float]:
    """Breakpoints of a fader; a curve is drawn by several."""
    if p.curve == "linear":
        return {"min": p.low, "max": p.high}
    between = {f"{percent}%": p.denormalize(percent / 100) for percent in (25, 50, 75)}
    return {"min": p.low, **between, "max": p.high}


def _others(p: Parameter, session: Session, title: str) -> list[dict[str, Any]]:
    if p.kind == "choice":
        return [_widget("switch", p, session, values=list(p.choices), layout="grid", gridTemplate=3, typeTags="s",
                        width=3 * WIDTH, height=2 * BUTTON_H - 20)]  # fmt: skip
    button = {"label": title, "height": BUTTON_H, "typeTags": "i", "on": 1, "off": 0}
    if p.kind == "bool" or p.argument == "switch":
        return [_widget("button", p, session, mode="toggle", **button)]
    if not p.argument:
        return [_widget("button", p, session, mode="tap", **button)]
    field = _widget("input", p, session, height=BUTTON_H - LABEL_H, typeTags="s")
    label = {"type": "text", "id": f"label/{p.name}", "default": title, "height": LABEL_H, "bypass": True}
    return [
        {"type": "panel", "id": f"cell/{p.name}", "layout": "vertical", "width": WIDTH, "height": BUTTON_H,
         "bypass": True, "scroll": False, "widgets": [label, field], "tabs": []}
    ]  # fmt: skip


def _figure(s: Status, session: Session, title: str) -> dict[str, Any]:
    """A figure to read: a bar for levels, text for the rest."""
    common = {"comments": s.description, "address": s.address, "bypass": True, "interaction": False}
    if s.unit == "dB":
        seen: dict[str, Any] = {"type": "fader", "id": f"status/{s.name}", "design": "compact", "horizontal": True,
                                "range": {"min": -80, "max": 0}, **common}  # fmt: skip
    else:
        decimals = 0 if s.kind == "int" else 2
        seen = {"type": "text", "id": f"status/{s.name}", "default": "-", "decimals": decimals, **common}
    unit = f" ({s.unit})" if s.unit else ""
    label = {
        "type": "text",
        "id": f"label/status/{s.name}",
        "default": title + unit,
        "height": LABEL_H,
        "bypass": True,
    }
    return {
        "type": "panel", "id": f"cell/status/{s.name}", "layout": "vertical", "width": WIDTH + 30,
        "height": BUTTON_H, "bypass": True, "scroll": False, "widgets": [label, {**seen, "expand": True}], "tabs": [],
    }  # fmt: skip
