"""Everything by which a performer reaches a running session: OSC, web page, OSCQuery, mDNS, MIDI, keys, presets.

Threading model: built, started, looked after (`tick`, about twenty times a second) and stopped by the control
process's main thread; OSC, web, MIDI and presets have a thread each. None of them can stop the audio.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from realtime.control.namespace import Namespace
from realtime.control.osc.udp_server import OscServer
from realtime.control.server_thread import bind_tcp
from umtn.errors import UserError

if TYPE_CHECKING:
    from realtime.control.midi.receiver import Midi
    from realtime.control.presets.presets import Presets
    from realtime.control.terminal.keyboard import Keys
    from realtime.control.web.server import HttpServer

__all__ = ["Surfaces", "Wanted"]

RESTARTS = 5
NAME = "umtn-live"
Say = Callable[[str], None]


@dataclass(frozen=True)
class Wanted:
    """Which surfaces a session has; None or False leaves one out. Hosts and ports as on the command line.

    on_command_line: parameters that the command line has set, which a restored state must not overwrite.
    """

    osc: tuple[str, int] | None = None
    web: tuple[str, int] | None = None
    web_elsewhere: bool = False  # another port will do if that one is taken
    web_token: str | None = None
    announce: bool = False
    midi: str | None = None
    midi_map: Path | None = None
    presets: Path | bool = False
    presets_kept: bool = False  # the last state is kept, and restored after a crash
    keys: bool = False
    on_command_line: frozenset[str] = frozenset()


class Surfaces:
    """Ports are bound where it is made, so that one in use is known before anything sounds (UserError)."""

    def __init__(self, namespace: Namespace, wanted: Wanted, say: Say) -> None:
        self._namespace, self._wanted, self._say = namespace, wanted, say
        self._restarts = {"OSC": 0, "the web page": 0}
        self.osc: OscServer | None = None
        self.web: HttpServer | None = None
        self.midi: Midi | None = None
        self.presets: Presets | None = None
        self.keys: Keys | None = None
        self._discovery: list[Any] = []
        self._listening: socket.socket | None = None
        try:
            self._build()
        except BaseException:
            self.stop()
            raise

    def _build(self) -> None:
        wanted = self._wanted
        if wanted.osc:
            self.osc = OscServer(self._namespace, *wanted.osc)
        if wanted.web:
            self._listening = self._bind_web(*wanted.web)
        if wanted.presets:
            from realtime.control.presets.presets import Presets

            self.presets = Presets(
                self._namespace, wanted.presets if isinstance(wanted.presets, Path) else None
            )
        if wanted.midi:
            from realtime.control.midi.receiver import Midi

            self.midi = Midi(self._namespace, wanted.midi, wanted.midi_map)

    def _bind_web(self, host: str, port: int) -> socket.socket:
        try:
            return bind_tcp(host, port)
        except UserError:
            if not self._wanted.web_elsewhere:
                raise
            return bind_tcp(host, 0)

    @property
    def web_port(self) -> int | None:
        """Where the page is, or will be."""
        if self._listening is not None:
            return int(self._listening.getsockname()[1])
        return self.web.port if self.web else None

    def _make_web(self, listening: socket.socket, token: str | None) -> HttpServer | None:
        """The HTTP library takes half a second to import: the sound is on its way by then."""
        try:
            from realtime.control.web.oscquery import OscQuery
            from realtime.control.web.server import HttpServer
        except ImportError as error:
            from umtn.missing import sentence

            self._say(f"no web page: {sentence(error.name or 'aiohttp')}")
            listening.close()
            return None
        osc_port, osc_host = (int(self.osc.port), str(self.osc.host)) if self.osc else (0, "")
        query = OscQuery(self._namespace, osc_port, NAME, osc_host)
        return HttpServer(
            self._namespace,
            oscquery=query,
            token=token,
            midi=self.midi,
            presets=self.presets,
            bound=listening,
        )

    def restore(self, given: Collection[str]) -> None:
        """After a crash: everything as it last stood, but for what the command line says."""
        if self.presets is None or not self._wanted.presets_kept or not self.presets.crashed:
            return
        try:
            self._say(self.presets.restore_last(except_for=given))
        except UserError as error:
            self._say(str(error))

    def open(self) -> None:
        """What may still refuse, while no file has been touched yet. UserError: no such MIDI port."""
        self.restore(self._wanted.on_command_line)
        if self.midi is not None:
            self.midi.start()

    def start(self) -> None:
        """Begin to answer, after `open`; called when the audio process is on its way."""
        if self._listening is not None:
            listening, self._listening = self._listening, None
            self.web = self._make_web(listening, self._wanted.web_token)
        kept = self.presets if self._wanted.presets_kept else None
        for surface in (self.osc, kept, self.web):
            if surface is not None:
                surface.start()
        if self._wanted.announce:
            self._announce()

    def _announce(self) -> None:
        """mDNS for what other machines can reach; on loopback there is nobody to tell."""
        from realtime.control.web.discovery import Discovery

        osc = (str(self.osc.host), int(self.osc.port)) if self.osc else None
        web = (str(self.web.host), int(self.web.port)) if self.web else None
        if osc and web and osc[0] == web[0]:
            self._discovery = [Discovery(NAME, web[1], osc[1], osc[0])]
        else:
            self._discovery = [Discovery(NAME, web[1], 0, web[0])] if web else []
            self._discovery += [Discovery(NAME, 0, osc[1], osc[0])] if osc else []
        for discovery in self._discovery:
            discovery.start()

    def play(self, on_quit: Callable[[], None]) -> None:
        """The sound is there: the keyboard may be read."""
        if self._wanted.keys:
            from realtime.control.terminal.keyboard import Keys

            save = self.presets.save_new if self.presets else None
            self.keys = Keys(self._namespace, on_quit, self._say, save)

    def tick(self) -> None:
        """Keys, and whether every server still lives; the audio has not noticed if one does not."""
        if self.keys is not None:
            self.keys.poll()
        if self.osc is not None and not self.osc.alive:
            old, host, port = self.osc, str(self.osc.host), int(self.osc.port)
            self.osc = self._again("OSC", old, lambda: OscServer(self._namespace, host, port))
        if self.web is not None and not self.web.alive:
            page = self.web  # the old token, or every phone would have to scan again
            self.web = self._again(
                "the web page", page, lambda: self._make_web(bind_tcp(page.host, page.port), page.token)
            )

    def _again(self, name: str, old: Any, make: Callable[[], Any]) -> Any:
        self._restarts[name] += 1
        old.stop()
        if self._restarts[name] > RESTARTS:
            self._say(f"{name} failed {RESTARTS} times and stays off; the audio plays on")
            return None
        try:
            fresh = make()
        except UserError as error:
            self._say(f"{name} stays off: {error}; the audio plays on")
            return None
        if fresh is not None:
            fresh.start()
        return fresh

    def lines(self, colour: bool = False) -> list[str]:
        """What the start tells of them."""
        told = [f"OSC on {self.osc.host}:{self.osc.port}" if self.osc else "no OSC"]
        if self.midi is not None:
            told[0] += f"   MIDI from {self.midi.port}"
        if self.web is None:
            return told
        from realtime.control.web.server import qr_lines

        told[0] += f"   page {self.web.url}"
        return told + (qr_lines(self.web.url, colour) if self._wanted.web_token or self.web.token else [])

    def stop(self) -> None:
        """Give back terminal, ports and files; may be called twice. The shared memory must still be there."""
        for surface in (*self._discovery, self.web, self.midi, self.osc, self.presets):
            if surface is not None:
                surface.stop()
        if self.keys is not None:
            self.keys.close()
        if self._listening is not None:
            self._listening.close()
