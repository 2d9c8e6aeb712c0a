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
from realtime.shared.messages import (
    Load,
    LoadFailed,
    Ready,
    Record,
    Recorded,
    RecordFailed,
    Recording,
    StopRecording,
    Swapped,
    ToAudio,
)
from umtn.errors import UserError

__all__ = ["Actions"]

MOST_BUNDLES = 60  # of a folder that a page lists


class Actions:
    """See above. `recording`: the file that is being recorded, or "". `on_swap` is called after a change of bundle.

    folder: where recordings without a folder go (default: the current one).
    """

    def __init__(self, session: Session, namespace: Namespace, folder: Path | None = None) -> None:
        self._session, self._namespace = session, namespace
        self._folder = (folder or Path.cwd()).absolute()
        self._wanted = ""  # what to go on recording if audio has to be started again
        self.recording = ""
        self.on_swap: list[Callable[[Swapped], None]] = []
        namespace.actions["record"] = self.record
        namespace.actions["model/load"] = self.load
        namespace.bundles = self.bundles
        handlers: dict[type, Callable[[Any], None]] = {
            Ready: self._ready,
            Recording: self._recording,
            Recorded: self._recorded,
            RecordFailed: self._refused,
            Swapped: self._swapped,
            LoadFailed: self._refused,
        }
        session.handlers.update(handlers)

    def record(self, argument: str | bool | None) -> str:
        """True: begin, a name with the date; a text: the file's name; False: stop. ValueError: why not."""
        if argument is None or argument is False:
            self._wanted = ""
            if not self.recording:
                return "nothing is being recorded"
            self._send(StopRecording())
            return f"stopping {self.recording}"
        if self.recording:
            raise UserError(f"{self.recording} is still being recorded; send 0 to stop it first")
        path = self._folder / default_name() if argument is True else self.path_of(str(argument))
        self._send(Record(str(path)))
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
        self._send(Load(str(path)))
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

    def _send(self, message: ToAudio) -> None:
        if not self._session.send(message):
            raise UserError("audio is not running at this moment; try again when it plays")

    def _note(self, sentence: str) -> None:
        self._session.notices.append(sentence)

    def _refused(self, why: RecordFailed | LoadFailed) -> None:
        self._note(why.sentence)

    def _ready(self, _: Ready) -> None:
        """Audio plays, perhaps again: then go on recording, to another file."""
        config = self._session.config
        if getattr(config, "record", None) is not None:
            self._wanted = self._wanted or str(config.record)
            self._session.config = dataclasses.replace(config, record=None)
        elif self._wanted or self.recording:
            self.recording = ""
            self._session.send(Record(self._wanted))

    def _recording(self, begun: Recording) -> None:
        self.recording = begun.path
        self._wanted = self._wanted or self.recording
        self._note(f"recording to {self.recording}")
        if begun.unsaved:
            parts = ", ".join(begun.unsaved)
            self._note(
                f"it can be heard, but not rendered again to the sample: the state of {parts} is not kept"
            )

    def _recorded(self, take: Recorded) -> None:
        self.recording = self._wanted = ""
        lost = f", {take.lost} samples were lost to a slow disk" if take.lost else ""
        told = f"recorded {take.seconds:.1f} s to {take.path}{lost}"
        self._note(f"{take.error}; {told}" if take.error else told)

    def _swapped(self, swapped: Swapped) -> None:
        """Another bundle plays: a restart shall load it too, and the addresses are its own."""
        session, space, new = self._session, self._namespace, swapped.bundle
        info = session.info or Ready()
        domains, channels = new.domains, new.latent_channels
        old = info.bundle.domains or tuple(space.domains)
        same = channels == (info.bundle.latent_channels or channels)
        session.info = dataclasses.replace(
            info, bundle=new, latency=swapped.latency, latency_ms=swapped.latency_ms
        )
        session.config = dataclasses.replace(session.config, bundle=new.path)
        map_ = DomainMap(old, domains, same)
        if not map_.identity:
            map_.rewrite(space.shared.parameters)
        space.told(new)
        if domains != tuple(space.domains) or not same:
            space.redomain(domains, channels)
        self._note(f"{new.name} plays now: {', '.join(domains)}")
        for tell in self.on_swap:
            tell(swapped)


def _bundles_in(folder: Path) -> list[Path]:
    """At most MOST_BUNDLES of them, by name."""
    try:
        found = sorted(path for path in folder.glob("*.umtn") if path.name.isprintable())
    except OSError:
        return []
    return [path.absolute() for path in found[:MOST_BUNDLES]]
