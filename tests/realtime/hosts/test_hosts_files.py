"""The written files against the rules of their formats: nothing broken, every parameter there, exactly once."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from realtime.patches.max import max_patch
from realtime.patches.max_for_live import device_patcher, max_for_live
from realtime.patches.open_stage_control import open_stage_control
from realtime.patches.pure_data import escape, pure_data
from realtime.patches.supercollider import supercollider
from realtime.patches.table import Session, titles
from realtime.patches.write import FILES, main, write_all
from realtime.shared import parameters as table
from realtime.shared.parameters import Parameter, Status
from tests.realtime.hosts.maxrules import Graph, amxd_content, device_faults, patcher_faults
from tests.realtime.hosts.pdrules import parse, pd_faults

DOMAINS = ("strings", "piano", "winds")
VALUED = ("float", "bool", "choice")
CONTROLS = {"dial", "flonum", "toggle", "button", "umenu", "textedit", "live.dial", "live.menu", "live.text"}


@pytest.fixture(
    params=[DOMAINS, ("solo",), tuple(f"d-{i}" for i in range(40))], ids=["three", "one", "forty"]
)
def session(request: pytest.FixtureRequest) -> Session:
    return Session.of("test", request.param)


def patcher(text: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(text)["patcher"]
    return found


def test_max_patch_keeps_the_rules(session: Session) -> None:
    assert patcher_faults(max_patch(session)) == []


def test_max_for_live_device_keeps_the_rules(session: Session) -> None:
    content = amxd_content(max_for_live(session))
    assert content == device_patcher(session)
    assert patcher_faults(content) + device_faults(content) == []


def test_pd_patch_keeps_the_rules(session: Session) -> None:
    assert pd_faults(pure_data(session)) == []


@pytest.mark.parametrize("write", [max_patch, device_patcher])
def test_every_parameter_leaves_a_max_patch_from_a_control_and_comes_back(write: Any) -> None:
    session = Session.of("test", DOMAINS)
    graph = Graph(patcher(write(session)))
    for p in session.parameters:
        (send,) = graph.texts(f"prepend {p.address}")
        assert CONTROLS & {b["maxclass"] for b in graph.upstream(send["id"])}, p.name
        assert any(b.get("text", "").startswith("s ") for b in graph.downstream(send["id"])), p.name
        routes = graph.texts(f"route {p.address}")
        if p.kind in VALUED:
            (route,) = routes
            assert CONTROLS & {b["maxclass"] for b in graph.downstream(route["id"])}, p.name


@pytest.mark.parametrize("write", [max_patch, device_patcher])
def test_feedback_is_not_sent_again(write: Any) -> None:
    """A value that came back and left again would echo between two controllers for ever: only `set` may arrive."""
    session = Session.of("test", DOMAINS)
    graph = Graph(patcher(write(session)))
    for p in (p for p in session.parameters if p.kind in VALUED):
        (route,) = graph.texts(f"route {p.address}")
        rest = [route["id"]]
        while rest:
            here = rest.pop()
            for source, _, destination, _ in graph.cords:
                text = graph.boxes[destination].get("text", "")
                if source != here or text.startswith(("prepend set", "set ")):
                    continue
                assert graph.boxes[destination]["maxclass"] not in CONTROLS, p.name
                rest.append(destination)


def test_the_device_carries_range_unit_curve_and_initial_value() -> None:
    session = Session.of("test", DOMAINS)
    boxes = [e["box"] for e in patcher(device_patcher(session))["boxes"]]
    live = {b["varname"]: b["saved_attribute_attributes"]["valueof"] for b in boxes if b["maxclass"].startswith("live.")
            and "varname" in b}  # fmt: skip
    assert sorted(live) == sorted([*(p.name for p in session.parameters), "follow"])
    for p in session.parameters:
        assert (
            p.description[1:] in live[p.name]["parameter_info"]
            and p.address in live[p.name]["parameter_info"]
        )
        assert live[p.name]["parameter_invisible"] == 0, "automatable"
        if p.kind == "float":
            values = live[p.name]
            assert (values["parameter_mmin"], values["parameter_mmax"]) == (p.low, p.high)
            assert values["parameter_initial"] == [p.default]
            assert values["parameter_exponent"] == {"linear": 1.0, "square": 2.0}[p.curve]
    assert live["to"]["parameter_enum"] == list(DOMAINS)
    assert (live["input/gain_db"]["parameter_unitstyle"], live["glide_ms"]["parameter_unitstyle"]) == (4, 2)
    assert live["follow"]["parameter_invisible"] == 1


def test_the_device_passes_audio_and_shows_the_meters() -> None:
    graph = Graph(patcher(device_patcher(Session.of("test", DOMAINS))))
    (source,), (sink,) = graph.texts("plugin~"), graph.texts("plugout~")
    assert {(source["id"], i, sink["id"], i) for i in (0, 1)} <= set(graph.cords)
    for name in ("level_in_db", "level_out_db", "load", "xruns", "latency_ms"):
        (route,) = graph.texts(f"route /umtn/status/{name}")
        assert any("presentation_rect" in box for box in graph.downstream(route["id"]))


def test_every_figure_is_shown_in_max_and_pd() -> None:
    session = Session.of("test", DOMAINS)
    graph, canvas = Graph(patcher(max_patch(session))), parse(pure_data(session))
    boxes = [words for words in canvas.objects if words[0] in ("floatatom", "symbolatom")]
    for s in session.status:
        assert len(graph.texts(f"route {s.address}")) == 1
        assert sum(f"umtn/status/{s.name}" in words for words in boxes) == 1


def test_every_parameter_is_in_the_pd_patch_once() -> None:
    session = Session.of("test", DOMAINS)
    main = parse(pure_data(session))
    wiring = [words for canvas in main.all()[1:] for words in canvas.objects]
    for p in session.parameters:
        controls = [words for words in main.objects if f"umtn/{p.name}" in words]
        assert len(controls) == 1 and f"umtn-send/{p.name}" in controls[0], p.name
        path = ["oscformat", "umtn", *p.name.split("/")]
        assert sum(words[3:] == path for words in wiring) == 1, p.name
        assert sum(words[3:] == ["r", f"umtn-send/{p.name}"] for words in wiring) == 1, p.name


def widgets(node: dict[str, Any]) -> list[dict[str, Any]]:
    return [node, *(w for child in node.get("widgets", []) for w in widgets(child))]


def test_open_stage_control_session() -> None:
    session = Session.of("test", DOMAINS, port=9250)
    file = json.loads(open_stage_control(session))
    assert (file["createdWith"], file["type"]) == ("Open Stage Control", "session")
    found = widgets(file["content"])
    kinds = {"root", "panel", "fader", "button", "switch", "input", "text"}
    assert {w["type"] for w in found} == kinds
    assert all(n == 1 for n in Counter(w["id"] for w in found).values()), "equal ids would be clones"
    senders = {w["address"]: w for w in found if not w.get("bypass") and "address" in w}
    assert sorted(senders) == sorted(p.address for p in session.parameters)
    for p in session.parameters:
        widget = senders[p.address]
        assert widget["target"] == ["127.0.0.1:9250"]
        if p.kind == "float":
            assert (widget["range"]["min"], widget["range"]["max"], widget["default"]) == (
                p.low,
                p.high,
                p.default,
            )
    assert senders["/umtn/crossfade_ms"]["range"]["50%"] == 500.0
    assert senders["/umtn/to"]["values"] == list(DOMAINS)
    shown = {w["address"] for w in found if w.get("bypass") and "address" in w}
    assert shown == {s.address for s in session.status}
    assert "send('127.0.0.1:9250', '/umtn/subscribe')" in file["content"]["onCreate"]
    assert "OSCQuery" in file["content"]["comments"]


def test_supercollider_class_lists_every_parameter_once() -> None:
    session = Session.of("test", DOMAINS)
    text = supercollider(session)
    for name in [p.name for p in session.parameters] + [s.name for s in session.status]:
        assert text.count(f"'{name}' -> ") == 1
    assert "domains = ['strings', 'piano', 'winds'];" in text


def test_a_new_line_in_the_table_appears_everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """The point of the one table: nothing in realtime/hosts knows a parameter's name."""
    depth = Parameter(
        "shimmer/depth_hz", "float", 1.0, 9.0, "Hz", 2.0, "square", 0.0, 'depth; of "it", $1', None
    )
    scene = Parameter(
        "scene", "action", 0.0, 1.0, "", 0.0, "linear", 0.0, "call a scene", None, argument="text"
    )
    heat = Status("heat", "float", "K", "temperature of the stage")
    monkeypatch.setattr(table, "PARAMETERS", (*table.PARAMETERS, depth, scene))
    monkeypatch.setattr(table, "STATUS", (*table.STATUS, heat))
    session = Session.of("test", DOMAINS)
    device = device_patcher(session)
    assert patcher_faults(max_patch(session)) + patcher_faults(device) + device_faults(device) == []
    assert pd_faults(pure_data(session)) == []
    for text in (max_patch(session), device):
        graph = Graph(patcher(text))
        assert (
            len(graph.texts("prepend /umtn/shimmer/depth_hz")) == len(graph.texts("prepend /umtn/scene")) == 1
        )
    assert "Shimmer Depth" in device
    assert "oscformat umtn shimmer depth_hz;" in pure_data(session)
    stage = [w.get("address") for w in widgets(json.loads(open_stage_control(session))["content"])]
    assert (
        stage.count("/umtn/shimmer/depth_hz") == stage.count("/umtn/scene") == stage.count(heat.address) == 1
    )
    assert supercollider(session).count("'shimmer/depth_hz' -> ") == 1
    for write in (max_patch, pure_data, supercollider):
        assert "heat" in write(session)


