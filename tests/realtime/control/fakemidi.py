"""A backend for mido whose ports exist when a test says so: stands in for the system's MIDI at its boundary."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

__all__ = ["PLUGGED", "Input", "get_devices", "send"]

PLUGGED: list[str] = []
_open: list[Input] = []


def get_devices(**options: object) -> list[dict[str, object]]:
    """As mido asks for them."""
    return [{"name": name, "is_input": True, "is_output": False} for name in PLUGGED]


class Input:
    """An open port."""

    def __init__(self, name: str, callback: Callable[[Any], None], **options: object) -> None:
        if name not in PLUGGED:
            raise OSError(f"unknown port {name!r}")
        self.name, self.callback = name, callback
        _open.append(self)

    def close(self) -> None:
        """As the system does."""
        _open.remove(self)


def send(*messages: Any) -> int:
    """From every plugged-in device to whoever listens; returns how many listen."""
    listening = [port for port in _open if port.name in PLUGGED]
    for message in messages:
        for port in listening:
            port.callback(message)
    return len(listening)
