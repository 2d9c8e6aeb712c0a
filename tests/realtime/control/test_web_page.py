"""The page in a real Chromium: every control of the table moves the shared memory, by mouse and by key."""

from __future__ import annotations

import http.server
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from realtime.control.namespace import Namespace
from realtime.control.presets.presets import Presets as RealPresets
from realtime.control.web.server import HttpServer
from realtime.shared.memory import SharedState
from realtime.shared.parameters import Parameter, by_name
from tests.realtime.control.chromium import Chromium
from tests.realtime.control.fakestage import Stage
from tests.realtime.control.oscclient import eventually
from tests.realtime.control.test_http import Midi, Presets

pytestmark = pytest.mark.chromium
PHONE, DESKTOP, LYING, SMALL = (390, 844), (1280, 800), (844, 390), (360, 640)
ACTIONS = (
    "preset/save", "preset/load", "preset/next", "preset/previous", "preset/delete", "preset/undo", "record",
    "model/load",
)  # fmt: skip
LONG = "this sentence is as long as the longest that the program says, " * 6


@pytest.fixture(scope="module")
def chromium() -> Iterator[Chromium]:
    with Chromium() as browser:
        yield browser


@pytest.fixture
def done() -> list[tuple[str, Any]]:
    """What the actions were asked for."""
    return []


@pytest.fixture
def site(namespace: Namespace, done: list[tuple[str, Any]]) -> Iterator[HttpServer]:
    for name in ACTIONS:
        namespace.actions[name] = lambda argument, name=name: done.append((name, argument)) or ""  # type: ignore
    server = HttpServer(namespace, port=0, midi=Midi(), presets=Presets())
    server.start()
    yield server
    server.stop()


@pytest.fixture
def page(chromium: Chromium, site: HttpServer, shared: SharedState) -> Iterator[Chromium]:
    """Open and connected, on a desktop; the console must have stayed silent."""
    chromium.complaints.clear()
    chromium.resize(*DESKTOP)
    with Stage(shared):
        chromium.open(site.url)
        chromium.wait("document.body.dataset.link === 'on' && document.querySelector('.fader')")
        yield chromium
        chromium.open("about:blank")
    assert chromium.complaints == []


def show(page: Chromium, tab: str) -> None:
    page.run(f"document.querySelector('[data-show={tab}]').click()")


@pytest.mark.parametrize("size", [DESKTOP, PHONE])
def test_every_parameter_of_the_table_has_a_control_that_moves_it(
    page: Chromium,
    namespace: Namespace,
    shared: SharedState,
    done: list[tuple[str, Any]],
    size: tuple[int, int],
) -> None:
    page.resize(*size)
    for p in namespace.parameters:
        show(page, "presets" if p.kind == "action" else "play" if p.name == "mix" else "sound")
        if p.kind == "float":
            _drag_moves(page, shared, p)
        elif p.kind == "choice":
            show(page, "play")
            for i, choice in reversed(list(enumerate(p.choices))):
                page.click(f"[data-domain={choice}]")
                assert eventually(lambda i=i: shared.get("to") == i)
        elif p.kind == "bool":
            for wanted in (1.0, 0.0):
                page.click(f".big[data-name='{p.name}']")
                assert eventually(lambda w=wanted, p=p: shared.get(p.stored) == w), p.name
        elif p.kind == "event":
            before = shared.get(p.stored)
            page.click(f".big[data-name='{p.name}']")
            assert eventually(lambda p=p, b=before: shared.get(p.stored) == b + 1), p.name
        else:
            _act(page, p, done)


def _drag_moves(page: Chromium, shared: SharedState, p: Parameter) -> None:
    """From where it is towards the other end, by the mouse; a touch alone does nothing."""
    selector = f".fader[data-name='{p.name}']"
    before = shared.get(p.stored)
    x, y = page.middle(selector)
    page.drag((x, y))
    sign = -1 if p.normalize(before) > 0.5 else 1
    assert shared.get(p.stored) == before
    page.drag((x, y), (x + 6 * sign, y), (x + 60 * sign, y))
    assert eventually(lambda: shared.get(p.stored) != before), p.name
    moved = p.normalize(shared.get(p.stored)) - p.normalize(before)
    width = page.run(f'document.querySelector("{selector}").clientWidth')
    assert moved == pytest.approx(54 * sign / width, abs=0.06), p.name
    shared.set(p.stored, before)
    time.sleep(0.05)


