"""OSCQuery beyond the proposal's text: what it leaves open, and bad clients that harm no one."""

from __future__ import annotations

import socket
import threading
import time
from contextlib import suppress

import pytest

from realtime.control.namespace import Namespace
from realtime.control.web import oscquery
from realtime.control.web.oscquery import OscQuery
from realtime.control.web.server import HttpServer
from realtime.shared.memory import SharedState
from realtime.shared.parameters import STATUS
from tests.realtime.control.conftest import DOMAINS
from tests.realtime.control.oscclient import Client, eventually
from tests.realtime.control.proposal_client import ProposalClient
from tests.realtime.control.wire import BINARY, TEXT, Closed, WebSocket, osc_packet, osc_parse


def test_units_ranges_and_write_only_nodes(asker: ProposalClient) -> None:
    gain = asker.get("/umtn/input/gain_db")
    assert gain["UNIT"] == ["gain.db"]
    assert gain["RANGE"] == [{"MIN": -60.0, "MAX": 24.0}]
    assert gain["CLIPMODE"] == ["both"]
    assert gain["CONTENTS"]["normalized"]["RANGE"] == [{"MIN": 0.0, "MAX": 1.0}]
    assert asker.get("/umtn/crossfade_ms")["UNIT"] == ["time.ms"]
    assert asker.get("/umtn/to")["RANGE"] == [{"VALS": list(DOMAINS)}]
    for path, tag in (("panic", "I"), ("preset/save", "s"), ("record", "T"), ("preset/next", "I")):
        node = asker.get(f"/umtn/{path}")
        assert (node["TYPE"], node["ACCESS"]) == (tag, 2)
        assert "VALUE" not in node


@pytest.mark.parametrize(
    ("path", "attribute", "status"),
    [
        ("/umtn/mix/", "", 200),
        ("/umtn/mix", "TAGS", 204),
        ("/umtn/mix", "VALUE&TAGS", 204),
        ("/umtn/panic", "VALUE&TYPE", 204),
        ("/umtn/mix", "COLOUR", 400),
        ("/umtn/mix", "value", 400),
        ("/umtn/mix", "VALUE&COLOUR", 400),
        ("/nowhere", "HOST_INFO&VALUE", 200),
        ("/umtn/mix", "VALUE&token=x", 200),
    ],
)
def test_status_codes_where_the_text_leaves_a_choice(
    asker: ProposalClient, path: str, attribute: str, status: int
) -> None:
    assert asker.status(path, attribute) == status


def test_the_present_value_comes_first(asker: ProposalClient, shared: SharedState) -> None:
    asker.connect()
    asker.listen("/umtn/mix")
    assert asker.hear("/umtn/mix") == ("f", [1.0])
    shared.set("mix", 0.5)
    assert asker.hear("/umtn/mix") == ("f", [0.5])
    for path, tag, now, then in (
        ("/umtn/mute", "F", False, ("T", True)),
        ("/umtn/to", "s", "strings", ("s", "winds")),
        ("/umtn/status/domain", "s", "strings", None),
        ("/umtn/latent/bias/3", "f", 0.0, ("f", 2.0)),
        ("/umtn/mix/normalized", "f", 0.5, ("f", 0.25)),
    ):
        asker.listen(path)
        assert asker.hear(path) == (tag, [now])
        if then:
            asker.send_over_socket(osc_packet(path, *then))
            assert asker.hear(path) == (then[0], [then[1]])


def test_another_bundle_changes_the_paths(asker: ProposalClient, namespace: Namespace) -> None:
    asker.connect()
    for path in ("/umtn/blend/piano", "/umtn/mix", "/umtn/latent/scale/7"):
        asker.listen(path)
        asker.hear(path)
    namespace.redomain(("choir", "strings"), 4)
    assert asker.notice() == {"COMMAND": "PATH_CHANGED", "DATA": "/umtn"}
    assert asker.hear("/umtn/mix") == ("f", [1.0])
    assert asker.status("/umtn/blend/piano") == 404
    assert asker.status("/umtn/latent/scale/7") == 404
    assert list(asker.get("/umtn/blend")["CONTENTS"]) == ["choir", "strings"]
    assert asker.get("/umtn/to")["RANGE"] == [{"VALS": ["choir", "strings"]}]


def test_pushes_are_limited_in_rate(asker: ProposalClient, shared: SharedState) -> None:
    connection = asker.connect()
    asker.listen("/umtn/mix")
    asker.hear("/umtn/mix")
    end, heard = time.monotonic() + 1.0, 0
    while time.monotonic() < end:
        shared.set("mix", time.monotonic() % 1)
        asker.send_over_socket(
            osc_packet("/umtn/ping", "I")
        )  # answers go out at once, and must not carry values along
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
        (TEXT, b'{"COMMAND": "LISTEN", "DATA": "/umtn/input"}', "container"),
        (BINARY, b"", "not understood"),
        (BINARY, b"/umtn/mix\x00\x00\x00,f\x00\x00\x3f", "not understood"),
        (BINARY, b"/umtn/mix\x00\x00\x00,f\x00\x00\x7f\xc0\x00\x00", "finite"),
        (BINARY, b"/umtn/subscribe\x00,\x00\x00\x00", "UDP"),
        (BINARY, b"\xff" * 60000, "not understood"),
    ],
)
def test_what_cannot_be_used_is_named_and_moves_nothing(
    asker: ProposalClient, shared: SharedState, kind: int, data: bytes, named: str
) -> None:
    before = shared.parameters.copy()
    asker.connect().send(kind, data)
    tags, (sentence,) = asker.hear("/error")
    assert tags == "s"
    assert named in sentence
    assert (shared.parameters == before).all()


