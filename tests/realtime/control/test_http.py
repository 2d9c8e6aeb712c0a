"""The page's server without a browser: who may come in, what is served, what floods and corpses do."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from realtime.control.namespace import Namespace
from realtime.control.presets.trash import Trashed
from realtime.control.web import server as tcp
from realtime.control.web.oscquery import OscQuery
from realtime.control.web.page_socket import MAX_MESSAGES_HZ, MAX_PAGES, Page
from realtime.control.web.page_state import Incidents
from realtime.control.web.server import HttpServer, qr_lines
from realtime.shared.audio_config import MAX_SLACK
from realtime.shared.memory import SharedState
from realtime.shared.messages import PlayingBundle
from tests.realtime.control.fakestage import Stage
from tests.realtime.control.oscclient import eventually
from tests.realtime.control.webserver import Socket, fetch
from umtn.errors import UserError


class Presets:
    """As much of the real ones as the page knows."""

    def names(self) -> list[str]:
        return ["alone", "one", "two"]

    def set_list(self) -> list[str]:
        return ["two", "one"]

    def undoable(self) -> Trashed | None:
        return Trashed(Path("000001-0000 saved one.toml"), 1, "saved", "one")


class Midi:
    """Learns whatever it is told to."""

    port = "a port"

    def __init__(self) -> None:
        self.learning = ""
        self.bound: dict[str, str] = {}

    def learn(self, name: str) -> None:
        self.learning = name

    def cancel(self) -> None:
        self.learning = ""

    def forget(self, name: str) -> int:
        return int(self.bound.pop(name, None) is not None)

    def mapping(self) -> list[tuple[str, str]]:
        return list(self.bound.items())


@pytest.fixture
def midi() -> Midi:
    return Midi()


@pytest.fixture
def web_server(namespace: Namespace, midi: Midi) -> Iterator[HttpServer]:
    query = OscQuery(namespace, 9100, "test")
    server = HttpServer(namespace, port=0, oscquery=query, midi=midi, presets=Presets())
    server.start()
    yield server
    server.stop()
    assert server.failure is None
    assert not server.alive


def base(server: HttpServer) -> str:
    return f"http://127.0.0.1:{server.port}"


def ws(server: HttpServer) -> str:
    return f"ws://127.0.0.1:{server.port}/ui/socket"


def test_the_page_and_its_headers(web_server: HttpServer) -> None:
    async def look() -> None:
        for name, kind in (("", "text/html"), ("app.js", "text/javascript"), ("style.css", "text/css")):
            status, text, headers = await fetch(f"{base(web_server)}/ui/{name}")
            assert status == 200 and len(text) > 500
            assert headers["Content-Type"].startswith(kind)
            assert headers["Cache-Control"] == "no-store" and headers["X-Content-Type-Options"] == "nosniff"
            assert "default-src 'none'" in headers["Content-Security-Policy"]
        for name in ("../http.py", "..%2fhttp.py", "%2e%2e/http.py", "nothing.js", "/etc/passwd"):
            assert (await fetch(f"{base(web_server)}/ui/{name}"))[0] == 404
        assert (await fetch(f"{base(web_server)}/ui/", method="POST", data=b"x"))[0] == 405

    asyncio.run(look())
    assert web_server.url == f"{base(web_server)}/ui/"
    assert web_server.token is None


def test_one_port_for_page_and_oscquery(web_server: HttpServer) -> None:
    async def look() -> None:
        status, _, headers = await fetch(base(web_server) + "/", headers={"Accept": "text/html,*/*"})
        assert (status, headers["Location"]) == (302, "/ui/")
        status, text, _ = await fetch(base(web_server) + "/", headers={"Accept": "application/json"})
        assert status == 200 and "umtn" in json.loads(text)["CONTENTS"]
        status, text, _ = await fetch(base(web_server) + "/umtn/mix?VALUE", headers={"Accept": "text/html"})
        assert (status, json.loads(text)) == (200, {"VALUE": [1.0]})
        async with Socket(f"{base(web_server)}/") as query:
            await query.socket.send_str(json.dumps({"COMMAND": "LISTEN", "DATA": "/umtn/mix"}))

    asyncio.run(look())


@pytest.mark.parametrize("path", ["/ui/", "/ui/socket", "/", "/umtn/mix"])
@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},
        {"Host": "evil.example:9100"},
        {"Host": "127.0.0.1.evil.example"},
        {"Host": "192.168.1.5"},  # loopback only: nobody reaches it by that address
        {"Host": ""},
        {"Host": "[::1"},
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "https://localhost"},
        {"Origin": "http://localhost:1"},
        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"},
    ],
)
def test_foreign_pages_and_rebound_names_are_refused(
    web_server: HttpServer, shared: SharedState, path: str, headers: dict[str, str]
) -> None:
    async def look() -> None:
        assert (await fetch(base(web_server) + path, headers=headers))[0] == 403
        with pytest.raises(aiohttp.WSServerHandshakeError, match="403"):
            async with Socket(base(web_server) + path, headers=headers):
                pass

    asyncio.run(look())


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST", "127.0.0.1", "127.0.0.2", "[::1]"])
def test_this_machine_under_its_own_names(web_server: HttpServer, host: str) -> None:
    name = f"{host}:{web_server.port}"

    async def look() -> None:
        for origin in ({}, {"Origin": f"http://{name.lower()}"}):
            assert (await fetch(f"{base(web_server)}/ui/", headers={"Host": name, **origin}))[0] == 200

    asyncio.run(look())


def test_token_in_the_url_then_in_a_cookie(namespace: Namespace) -> None:
    server = HttpServer(namespace, port=0, token="let me in")
    server.start()
    url = f"{base(server)}/ui/"

    async def look() -> None:
        assert (await fetch(url))[0] == 401
        assert (await fetch(f"{url}?token=wrong"))[0] == 401
        assert (await fetch(f"{url}?token=l%C3%A9t"))[0] == 401
        status, _, headers = await fetch(f"{url}?token=let me in")
        assert status == 200
        cookie = headers["Set-Cookie"]
        assert "HttpOnly" in cookie and "SameSite=Strict" in cookie and f"umtn_{server.port}=" in cookie
        cookies = {f"umtn_{server.port}": "let me in"}
        assert (await fetch(url, cookies=cookies))[0] == 200
        with pytest.raises(aiohttp.WSServerHandshakeError, match="401"):
            async with Socket(ws(server)):
                pass
        async with Socket(ws(server), headers={"Cookie": headers["Set-Cookie"].split(";")[0]}) as page:
            await page.until(lambda p: p.hellos)

    try:
        asyncio.run(look())
    finally:
        server.stop()


def test_another_host_makes_a_token_for_others_only(namespace: Namespace) -> None:
    server = HttpServer(namespace, "0.0.0.0", 0)
    server.start()
    try:
        assert server.token and len(server.token) >= 20 and server.url.endswith(f"/ui/?token={server.token}")
        away = server.url.split("//")[1].split(":")[0]
        assert asyncio.run(fetch(f"{base(server)}/ui/"))[0] == 200  # whoever sits here needs none
        assert asyncio.run(fetch(f"{base(server)}/ui/", headers={"Host": "evil.example"}))[0] == 403
        if not away.startswith("127."):
            assert asyncio.run(fetch(f"http://{away}:{server.port}/ui/"))[0] == 401
            assert asyncio.run(fetch(server.url))[0] == 200
    finally:
        server.stop()


def test_a_port_in_use_says_the_way_out(web_server: HttpServer, namespace: Namespace) -> None:
    with pytest.raises(UserError, match=rf"web port {web_server.port} .* is in use .* --web-port \d+"):
        HttpServer(namespace, port=web_server.port)
    with pytest.raises(UserError, match="--web-host 'no such host'"):
        HttpServer(namespace, "no such host", 0)
    with pytest.raises(UserError, match=r"no address of this machine; 127\.0\.0\.1 is"):
        HttpServer(namespace, "203.0.113.7", 0)
    with pytest.raises(UserError, match="0 to 65535"):
        HttpServer(namespace, port=70000)
    unstarted = HttpServer(namespace, port=0)
    unstarted.stop()
    unstarted.stop()


def test_the_page_gets_the_table_the_values_and_only_what_changes(
    web_server: HttpServer, namespace: Namespace, shared: SharedState
) -> None:
    async def look() -> None:
        async with Socket(ws(web_server)) as page:
            await page.until(lambda p: "presets" in p.values and p.values["presets"])
            names = [p["name"] for p in page.hellos[0]["parameters"]]
            assert names == [p.name for p in namespace.parameters]
            assert page.values["mix"] == 1.0 and page.values["to"] == "strings"
            assert page.values["presets"] == ["two", "one", "alone"]
            page.values.clear()
            shared.set("mix", 0.25)
            await page.until(lambda p: p.values.get("mix") == 0.25)
            assert set(page.values) <= {"mix", "presets"}

    asyncio.run(look())


def test_what_the_page_sets_and_what_it_is_told(
    web_server: HttpServer, namespace: Namespace, shared: SharedState, midi: Midi
) -> None:
    threads: list[str] = []

    def save(name: object) -> str:
        threads.append(threading.current_thread().name)
        if name == "bad":
            raise ValueError("no room")
        return f"kept as {name}"

    namespace.actions["preset/save"] = save

    async def look() -> None:
        async with Socket(ws(web_server)) as page:
            await page.send(set={"mix": 0.5, "to": "winds", "freeze": True, "panic": None})
            await page.until(lambda p: p.values.get("mix") == 0.5 and p.values.get("to") == "winds")
            assert (shared.get("freeze"), shared.panic_count) == (1.0, 1)
            await page.send(set={"preset/save": "mine"})
            await page.until(lambda p: p.notes == ["preset/save: kept as mine"])
            for wish, answer in (
                ({"preset/save": "bad"}, "no room"),
                ({"preset/save": 3.5}, "a name"),
                ({"record": 1}, "not available"),
                ({"mix": "loud"}, "takes a number"),
                ({"mix": [1]}, "takes a number"),
                ({"mix": {}}, "takes a number"),
                ({"to": "harp"}, "harp"),
                ({"mix": 7}, "1 was set"),
                ({"nonsense": 1}, "no parameter 'nonsense'"),
                ({"subscribe": 1}, "no parameter 'subscribe'"),
            ):
                page.errors.clear()
                await page.send(set=wish)
                await page.until(lambda p, answer=answer: any(answer in e for e in p.errors))
            await page.send(midi={"learn": "mix"})
            await page.until(lambda p: p.values["midi"]["learning"] == "mix")
            midi.bound["mix"] = "controller 7"
            await page.until(lambda p: p.values["midi"]["mapping"] == [["mix", "controller 7"]])
            await page.send(midi={"forget": "mix"})
            await page.send(midi={"cancel": True})
            await page.until(lambda p: p.values["midi"] == {"port": "a port", "learning": "", "mapping": []})
            page.errors.clear()
            await page.send(midi={"learn": "nothing"})
            await page.until(lambda p: "no parameter 'nothing'" in p.errors[-1:].__str__())

    asyncio.run(look())
    assert threads and all(name.startswith("web-action") for name in threads)


def test_panic_does_not_wait_for_a_slow_action(
    web_server: HttpServer, namespace: Namespace, shared: SharedState
) -> None:
    go = threading.Event()
    namespace.actions["model/load"] = lambda name: str(go.wait(5.0))

    async def look() -> None:
        async with Socket(ws(web_server)) as page:
            for _ in range(12):
                await page.send(set={"model/load": "slow"})
            await page.send(set={"panic": None, "mix": 0.3})
            await page.until(lambda p: p.values.get("mix") == 0.3)
            assert shared.panic_count == 1
            await page.until(lambda p: any("still being worked on" in e for e in p.errors))
            go.set()

    asyncio.run(look())


GARBAGE: list[Any] = [
    "", "nonsense", "[]", "3", "null", '"set"', '{"set": 3}', '{"set": [1]}', '{"set": {"mix": NaN}}',
    '{"set": {"mix": 1e999}}', '{"set": {"": 1}}', '{"bogus": {}}', '{"midi": 1}', '{"midi": {"destroy": 1}}',
    '{"midi": {"learn": {}}}', "[" * 9000, '{"set": {"mix": ' + "[" * 8000, '{"set": {"to": "' + "x" * 9000 + '"}}',
    '{"set": {"mix": 1' + "0" * 5000 + "}}", "\x00\x01", b"\xff\xfe", b"",
]  # fmt: skip


def test_garbage_gets_an_answer_and_moves_nothing(web_server: HttpServer, shared: SharedState) -> None:
    before = shared.parameters.copy()

    async def look() -> None:
        async with Socket(ws(web_server)) as page:
            for text in GARBAGE:
                page.errors.clear()
                await (
                    page.socket.send_bytes(text) if isinstance(text, bytes) else page.socket.send_str(text)
                )
                await page.until(lambda p: p.errors)
                assert len(page.errors[0]) < 500

    asyncio.run(look())
    assert (shared.parameters == before).all()


def test_too_big_a_message_closes_only_its_own_page(web_server: HttpServer) -> None:
    async def look() -> None:
        async with Socket(ws(web_server)) as other, Socket(ws(web_server)) as page:
            await page.socket.send_str(" " * 70000)
            with pytest.raises(AssertionError):
                await page.until(lambda p: p.socket.closed)
            assert page.socket.close_code == 1009
            await other.send(set={"mix": 0.75})
            await other.until(lambda p: p.values.get("mix") == 0.75)

    asyncio.run(look())


def test_only_so_many_pages(web_server: HttpServer) -> None:
    async def look() -> None:
        pages = [Socket(ws(web_server)) for _ in range(MAX_PAGES)]
        for page in pages:
            await page.__aenter__()
        with pytest.raises(aiohttp.WSServerHandshakeError, match="503"):
            async with Socket(ws(web_server)):
                pass
        await pages.pop().__aexit__()
        await asyncio.sleep(0.2)
        async with Socket(ws(web_server)) as late:
            await late.until(lambda p: p.hellos)
        for page in pages:
            await page.__aexit__()

    asyncio.run(look())


def _handshake(port: int) -> socket.socket:
    """A WebSocket client that says hello and then never reads or writes again."""
    raw = socket.create_connection(("127.0.0.1", port))
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    raw.sendall(
        f"GET /ui/socket HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".encode()
    )
    return raw


def _frame(text: str) -> bytes:
    """A masked text frame (with the mask 0, which is allowed)."""
    data = text.encode()
    return b"\x81" + struct.pack(">BH", 0x80 | 126, len(data)) + bytes(4) + data


@pytest.mark.slow
def test_a_flood_from_one_page_leaves_the_others_alone(web_server: HttpServer) -> None:
    """Half a minute's worth of a finger's messages at once, again and again, from one that does not read."""
    wave = b"".join(
        _frame(json.dumps({"set": {"input/gain_db": i % 20, "nonsense": i}})) for i in range(1000)
    )
    wishes, heard = web_server._pages._wishes, [0]
    understand = wishes.understand

    def count(page: Page, text: str) -> None:
        heard[0] += 1
        understand(page, text)

    wishes.understand = count  # type: ignore[method-assign]
    start = time.monotonic()
    mad = _handshake(web_server.port)
    mad.settimeout(0.2)
    stop = threading.Event()

    def flood() -> None:
        rest = wave
        while not stop.is_set():
            try:
                rest = rest[mad.send(rest[:65536]) :] or wave
            except TimeoutError:
                continue
            except OSError:
                return

    async def look() -> None:
        async with Socket(ws(web_server)) as sane:
            for i in range(1, 11):
                began = time.monotonic()
                await sane.send(set={"mix": i / 20})
                await sane.until(lambda p, i=i: p.values.get("mix") == i / 20)
                assert time.monotonic() - began < 0.5
                await asyncio.sleep(0.1)

    thread = threading.Thread(target=flood)
    thread.start()
    try:
        asyncio.run(look())
    finally:
        stop.set()
        thread.join()
        mad.close()
    assert 100 < heard[0] < 100 + 1.5 * MAX_MESSAGES_HZ * (time.monotonic() - start)


def test_half_open_and_broken_sockets_are_dropped(
    web_server: HttpServer, shared: SharedState, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some never read, some end in a reset, some speak no WebSocket, some never finish their request."""
    monkeypatch.setattr("realtime.control.web.page_socket.HEARTBEAT_S", 0.6)
    monkeypatch.setattr(tcp, "SILENT_S", 0.5)
    pages = web_server._pages
    with Stage(shared):
        corpses = [_handshake(web_server.port) for _ in range(6)]
        assert eventually(lambda: len(pages) == 6)
        corpses[0].sendall(b"\x00" * 100)
        corpses[1].setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        corpses[1].close()
        slow = socket.create_connection(("127.0.0.1", web_server.port))
        slow.sendall(b"GET /ui/ HTTP/1.1\r\nHos")
        mute = socket.create_connection(("127.0.0.1", web_server.port))
        noise = socket.create_connection(("127.0.0.1", web_server.port))
        noise.sendall(b"\x16\x03\x01" + bytes(range(256)) * 20)

        async def look() -> None:
            async with Socket(ws(web_server)) as page:
                await page.until(lambda p: p.columns > 2000)

        asyncio.run(look())
        assert eventually(lambda: len(pages) == 0, 6.0)
        for sock in (slow, mute):
            sock.settimeout(3.0)  # a timeout here means that it was kept
            with suppress(ConnectionError):
                assert sock.recv(4096) == b""
        for sock in (*corpses, slow, mute, noise):
            sock.close()