def _act(page: Chromium, p: Parameter, done: list[tuple[str, Any]]) -> None:
    done.clear()
    if p.name == "preset/load":
        page.click("#preset-list .pair:nth-child(2) .row")
        wanted: Any = "one"
    elif p.name == "preset/delete":
        page.click("#preset-list .pair:nth-child(2) .cross")
        wanted = "one"
    elif p.argument == "text":
        page.run(f"document.querySelector(\"form[data-action='{p.name}'] input\").focus()")
        page.type("Grüße 1")
        page.key("Enter")
        wanted = "Grüße 1"
    else:
        page.click(f"[data-name='{p.name}']")
        wanted = True if p.argument == "switch" else None
    assert eventually(lambda: done == [(p.name, wanted)]), (p.name, done)


def test_every_fader_obeys_the_arrow_keys(page: Chromium, namespace: Namespace, shared: SharedState) -> None:
    for p in namespace.parameters:
        if p.kind != "float":
            continue
        page.run(f"document.querySelector(\".fader[data-name='{p.name}'] input\").focus()")
        at = shared.get(p.stored)
        page.key("ArrowLeft" if p.normalize(at) > 0.5 else "ArrowRight")
        assert eventually(lambda p=p, at=at: 0 < abs(shared.get(p.stored) - at) <= 0.04 * (p.high - p.low)), p
        page.key("Home")
        assert eventually(lambda p=p: shared.get(p.stored) == p.low), p.name
        page.key("End")
        assert eventually(lambda p=p: shared.get(p.stored) == p.high), p.name
        shared.set(p.stored, p.default)


def test_shortcuts(page: Chromium, shared: SharedState) -> None:
    page.run("document.activeElement.blur()")
    for key, name, value in (("3", "to", 2), ("f", "freeze", 1), ("m", "mute", 1), ("b", "bypass", 1)):
        page.key(key)
        assert eventually(lambda name=name, value=value: shared.get(name) == value), name
    page.key("Escape")
    assert eventually(lambda: shared.panic_count == 1)
    page.run("document.querySelector('form input').focus()")
    page.key("1")
    page.key("f")
    time.sleep(0.2)
    assert (shared.get("to"), shared.get("freeze")) == (2, 1)  # a name was being written


def test_escape_in_a_field_leaves_the_field(
    page: Chromium, namespace: Namespace, shared: SharedState
) -> None:
    """It was panic: who changed his mind about a name silenced the room."""
    namespace.bundles = lambda: [{"name": "live", "load": "live", "plays": True}]
    page.wait("document.querySelectorAll('form select option').length === 2")
    for field in ("form[data-action='preset/save'] input", "form[data-action='model/load'] select"):
        page.run(f'document.querySelector("{field}").focus()')
        assert page.run(f'document.activeElement === document.querySelector("{field}")')
        page.key("Escape")
        assert page.run("document.activeElement === document.body")
        time.sleep(0.2)
        assert shared.panic_count == 0
        page.click("#learn")  # there it would end the learning
        page.run(f'document.querySelector("{field}").focus()')
        page.key("Escape")
        assert page.run("document.body.classList.contains('learn')")
        page.click("#learn")
    page.run("document.querySelector('.fader input').focus()")
    page.key("Escape")
    assert eventually(lambda: shared.panic_count == 1)


