"""MIDI on a backend of mido's interface that the test holds in its hands; a real one in test_midi_jack.py."""

from __future__ import annotations

import logging
import random
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from realtime.control.midi import receiver as midi_module
from realtime.control.midi.mapping import Binding, Source, mapping_toml, read_mapping
from realtime.control.midi.ports import find_port
from realtime.control.midi.receiver import Midi
from realtime.control.namespace import ERROR, Namespace
from realtime.control.presets.presets import Presets
from realtime.shared.memory import SharedState
from realtime.shared.parameters import by_name
from tests.realtime.control import fakemidi
from tests.realtime.control.oscclient import eventually
from umtn.errors import UserError

mido = pytest.importorskip("mido")

MIX, GAIN = "/umtn/mix", "/umtn/output/gain_db"


@pytest.fixture
def backend(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    before = mido.backend
    mido.set_backend("tests.realtime.control.fakemidi")
    monkeypatch.setattr(midi_module, "LOOK_S", 0.05)
    fakemidi.PLUGGED[:] = ["nanoKONTROL 20:0", "Launchpad 24:0"]
    yield
    mido.set_backend(before)


def open_midi(namespace: Namespace, path: Path, text: str = "", part: str = "nano") -> Midi:
    if text:
        path.write_text(text)
    made = Midi(namespace, part, path)
    made.start()
    return made


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "midi.toml"


@pytest.fixture
def midi(namespace: Namespace, backend: None, path: Path) -> Iterator[Midi]:
    made = open_midi(namespace, path)
    yield made
    made.stop()


def control(number: int, value: int, channel: int = 0) -> object:
    return mido.Message("control_change", control=number, value=value, channel=channel)


def settle(midi: Midi) -> None:
    """Wait until all that was sent has been acted upon."""
    assert eventually(lambda: not midi._queue and not midi._wake.is_set())
    time.sleep(0.02)


def play(midi: Midi, *messages: object) -> None:
    assert fakemidi.send(*messages) == 1
    settle(midi)


def learn(namespace: Namespace, midi: Midi, name: str, *messages: object) -> None:
    assert namespace.answer("/umtn/midi/learn", [name]) == [("/umtn/midi/learn", (name,))]
    play(midi, *messages)
    assert midi.learning == ""


def test_a_learnt_knob_moves_its_parameter_and_is_kept(
    namespace: Namespace, shared: SharedState, midi: Midi, path: Path
) -> None:
    learn(namespace, midi, "mix", control(21, 127))
    play(midi, control(21, 120), control(21, 64))
    assert shared.get("mix") == pytest.approx(64 / 127)
    assert midi.mapping() == [("mix", "controller 21, channel 1")]
    play(midi, control(21, 0, channel=1), control(22, 0))  # another channel, another knob
    assert shared.get("mix") == pytest.approx(64 / 127)
    midi.stop()
    assert read_mapping(path) == [Binding("mix", Source("control", 21, 1))]
    again = open_midi(namespace, path)
    play(again, control(21, 64), control(21, 32))
    again.stop()
    assert shared.get("mix") == pytest.approx(32 / 127)


def test_a_knob_does_not_jump(namespace: Namespace, shared: SharedState, midi: Midi) -> None:
    shared.set("mix", 0.5)
    learn(namespace, midi, "mix", control(7, 10))
    play(midi, control(7, 11), control(7, 40))
    assert shared.get("mix") == 0.5  # not there yet
    play(midi, control(7, 90))
    assert shared.get("mix") == pytest.approx(90 / 127)  # past it: taken
    play(midi, control(7, 20))
    assert shared.get("mix") == pytest.approx(20 / 127)
    namespace.answer(MIX, [0.9])  # by another hand
    play(midi, control(7, 30), control(7, 60))
    assert shared.get("mix") == 0.9
    play(midi, control(7, 113))
    assert shared.get("mix") == pytest.approx(113 / 127)  # near enough
    play(midi, control(7, 60))
    assert shared.get("mix") == pytest.approx(60 / 127)


def test_dials_have_their_curves(namespace: Namespace, shared: SharedState, midi: Midi) -> None:
    shared.set("crossfade_ms", 0.0)
    midi.learn("/umtn/crossfade_ms")
    play(midi, control(1, 1))
    play(midi, control(1, 0), control(1, 64))
    assert shared.get("crossfade_ms") == pytest.approx(by_name("crossfade_ms").denormalize(64 / 127))
    learn(namespace, midi, "latent/bias/3", control(2, 64))
    play(midi, control(2, 63), control(2, 127))
    assert shared.get("latent/bias/3") == 8.0


def test_two_parameters_on_one_knob(namespace: Namespace, shared: SharedState, midi: Midi) -> None:
    learn(namespace, midi, "mix", control(5, 127))
    learn(namespace, midi, "temperature", control(5, 64))
    play(midi, control(5, 63), control(5, 127), control(5, 32))
    assert shared.get("mix") == pytest.approx(32 / 127)
    assert shared.get("temperature") == pytest.approx(2 * 32 / 127)


def test_fourteen_bits(namespace: Namespace, shared: SharedState, midi: Midi) -> None:
    midi.learn("mix")
    play(midi, control(16, 127), control(48, 127))
    assert midi.mapping() == [("mix", "controller 16 (14 bit), channel 1")]
    seen = []
    for value in range(16383, 8000, -37):
        play_fast(control(16, value >> 7), control(48, value & 127))
        seen.append(value)
    settle(midi)
    assert shared.get("mix") == pytest.approx(seen[-1] / 16383, abs=1e-9)


def play_fast(*messages: object) -> None:
    assert fakemidi.send(*messages) == 1


@pytest.mark.slow
def test_fourteen_bits_do_not_stumble_between_their_halves(
    namespace: Namespace, shared: SharedState, backend: None, path: Path
) -> None:
    text = '[[map]]\nparameter = "mix"\ncontrol = 16\nfine = true\n'
    midi = open_midi(namespace, path, text)
    try:
        shared.set("mix", 0.0)
        values = []
        for value in range(0, 600, 20):
            for message in (control(16, value >> 7), control(48, value & 127)):
                play_fast(message)
                settle(midi)
                values.append(shared.get("mix"))
        assert values == sorted(values)
        assert values[-1] == pytest.approx(580 / 16383)
    finally:
        midi.stop()


def test_low_bits_first_are_learnt_as_the_knob(namespace: Namespace, midi: Midi) -> None:
    midi.learn("mix")
    play(midi, control(48, 3), control(16, 90))
    assert midi.mapping() == [("mix", "controller 16, channel 1")]


def test_a_jittering_fader_is_not_learnt(namespace: Namespace, midi: Midi) -> None:
    play(midi, control(1, 50))
    midi.learn("mix")
    play(midi, control(1, 51), control(1, 50), control(123, 0), control(99, 5))
    assert midi.learning == "mix"
    play(midi, control(2, 50))
    assert midi.mapping() == [("mix", "controller 2, channel 1")]


def note(number: int, velocity: int = 100, off: bool = False) -> object:
    return mido.Message("note_off" if off else "note_on", note=number, velocity=velocity)


def test_keys_choose_domains(namespace: Namespace, shared: SharedState, midi: Midi) -> None:
    learn(namespace, midi, "to", note(60))
    shared.set("blend/0", 0.5)
    for key, domain in ((62, 2), (60, 0), (61, 1), (63, 1), (59, 1)):
        play(midi, note(key), note(key, 0))
        assert shared.get("to") == domain
    assert shared.get("blend/0") == 0.0
    assert midi.mapping() == [("to", "note C4 (60), channel 1")]
    learn(namespace, midi, "to/winds", note(36))
    play(midi, note(36))
    assert shared.get("to") == 2


def test_a_knob_chooses_domains_without_ending_a_blend(
    namespace: Namespace, shared: SharedState, midi: Midi
) -> None:
    learn(namespace, midi, "to", control(9, 0))
    play(midi, control(9, 1))
    shared.set("blend/1", 0.5)
    play(midi, control(9, 2), control(9, 10))
    assert shared.get("blend/1") == 0.5
    play(midi, control(9, 64))
    assert (shared.get("to"), shared.get("blend/1")) == (1, 0)
    namespace.answer("/umtn/to", ["winds"])
    play(midi, control(9, 60))
    assert shared.get("to") == 2
    play(midi, control(9, 127), control(9, 0))
    assert shared.get("to") == 0


def test_buttons(namespace: Namespace, shared: SharedState, midi: Midi) -> None:
    learn(namespace, midi, "freeze", note(40))
    seen = []
    for message in (note(40), note(40, off=True), note(40), note(40, 0)):
        play(midi, message)
        seen.append(shared.get("freeze"))
    assert seen == [1, 1, 0, 0]  # each press
    learn(namespace, midi, "mute", control(64, 127))
    play(midi, control(64, 0))
    seen = []
    for value in (127, 100, 0):
        play(midi, control(64, value))
        seen.append(shared.get("mute"))
    assert seen == [1, 1, 0]  # as a pedal
    learn(namespace, midi, "panic", control(65, 127))
    play(midi, control(65, 127))  # still held
    assert shared.panic_count == 0
    play(midi, control(65, 0), control(65, 127), control(65, 127), control(65, 0), control(65, 127))
    assert shared.panic_count == 2


def test_presets_by_program_change_and_keys(
    namespace: Namespace, shared: SharedState, midi: Midi, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    presets = Presets(namespace, tmp_path / "presets")
    for i, name in enumerate("abc"):
        shared.set("mix", i / 4)
        presets.save(name)
    play(midi, mido.Message("program_change", program=1, channel=9))
    assert (presets.current, shared.get("mix")) == ("b", 0.25)
    learn(namespace, midi, "preset/next", note(50))
    play(midi, note(50))
    assert presets.current == "c"
    learn(namespace, midi, "preset/load", note(70))
    play(midi, note(70))
    assert presets.current == "a"
    learn(namespace, midi, "preset/load/c", control(80, 127))
    play(midi, control(80, 0), control(80, 127))
    assert presets.current == "c"
    with caplog.at_level(logging.WARNING, "realtime.midi"):
        for _ in range(50):
            play_fast(mido.Message("program_change", program=99))
        settle(midi)
    said = [r for r in caplog.records if "no preset number 100" in r.getMessage()]
    assert len(said) == 1  # not fifty
    presets.stop()


def test_learning_what_cannot_be_learnt(namespace: Namespace, shared: SharedState, midi: Midi) -> None:
    for name, expected in (
        ("mxi", "did you mean mix?"), ("to/kazoo", "strings, piano, winds"), ("preset/save", "needs a name"),
        ("latent/scale/8", "no parameter"), ("", "no parameter"),
    ):  # fmt: skip
        ((address, (sentence,)),) = namespace.answer("/umtn/midi/learn", [name])
        assert address == ERROR and expected in str(sentence)
    for arguments in ([1], ["mix", "to"], [1.5]):
        assert namespace.answer("/umtn/midi/learn", arguments)[0][0] == ERROR
    midi.learn("mix")
    assert namespace.answer("/umtn/midi/learn", []) == [("/umtn/midi/learn", ("mix",))]
    play(midi, note(60))  # a key is no dial
    assert midi.learning == "mix"
    namespace.answer("/umtn/midi/cancel", [])
    play(midi, control(3, 127))
    assert midi.mapping() == []
    learn(namespace, midi, "mix", control(3, 127))
    assert namespace.answer("/umtn/midi/forget", ["mix"]) == [("/umtn/midi/forget", ("mix",))]
    assert "no MIDI controller" in str(namespace.answer("/umtn/midi/forget", ["mix"])[0][1][0])
    assert midi.mapping() == []


def test_the_port_goes_and_comes_back_under_another_number(
    namespace: Namespace, shared: SharedState, midi: Midi, caplog: pytest.LogCaptureFixture
) -> None:
    learn(namespace, midi, "mix", control(21, 127))
    with caplog.at_level(logging.WARNING, "realtime.midi"):
        fakemidi.PLUGGED[:] = ["Launchpad 24:0"]
        assert eventually(lambda: not midi.connected)
        fakemidi.PLUGGED[:] = ["Launchpad 24:0", "nanoKONTROL 28:0"]
        assert eventually(lambda: midi.connected)
    play(midi, control(21, 100))
    assert shared.get("mix") == pytest.approx(100 / 127)
    text = caplog.text
    assert "nanoKONTROL 20:0 is gone" in text and "nanoKONTROL 28:0 is back" in text


@pytest.mark.parametrize(
    ("part", "names", "expected"),
    [
        ("NANO", ["nanoKONTROL 20:0", "x"], "nanoKONTROL 20:0"),
        ("nanoKONTROL", ["nanoKONTROL 20:0", "nanoKONTROL Studio 24:0"], "nanoKONTROL 20:0"),
        ("pad", ["Launchpad 1", "Launchpad 2"], "several MIDI inputs match 'pad': Launchpad 1; Launchpad 2"),
        ("korg", ["a", "b"], "no MIDI input matches 'korg'; there are: a; b"),
        ("korg", [], "this machine has none"),
        ("", ["a", "b"], "there are: a; b"),
    ],
)
def test_finding_a_port(part: str, names: list[str], expected: str) -> None:
    try:
        assert find_port(part, names) == expected
    except UserError as error:
        assert expected in str(error)
        assert "several" in expected or "there are" in expected or "none" in expected


def test_no_such_port_ends_the_start(namespace: Namespace, backend: None, path: Path) -> None:
    made = Midi(namespace, "korg", path)
    with pytest.raises(UserError, match="there are: nanoKONTROL 20:0; Launchpad 24:0"):
        made.start()
    made.stop()


def test_without_the_package(namespace: Namespace, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mido", None)
    made = Midi(namespace, "x", path)
    with pytest.raises(UserError, match=r'pip install "umtn-live\[midi\]"'):
        made.start()
    made.stop()


def test_the_mapping_survives_its_file(path: Path) -> None:
    bindings = [
        Binding("mix", Source("control", 3, 2, True)),
        Binding("to", Source("note", 60)),
        Binding('preset/load/A "b" ü', Source("bend", 0, 16), True),
    ]
    path.write_text(mapping_toml(bindings), encoding="utf-8")
    assert read_mapping(path) == bindings
    assert read_mapping(path.with_name("none")) == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[[map]]\ncontrol = 3", "line 1: parameter = "),
        (
            '[[map]]\nparameter = "mix"\ncontrol = 3\n\n[[map]]\nparameter = "to"\ncontrol = 128',
            "line 7: control takes",
        ),
        ('[[map]]\nparameter = "mix"\ncontrol = 32\nfine = true', "line 3: control takes 0 to 31"),
        ('[[map]]\nparameter = "mix"\nnote = 3\ncontrol = 3', "line 2: one of control, note"),
        ('[[map]]\nparameter = "mix"\nnote = 3\nchannel = 0', "line 4: channel takes 1 to 16"),
        ('[[map]]\nparameter = "mix"\nnote = 3\ntoggle = 1', "line 4: toggle takes true or false"),
        ('[[map]]\nparameter = "mix"\nnot = 3', "line 3: 'not' is none of"),
        ("map = 3", r"only entries \[\[map\]\]"),
        ("mix = 3", "only entries .*, but 'mix' came"),
        ("[[map]", "line 1: "),
    ],
)
def test_a_broken_mapping_is_one_sentence_and_kept(
    namespace: Namespace, path: Path, text: str, expected: str
) -> None:
    path.write_text(text)
    with pytest.raises(UserError, match=expected):
        Midi(namespace, "x", path)
    assert path.read_text() == text


def test_a_mapping_for_another_bundle_waits_for_it(
    namespace: Namespace, shared: SharedState, backend: None, path: Path
) -> None:
    midi = open_midi(namespace, path, '[[map]]\nparameter = "to/harp"\nnote = 50\n')
    try:
        play(midi, note(50))
        assert shared.get("to") == 0
        namespace.redomain(("piano", "harp"), 8)
        play(midi, note(50))
        assert shared.get("to") == 1
        assert midi.mapping() == [("to/harp", "note D3 (50)")]
    finally:
        midi.stop()


@pytest.mark.slow
def test_a_flood_does_no_harm(namespace: Namespace, shared: SharedState, midi: Midi) -> None:
    """Two seconds of a thousand messages each of everything that a device can say."""
    learn(namespace, midi, "mix", control(21, 127))
    random_bytes = random.Random(5)
    began = time.monotonic()
    for i in range(2000):
        parser = mido.Parser(bytes(random_bytes.randrange(256) for _ in range(6)))
        noise = [m for m in parser if m.type not in ("program_change",) and getattr(m, "control", 0) != 21]
        play_fast(*noise, control(21, i % 128))
        time.sleep(max(began + (i + 1) / 1000 - time.monotonic(), 0))
    settle(midi)
    assert shared.get("mix") == pytest.approx((1999 % 128) / 127)
    assert midi.dropped == 0
    busy = threading.Event()
    midi._input.handle, handle = lambda m: (busy.wait(5), handle(m)), midi._input.handle  # type: ignore
    play_fast(*(control(21, i % 128) for i in range(50_000)), control(21, 77))
    busy.set()
    settle(midi)
    assert midi.dropped > 0
    assert shared.get("mix") == pytest.approx(77 / 127)  # the last position counts