def broken(change: str) -> str:
    """A good Max patch with one thing wrong."""
    file = json.loads(max_patch(Session.of("test", DOMAINS)))
    boxes, lines = file["patcher"]["boxes"], file["patcher"]["lines"]
    dial = next(e["box"] for e in boxes if e["box"]["maxclass"] == "dial")
    if change == "a box is missing":
        boxes.remove({"box": dial})
    elif change == "an outlet too many":
        lines[0]["patchline"]["source"][1] = 7
    elif change == "ports":
        dial["numoutlets"], dial["outlettype"] = 2, ["", ""]
    elif change == "outlettype":
        del dial["outlettype"]
    elif change == "nobody listens":
        next(e["box"] for e in boxes if e["box"].get("text") == "r umtn-out")["text"] = "r elsewhere"
    elif change == "same id":
        boxes[1]["box"]["id"] = boxes[0]["box"]["id"]
    elif change == "one on the other":
        dial["presentation_rect"] = boxes[0]["box"]["presentation_rect"]
    return json.dumps(file)


@pytest.mark.parametrize(
    "change",
    [
        "a box is missing",
        "an outlet too many",
        "ports",
        "outlettype",
        "nobody listens",
        "same id",
        "one on the other",
    ],
)
def test_the_rules_find_what_is_wrong(change: str) -> None:
    assert patcher_faults(broken(change))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("set \\$1", "set $1"),
        ("#X obj 20 20 loadbang;\n", ""),
        ("netsend -u -b", "netsent -u -b"),
        ("hsl 128", "hsl 128 1"),
    ],
)
def test_the_pd_rules_find_what_is_wrong(old: str, new: str) -> None:
    good = pure_data(Session.of("test", DOMAINS))
    assert old in good and pd_faults(good.replace(old, new, 1))