def test_a_preset_saved_over_or_deleted_comes_back(
    chromium: Chromium, namespace: Namespace, shared: SharedState, tmp_path: Path
) -> None:
    """Neither asked, and nothing on the page took it back."""
    presets = RealPresets(namespace, tmp_path)
    presets.save("Verse")
    file = tmp_path / "Verse.toml"
    first = file.read_bytes()
    shared.set("mix", 0.5)
    server = HttpServer(namespace, port=0, presets=presets)
    server.start()
    undo, save = "#undo [data-name='preset/undo']", "form[data-action='preset/save']"
    try:
        chromium.resize(*DESKTOP)
        chromium.open(server.url)
        chromium.wait("document.querySelector('#preset-list .row')")
        assert not chromium.run(f'document.querySelector("{undo}")')  # nothing to take back
        chromium.run(f'document.querySelector("{save} input").focus()')
        chromium.type("verse")
        chromium.wait(f"document.querySelector(\"{save} button\").textContent === 'Replace'")
        chromium.key("Enter")
        chromium.wait(f"document.querySelector(\"{undo}\")?.textContent === 'Undo: “Verse” was saved over'")
        assert file.read_bytes() != first
        chromium.click(undo)
        assert eventually(lambda: file.read_bytes() == first)
        chromium.wait(f'!document.querySelector("{undo}")')
        chromium.click("#preset-list .cross")
        assert eventually(lambda: not file.exists())
        chromium.wait(f"document.querySelector(\"{undo}\")?.textContent === 'Undo: “Verse” was deleted'")
        chromium.click(undo)
        assert eventually(lambda: file.exists() and file.read_bytes() == first)
        chromium.wait("document.querySelector('#preset-list .row')")
    finally:
        server.stop()
        presets.stop()
        chromium.open("about:blank")


def test_bundles_are_chosen_not_typed(page: Chromium, namespace: Namespace, done: list[Any]) -> None:
    known = [
        {"name": "live", "load": "live", "plays": True},
        {"name": "mine", "load": "/b/m.umtn", "plays": False},
    ]
    namespace.bundles = lambda: known
    form = "form[data-action='model/load']"
    page.wait(f'document.querySelectorAll("{form} option").length === 3')
    assert page.run(f'document.querySelector("{form} select").value') == "live"
    assert page.run(f'document.querySelector("{form} input").offsetParent === null')

    def choose(value: str) -> None:
        page.run(
            f'{{ const s = document.querySelector("{form} select"); s.value = "{value}";'
            "s.dispatchEvent(new Event('change')); }"
        )

    choose("/b/m.umtn")
    page.click(f"{form} button")
    assert eventually(lambda: done == [("model/load", "/b/m.umtn")])
    choose("")
    assert page.run(f'document.activeElement === document.querySelector("{form} input")')
    page.type("other.umtn")
    page.key("Enter")
    assert eventually(lambda: done[1:] == [("model/load", "other.umtn")])


@pytest.mark.parametrize("size", [SMALL, PHONE, LYING, (768, 1024), DESKTOP])
def test_what_is_told_covers_no_control(page: Chromium, namespace: Namespace, size: tuple[int, int]) -> None:
    """A long sentence lay over the faders, or over the panic button, until its time was over."""
    page.resize(*size)

    def refuse(argument: object) -> str:
        raise ValueError(LONG)

    namespace.actions["preset/next"] = refuse
    show(page, "presets")
    page.click("[data-name='preset/next']")
    page.wait("document.querySelector('.toast')")
    for tab in ("play", "sound", "presets", "log"):
        show(page, tab)
        covered = page.run(
            "(() => { const t = document.getElementById('toasts').getBoundingClientRect();"
            "return [...document.querySelectorAll('button, input, select, .fader, .pad')].filter(e => e.offsetParent"
            " && !e.closest('#toasts')).map(e => [e.textContent || e.id, e.getBoundingClientRect()]).filter(([_, r]) =>"
            "r.left < t.right && r.right > t.left && r.top < t.bottom && r.bottom > t.top).map(([n]) => n); })()"
        )
        assert covered == []
    inside = "(() => { const r = document.getElementById('toasts').getBoundingClientRect(), s = document.querySelector"
    assert page.run(
        inside + "('.toast').getBoundingClientRect(); return s.left >= r.left && s.right <= r.right; })()"
    )
    page.click(".toast .close")
    assert page.run("document.querySelectorAll('.toast').length") == 0


@pytest.mark.parametrize("size", [(320, 568), SMALL, PHONE, (768, 1024), DESKTOP])
@pytest.mark.parametrize("count", [12345, 99999, 123456, 12345678])
def test_many_xruns_stay_in_their_place(
    page: Chromium, shared: SharedState, size: tuple[int, int], count: int
) -> None:
    """Five digits touched the button beside them on a phone."""
    page.resize(*size)
    shared.status_set("xruns", count)
    page.wait("!['–', '0'].includes(document.getElementById('xruns').textContent)")
    left, right, button, load = page.run(
        "(() => { const range = document.createRange(), rect = (e) => e.getBoundingClientRect();"
        "range.selectNodeContents(document.getElementById('xruns')); const text = rect(range);"
        "return [text.left, text.right, rect(document.querySelector('.tools')).left,"
        "rect(document.getElementById('load')).right]; })()"
    )
    assert load + 2 < left and right + 4 < button