def test_hot_swap_brings_another_table(web_server: HttpServer, namespace: Namespace) -> None:
    async def look() -> None:
        async with Socket(ws(web_server)) as page:
            await page.until(lambda p: p.hellos)
            namespace.redomain(("harp", "drums"), 4)
            await page.until(lambda p: len(p.hellos) == 2 and p.values.get("to") == "harp")
            assert page.hellos[1]["domains"] == ["harp", "drums"]

    asyncio.run(look())


def test_incidents_have_a_time(web_server: HttpServer, shared: SharedState) -> None:
    async def look() -> None:
        async with Socket(ws(web_server)) as page:
            await page.until(lambda p: p.values.get("log") == [])
            shared.status_set("xruns", 3)
            log = await page.until(lambda p: p.values.get("log"))
            assert log[0]["what"] == "xruns" and log[0]["count"] == 3 and abs(log[0]["at"] - time.time()) < 2

    asyncio.run(look())


def test_late_blocks_every_second_are_one_entry_with_its_remedy(shared: SharedState) -> None:
    """They were an entry each second, which pushed all else out of the log, and none said what helps."""
    now = 1000.0
    log = Incidents(shared, lambda: 1, lambda: now)
    shared.status_set("block", 128)
    shared.status_set("rate", 48000)
    for second in range(300):
        now = 1000.0 + second
        shared.status_set("xruns", 138 * (second + 1))
        if second == 100:
            shared.status_set("resets", 1)
        log.poll()
    assert [(e["what"], e["count"], e["at"], e["until"]) for e in log.entries] == [
        ("xruns", 138 * 300, 1000.0, 1299.0),
        ("resets", 1, 1100.0, 1100.0),
    ]
    cure = log.entries[0]["cure"]
    assert "--slack 2" in cure and "2.7 ms more latency" in cure and "cure" not in log.entries[1]
    now = 1400.0
    shared.status_set("xruns", 138 * 301)
    log.poll()
    assert log.entries[-1] == {"at": 1400.0, "until": 1400.0, "what": "xruns", "count": 138}  # told once


