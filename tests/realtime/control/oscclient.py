"""A plain UDP client for the OSC tests, and patience."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable

from realtime.control.osc.packet import Message, decode, encode

__all__ = ["Client", "eventually"]


class Client:
    """Sends to the server and hears what comes back to its own port."""

    def __init__(self, port: int) -> None:
        self.to = ("127.0.0.1", port)
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]

    def send(self, address: str, *arguments: float | str) -> None:
        self.raw(encode(address, *arguments))

    def raw(self, data: bytes) -> None:
        self.socket.sendto(data, self.to)

    def receive(self, timeout_s: float = 2.0) -> Message | None:
        """The next message, or None when nothing comes."""
        self.socket.settimeout(timeout_s)
        try:
            return decode(self.socket.recv(65536))[0]
        except TimeoutError:
            return None

    def expect(self, address: str, timeout_s: float = 2.0) -> tuple[object, ...]:
        """Arguments of the next message with that address; others are passed over."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            message = self.receive(max(deadline - time.monotonic(), 0.01))
            if message is not None and message.address == address:
                return message.arguments
        raise AssertionError(f"no {address} within {timeout_s} s")

    def settle(self) -> None:
        """Wait until the server has handled everything sent so far."""
        self.send("/umtn/ping")
        self.expect("/umtn/pong")


def eventually(condition: Callable[[], bool], timeout_s: float = 5.0) -> bool:
    """Poll until true."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.01)
    return condition()