def test_late_blocks_are_one_line_with_a_remedy(
    page: Chromium, namespace: Namespace, shared: SharedState
) -> None:
    namespace.slack = 1
    for i in range(1, 5):
        shared.status_set("xruns", 138 * i)
        page.wait(f"document.querySelector('#incidents .row')?.textContent.includes('{138 * i} blocks late')")
    assert page.run("document.querySelectorAll('#incidents .row').length") == 1
    assert "--slack 2" in page.run("document.querySelector('#incidents .row').textContent")


def test_the_keyboard_reaches_everything_and_shows_where_it_is(page: Chromium) -> None:
    wanted = page.run(
        "[...document.querySelectorAll('*')].map((e, i) => [e, i]).filter(([e]) => e.offsetParent &&"
        "e.matches('button, .fader input, .pad, form input')).map(([_, i]) => i)"
    )
    page.run("document.activeElement.blur()")
    seen = set()
    for _ in range(len(wanted) + 5):
        page.key("Tab")
        where, outline = page.run(
            "(() => { const e = document.activeElement, box = e.closest('.fader') ?? e;"
            "const all = [...document.querySelectorAll('*')];"
            "return [all.indexOf(e), getComputedStyle(box).outlineStyle]; })()"
        )
        if page.run("document.activeElement !== document.body"):
            seen.add(where)
            assert outline != "none"
    assert len(wanted) > 20 and set(wanted) <= seen


def test_the_pad_sets_weights(page: Chromium, shared: SharedState) -> None:
    def weights() -> list[float]:
        return [round(shared.get(f"blend/{i}"), 3) for i in range(3)]

    x, y = page.middle("#pad")
    radius = page.run("document.getElementById('pad').clientWidth") / 2.5
    page.drag((x, y), (x, y - radius))  # up to the first domain
    assert eventually(lambda: weights() == [1, 0, 0]), weights()
    page.drag((x, y), (x + radius * 0.87 / 2, y - radius / 4))  # half-way to the second
    assert eventually(lambda: weights() == pytest.approx([0.5, 0.5, 0], abs=0.05)), weights()
    page.drag((x, y), (x, y - 2 * radius))  # far outside is the rim
    assert eventually(lambda: weights() == [1, 0, 0]), weights()
    page.run("document.getElementById('pad').focus()")
    page.key("Home")
    assert eventually(lambda: weights() == pytest.approx([1 / 3] * 3, abs=0.01)), weights()
    page.key("ArrowUp", shift=True)
    assert eventually(lambda: weights()[0] > 0.4 and sum(weights()) == pytest.approx(1, abs=0.01)), weights()
    page.wait("document.getElementById('pad').getAttribute('aria-valuetext').startsWith('strings')")
    page.click("[data-domain=piano]")
    assert eventually(lambda: weights() == [0, 0, 0] and shared.get("to") == 1)


def test_the_pad_keeps_to_what_the_machine_holds(page: Chromium, shared: SharedState) -> None:
    shared.status_set("blend_max", 2)
    time.sleep(0.4)
    x, y = page.middle("#pad")
    for dx, dy in ((0, 0), (5, 9), (-20, 14), (40, -3)):
        page.drag((x + dx, y + dy))
        assert eventually(lambda: sum(shared.get(f"blend/{i}") for i in range(3)) > 0.98)
        assert sum(shared.get(f"blend/{i}") > 0 for i in range(3)) <= 2
    assert page.run("document.querySelectorAll('.toast').length") == 0


def test_weights_set_elsewhere_move_the_point(page: Chromium, shared: SharedState) -> None:
    shared.set("blend/1", 1.0)
    page.wait("Math.hypot(document.querySelector('.point').getAttribute('cx') - 0.866,"
              "document.querySelector('.point').getAttribute('cy') - 0.5) < 0.05")  # fmt: skip


