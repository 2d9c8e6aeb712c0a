"""Running servers of OSC and OSCQuery on free ports, and clients of them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from realtime.control.namespace import Namespace
from realtime.control.osc.udp_server import OscServer
from realtime.control.web.oscquery import OscQuery
from realtime.control.web.server import HttpServer
from realtime.shared.memory import SharedState
from tests.realtime.control.oscclient import Client
from tests.realtime.control.proposal_client import ProposalClient

DOMAINS = ("strings", "piano", "winds")


@pytest.fixture
def shared() -> Iterator[SharedState]:
    state = SharedState.create()
    yield state
    state.close()
    state.unlink()


@pytest.fixture
def namespace(shared: SharedState) -> Namespace:
    space = Namespace(shared, DOMAINS, latent_channels=8)
    space.texts["engine"] = "fake"
    return space


@pytest.fixture
def server(namespace: Namespace) -> Iterator[OscServer]:
    running = OscServer(namespace, "127.0.0.1", 0)
    running.start()
    yield running
    running.stop()
    assert running.failure is None


@pytest.fixture
def client(server: OscServer) -> Iterator[Client]:
    made = Client(server.port)
    yield made
    made.socket.close()


@pytest.fixture
def query(namespace: Namespace, server: OscServer) -> OscQuery:
    return OscQuery(namespace, int(server.port), "stage left", str(server.host))


@pytest.fixture
def web(namespace: Namespace, query: OscQuery) -> Iterator[HttpServer]:
    running = HttpServer(namespace, port=0, oscquery=query)
    running.start()
    yield running
    running.stop()
    assert running.failure is None


@pytest.fixture
def asker(web: HttpServer) -> Iterator[ProposalClient]:
    made = ProposalClient("127.0.0.1", web.port)
    yield made
    made.close()


@pytest.fixture
def other(web: HttpServer) -> Iterator[ProposalClient]:
    made = ProposalClient("127.0.0.1", web.port)
    yield made
    made.close()
