"""A running OSC server on a free port, and a client of it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from realtime.control.namespace import Namespace
from realtime.control.osc import OscServer
from realtime.shared import SharedState
from tests.realtime.control.oscclient import Client

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
