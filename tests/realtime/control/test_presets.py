"""Presets: kept, recalled with a glide, carried by hand into other places, broken, from another bundle."""

from __future__ import annotations

import itertools
import random
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from export.bundle.bundle import Bundle
from realtime.control.config_files import write_atomic
from realtime.control.namespace import ERROR, Namespace
from realtime.control.presets.files import snapshot
from realtime.control.presets.presets import Presets, default_folder
from realtime.control.presets.trash import KEPT
from realtime.dsp.controls import fill
from realtime.dsp.signal_path import SignalPath
from realtime.engines.onnx import OnnxEngine
from realtime.shared.memory import SharedState
from tests.realtime.control.oscclient import eventually
from tests.realtime.fakebundle import write_fake_bundle
from umtn.errors import UserError

ROOT = Path(__file__).parents[3]


@pytest.fixture
def presets(namespace: Namespace, tmp_path: Path) -> Iterator[Presets]:
    made = Presets(namespace, tmp_path / "presets")
    yield made
    made.stop()


def ask(namespace: Namespace, address: str, *arguments: object) -> tuple[str, str]:
    """Address and text of the one reply."""
    ((replied, values),) = namespace.answer(f"/umtn/{address}", list(arguments))
    return replied, str(values[0])


def moved(shared: SharedState) -> None:
    """Everything away from its default."""
    for name, value in {
        "to": 2.0, "blend/1": 0.0, "mix": 0.3, "input/gain_db": -7.25, "input/gate_db": -50.0,
        "output/gain_db": 3.0, "bypass": 1.0, "mute": 1.0, "freeze": 1.0, "transpose": -12.0,
        "temperature": 0.1, "crossfade_ms": 250.0, "latent/scale/3": 1.5, "latent/bias/7": -0.125,
    }.items():  # fmt: skip
        shared.set(name, value)


def test_a_preset_brings_everything_back(namespace: Namespace, shared: SharedState, presets: Presets) -> None:
    moved(shared)
    before = snapshot(namespace)
    assert ask(namespace, "preset/save", "Ruhe ä") == ("/umtn/preset/save", "Ruhe ä")
    assert namespace.texts["preset"] == "Ruhe ä"
    assert ask(namespace, "preset/save", "other")[1] == "other"
    for name in ("to", "mix", "output/gain_db", "freeze", "transpose", "latent/scale/3"):
        shared.set(name, 0.0)
    shared.set("latent/scale/5", 2.0)
    shared.set("blend/0", 0.5)
    assert ask(namespace, "preset/load", "Ruhe ä") == ("/umtn/preset/load", "Ruhe ä")
    presets.tick(time.monotonic())
    assert snapshot(namespace) == before
    assert namespace.texts["preset"] == "Ruhe ä"


def test_the_file_reads_well(
    namespace: Namespace, shared: SharedState, presets: Presets, tmp_path: Path
) -> None:
    moved(shared)
    namespace.texts["bundle"] = "live"
    presets.save("Verse")
    text = (tmp_path / "presets" / "Verse.toml").read_text(encoding="utf-8")
    for part in ('to = "winds"', '"output/gain_db" = 3.0 ', "-60 to 24 dB: gain after the mix", "mute = true",
                 '"latent/bias/7" = -0.125', 'bundle = "live"', "# glide_ms"):  # fmt: skip
        assert part in text
    assert "latent/bias/6" not in text and "panic" not in text and "preset/" not in text


def test_tables_and_dotted_keys_are_understood(
    namespace: Namespace, shared: SharedState, presets: Presets, tmp_path: Path
) -> None:
    write_atomic(
        tmp_path / "presets" / "a.toml", "output.gain_db = -3\n[input]\ngain_db = 6.5\n[blend]\npiano = 1\n"
    )
    presets.load("A")
    assert (shared.get("output/gain_db"), shared.get("input/gain_db"), shared.get("blend/1")) == (-3, 6.5, 1)


