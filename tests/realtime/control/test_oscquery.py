"""OSCQuery: a client made from the proposal's text walks, listens and sets; bad clients harm no one."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress

import pytest
from aiohttp import web

from realtime.control import listener, oscquery
from realtime.control.namespace import Namespace
from realtime.control.osc import OscServer
from realtime.control.oscquery import OscQuery
from realtime.parameters import STATUS
from realtime.shared import SharedState
from tests.realtime.control.conftest import DOMAINS
from tests.realtime.control.oscclient import Client, eventually
from tests.realtime.control.oscquery_client import (
    BINARY,
    TEXT,
    Closed,
    OscQueryClient,
    WebSocket,
    osc_parse,
)


class Served:
    """The smallest HTTP server around an OscQuery: one thread, one loop."""

    def __init__(self, query: OscQuery) -> None:
        self.query = query
        self._ready = threading.Event()
        self._stop: asyncio.Event | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self.port = 0
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), daemon=True)
        self._thread.start()
        assert self._ready.wait(5)

    async def _run(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._answer)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.2)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        self.port = runner.addresses[0][1]
        self._ready.set()
        await self._stop.wait()
        await self.query.close()
        await runner.cleanup()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        upgrade = request.headers.get("Upgrade", "").lower() == "websocket"
        return await (self.query.socket(request) if upgrade else self.query.http(request))

    def close(self) -> None:
        assert self._loop is not None
        assert self._stop is not None
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(5)
        assert not self._thread.is_alive()


@pytest.fixture
def served(namespace: Namespace, server: OscServer) -> Iterator[Served]:
    running = Served(OscQuery(namespace, int(server.port), "stage left", str(server.host)))
    yield running
    running.close()


@pytest.fixture
def browser(served: Served) -> Iterator[OscQueryClient]:
    made = OscQueryClient("127.0.0.1", served.port)
    yield made
    made.close()


def test_the_whole_tree_is_walked(browser: OscQueryClient, namespace: Namespace) -> None:
    nodes = {node["FULL_PATH"]: node for node in browser.walk()}
    expected = {a for a in namespace.routes if a != "/umtn/latent/scale"}
    expected |= set(namespace.channels)
    assert expected <= set(nodes)
    assert {p for p in nodes if p.startswith("/umtn/latent/scale/")} == {
        f"/umtn/latent/scale/{i}" for i in range(8)
    }
    for path, node in nodes.items():
        assert browser.node(path)["FULL_PATH"] == path
        assert "TYPE" in node or "CONTENTS" in node, path
        if "VALUE" in node:
            _check_value(node)


def _check_value(node: dict) -> None:
    """Types, lengths and ranges as the proposal wants them."""
    python = {"f": (float, int), "i": (int,), "s": (str,), "T": (bool,), "F": (bool,)}
    assert len(node["VALUE"]) == len(node["TYPE"]) == 1
    value = node["VALUE"][0]
    assert isinstance(value, python[node["TYPE"]]), node
    assert node["ACCESS"] & 1
    for one in node.get("RANGE", []):
        assert value in one["VALS"] if "VALS" in one else one["MIN"] <= value <= one["MAX"]
    for name in ("UNIT", "CLIPMODE", "RANGE"):
        assert len(node.get(name, "1")) == 1


def test_a_client_that_knows_nothing_else_sets_everything(
    browser: OscQueryClient, namespace: Namespace
) -> None:
    """Each node that can be read and set is set to another value of its range, and reads back as that."""
    browser.connect()
    count = 0
    for node in list(browser.walk()):
        if node.get("ACCESS") != 3:
            continue
        path, tag = node["FULL_PATH"], node["TYPE"]
        if tag == "f":
            low, high = node["RANGE"][0]["MIN"], node["RANGE"][0]["MAX"]
            wanted: object = low + (high - low) * 0.25
        elif tag == "s":
            wanted = node["RANGE"][0]["VALS"][-1]
        else:
            tag, wanted = ("F", False) if node["VALUE"][0] else ("T", True)
        browser.set(path, tag, wanted)
        browser.set("/umtn/ping", "I")
        browser.hear("/umtn/pong")
        value = browser.get(path, "VALUE")[1]["VALUE"][0]
        owner = path.removesuffix("/normalized")
        if (
            owner != path and browser.get(owner, "TYPE")[1]["TYPE"] != "f"
        ):  # a switch or a choice has few positions
            assert value in (0.0, 0.5)
        else:
            assert value == pytest.approx(wanted, abs=1e-4) if tag == "f" else value == wanted
        count += 1
    assert count > 30


def test_units_ranges_and_write_only_nodes(browser: OscQueryClient) -> None:
    gain = browser.node("/umtn/input/gain_db")
    assert gain["UNIT"] == ["gain.db"]
    assert gain["RANGE"] == [{"MIN": -60.0, "MAX": 24.0}]
    assert gain["CLIPMODE"] == ["both"]
    assert gain["CONTENTS"]["normalized"]["RANGE"] == [{"MIN": 0.0, "MAX": 1.0}]
    assert browser.node("/umtn/crossfade_ms")["UNIT"] == ["time.ms"]
    assert browser.node("/umtn/to")["RANGE"] == [{"VALS": list(DOMAINS)}]
    for path, tag in (("panic", "I"), ("preset/save", "s"), ("record", "T"), ("preset/next", "I")):
        node = browser.node(f"/umtn/{path}")
        assert (node["TYPE"], node["ACCESS"]) == (tag, 2)
        assert "VALUE" not in node


@pytest.mark.parametrize(
    ("path", "attribute", "status"),
    [
        ("/umtn/mix", "", 200),
        ("/umtn/mix/", "", 200),
        ("/umtn/mix", "VALUE", 200),
        ("/umtn/mix#VALUE", "", 200),
        ("/nowhere", "", 404),
        ("/umtn/mixx", "VALUE", 404),
        ("/umtn/panic", "VALUE", 204),
        ("/umtn/panic", "RANGE", 204),
        ("/umtn/mix", "TAGS", 204),
        ("/umtn", "TYPE", 204),
        ("/umtn/mix", "COLOUR", 400),
        ("/umtn/mix", "value", 400),
        ("/umtn/mix", "VALUE&RANGE", 400),
        ("/nowhere", "HOST_INFO", 200),
        ("/umtn/mix", "VALUE&token=x", 200),
    ],
)
def test_status_codes(browser: OscQueryClient, path: str, attribute: str, status: int) -> None:
    assert browser.get(path, attribute)[0] == status


def test_one_attribute_comes_alone(browser: OscQueryClient, shared: SharedState) -> None:
    shared.set("mix", 0.25)
    assert browser.get("/umtn/mix", "VALUE") == (200, {"VALUE": [0.25]})
    assert browser.get("/umtn/mix", "TYPE") == (200, {"TYPE": "f"})
    assert list(browser.get("/umtn/input", "CONTENTS")[1]) == ["CONTENTS"]


def test_host_info_says_what_is_true(browser: OscQueryClient, server: OscServer, served: Served) -> None:
    info = browser.host_info()
    assert info["NAME"] == "stage left"
    assert (info["OSC_IP"], info["OSC_PORT"], info["OSC_TRANSPORT"]) == ("127.0.0.1", server.port, "UDP")
    assert (info["WS_IP"], info["WS_PORT"]) == ("127.0.0.1", served.port)
    carried = {name for node in browser.walk() for name in node}
    for name in ("ACCESS", "VALUE", "RANGE", "DESCRIPTION", "UNIT", "CLIPMODE", "TAGS", "EXTENDED_TYPE"):
        assert info["EXTENSIONS"][name] == (name in carried), name
    assert "HOST_INFO" not in carried
    assert info["EXTENSIONS"]["LISTEN"] is info["EXTENSIONS"]["PATH_CHANGED"] is True
    assert info["EXTENSIONS"]["PATH_RENAMED"] is False


def test_listening_and_ignoring(browser: OscQueryClient, shared: SharedState) -> None:
    browser.connect()
    browser.command("LISTEN", "/umtn/mix")
    assert browser.hear("/umtn/mix") == ("f", [1.0])
    shared.set("mix", 0.5)
    assert browser.hear("/umtn/mix") == ("f", [0.5])
    for path, tag, now, then in (
        ("/umtn/mute", "F", False, ("T", True)),
        ("/umtn/to", "s", "strings", ("s", "winds")),
        ("/umtn/status/domain", "s", "strings", None),
        ("/umtn/latent/bias/3", "f", 0.0, ("f", 2.0)),
        ("/umtn/mix/normalized", "f", 0.5, ("f", 0.25)),
    ):
        browser.command("LISTEN", path)
        assert browser.hear(path) == (tag, [now])
        if then:
            browser.set(path, *then)
            assert browser.hear(path) == (then[0], [then[1]])
    browser.command("IGNORE", "/umtn/mix")
    browser.set("/umtn/ping", "I")
    browser.hear("/umtn/pong")
    shared.set("mix", 0.75)
    with pytest.raises(AssertionError, match="nothing for /umtn/mix"):
        browser.hear("/umtn/mix", 0.3)


def test_osc_over_udp_is_heard_over_the_websocket(browser: OscQueryClient) -> None:
    browser.connect()
    browser.command("LISTEN", "/umtn/output/gain_db")
    browser.hear("/umtn/output/gain_db")
    browser.set_by_udp("/umtn/output/gain_db", "f", -12.0)
    assert browser.hear("/umtn/output/gain_db") == ("f", [-12.0])


def test_another_bundle_changes_the_paths(browser: OscQueryClient, namespace: Namespace) -> None:
    browser.connect()
    for path in ("/umtn/blend/piano", "/umtn/mix", "/umtn/latent/scale/7"):
        browser.command("LISTEN", path)
        browser.hear(path)
    namespace.redomain(("choir", "strings"), 4)
    assert browser.notice() == {"COMMAND": "PATH_CHANGED", "DATA": "/umtn"}
    assert browser.hear("/umtn/mix") == ("f", [1.0])
    assert browser.get("/umtn/blend/piano")[0] == 404
    assert browser.get("/umtn/latent/scale/7")[0] == 404
    assert list(browser.node("/umtn/blend")["CONTENTS"]) == ["choir", "strings"]
    assert browser.node("/umtn/to")["RANGE"] == [{"VALS": ["choir", "strings"]}]


def test_pushes_are_limited_in_rate(browser: OscQueryClient, shared: SharedState) -> None:
    connection = browser.connect()
    browser.command("LISTEN", "/umtn/mix")
    browser.hear("/umtn/mix")
    end, heard = time.monotonic() + 1.0, 0
    while time.monotonic() < end:
        shared.set("mix", time.monotonic() % 1)
        browser.set("/umtn/ping", "I")  # answers go out at once, and must not carry values along
        frame = connection.receive(0.002)
        heard += frame is not None and osc_parse(frame[1])[0] == "/umtn/mix"
    assert 10 <= heard <= 40


@pytest.mark.parametrize(
    ("kind", "data", "named"),
    [
        (TEXT, b"{", "LISTEN"),
        (TEXT, b"[" * 50000, "LISTEN"),
        (TEXT, b'{"COMMAND": "LISTEN"}', "LISTEN"),
        (TEXT, b'{"COMMAND": ["LISTEN"], "DATA": "/umtn/mix"}', "COMMAND"),
        (TEXT, b'{"COMMAND": "DANCE", "DATA": "/umtn/mix"}', "DANCE"),
        (TEXT, b'{"COMMAND": "LISTEN", "DATA": "/umtn/mxi"}', "/umtn/mxi"),
        (TEXT, b'{"COMMAND": "LISTEN", "DATA": {}}', "path"),
        (TEXT, b'{"COMMAND": "LISTEN", "DATA": "/umtn/panic"}', "no value"),
        (BINARY, b"", "not understood"),
        (BINARY, b"/umtn/mix\x00\x00\x00,f\x00\x00\x3f", "not understood"),
        (BINARY, b"/umtn/mix\x00\x00\x00,f\x00\x00\x7f\xc0\x00\x00", "finite"),
        (BINARY, b"/umtn/subscribe\x00,\x00\x00\x00", "UDP"),
        (BINARY, b"\xff" * 60000, "not understood"),
    ],
)
def test_what_cannot_be_used_is_named_and_moves_nothing(
    browser: OscQueryClient, shared: SharedState, kind: int, data: bytes, named: str
) -> None:
    before = shared.parameters.copy()
    browser.connect().send(kind, data)
    tags, (sentence,) = browser.hear("/error")
    assert tags == "s"
    assert named in sentence
    assert (shared.parameters == before).all()


def test_a_message_too_large_ends_that_client_alone(browser: OscQueryClient, served: Served) -> None:
    other = WebSocket("127.0.0.1", served.port)
    connection = browser.connect()
    with suppress(OSError):
        connection.send(BINARY, b"/" * 200000)
    with pytest.raises(Closed):
        while connection.receive(3):
            pass
    other.send(BINARY, b"/umtn/ping\x00\x00,\x00\x00\x00")
    frame = other.receive()
    assert frame is not None
    assert osc_parse(frame[1])[0] == "/umtn/pong"
    other.close()


def test_timed_bundles_over_the_websocket(browser: OscQueryClient, shared: SharedState) -> None:
    message = b"/umtn/mix\x00\x00\x00,f\x00\x00\x3f\x00\x00\x00"

    def bundle(when: float) -> bytes:
        tag = int((when + 2208988800) * 2**32).to_bytes(8)
        return b"#bundle\x00" + tag + len(message).to_bytes(4) + message

    connection = browser.connect()
    connection.send(BINARY, bundle(time.time() + 60))
    assert "ahead" in browser.hear("/error")[1][0]
    connection.send(BINARY, bundle(time.time() + 0.2))
    browser.set("/umtn/ping", "I")
    browser.hear("/umtn/pong")
    assert shared.get("mix") == 1.0
    assert eventually(lambda: shared.get("mix") == 0.5)


def test_clients_that_take_nothing_are_dropped(
    monkeypatch: pytest.MonkeyPatch, served: Served, browser: OscQueryClient, shared: SharedState
) -> None:
    """One answers no ping (half-open), one lets its buffers fill; the third hears everything meanwhile."""
    monkeypatch.setattr(oscquery, "HEARTBEAT_S", 0.6)
    monkeypatch.setattr(listener, "SEND_S", 0.5)
    monkeypatch.setattr(listener, "MAX_ERRORS_PER_S", 10**9)
    mute, slow = (WebSocket("127.0.0.1", served.port) for _ in range(2))
    browser.connect()
    browser.command("LISTEN", "/umtn/mix")
    browser.hear("/umtn/mix")
    assert len(served.query) == 3
    slow.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    slow.socket.settimeout(0.2)
    with suppress(OSError):
        for _ in range(3000):
            slow.send(BINARY, b"/umtn/*\x00,\x00\x00\x00")
    for n in range(20):
        shared.set("mix", n / 32)
        assert browser.hear("/umtn/mix", 1.0) == ("f", [n / 32])
    end = time.monotonic() + 6
    while len(served.query) > 1 and time.monotonic() < end:
        assert browser.socket is not None
        browser.socket.receive(0.1)  # answers the server's pings
    assert len(served.query) == 1
    mute.close()
    slow.close()


def test_so_many_clients_and_no_more(
    monkeypatch: pytest.MonkeyPatch, served: Served, browser: OscQueryClient
) -> None:
    monkeypatch.setattr(oscquery, "MAX_CLIENTS", 2)
    first, second, third = (WebSocket("127.0.0.1", served.port) for _ in range(3))
    assert [w.status for w in (first, second, third)] == [101, 101, 503]
    first.close()
    assert eventually(lambda: len(served.query) == 1)
    fourth = WebSocket("127.0.0.1", served.port)
    assert fourth.status == 101
    for connection in (second, third, fourth):
        connection.close()


def test_the_end_of_the_server_is_told(namespace: Namespace) -> None:
    running = Served(OscQuery(namespace, 0, "short"))
    connection = WebSocket("127.0.0.1", running.port)
    answers = threading.Thread(target=running.close)
    answers.start()
    with pytest.raises(Closed) as closed:
        connection.receive()
    connection.close()
    answers.join(5)
    assert closed.value.args == (1001,)


def test_a_page_of_another_site_is_refused(served: Served) -> None:
    foreign = WebSocket("127.0.0.1", served.port, {"Origin": "http://example.com"})
    own = WebSocket("127.0.0.1", served.port, {"Origin": f"http://127.0.0.1:{served.port}"})
    assert (foreign.status, own.status) == (403, 101)
    foreign.close()
    own.close()


def test_an_osc_and_an_oscquery_controller_fight(
    browser: OscQueryClient, client: Client, shared: SharedState
) -> None:
    browser.connect()
    browser.set("/umtn/mix", "f", 0.25)
    browser.set("/umtn/ping", "I")
    browser.hear("/umtn/pong")
    client.send("/umtn/mix", 0.5)
    assert "OSCQuery 127.0.0.1" in str(client.expect("/error")[0])
    sentence = browser.hear("/error")[1][0]
    assert f"127.0.0.1:{client.port}" in sentence
    assert "0.5" in sentence
    assert shared.get("mix") == 0.5


def test_without_osc_none_is_claimed(namespace: Namespace) -> None:
    running = Served(OscQuery(namespace, 0, "no osc"))
    browser = OscQueryClient("127.0.0.1", running.port)
    assert "OSC_PORT" not in browser.host_info()
    assert json.dumps(browser.node("/"))
    browser.close()
    running.close()


def test_every_value_of_status_is_there(browser: OscQueryClient, shared: SharedState) -> None:
    shared.status_set("load", float("nan"))  # JSON has no word for it
    shared.status_set("xruns", 3)
    names = browser.node("/umtn/status")["CONTENTS"]
    assert set(names) == {s.name for s in STATUS}
    assert names["xruns"]["VALUE"] == [3]
    assert names["load"]["VALUE"] == [0.0]