@pytest.mark.parametrize(
    ("slack", "late", "cure"),
    [(1, 2, None), (None, 9, None), (0, 9, "--slack 1"), (MAX_SLACK, 9, "A larger --block")],
)
def test_which_remedy(shared: SharedState, slack: int | None, late: int, cure: str | None) -> None:
    """None for one block or two, which may be anything, nor where no device is played to."""
    log = Incidents(shared, lambda: slack)
    shared.status_set("xruns", late)
    log.poll()
    (entry,) = log.entries
    assert cure in entry["cure"] if cure else "cure" not in entry


def test_the_page_shows_what_the_bundle_uses(web_server: HttpServer, namespace: Namespace) -> None:
    """A bundle that does not draw its samples had a fader for the temperature of the drawing."""

    def shown(page: Socket) -> set[str]:
        return {p["name"] for p in page.hellos[-1]["parameters"]} & {"temperature", "transpose"}

    async def look() -> None:
        async with Socket(ws(web_server)) as page:
            await page.until(lambda p: p.hellos and shown(p) == {"temperature", "transpose"})
            namespace.told(PlayingBundle(has_temperature=False))
            await page.until(lambda p: shown(p) == {"transpose"})
            namespace.told(PlayingBundle(can_transpose=False))
            await page.until(lambda p: shown(p) == {"temperature"})

    asyncio.run(look())