def test_a_glide_moves_along_the_dial(namespace: Namespace, shared: SharedState, presets: Presets) -> None:
    shared.set("crossfade_ms", 2000.0)  # a square dial
    shared.set("mute", 1.0)
    presets.save("far")
    shared.set("crossfade_ms", 0.0)
    shared.set("mute", 0.0)
    shared.set("glide_ms", 10000.0)
    presets.load("far")
    began = time.monotonic()
    assert shared.get("mute") == 1.0  # switches at the start
    presets.tick(began + 5.0)
    assert shared.get("crossfade_ms") == pytest.approx(500.0, rel=0.01)  # half the dial, not half the time
    presets.tick(began + 10.1)
    assert shared.get("crossfade_ms") == 2000.0
    assert not presets.gliding


def test_the_thread_glides_in_time(namespace: Namespace, shared: SharedState, presets: Presets) -> None:
    presets.save("full")
    shared.set("mix", 0.0)
    shared.set("glide_ms", 300.0)
    presets.start()
    time.sleep(0.05)
    presets.load("full")
    began, seen = time.monotonic(), []
    while presets.gliding and time.monotonic() - began < 5:
        value = shared.get("mix")
        seen.append((time.monotonic() - began, value))
        time.sleep(0.005)
    assert time.monotonic() - began > 0.25
    assert shared.get("mix") == 1.0
    values = [value for _, value in seen]
    assert values == sorted(values) and len(set(values)) > 5
    # a machine that stands still may make it late, nothing makes it early
    assert all(value <= (elapsed + 0.02) / 0.3 for elapsed, value in seen)


def test_a_second_recall_starts_where_the_first_is(
    namespace: Namespace, shared: SharedState, presets: Presets
) -> None:
    presets.save("one")  # mix 1
    shared.set("mix", 0.5)
    presets.save("half")
    shared.set("mix", 0.0)
    shared.set("glide_ms", 10000.0)
    presets.load("one")
    presets.tick(time.monotonic() + 8.0)
    assert shared.get("mix") == pytest.approx(0.8, abs=0.01)
    presets.load("half")
    assert shared.get("mix") == pytest.approx(0.8, abs=0.01)
    presets.tick(time.monotonic() + 5.0)
    assert shared.get("mix") == pytest.approx(0.65, abs=0.01)


def test_a_hand_wins_over_a_glide(namespace: Namespace, shared: SharedState, presets: Presets) -> None:
    shared.set("output/gain_db", -20.0)
    presets.save("x")
    shared.set("mix", 0.0)
    shared.set("output/gain_db", 0.0)
    shared.set("glide_ms", 1000.0)
    presets.load("x")
    now = time.monotonic()
    presets.tick(now + 0.3)
    namespace.answer("/umtn/mix", [0.9])
    presets.tick(now + 0.6)
    presets.tick(now + 2.0)
    assert shared.get("mix") == 0.9
    assert shared.get("output/gain_db") == -20.0


def weights(shared: SharedState) -> list[float]:
    return [round(shared.get(f"blend/{i}"), 2) for i in range(3)]


def test_from_a_domain_to_a_blend_and_back(
    namespace: Namespace, shared: SharedState, presets: Presets
) -> None:
    presets.save("strings")
    shared.set("blend/1", 0.5)
    presets.save("blend")
    shared.set("blend/1", 0.0)
    shared.set("glide_ms", 10000.0)
    presets.load("blend")
    assert weights(shared)[1:] == [0, 0] and shared.get("blend/0") > 0.99  # the same sound as before
    presets.tick(time.monotonic() + 5.0)
    assert weights(shared) == [0.5, 0.25, 0]
    presets.tick(time.monotonic() + 10.0)
    assert weights(shared) == [0, 0.5, 0]
    presets.load("strings")
    presets.tick(time.monotonic() + 5.0)
    assert weights(shared) == [0.5, 0.25, 0]
    presets.tick(time.monotonic() + 10.0)
    assert weights(shared) == [0, 0, 0] and shared.get("to") == 0


def test_from_a_domain_to_another(namespace: Namespace, shared: SharedState, presets: Presets) -> None:
    """`glide_ms` was not heard here: the domain changed at the start, within `crossfade_ms`."""
    presets.save("strings")
    shared.set("to", 2.0)
    presets.save("winds")
    shared.set("glide_ms", 2000.0)
    presets.load("strings")
    began = time.monotonic()
    assert weights(shared) == [0, 0, 1]  # the same sound as before
    for at, there in ((0.25, 0.12), (1.0, 0.5), (1.9, 0.95)):
        presets.tick(began + at)
        assert weights(shared) == pytest.approx([there, 0, 1 - there], abs=0.02)
    presets.tick(began + 2.01)
    assert (weights(shared), shared.get("to"), presets.gliding) == ([0, 0, 0], 0, False)
    presets.load("strings")
    assert weights(shared) == [0, 0, 0]  # nothing to glide: nothing to decode beside it


