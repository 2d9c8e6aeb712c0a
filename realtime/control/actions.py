"""Record and change bundles: the actions `record` and `model/load` of one session, and what comes of them.

Threading model: the actions are called from any control thread (OSC, page, MIDI) and only send a request; the
answers come back in the main thread, out of `Session.poll`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

from realtime.control.audio_supervisor import Session
from realtime.control.namespace import Namespace
from realtime.dsp.controls import DomainMap
from realtime.recording.take_files import default_name
from realtime.shared.audio_config import BUNDLES, RECORD_ENDINGS, find_bundle
from umtn.errors import UserError

__all__ = ["Deck"]

MOST_BUNDLES = 60  # of a folder that a page lists


class Deck:
    """See above. `recording`: the file that is being recorded, or "". `on_swap` is called after a change of bundle.

    folder: where recordings without a folder go (default: the current one).
    """

    def __init__(self, session: Session, namespace: Namespace, folder: Path | None = None) -> None:
        self._session, self._namespace = session, namespace
        self._folder = (folder or Path.cwd()).absolute()
        self._wanted = ""  # what to go on recording if audio has to be started again
        self.recording = ""
        self.on_swap: list[Callable[[dict[str, Any]], None]] = []
        namespace.actions["record"] = self.record
        namespace.actions["model/load"] = self.load
        namespace.bundles = self.bundles
        handlers: dict[str, Callable[[Any], None]] = {
            "ready": self._ready,
            "recording": self._recording,
            "recorded": self._recorded,
            "record-failed": self._refused,
            "swapped": self._swapped,
            "load-failed": self._refused,
        }
        session.handlers.update(handlers)

    def record(self, argument: str | bool | None) -> str:
        """True: begin, a name with the date; a text: the file's name; False: stop. ValueError: why not."""
        if argument is None or argument is False:
            self._wanted = ""
            if not self.recording:
                return "nothing is being recorded"
            self._send("record", None)
            return f"stopping {self.recording}"
        if self.recording:
            raise UserError(f"{self.recording} is still being recorded; send 0 to stop it first")
        path = self._folder / default_name() if argument is True else self.path_of(str(argument))
        self._send("record", str(path))
        self._wanted = str(path)
        return str(path)

    def path_of(self, name: str) -> Path:
        """Where a recording of that name goes; UserError if it cannot."""
        if not name.strip() or any(ord(character) < 32 for character in name):
            raise UserError("/umtn/record takes 1, 0 or a file name that can be printed")
        path = self._folder / Path(name).expanduser()
        if not path.suffix or path.suffix[1:].isdecimal():
            path = path.with_name(path.name + ".wav")
        if path.suffix.lower() not in RECORD_ENDINGS:
            raise UserError(f"a recording ends in {' or '.join(RECORD_ENDINGS)}, but {path.name!r} came")
        if not path.parent.is_dir():
            raise UserError(f"cannot record to {path}: there is no folder {path.parent}")
        return path

    def load(self, argument: str | bool | None) -> str:
        """Begin to load a bundle, a file or a shipped one's name. ValueError: there is none."""
        path = find_bundle(str(argument)).absolute()
        self._send("load", str(path))
        return f"loading {path.name}"

    def bundles(self) -> list[dict[str, Any]]:
        """What may be loaded without typing: shipped ones, the one that plays and those beside it.

        Each {"name": as a person calls it, "load": what `load` takes, "plays": bool}.
        """
        playing = Path(self._session.config.bundle).absolute()
        shipped = {path: path.stem for path in _bundles_in(BUNDLES)}
        beside = {path: str(path) for path in (playing, *_bundles_in(playing.parent)) if path not in shipped}
        return [
            {"name": path.stem, "load": load, "plays": path == playing}
            for path, load in (shipped | beside).items()
        ]

    def _send(self, kind: str, content: Any) -> None:
        if not self._session.send(kind, content):
            raise UserError("audio is not running at this moment; try again when it plays")

    def _note(self, sentence: str) -> None:
        self._session.notices.append(sentence)

    def _refused(self, sentence: str) -> None:
        self._note(sentence)

    def _ready(self, info: dict[str, Any]) -> None:
        """Audio plays, perhaps again: then go on recording, to another file."""
        config = self._session.config
        if getattr(config, "record", None) is not None:
            self._wanted = self._wanted or str(config.record)
            self._session.config = dataclasses.replace(config, record=None)
        elif self._wanted or self.recording:
            self.recording = ""
            self._session.send("record", self._wanted)

    def _recording(self, content: dict[str, Any]) -> None:
        self.recording = content["path"]
        self._wanted = self._wanted or self.recording
        self._note(f"recording to {self.recording}")
        if content["unsaved"]:
            parts = ", ".join(content["unsaved"])
            self._note(
                f"it can be heard, but not rendered again to the sample: the state of {parts} is not kept"
            )

    def _recorded(self, content: dict[str, Any]) -> None:
        self.recording = self._wanted = ""
        lost = f", {content['lost']} samples were lost to a slow disk" if content["lost"] else ""
        told = f"recorded {content['seconds']:.1f} s to {content['path']}{lost}"
        self._note(f"{content['error']}; {told}" if content["error"] else told)

    def _swapped(self, content: dict[str, Any]) -> None:
        """Another bundle plays: a restart shall load it too, and the addresses are its own."""
        session, space = self._session, self._namespace
        old = tuple(session.info.get("domains", space.domains))
        channels = int(content["latent_channels"])
        same = channels == session.info.get("latent_channels", channels)
        session.info.update(content)
        session.config = dataclasses.replace(session.config, bundle=content["bundle_path"])
        domains = tuple(content["domains"])
        map_ = DomainMap(old, domains, same)
        if not map_.identity:
            map_.rewrite(space.shared.parameters)
        space.told(content)
        if domains != tuple(space.domains) or not same:
            space.redomain(domains, channels)
        self._note(f"{content['bundle']} plays now: {', '.join(domains)}")
        for tell in self.on_swap:
            tell(content)


def _bundles_in(folder: Path) -> list[Path]:
    """At most MOST_BUNDLES of them, by name."""
    try:
        found = sorted(path for path in folder.glob("*.umtn") if path.name.isprintable())
    except OSError:
        return []
    return [path.absolute() for path in found[:MOST_BUNDLES]]