def test_meters_and_spectrogram_move(page: Chromium, shared: SharedState) -> None:
    page.wait("Number(document.getElementById('meter-in').getAttribute('aria-valuenow')) > -20")
    page.wait("document.getElementById('latency').textContent === '11.4 ms'")
    bright = (
        "(() => { const c = document.getElementById('spectrogram');"
        "const t = new OffscreenCanvas(c.width, c.height).getContext('2d', {willReadFrequently: true});"
        "t.drawImage(c, 0, 0); const d = t.getImageData(c.width / 2, 0, c.width / 2, c.height).data;"
        "const half = d.length / 2; let a = 0, b = 0;"
        "for (let i = 0; i < half; i += 4) { a = Math.max(a, d[i] + d[i + 1] + d[i + 2]);"
        "b = Math.max(b, d[half + i] + d[half + i + 1] + d[half + i + 2]); } return a > 400 && b > 300; })()"
    )
    page.wait(bright)
    shared.status_set("xruns", 4)
    page.wait("document.getElementById('xruns').textContent === '4'")
    page.wait("document.querySelector('#incidents .row').textContent.includes('4 blocks late')")


@pytest.mark.parametrize("size", [PHONE, SMALL, LYING, DESKTOP, (768, 1024), (1920, 1080), (320, 568)])
def test_nothing_is_cut_off_and_targets_are_big(page: Chromium, size: tuple[int, int]) -> None:
    page.resize(*size)
    time.sleep(0.15)
    for tab in ("play", "sound", "presets", "log"):
        show(page, tab)
        assert page.run("document.documentElement.scrollWidth <= innerWidth")
        assert page.run("document.documentElement.scrollHeight <= innerHeight")
        small = page.run(
            "[...document.querySelectorAll('button, .fader, form input, form select, .pad')]"
            ".filter(e => e.offsetParent).map(e => [e.className || e.id, e.offsetWidth, e.offsetHeight])"
            ".filter(([name, w, h]) => Math.min(w, h) < (innerWidth >= 1000 ? 34 : 44))"
        )
        assert small == []
        outside = page.run(
            "[...document.querySelectorAll('.dock button, .tabs button, #pad, .domain')].filter(e => e.offsetParent)"
            ".map(e => [e.id || e.textContent, e.getBoundingClientRect()])"
            ".filter(([_, r]) => r.right > innerWidth + 1 || r.bottom > innerHeight + 1 || r.left < -1).map(([n]) => n)"
        )
        assert outside == []


def test_no_layout_shift_while_it_plays(page: Chromium, shared: SharedState) -> None:
    page.run(
        "window.shift = 0; new PerformanceObserver(list => { for (const e of list.getEntries())"
        " window.shift += e.value; }).observe({type: 'layout-shift'}); 0"
    )
    for i, load in enumerate((0.05, 1.2, 0.4)):
        shared.status_set("xruns", 10**i)
        shared.status_set("latency_ms", 10.0**i)
        shared.status_set("load", load)
        shared.set("blend/1", 0.3 * i)
        time.sleep(0.4)
    assert page.run("window.shift") < 0.01


def test_a_new_line_in_the_table_appears(
    page: Chromium, namespace: Namespace, shared: SharedState, site: HttpServer
) -> None:
    wobble = replace(
        by_name("glide_ms"), name="wobble/depth", unit="", high=1.0, curve="linear", cell="glide_ms"
    )
    switch = replace(by_name("mute"), name="wobble/on", cell="mute")
    namespace.parameters += (wobble, switch)
    namespace._tabulate()
    page.wait("document.querySelector(\".fader[data-name='wobble/depth']\")")
    page.run("document.querySelector(\".fader[data-name='wobble/depth'] input\").focus()")
    page.key("End")
    assert eventually(lambda: shared.get("glide_ms") == 1.0)
    page.click(".big[data-name='wobble/on']")
    assert eventually(lambda: shared.get("mute") == 1.0)


