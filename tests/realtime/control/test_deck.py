"""The actions record and model/load: what is asked for, what is refused, what the performer reads."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from realtime.control.actions import Actions
from realtime.control.namespace import Namespace
from realtime.shared.audio_config import AudioConfig
from realtime.shared.memory import SharedState
from realtime.shared.messages import (
    FromAudio,
    Load,
    LoadFailed,
    PlayingBundle,
    Ready,
    Record,
    Recorded,
    Recording,
    StopRecording,
    Swapped,
    ToAudio,
)
from tests.realtime.fakebundle import write_fake_bundle


@dataclass
class FakeSession:
    """The boundary: what goes to the audio process, and what it would say."""

    config: AudioConfig = field(default_factory=lambda: AudioConfig("old.umtn"))
    info: Ready = field(default_factory=lambda: Ready(PlayingBundle(domains=("strings", "piano", "winds"))))
    notices: deque[str] = field(default_factory=deque)
    handlers: dict[type, Any] = field(default_factory=dict)
    sent: list[ToAudio] = field(default_factory=list)
    there: bool = True

    def send(self, message: ToAudio) -> bool:
        self.sent.append(message)
        return self.there

    def say(self, message: FromAudio) -> None:
        self.handlers[type(message)](message)


@pytest.fixture
def session() -> FakeSession:
    return FakeSession()


@pytest.fixture
def deck(session: FakeSession, namespace: Namespace, tmp_path: Path) -> Actions:
    return Actions(session, namespace, tmp_path)  # type: ignore[arg-type]


def test_the_bundles_to_choose_from(
    deck: Actions, session: FakeSession, namespace: Namespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Shipped ones by name, then what lies beside the one that plays; each of them can be loaded as it stands."""
    shipped, own = tmp_path / "shipped", tmp_path / "own"
    for path in (shipped / "live.umtn", shipped / "big.umtn", own / "b.umtn", own / "a.umtn", own / "a.txt"):
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"")
    monkeypatch.setattr("realtime.control.actions.BUNDLES", shipped)
    monkeypatch.setattr("realtime.shared.audio_config.BUNDLES", shipped)
    session.config = AudioConfig(str(own / "b.umtn"))
    names = [("big", "big"), ("live", "live"), ("b", str(own / "b.umtn")), ("a", str(own / "a.umtn"))]
    found = namespace.bundles()
    assert [(b["name"], b["load"]) for b in found] == names
    assert [b["name"] for b in found if b["plays"]] == ["b"]
    for bundle in found:
        namespace.answer("/umtn/model/load", [bundle["load"]])
    assert [Path(message.path).stem for message in session.sent if isinstance(message, Load)] == [
        "big",
        "live",
        "b",
        "a",
    ]


def asked(session: FakeSession) -> str:
    """The file that was to be recorded to."""
    message = session.sent[-1]
    assert isinstance(message, Record)
    return message.path


def error(namespace: Namespace, address: str, *arguments: object) -> str:
    replies = namespace.answer(address, arguments)
    assert len(replies) == 1 and replies[0][0] == "/error", replies
    return str(replies[0][1][0])


def test_record_and_stop(deck: Actions, session: FakeSession, namespace: Namespace, tmp_path: Path) -> None:
    namespace.answer("/umtn/record", [1])
    path = asked(session)
    assert path.startswith(str(tmp_path / "umtn-20")) and path.endswith(".wav")
    session.say(Recording(path))
    assert deck.recording == path and "recording to" in session.notices.pop()
    assert "still being recorded" in error(namespace, "/umtn/record", 1)
    namespace.answer("/umtn/record", [0])
    assert session.sent[-1] == StopRecording()
    session.say(Recorded(path, 61.24, lost=7))
    assert "recorded 61.2 s" in session.notices[-1] and "7 samples were lost" in session.notices[-1]
    assert deck.recording == ""


@pytest.mark.parametrize(
    ("name", "file"), [("take", "take.wav"), ("a.flac", "a.flac"), ("v1.2", "v1.2.wav"), ("B.WAV", "B.WAV")]
)
def test_names(
    deck: Actions, session: FakeSession, namespace: Namespace, tmp_path: Path, name: str, file: str
) -> None:
    namespace.answer("/umtn/record", [name])
    assert session.sent[-1] == Record(str(tmp_path / file))


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("x.mp3", ".wav or .flac"),
        ("no/where.wav", "there is no folder"),
        ("\x1b[2J", "printed"),
        ("", "printed"),
    ],
)
def test_bad_names_are_a_sentence_and_nothing_is_sent(
    deck: Actions, session: FakeSession, namespace: Namespace, name: str, says: str
) -> None:
    assert says in error(namespace, "/umtn/record", name)
    assert session.sent == []


def test_without_audio_there_is_a_sentence(deck: Actions, session: FakeSession, namespace: Namespace) -> None:
    session.there = False
    assert "audio is not running" in error(namespace, "/umtn/record", 1)


def test_a_restarted_audio_process_goes_on_recording(
    deck: Actions, session: FakeSession, namespace: Namespace
) -> None:
    namespace.answer("/umtn/record", ["take"])
    path = asked(session)
    session.say(Recording(path))
    session.say(session.info)
    assert session.sent[-1] == Record(path) and len(session.sent) == 2
    session.say(Recording(path.replace("take", "take-2")))
    assert deck.recording.endswith("take-2.wav")
    session.say(Recorded(path, 1.0, error="cannot write x (disk full)"))
    session.say(session.info)
    assert len(session.sent) == 2


def test_a_recording_from_the_start_is_not_begun_twice(session: FakeSession, namespace: Namespace) -> None:
    session.config = AudioConfig("old.umtn", record="take.wav")
    Actions(session, namespace)  # type: ignore[arg-type]
    session.say(session.info)
    assert session.sent == [] and session.config.record is None
    session.say(session.info)
    assert session.sent == [Record("take.wav")]


def test_load(
    deck: Actions, session: FakeSession, namespace: Namespace, shared: SharedState, tmp_path: Path
) -> None:
    file = write_fake_bundle(tmp_path / "new.umtn", ids=("winds", "strings"))
    heard: list[Any] = []
    deck.on_swap.append(heard.append)
    assert "nor a shipped name" in error(namespace, "/umtn/model/load", "nonsense")
    assert session.sent == []
    namespace.answer("/umtn/model/load", [str(file)])
    assert session.sent == [Load(str(file))]
    shared.set("to", 2.0)  # winds
    shared.set("blend/1", 0.5)  # piano, which the new one does not have
    new = PlayingBundle("new", str(file), "onnx", domains=("winds", "strings"), latent_channels=8)
    session.say(Swapped(new, latency_ms={"io": 3.0}))
    assert (
        namespace.domains == ("winds", "strings") and shared.get("to") == 0.0 and shared.get("blend/1") == 0.0
    )
    assert namespace.answer("/umtn/to", []) == [("/umtn/to", ("winds",))]
    assert namespace.texts["bundle"] == "new" and session.config.bundle == str(file)
    assert "new plays now: winds, strings" in session.notices[-1] and [one.bundle for one in heard] == [new]
    assert session.info.bundle == new and session.info.latency_ms == {"io": 3.0}
    session.say(LoadFailed("x.umtn is broken; new.umtn plays on"))
    assert session.notices[-1] == "x.umtn is broken; new.umtn plays on"