def test_titles_are_told_apart() -> None:
    found = titles(
        ["input/gain_db", "output/gain_db", "preset/load", "model/load", "blend/strings", "a/b", "a_b"]
    )
    assert found["input/gain_db"] == ("Input Gain", "In Gain")
    assert found["blend/strings"] == ("Blend Strings", "Strings")
    assert (found["preset/load"][1], found["model/load"][1]) == ("Preset Load", "Model Load")
    assert (found["a/b"][0], found["a_b"][0]) == ("a/b", "a_b")


def test_pd_escapes() -> None:
    assert escape("a, b; $1 \\x") == "a \\, b \\; \\$1 \\\\x"


def test_the_command_writes_everything(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["-o", str(tmp_path / "new" / "folder"), "--osc-port", "9300"]) == 0
    written = [Path(line) for line in capsys.readouterr().out.splitlines()]
    assert sorted(p.name for p in written) == sorted(FILES) and all(p.stat().st_size > 1000 for p in written)
    text = (tmp_path / "new" / "folder" / "README.md").read_text()
    assert all(f"`{name}`" in text for name in FILES if name != "README.md")
    assert re.search(r"umtn.amxd.*\*\*no\*\*", text) and "9300" in text and "{" not in text


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--osc-port", "0"], "--osc-port takes 1 to 65533"),
        (["--osc-port", "65534"], "but 65534 came"),
        (["--osc-port", "x"], "--osc-port: invalid int value: 'x'"),
        (["--host", "my host"], "--host takes an address"),
        (["--bundle", "lives"], "did you mean live?"),
        (["--wrong"], "unrecognized arguments: --wrong"),
    ],
)
def test_bad_input_is_one_sentence(
    arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert sentence in error and error.startswith("error: ") and error.count("\n") == 1


def test_a_folder_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    with pytest.raises(ValueError, match="-o .*taken cannot be written"):
        write_all(tmp_path / "taken", Session.of("test", DOMAINS))