def test_quiet_and_broken_figures_are_json(web_server: HttpServer, shared: SharedState) -> None:
    for name, value in (
        ("level_in_db", -float("inf")),
        ("level_out_db", float("nan")),
        ("load", float("inf")),
    ):
        shared.status_set(name, value)

    async def look() -> None:
        async with Socket(ws(web_server)) as page:
            await page.until(lambda p: "status/load" in p.values)
            assert page.values["status/level_in_db"] == page.values["status/level_out_db"] == -120

    asyncio.run(look())


def test_an_oscquery_that_fails_does_not_take_the_page_with_it(namespace: Namespace) -> None:
    class Broken:
        async def http(self, request: web.Request) -> web.StreamResponse:
            raise RuntimeError("a fault")

        async def socket(self, request: web.Request) -> web.StreamResponse:
            raise RuntimeError("a fault")

    server = HttpServer(namespace, port=0, oscquery=Broken())
    server.start()
    try:
        status, text, _ = asyncio.run(fetch(f"{base(server)}/umtn"))
        assert status == 500 and "a fault" in text and "Traceback" not in text
        assert asyncio.run(fetch(f"{base(server)}/ui/"))[0] == 200
    finally:
        server.stop()


def test_qr_code_is_square_and_of_half_blocks() -> None:
    lines = qr_lines("http://192.168.1.20:9100/ui/?token=abcdefghijklmnopqrstuv")
    assert lines and {c for line in lines for c in line} <= set("█▀▄ ")
    assert {len(line) for line in lines} == {len(lines[0])}
    assert abs(len(lines[0]) - 2 * len(lines)) <= 1
    assert qr_lines("http://x", colour=True)[0].startswith("\x1b[")
