"""The three latencies that are shown, in one place.

    sound in -> [device] -> [block gathered] -> [resampler, model's block] -> [blocks ahead] -> [device] -> sound out
    model        what no faster machine and no smaller block takes away: the block the model must hear, and its lag
    software     from the first sample of a block to where it comes out: block, resampler, re-blocking, blocks ahead
    device       the same with all that lies between the program and the plugs

They tell where a sound *stands* at the output, which is where the dry signal is mixed in. A model answers a
change at sample p of its hop from the hop's first sample on, so its answer begins up to a hop earlier than that,
and never later than the manifest's lag; how long it takes to swell is the model's own doing and no latency.
"""

from __future__ import annotations

import ctypes
import re
import sys
from dataclasses import dataclass
from typing import Any

from export.bundle.manifest import Manifest

__all__ = ["JackPorts", "Latencies", "algorithmic_ms", "server_block"]


@dataclass(frozen=True)
class Latencies:
    """All in ms. model: see above, as `algorithmic_ms` has it.

    path: the signal path's resampler, re-blocking and model; slack: blocks ahead; block: what an input gathers
    before it calls (0: it need not); io: what the device takes both ways, that block among it.
    """

    model: float
    path: float
    slack: float
    block: float
    io: float

    @property
    def software(self) -> float:
        """See above."""
        return self.block + self.path + self.slack

    @property
    def device(self) -> float:
        """See above. No device is quicker than its block, whatever it says."""
        return max(self.io, self.block) + self.path + self.slack

    @property
    def outside(self) -> float:
        """From when the model's path has made a sound to the plug, counted from when its input came in."""
        return self.device - self.path

    def shown(self) -> dict[str, float]:
        """The three, for people and messages."""
        figures = {"model": self.model, "software": self.software, "device": self.device}
        return {name: round(value, 3) for name, value in figures.items()}


def algorithmic_ms(manifest: Manifest) -> float:
    """The block that must be full before the model can answer its first sample, and the lag that was measured."""
    return 1000.0 * (manifest.block + manifest.latency_samples) / manifest.sample_rate


# What the JACK server says of the latency of the ports that PortAudio plays through.
#
# PortAudio's own figure over JACK is read once, when the stream is opened, and leaves out one block in each
# direction ("one buffer is not counted as latency", pa_jack.c): at 128 frames on two periods it says 128 of 384. The
# server's ranges hold all of it, whatever lies between our ports and the hardware, and follow a new connection.
# A client of our own, which is never activated, reads them from the server's shared memory.
#
# Threading model: belongs to the main thread.


_LIBRARY = {"darwin": "libjack.0.dylib", "win32": "libjack64.dll"}.get(sys.platform, "libjack.so.0")
_NO_START_SERVER = 1
_CAPTURE, _PLAYBACK = 0, 1  # jack_latency_callback_mode_t
_INPUT, _OUTPUT = 1, 2  # JackPortFlags
_NAME = b"umtn-latency"


class _Range(ctypes.Structure):
    _fields_ = (("least", ctypes.c_uint32), ("most", ctypes.c_uint32))


class JackPorts:
    """The ports of one JACK client, by its name. `open`, then `round_trip` at any time, then `close`."""

    def __init__(self, jack: ctypes.CDLL, client: int, owner: str) -> None:
        self._jack, self._client, self._owner = jack, client, owner

    @classmethod
    def open(cls, portaudio: str) -> JackPorts | None:
        """portaudio: file name of its library, as loaded. None: no server, or no library that can tell."""
        try:
            owner = ctypes.c_char_p()
            if ctypes.CDLL(portaudio).PaJack_GetClientName(ctypes.byref(owner)) or not owner.value:
                return None
        except (OSError, AttributeError, TypeError):
            return None
        opened = _open()
        return opened and cls(*opened, owner.value.decode("utf-8", "replace"))

    def close(self) -> None:
        """Leave the server."""
        self._jack.jack_client_close(self._client)

    def round_trip(self, channel: int = 0) -> int | None:
        """Frames from the hardware to input `channel` (from 0) and from the outputs to the hardware, the longest way.

        None while neither side is connected: there is nothing to be told.
        """
        heard = self._names(_INPUT)[channel : channel + 1]
        ways = [self._behind(heard, _CAPTURE), self._behind(self._names(_OUTPUT), _PLAYBACK)]
        told = [way for way in ways if way is not None]
        return sum(told) if told else None

    def _behind(self, ports: list[bytes], mode: int) -> int | None:
        """The most that lies behind what these ports are connected to."""
        found = _Range()
        most = []
        for name in ports:
            port = self._jack.jack_port_by_name(self._client, name)
            others = self._jack.jack_port_get_all_connections(self._client, port) if port else None
            for other in self._take(others):
                if there := self._jack.jack_port_by_name(self._client, other):
                    self._jack.jack_port_get_latency_range(there, mode, ctypes.byref(found))
                    most.append(int(found.most))
        return max(most, default=None)

    def _names(self, flag: int) -> list[bytes]:
        pattern = f"^{re.escape(self._owner)}:".encode()
        return self._take(self._jack.jack_get_ports(self._client, pattern, None, flag))

    def _take(self, names: Any) -> list[bytes]:
        """A list of the library's, which ends with a null pointer and must be freed."""
        found: list[bytes] = []
        if names:
            while (name := names[len(found)]) is not None:
                found.append(name)
            self._jack.jack_free(names)
        return found


def server_block() -> int | None:
    """Frames in one of the running server's blocks, which no program chooses for itself; None without a server."""
    opened = _open()
    if opened is None:
        return None
    jack, client = opened
    block = int(jack.jack_get_buffer_size(client))
    jack.jack_client_close(client)
    return block


def _open() -> tuple[ctypes.CDLL, int] | None:
    """The library and a client that is not activated."""
    try:
        jack = ctypes.CDLL(_LIBRARY)
        _declare(jack)
    except (OSError, AttributeError):
        return None
    status = ctypes.c_int()
    client = jack.jack_client_open(_NAME, _NO_START_SERVER, ctypes.byref(status))
    return (jack, client) if client else None


def _declare(jack: ctypes.CDLL) -> None:
    pointer, text, names = ctypes.c_void_p, ctypes.c_char_p, ctypes.POINTER(ctypes.c_char_p)
    signatures: tuple[tuple[str, Any, list[Any]], ...] = (
        ("jack_client_open", pointer, [text, ctypes.c_int, pointer]),
        ("jack_client_close", ctypes.c_int, [pointer]),
        ("jack_get_buffer_size", ctypes.c_uint32, [pointer]),
        ("jack_get_ports", names, [pointer, text, text, ctypes.c_ulong]),
        ("jack_port_by_name", pointer, [pointer, text]),
        ("jack_port_get_all_connections", names, [pointer, pointer]),
        ("jack_port_get_latency_range", None, [pointer, ctypes.c_int, pointer]),
        ("jack_free", None, [names]),
    )
    for name, result, arguments in signatures:
        function = getattr(jack, name)
        function.restype, function.argtypes = result, arguments
