"""The proposal's own words against our server: every node is walked, listened to and set by a client of the text."""

from __future__ import annotations

import itertools
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from realtime.control.namespace import Namespace
from realtime.control.osc.udp_server import OscServer
from realtime.control.web.address_tree import ATTRIBUTES
from realtime.shared.messages import PlayingBundle
from tests.realtime.control.oscclient import eventually
from tests.realtime.control.proposal_checks import (
    OPTIONAL,
    host_faults,
    json_fits,
    readable,
    structure,
    tree_faults,
    writable,
)
from tests.realtime.control.proposal_client import Node, ProposalClient, QueryError, pack, walk
from tests.realtime.control.wire import osc_packet

SILENCE_S = 0.2  # several times as long as a push takes
REFUSED = {204, 400}  # of an attribute that the server lacks the text says 204 in one place, 400 in another


def settable(node: Node) -> list[Node]:
    """Everything that can be set and read back."""
    return [one for one in walk(node) if readable(one) and writable(one)]


def samples(node: Node) -> list[Any]:
    """Values that RANGE allows: all of VALS, or both ends and a point between them."""
    if node["TYPE"] in "TF":
        return [True, False]
    limits = node["RANGE"][0]
    if "VALS" in limits:
        return list(limits["VALS"])
    low, high = limits["MIN"], limits["MAX"]
    return [low, low + (high - low) / 4, high]


def same(found: Any, wanted: Any) -> bool:
    """OSC's f has 24 bits."""
    return bool(found == (pytest.approx(wanted, rel=1e-5, abs=1e-5) if isinstance(wanted, float) else wanted))


def hears(client: ProposalClient, path: str, wanted: Any) -> bool:
    """Until that value comes; TimeoutError if it never does."""
    while True:
        (value,) = client.hear(path)[1]
        if same(value, wanted):
            return True


def quiet(client: ProposalClient, path: str) -> bool:
    with pytest.raises(TimeoutError):
        client.hear(path, SILENCE_S)
    return True


def listens_sets_and_reads_back(client: ProposalClient, node: Node, values: list[Any]) -> None:
    """Over UDP to where HOST_INFO says; what was there before is put back. A value that stays is not repeated."""
    path, before = node["FULL_PATH"], client.value(node["FULL_PATH"])
    client.listen(path)
    for value in [*values, *before]:
        moves = not same(client.value(path)[0], value)
        client.set(path, value)
        assert not moves or hears(client, path, value)
        assert same(client.value(path)[0], value), path
    client.ignore(path)


def test_host_info_has_the_stated_keys_and_no_path(asker: ProposalClient, server: OscServer) -> None:
    info = asker.get("/", "HOST_INFO")
    assert list(host_faults(info)) == []
    assert info == asker.get("/nowhere", "HOST_INFO")  # the path does not matter
    host = asker.host()
    assert (host.name, host.transport) == ("stage left", "UDP")
    assert host.osc == ("127.0.0.1", server.port)
    assert host.websocket == ("127.0.0.1", asker.port)
    assert host.supports("LISTEN") and host.supports("IGNORE") and not host.supports("DANCE")


def test_no_node_breaks_what_the_text_states(asker: ProposalClient, namespace: Namespace) -> None:
    root = asker.get("/")
    assert list(tree_faults(root, "/", asker.host().extensions)) == []
    assert set(namespace.setters) <= {node["FULL_PATH"] for node in walk(root)}