def test_it_finds_the_server_again(
    page: Chromium, site: HttpServer, namespace: Namespace, shared: SharedState
) -> None:
    site.stop()
    page.wait("document.body.dataset.link === 'off'")
    page.run("document.activeElement.blur()")
    shared.set("mix", 0.25)
    again = HttpServer(namespace, port=site.port, midi=Midi(), presets=Presets())
    again.start()
    try:
        page.wait("document.body.dataset.link === 'on'")
        page.wait("document.querySelector(\".fader[data-name='mix'] .value\").textContent === '25 %'")
        page.key("m")
        assert eventually(lambda: shared.get("mute") == 1.0)
    finally:
        again.stop()
        page.wait("document.body.dataset.link === 'off'")
        # The browser reports each refused connection; that is as it should be.
        page.complaints[:] = [c for c in page.complaints if "ERR_CONNECTION_REFUSED" not in c]


def test_errors_of_the_server_are_told(page: Chromium, namespace: Namespace) -> None:
    def full(argument: object) -> str:
        raise ValueError("the disk is full")

    namespace.actions["preset/next"] = full
    page.click("[data-name='preset/next']")
    page.wait("document.querySelector('.toast.error')?.textContent === 'the disk is full'")


def test_midi_learn(page: Chromium, site: HttpServer, shared: SharedState) -> None:
    midi = site._pages._wishes._midi
    page.click("#learn")
    page.click(".big[data-name=mute]")
    assert eventually(lambda: midi.learning == "mute")
    assert shared.get("mute") == 0.0
    midi.bound["mute"], midi.learning = "controller 64, channel 1", ""
    page.wait("document.querySelector('.big.mute').dataset.midi === 'CC 64'")
    page.click("#mapping button")
    assert eventually(lambda: not midi.bound)
    page.key("Escape")
    time.sleep(0.1)
    assert shared.panic_count == 0  # this Escape ended the learning
    page.click(".big[data-name=mute]")
    assert eventually(lambda: shared.get("mute") == 1.0)


def test_dark_and_light(page: Chromium) -> None:
    """As the system has it, until it is chosen here; the choice is kept."""
    colour, seen = "getComputedStyle(document.body).backgroundColor", {}
    for scheme in ("dark", "light"):
        page.prefer(scheme)
        page.wait(f"document.documentElement.dataset.theme === '{scheme}'")
        seen[scheme] = page.run(colour)
    assert seen["light"] != seen["dark"]
    page.click("#theme")
    assert page.run(colour) == seen["dark"]
    page.open(page.run("location.href"))
    assert page.run(colour) == seen["dark"]
    page.run("localStorage.clear(); 0")


def test_a_foreign_page_cannot_steer(page: Chromium, site: HttpServer) -> None:
    """From another origin, from a sandbox without one, and by a name that was rebound to this machine."""
    foreign = http.server.ThreadingHTTPServer(("127.0.0.1", 0), http.server.SimpleHTTPRequestHandler)
    foreign.RequestHandlerClass.log_message = lambda *a: None  # type: ignore
    threading.Thread(target=foreign.serve_forever, daemon=True).start()
    attempt = (
        f"new Promise(r => {{ const w = new WebSocket('ws://127.0.0.1:{site.port}/ui/socket');"
        "w.onopen = () => r('open'); w.onerror = () => r('refused'); })"
    )
    try:
        assert page.run(attempt) == "open"
        for url in (f"http://127.0.0.1:{foreign.server_port}/nothing", "data:text/html,x"):
            page.open(url)
            assert page.run(attempt) == "refused"
        page.open(f"http://evil.example:{site.port}/ui/")
        assert "this server is not called" in page.run("document.body.textContent")
    finally:
        foreign.shutdown()
        foreign.server_close()
        page.open("about:blank")
        time.sleep(0.2)
        page.run("0")
        page.complaints.clear()  # the refusals


def test_the_token_opens_the_page_and_leaves_the_address(chromium: Chromium, namespace: Namespace) -> None:
    server = HttpServer(namespace, port=0, token="right")
    server.start()
    try:
        chromium.open(server.url.replace("right", "wrong"))
        assert "a token is needed" in chromium.run("document.body.textContent")
        chromium.open(server.url)
        chromium.wait("document.body.dataset.link === 'on'")
        assert chromium.run("location.href") == f"http://127.0.0.1:{server.port}/ui/"
        assert chromium.run("document.cookie") == ""
        chromium.open(f"http://127.0.0.1:{server.port}/ui/")
        chromium.wait("document.body.dataset.link === 'on'")
    finally:
        server.stop()
        chromium.open("about:blank")