def test_a_message_too_large_ends_that_client_alone(asker: ProposalClient, web: HttpServer) -> None:
    other = WebSocket("127.0.0.1", web.port)
    connection = asker.connect()
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


def test_timed_bundles_over_the_websocket(asker: ProposalClient, shared: SharedState) -> None:
    message = b"/umtn/mix\x00\x00\x00,f\x00\x00\x3f\x00\x00\x00"

    def bundle(when: float) -> bytes:
        tag = int((when + 2208988800) * 2**32).to_bytes(8)
        return b"#bundle\x00" + tag + len(message).to_bytes(4) + message

    connection = asker.connect()
    connection.send(BINARY, bundle(time.time() + 60))
    assert "ahead" in asker.hear("/error")[1][0]
    connection.send(BINARY, bundle(time.time() + 0.2))
    asker.send_over_socket(osc_packet("/umtn/ping", "I"))
    asker.hear("/umtn/pong")
    assert shared.get("mix") == 1.0
    assert eventually(lambda: shared.get("mix") == 0.5)


def test_clients_that_take_nothing_are_dropped(
    monkeypatch: pytest.MonkeyPatch,
    query: OscQuery,
    web: HttpServer,
    asker: ProposalClient,
    shared: SharedState,
) -> None:
    """One answers no ping (half-open), one lets its buffers fill; the third hears everything meanwhile."""
    monkeypatch.setattr(oscquery, "HEARTBEAT_S", 0.6)
    monkeypatch.setattr(oscquery, "SEND_S", 0.5)
    monkeypatch.setattr(oscquery, "MAX_ERRORS_PER_S", 10**9)
    mute, slow = (WebSocket("127.0.0.1", web.port) for _ in range(2))
    asker.connect()
    asker.listen("/umtn/mix")
    asker.hear("/umtn/mix")
    assert len(query) == 3
    slow.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    slow.socket.settimeout(0.2)
    with suppress(OSError):
        for _ in range(3000):
            slow.send(BINARY, b"/umtn/*\x00,\x00\x00\x00")
    for n in range(20):
        shared.set("mix", n / 32)
        assert asker.hear("/umtn/mix", 1.0) == ("f", [n / 32])
    end = time.monotonic() + 6
    while len(query) > 1 and time.monotonic() < end:
        asker.socket.receive(0.1)  # answers the server's pings
    assert len(query) == 1
    mute.close()
    slow.close()


def test_so_many_clients_and_no_more(
    monkeypatch: pytest.MonkeyPatch, query: OscQuery, web: HttpServer, asker: ProposalClient
) -> None:
    monkeypatch.setattr(oscquery, "MAX_CLIENTS", 2)
    first, second, third = (WebSocket("127.0.0.1", web.port) for _ in range(3))
    assert [w.status for w in (first, second, third)] == [101, 101, 503]
    first.close()
    assert eventually(lambda: len(query) == 1)
    fourth = WebSocket("127.0.0.1", web.port)
    assert fourth.status == 101
    for connection in (second, third, fourth):
        connection.close()


def test_the_end_of_the_server_is_told(namespace: Namespace) -> None:
    running = HttpServer(namespace, port=0, oscquery=OscQuery(namespace, 0, "short"))
    running.start()
    connection = WebSocket("127.0.0.1", running.port)
    answers = threading.Thread(target=running.stop)
    answers.start()
    with pytest.raises(Closed) as closed:
        connection.receive()
    connection.close()
    answers.join(5)
    assert closed.value.args == (1001,)


def test_a_page_of_another_site_is_refused(web: HttpServer) -> None:
    foreign = WebSocket("127.0.0.1", web.port, {"Origin": "http://example.com"})
    own = WebSocket("127.0.0.1", web.port, {"Origin": f"http://127.0.0.1:{web.port}"})
    assert (foreign.status, own.status) == (403, 101)
    foreign.close()
    own.close()


def test_an_osc_and_an_oscquery_controller_fight(
    asker: ProposalClient, client: Client, shared: SharedState
) -> None:
    asker.connect()
    asker.send_over_socket(osc_packet("/umtn/mix", "f", 0.25))
    asker.send_over_socket(osc_packet("/umtn/ping", "I"))
    asker.hear("/umtn/pong")
    client.send("/umtn/mix", 0.5)
    assert "OSCQuery 127.0.0.1" in str(client.expect("/error")[0])
    sentence = asker.hear("/error")[1][0]
    assert f"127.0.0.1:{client.port}" in sentence
    assert "0.5" in sentence
    assert shared.get("mix") == 0.5


def test_without_osc_none_is_claimed(namespace: Namespace) -> None:
    running = HttpServer(namespace, port=0, oscquery=OscQuery(namespace, 0, "no osc"))
    running.start()
    asker = ProposalClient("127.0.0.1", running.port)
    assert "OSC_PORT" not in asker.get("/", "HOST_INFO")
    assert asker.get("/")["FULL_PATH"] == "/"
    asker.close()
    running.stop()


def test_every_value_of_status_is_there(asker: ProposalClient, shared: SharedState) -> None:
    shared.status_set("load", float("nan"))  # JSON has no word for it
    shared.status_set("xruns", 3)
    names = asker.get("/umtn/status")["CONTENTS"]
    assert set(names) == {s.name for s in STATUS}
    assert names["xruns"]["VALUE"] == [3]
    assert names["load"]["VALUE"] == [0.0]