@pytest.mark.parametrize(
    ("spoiled", "fault"),
    [
        ({"FULL_PATH": "/b"}, "FULL_PATH '/b' at /a"),
        ({"TYPE": 3, "VALUE": []}, "TYPE 3"),
        ({"TYPE": "f[f", "VALUE": [1.0, [1.0]]}, "TYPE 'f[f'"),
        ({"TYPE": "q"}, "TYPE 'q'"),
        ({"ACCESS": 4}, "ACCESS 4"),
        ({"ACCESS": 2}, "VALUE though ACCESS is 2"),
        ({"VALUE": 0.5}, "0.5 is not an array"),
        ({"VALUE": ["0.5"]}, "VALUE '0.5' for f"),
        ({"VALUE": [0.5, 0.5]}, "2 items for 1 types"),
        ({"TYPE": "i[ff]", "VALUE": [1, [0.5, True]], "RANGE": [{}, [{}]]}, "VALUE True for f"),
        ({"RANGE": [{"MIN": 1.0, "MAX": 0.0}]}, "RANGE"),
        ({"RANGE": [{"LOW": 0.0}]}, "RANGE"),
        ({"RANGE": [[0.0, 1.0, None]]}, "RANGE"),
        ({"CLIPMODE": ["clamp"]}, "CLIPMODE 'clamp'"),
        ({"UNIT": ["dB"]}, "UNIT 'dB'"),
        ({"TAGS": "a b"}, "TAGS 'a b'"),
        ({"DESCRIPTION": None}, "DESCRIPTION None"),
        ({"OVERLOADS": [{"CONTENTS": {}}]}, "OVERLOADS"),
        ({"HOST_INFO": {}}, "HOST_INFO was not asked for"),
        ({"CRITICAL": True}, "CRITICAL is served but not in EXTENSIONS"),
        ({"CONTENTS": {"b": {"FULL_PATH": "/b"}}}, "FULL_PATH '/b' at /a/b"),
    ],
)
def test_the_checks_see_a_node_that_is_wrong(spoiled: Node, fault: str) -> None:
    good = {"FULL_PATH": "/a", "TYPE": "f", "ACCESS": 3, "VALUE": [0.5], "RANGE": [{"MIN": 0.0, "MAX": 1.0}]}
    declared = dict.fromkeys(OPTIONAL - {"CRITICAL"}, True)
    assert list(tree_faults(good, "/a", declared)) == []
    assert fault in " ".join(tree_faults(good | spoiled, "/a", declared))


def test_each_node_alone_is_what_the_tree_says_of_it(asker: ProposalClient) -> None:
    for node in walk(asker.get("/")):
        assert asker.get(node["FULL_PATH"]) == node


def test_single_attributes(asker: ProposalClient) -> None:
    """There: it alone. Not there: an empty object. A VALUE that may not be read: 204."""
    for node, name in itertools.product(list(walk(asker.get("/"))), ATTRIBUTES):
        path = node["FULL_PATH"]
        if name == "VALUE" and not readable(node):
            assert asker.status(path, name) == 204
        else:
            assert asker.get(path, name) == ({name: node[name]} if name in node else {}), (path, name)


def test_status_codes(asker: ProposalClient) -> None:
    assert asker.status("/nowhere") == asker.status("/nowhere", "VALUE") == asker.status("/umtn/mi") == 404
    unsupported = {name for name in OPTIONAL if not asker.host().supports(name)}
    assert {asker.status("/umtn/mix", name) for name in unsupported | {"COLOUR", "value"}} <= REFUSED
    assert asker.request("/umtn/mix?VALUE&RANGE") == {
        name: asker.get("/umtn/mix")[name] for name in ("VALUE", "RANGE")
    }


def test_a_fragment_is_stripped_and_disregarded(asker: ProposalClient) -> None:
    assert asker.request("/umtn/mix#VALUE") == asker.get("/umtn/mix")
    assert asker.request("/umtn/mix?TYPE#VALUE") == {"TYPE": "f"}


def test_a_server_that_does_not_answer_is_408_to_the_client() -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        client = ProposalClient("127.0.0.1", mute.getsockname()[1], timeout_s=0.1)
        with pytest.raises(QueryError, match="408 for /"):
            client.get("/")
        client.close()


@pytest.mark.slow
def test_everything_is_listened_to_set_within_its_range_and_read_back(asker: ProposalClient) -> None:
    asker.connect()
    nodes = settable(asker.get("/"))
    assert len(nodes) > 30
    for node in nodes:
        listens_sets_and_reads_back(asker, node, samples(node))