def test_two_domains_glide_in_the_sound(
    namespace: Namespace, shared: SharedState, presets: Presets, tmp_path: Path
) -> None:
    """The tone's third harmonic, which only the second decoder makes, comes in over all of the glide."""
    path = SignalPath(
        OnnxEngine(Bundle.open(write_fake_bundle(tmp_path / "fake.umtn", identity=True)), seed=0), 48000, 480
    )
    t = np.arange(480) / 48000
    tone = (0.5 * np.sin(2 * np.pi * 400 * t)).astype(np.float32)  # whole periods: each block is the same
    out, cells = np.empty(480, np.float32), shared.parameters
    shared.set("to", 1.0)
    presets.save("piano")
    shared.set("to", 0.0)
    shared.set("glide_ms", 2000.0)

    def third(seconds: float, from_s: float = 0.0) -> float:
        for i in range(round(seconds * 100)):
            presets.tick(began + from_s + i / 100)
            fill(path.controls, cells)
            path.process(tone, out)
        return float(abs(np.mean(out * np.exp(-2j * np.pi * 1200 * t))))

    began = time.monotonic()
    third(0.5)
    presets.load("piano")
    began = time.monotonic()
    early, half, late = third(0.25), third(0.75, 0.25), third(1.5, 1.0)
    assert early < 0.3 * late and 0.5 * late < half < 0.85 * late  # half the power is 0.71