def test_clipmode_says_what_happens_beyond_the_range(asker: ProposalClient) -> None:
    clipping = [node for node in settable(asker.get("/")) if "CLIPMODE" in node]
    assert clipping
    for node in clipping:
        path, limits, mode = node["FULL_PATH"], node["RANGE"][0], node["CLIPMODE"][0]
        for end, beyond, modes in (("MIN", -1.0, ("low", "both")), ("MAX", 1.0, ("high", "both"))):
            if mode in modes:
                # From the other end, so that the value has to move
                asker.set(path, limits["MAX" if end == "MIN" else "MIN"])
                asker.set(path, limits[end] + beyond)
                assert eventually(lambda p=path, v=limits[end]: same(asker.value(p)[0], v)), (path, end)


def test_other_values_than_vals_are_not_taken(asker: ProposalClient) -> None:
    menus = [n for n in settable(asker.get("/")) if n["TYPE"] == "s" and "VALS" in n["RANGE"][0]]
    assert menus
    asker.connect()
    for node in menus:
        asker.send_over_socket(pack(node["FULL_PATH"], "s", ["none of these"]))
        assert "none of these" in asker.hear("/error")[1][0]
        assert asker.value(node["FULL_PATH"]) == node["VALUE"]


def test_listen_is_for_one_address_until_ignore(asker: ProposalClient) -> None:
    asker.connect()
    asker.listen("/umtn/mix")
    asker.set("/umtn/mix", 0.25)
    assert hears(asker, "/umtn/mix", 0.25)
    assert quiet(asker, "/umtn/mix/normalized")
    asker.set("/umtn/mix/normalized", 0.5)
    assert hears(asker, "/umtn/mix", 0.5)
    asker.ignore("/umtn/mix")
    asker.set("/umtn/mix", 0.75)
    assert quiet(asker, "/umtn/mix")


def test_each_client_hears_what_it_has_asked_for(asker: ProposalClient, other: ProposalClient) -> None:
    """One that has reconnected has to ask again."""
    for client in (asker, other):
        client.connect()
        client.listen("/umtn/mix")
    asker.send_over_socket(osc_packet("/umtn/mix", "f", 0.25))
    assert hears(asker, "/umtn/mix", 0.25) and hears(other, "/umtn/mix", 0.25)
    asker.ignore("/umtn/mix")
    other.send_over_socket(osc_packet("/umtn/mix", "f", 0.5))
    assert hears(other, "/umtn/mix", 0.5) and quiet(asker, "/umtn/mix")
    other.disconnect()
    other.connect()
    asker.set("/umtn/mix", 0.75)
    assert quiet(other, "/umtn/mix")


def test_messages_to_methods_without_a_value_are_passed_on(
    asker: ProposalClient, other: ProposalClient, namespace: Namespace
) -> None:
    """LISTEN is to messages; that a node has no value to read is no reason not to hear them."""
    done: list[object] = []
    for parameter in namespace.parameters:
        if parameter.kind == "action":
            namespace.actions[parameter.name] = lambda argument: done.append(argument) or ""
    arguments = {"I": [], "s": ["a name"], "T": [True]}
    mute = [n for n in walk(asker.get("/")) if writable(n) and not readable(n) and n["TYPE"] in arguments]
    assert {"/umtn/panic", "/umtn/record", "/umtn/preset/save"} <= {n["FULL_PATH"] for n in mute}
    asker.connect()
    other.connect()
    for node in mute:
        path, values = node["FULL_PATH"], arguments[node["TYPE"]]
        asker.listen(path)
        # The server has read LISTEN once it answers what was sent after it
        asker.send_over_socket(osc_packet("/umtn/ping", "I"))
        asker.hear("/umtn/pong")
        other.set(path, *values)
        tags, heard = asker.hear(path)
        assert (tags, heard) == (node["TYPE"], [None] if tags == "I" else values)
        asker.ignore(path)
    assert done
    asker.listen("/umtn/panic")
    other.send_over_socket(osc_packet("/umtn/panic", "f", 0.0))  # a button that is let go
    assert quiet(asker, "/umtn/panic")


def test_a_range_holds_only_what_this_bundle_can(asker: ProposalClient, namespace: Namespace) -> None:
    """RANGE said -24 to 24 of a transposition that was refused for every value but 0."""
    path = "/umtn/transpose"
    assert len(samples(asker.get(path))) > 1
    namespace.told(PlayingBundle(can_transpose=False))
    asker.connect()
    for node in walk(asker.get(path)):
        assert len(samples(node)) == 1
        listens_sets_and_reads_back(asker, node, samples(node))


def test_a_changed_tree_is_told_as_host_info_promises(asker: ProposalClient, namespace: Namespace) -> None:
    asker.connect()
    for path in ("/umtn/blend/piano", "/umtn/mix"):
        asker.listen(path)
        asker.hear(path)
    namespace.redomain(("choir", "strings"), 4)
    notice = asker.notice()
    extensions = asker.host().extensions
    assert extensions[notice["COMMAND"]]
    assert notice["COMMAND"] == "PATH_CHANGED"
    assert list(tree_faults(asker.get(notice["DATA"]), notice["DATA"], extensions)) == []
    assert asker.status("/umtn/blend/piano") == 404
    asker.set("/umtn/mix", 0.25)
    assert hears(asker, "/umtn/mix", 0.25)
    with pytest.raises(TimeoutError):  # what EXTENSIONS denies is not sent
        asker.notice(SILENCE_S)


def test_json_of_the_other_osc_types() -> None:
    """Types that this server does not use: the checks have to judge other people's servers too."""
    assert structure("i[ff]T") == ["i", ["f", "f"], "T"]
    assert json_fits("r", "#FA6432FF") and not json_fits("r", "FA6432FF")
    assert json_fits("b", None) and json_fits("N", None) and not json_fits("I", 1)
    assert json_fits("h", 2**40) and not json_fits("i", 0.5) and not json_fits("d", True)


class Program:
    """`python -m realtime.run` on the built-in clip, without an output device."""

    def __init__(self, folder: Path) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        command = [sys.executable, "-m", "realtime.run", "--in", "demo", "--out", "none", "--seconds", "120"]
        with (folder / "said.txt").open("w") as said:  # kept by pytest, for the day it does not start
            self.process = subprocess.Popen(
                [*command, "--osc-port", str(self.port)], env=os.environ | {"OMP_NUM_THREADS": "1"},
                stdin=subprocess.DEVNULL, stdout=said, stderr=said,
            )  # fmt: skip
        self.client = ProposalClient("127.0.0.1", self.port)
        assert eventually(self._sounds, 30), (folder / "said.txt").read_text()

    def _sounds(self) -> bool:
        with suppress(ConnectionError, QueryError):
            return self.client.value("/umtn/status/uptime")[0] > 0
        return False

    def close(self) -> None:
        self.client.close()
        self.process.send_signal(signal.SIGINT)
        assert self.process.wait(15) == 0


@pytest.fixture
def program(tmp_path: Path) -> Iterator[Program]:
    running = Program(tmp_path)
    yield running
    running.close()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="SIGINT ends it")
def test_the_running_instrument(program: Program) -> None:
    """Walked, judged, listened to while it plays, and set: each value to another one that its RANGE allows."""
    client = program.client
    root, host = client.get("/"), client.host()
    assert list(host_faults(client.get("/", "HOST_INFO"))) == []
    assert list(tree_faults(root, "/", host.extensions)) == []
    assert client.status("/nowhere") == 404
    client.connect()
    client.listen("/umtn/status/uptime")
    earlier, later = (client.hear("/umtn/status/uptime")[1][0] for _ in range(2))
    assert later > earlier
    client.ignore("/umtn/status/uptime")
    one_channel = [n for n in settable(root) if not n["FULL_PATH"].startswith("/umtn/latent/")] + [
        client.get(f"/umtn/latent/{family}/0") for family in ("scale", "bias")
    ]  # of the latent's hundreds; the clip is short
    for node in one_channel:
        others = [value for value in samples(node) if not same(node["VALUE"][0], value)]
        listens_sets_and_reads_back(client, node, others[-1:])