def test_audio_never_sees_a_state_in_between(
    namespace: Namespace, shared: SharedState, presets: Presets, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Weights and domain are single cells: whenever audio looks, it must find the old sound or the new."""
    for name, to, blend in (
        ("a", 0, (0, 0, 0)),
        ("b", 1, (0.5, 0, 0.5)),
        ("c", 2, (0, 0, 0)),
        ("d", 0, (0, 1, 0)),
    ):
        for cell, value in (("to", to), *((f"blend/{i}", w) for i, w in enumerate(blend))):
            shared.set(cell, value)
        presets.save(name)
    write, sounds = SharedState.set, []

    def watched(self: SharedState, name: str, value: float) -> None:
        write(self, name, value)
        weighed = weights(self)
        heard = {i for i, w in enumerate(weighed) if w} if any(weighed) else {int(self.get("to"))}
        sounds.append(heard)

    monkeypatch.setattr(SharedState, "set", watched)
    parts = {"a": {0}, "b": {0, 2}, "c": {2}, "d": {1}}
    for before, after in itertools.permutations("abcd", 2):
        presets.load(before)
        sounds.clear()
        presets.load(after)
        assert sounds[-1] == parts[after]
        assert all(heard <= parts[before] | parts[after] for heard in sounds), (before, after)


def test_a_domain_chosen_by_hand_ends_the_way_to_a_blend(
    namespace: Namespace, shared: SharedState, presets: Presets
) -> None:
    shared.set("blend/1", 0.5)
    presets.save("blend")
    shared.set("blend/1", 0.0)
    shared.set("glide_ms", 10000.0)
    for chosen in ("winds", "strings"):
        presets.load("blend")
        presets.tick(time.monotonic() + 3.0)
        namespace.answer("/umtn/to", [chosen])
        presets.tick(time.monotonic() + 6.0)
        presets.tick(time.monotonic() + 11.0)
        assert weights(shared) == [0, 0, 0] and namespace.current()["/umtn/to"] == chosen


def test_more_decoders_than_the_machine_has(
    namespace: Namespace, shared: SharedState, presets: Presets
) -> None:
    shared.set("blend/0", 0.5)
    shared.set("blend/1", 0.5)
    presets.save("two")
    shared.set("blend/0", 0.0)
    shared.set("blend/1", 0.0)
    shared.set("to", 2.0)
    shared.set("glide_ms", 1000.0)
    shared.status_set("blend_max", 2)
    presets.load("two")  # two at its end, three on the way: it switches
    assert weights(shared) == [0.5, 0.5, 0]
    shared.status_set("blend_max", 1)
    shared.set("mix", 0.5)
    assert "blends 2 domains, and this machine runs 1 at once" in ask(namespace, "preset/load", "two")[1]
    assert shared.get("mix") == 0.5


def test_another_bundle_during_a_glide(namespace: Namespace, shared: SharedState, presets: Presets) -> None:
    shared.set("blend/2", 1.0)
    presets.save("x")
    shared.set("blend/2", 0.0)
    shared.set("glide_ms", 1000.0)
    presets.load("x")
    namespace.redomain(("piano", "harp"), 4)
    for i in range(3):
        shared.set(f"blend/{i}", 0.0)
    presets.tick(time.monotonic() + 2)
    assert weights(shared) == [0, 0, 0]
    assert (
        "belongs to another bundle: strings, winds are not in this one, which has piano, harp"
        in (ask(namespace, "preset/load", "x")[1])
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('to = "kazoo"\nmix = 0.1', "'x' belongs to another bundle: kazoo is not in this one, which has"),
        ('to = "kazoo"\n"blend/saw" = 0.5\n"blend/zero" = 0.0', "kazoo, saw are not in this one"),
        ("mix = 0.5\nmix = 0.6", "line 2: Cannot overwrite a value"),
        ("mix = 0.5\nmute = tru", "line 2: Invalid value"),
        ("mix = 0.5\n\nmute =", "line 3: Invalid value"),
        ('mix = 0.5\nto = "str', "line 2: "),
        ("to = 1", 'line 1: to takes one of strings, piano, winds in quotation marks, but 1 came'),
        ("mute = true\nmix = 7", "line 2: mix takes 0 to 1, but 7 came"),
        ("mute = true\n[output]\n# here\ngain_db = -61.5", "line 4: output/gain_db takes -60 to 24 dB, but -61.5"),
        ("mute = 2", "line 1: mute takes true, false, but 2 came"),
        ("mix = true", "line 1: mix takes 0 to 1, but True came"),
        ("mix = nan", "line 1: mix takes 0 to 1, but nan came"),
        ("mix = inf", "line 1: mix takes 0 to 1, but inf came"),
        ("mix = -nan", "line 1: mix takes 0 to 1, but nan came"),
        ("mix = 1e400", "line 1: mix takes 0 to 1, but inf came"),
        ("mix = " + 400 * "9", "line 1: mix takes 0 to 1, but 999"),
        (".".join(["a"] * 3000) + " = 1", "nested too deeply"),
        ("mix = " + "9" * 400, "line 1: mix takes 0 to 1"),
        ("mix = " + "9" * 5000, "line 1: "),
        ('mix = "0.5"', "line 1: mix takes 0 to 1, but '0.5' came"),
        ("mix = [0.5]", "line 1: mix takes 0 to 1, but [0.5] came"),
        ("mxi = 0.5", "line 1: there is no parameter 'mxi'; did you mean mix?"),
        ("panic = 1", "line 1: panic is no value"),
        ('"preset/load" = "x"', "line 1: preset/load is no value"),
        ('"latent/scale/8" = 1.0', "line 1: there is no latent/scale/8; this bundle has 8 latent channels"),
        ('"input/gain_db" = 1\ninput.gain_db = 1', "given twice"),
        ("format = 2", "format 2, and this program knows up to 1"),
        ("format = 'x'", "format must be 1"),
        ("x = " + "[" * 5000, "nested too deeply"),
        ("# ä".ljust(1 << 19), "longer than"),
        (b"mix = 0.5\n# \xff\n", "line 2: not UTF-8"),
        (b"\x00", "line 1: "),
    ],
)  # fmt: skip
def test_a_broken_preset_is_one_sentence_and_moves_nothing(
    namespace: Namespace,
    shared: SharedState,
    presets: Presets,
    tmp_path: Path,
    text: str | bytes,
    expected: str,
) -> None:
    path = tmp_path / "presets" / "x.toml"
    path.parent.mkdir()
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    kept = path.read_bytes()
    moved(shared)
    before = shared.parameters.copy()
    address, sentence = ask(namespace, "preset/load", "x")
    assert address == ERROR
    assert expected in sentence and "\n" not in sentence
    presets.tick(time.monotonic())
    assert np.array_equal(shared.parameters, before)
    assert path.read_bytes() == kept
    assert namespace.texts["preset"] == ""


@pytest.mark.parametrize(
    "name",
    ["", " ", "..", ".", "../x", "a/b", "a\\b", "C:x", "x\ny", "\x1b[2J", "\u202eabc", "con", "COM1.x", "last",
     "Setlist", "midi", "last.unread", "x" * 65, "ä" * 64 + "y", "12", "x?", "a*", ".hidden", "end.", "\ud800"],
)  # fmt: skip
def test_names_that_are_no_names(namespace: Namespace, presets: Presets, tmp_path: Path, name: str) -> None:
    address, sentence = ask(namespace, "preset/save", name)
    assert address == ERROR and "\n" not in sentence and "\x1b" not in sentence
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == []


def test_what_was_kept_before_stays_beside(presets: Presets, shared: SharedState, tmp_path: Path) -> None:
    presets.save("Verse")
    first = (tmp_path / "presets" / "Verse.toml").read_bytes()
    shared.set("mix", 0.125)
    assert presets.save("verse") == "Verse"  # one preset on every system
    assert (tmp_path / "presets" / "Verse.toml.bak").read_bytes() == first
    assert presets.names() == ["Verse"]


def kept_in(folder: Path) -> list[str]:
    """What lies in the trash, the oldest first, without its letters."""
    return sorted(p.name[:6] + p.name[11:] for p in (folder / "trash").iterdir())


def test_saving_over_is_undone_step_by_step(
    namespace: Namespace, shared: SharedState, presets: Presets, tmp_path: Path
) -> None:
    """A name typed twice cost the sound that had it: nothing asked, nothing brought it back but a shell."""
    file, held = tmp_path / "presets" / "Verse.toml", []
    for mix in (0.1, 0.2, 0.3):
        shared.set("mix", mix)
        presets.save("Verse")
        held.append(file.read_bytes())
    assert presets.undoable() is not None and presets.undoable().name == "Verse"  # type: ignore[union-attr]
    for before in (held[1], held[0]):
        assert ask(namespace, "preset/undo") == ("/umtn/preset/undo", "Verse")
        assert file.read_bytes() == before
    assert shared.get("mix") == 0.3  # what sounds stays
    assert "nothing to undo" in ask(namespace, "preset/undo")[1]
    assert presets.undoable() is None and presets.names() == ["Verse"]
    trashed = (tmp_path / "presets" / "trash").iterdir()
    assert sorted(p.read_bytes() for p in trashed) == sorted(held[1:])  # not even by the undo is one lost


def test_deleting_is_undone_and_outlives_the_program(
    namespace: Namespace, shared: SharedState, presets: Presets, tmp_path: Path
) -> None:
    folder = tmp_path / "presets"
    for name in ("Ruhe ä", "other"):
        presets.save(name)
    before = (folder / "Ruhe ä.toml").read_bytes()
    assert ask(namespace, "preset/delete", "ruhe ä") == ("/umtn/preset/delete", "Ruhe ä")
    assert ask(namespace, "preset/delete", "other") == ("/umtn/preset/delete", "other")
    assert presets.names() == [] and presets.current == ""
    assert kept_in(folder) == ["000001 deleted Ruhe ä.toml", "000002 deleted other.toml"]
    again = Presets(namespace, folder)
    assert ask(namespace, "preset/undo")[1] == "other"
    again.save("Ruhe ä")  # its place is taken meanwhile
    assert ask(namespace, "preset/undo")[1] == "Ruhe ä"
    assert (folder / "Ruhe ä.toml").read_bytes() == before
    assert kept_in(folder) == ["000002 undone Ruhe ä.toml"]
    again.stop()


@pytest.mark.parametrize("name", ["last", "setlist", "../x", "gone", "3"])
def test_only_presets_are_deleted(namespace: Namespace, presets: Presets, tmp_path: Path, name: str) -> None:
    presets.save("x")
    (tmp_path / "presets" / "setlist.toml").write_text('presets = ["x"]\n')
    before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    assert ask(namespace, "preset/delete", name)[0] == ERROR
    assert {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == before


def test_the_trash_keeps_the_newest_hundred_and_nothing_that_is_not_its_own(
    presets: Presets, tmp_path: Path
) -> None:
    trash = tmp_path / "presets" / "trash"
    trash.mkdir(parents=True)
    (trash / "mine.toml").write_text("mix = 1\n")
    for _ in range(KEPT + 6):
        presets.save("x")
    assert kept_in(tmp_path / "presets")[0] == "000006 saved x.toml"
    assert len(list(trash.iterdir())) == KEPT + 1 and (trash / "mine.toml").exists()


def test_a_trash_that_cannot_be_written_leaves_the_preset_as_it_was(
    namespace: Namespace, shared: SharedState, presets: Presets, tmp_path: Path
) -> None:
    presets.save("x")
    before = (tmp_path / "presets" / "x.toml").read_bytes()
    (tmp_path / "presets" / "trash").write_text("a file where the folder should be")
    shared.set("mix", 0.5)
    for action in ("save", "delete"):
        assert "could not be kept aside" in ask(namespace, f"preset/{action}", "x")[1]
        assert (tmp_path / "presets" / "x.toml").read_bytes() == before


def test_a_set_list(namespace: Namespace, presets: Presets, tmp_path: Path) -> None:
    assert "no presets" in ask(namespace, "preset/next")[1]
    for name in ("c", "a", "b"):
        presets.save(name)
    assert presets.set_list() == ["a", "b", "c"]
    (tmp_path / "presets" / "setlist.toml").write_text('presets = ["c", "a", "c", "gone"]\n')
    steps = [ask(namespace, "preset/next")[1] for _ in range(3)]
    assert steps == ["c", "a", "c"]
    assert "no preset is called 'gone'" in ask(namespace, "preset/next")[1]
    assert ask(namespace, "preset/previous")[1] == "a"
    assert ask(namespace, "preset/load", "1")[1] == "c"
    assert "'c' is the first preset" in ask(namespace, "preset/previous")[1]
    assert "no preset number 5; the set list has 4" in ask(namespace, "preset/load", "5")[1]
    assert ask(namespace, "preset/load", "0")[0] == ask(namespace, "preset/load", "9" * 5000)[0] == ERROR
    assert ask(namespace, "preset/load", "b")[1] == "b"  # not in the set list
    assert ask(namespace, "preset/next")[1] == "c"
    (tmp_path / "presets" / "setlist.toml").write_text("# mine\npresets = 3\n")
    assert "setlist.toml, line 2: presets = [" in ask(namespace, "preset/next")[1]
    assert ask(namespace, "preset/load", "b")[1] == "b"


def test_a_folder_that_cannot_be_written(namespace: Namespace, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    made = Presets(namespace, tmp_path / "file")
    address, sentence = ask(namespace, "preset/save", "x")
    assert address == ERROR and "cannot be written" in sentence
    made.tick(0.0)
    made.stop()


CRASHING = """
import os, sys, time
from pathlib import Path
from realtime.control.namespace import Namespace
from realtime.control.presets.presets import Presets
from realtime.shared.memory import SharedState
shared = SharedState.create()
space = Namespace(shared, ("strings", "piano", "winds"), 8)
presets = Presets(space, Path(sys.argv[1]))
presets.start()
presets.save("Verse")
for name, value in (("to", "winds"), ("mix", 0.375), ("glide_ms", 250.0), ("latent/bias/2", 1.0)):
    space.answer("/umtn/" + name, [value])
shared.unlink()
print("ready", flush=True)
time.sleep(30)
"""


def test_the_last_state_is_back_after_a_crash(
    namespace: Namespace, shared: SharedState, tmp_path: Path
) -> None:
    command = [sys.executable, "-c", CRASHING, str(tmp_path)]
    child = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, stderr=subprocess.DEVNULL)
    try:
        assert child.stdout is not None and child.stdout.readline() == "ready\n"
        last = tmp_path / "last.toml"
        assert eventually(lambda: last.exists() and "mix = 0.375" in last.read_text(), 3.0)
        beside = Presets(namespace, tmp_path)  # while the other still runs
        assert not beside.crashed
        written = last.read_text()
        shared.set("mix", 0.9)
        beside.tick(time.monotonic())
        beside.stop()
        assert last.read_text() == written
    finally:
        child.kill()
        child.wait()
        assert child.stdout is not None
        child.stdout.close()
    made = Presets(namespace, tmp_path)
    assert made.crashed
    shared.set("output/gain_db", -6.0)
    made.restore_last(except_for={"output/gain_db"})
    assert namespace.current()["/umtn/to"] == "winds" and namespace.texts["preset"] == "Verse"
    assert [shared.get(n) for n in ("mix", "glide_ms", "latent/bias/2")] == [0.375, 250.0, 1.0]
    assert shared.get("output/gain_db") == -6.0
    made.tick(time.monotonic())
    made.stop()
    assert not Presets(namespace, tmp_path).crashed  # an orderly end


def test_a_last_state_that_does_not_fit_is_put_aside(
    namespace: Namespace, shared: SharedState, tmp_path: Path
) -> None:
    (tmp_path / "last.toml").write_text('process = 2147483647\nto = "kazoo"\n')
    before = shared.parameters.copy()
    made = Presets(namespace, tmp_path)
    assert made.crashed
    with pytest.raises(UserError, match="kazoo is not in this one.*kept as last.unread.toml"):
        made.restore_last()
    made.tick(0.0)
    assert np.array_equal(shared.parameters, before)
    assert "kazoo" in (tmp_path / "last.unread.toml").read_text()
    assert made.names() == []
    made.stop()
    (tmp_path / "last.toml").write_text("mix = ")
    assert not Presets(namespace, tmp_path).crashed


def test_a_reader_never_sees_half_a_file(tmp_path: Path) -> None:
    path = tmp_path / "x.toml"
    write_atomic(path, "a" * 100_000)
    writer = subprocess.Popen(
        [sys.executable, "-c",
         "import sys; from pathlib import Path; from realtime.control.config_files import write_atomic\n"
         "for i in range(200): write_atomic(Path(sys.argv[1]), 'ab'[i % 2] * 100_000)", str(path)],
        cwd=ROOT,
    )  # fmt: skip
    while writer.poll() is None:
        text = path.read_text()
        assert len(text) == 100_000 and len(set(text)) == 1
    assert writer.returncode == 0
    assert [p.name for p in tmp_path.iterdir()] == ["x.toml"]


def test_where_presets_lie(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert default_folder() == tmp_path / "umtn-live" / "presets"
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setenv("APPDATA", str(tmp_path / "Roaming"))
    assert default_folder() == tmp_path / "Roaming" / "umtn-live" / "presets"
    monkeypatch.setattr(sys, "platform", "darwin")
    assert default_folder().parts[-4:] == ("Library", "Application Support", "umtn-live", "presets")


def test_a_hand_is_never_lost_to_a_glide(namespace: Namespace, shared: SharedState, presets: Presets) -> None:
    """The glide writes as fast as it can while the hand sets each value once."""
    presets.save("x")
    before, stopping = sys.getswitchinterval(), threading.Event()
    sys.setswitchinterval(1e-6)

    def glide() -> None:
        while not stopping.is_set():
            presets.tick(time.monotonic())

    thread = threading.Thread(target=glide)
    thread.start()
    try:
        shared.set("glide_ms", 3000.0)
        lost = 0
        for i in range(200):
            namespace.answer("/umtn/mix", [0.0])
            presets.load("x")
            time.sleep(0.001)
            hand = (i + 1) / 1000
            namespace.answer("/umtn/mix", [hand])
            time.sleep(0.002)
            lost += shared.get("mix") != hand
        assert lost == 0
    finally:
        stopping.set()
        thread.join()
        sys.setswitchinterval(before)


def test_hundreds_of_damaged_presets(
    namespace: Namespace, shared: SharedState, presets: Presets, tmp_path: Path
) -> None:
    moved(shared)
    presets.save("x")
    path, random_bytes = tmp_path / "presets" / "x.toml", random.Random(3)
    whole, refused = path.read_bytes(), 0
    for _ in range(400):
        damaged = bytearray(whole)
        for _ in range(random_bytes.randrange(1, 5)):
            at = random_bytes.randrange(len(damaged))
            if random_bytes.random() < 0.5:
                damaged[at] = random_bytes.randrange(256)
            else:
                del damaged[at : at + random_bytes.randrange(40)]
        path.write_bytes(damaged)
        before = shared.parameters.copy()
        try:
            presets.load("x")
        except UserError as error:
            refused += 1
            assert str(error).isprintable()
            assert np.array_equal(shared.parameters, before)
        assert not np.isnan(shared.parameters).any()
    assert refused > 100
