"""MIDI files: what is written is read back; foreign files are read or refused with a sentence."""

from pathlib import Path

import mido
import numpy as np
import pytest

from umtn.data.compose import compose
from umtn.data.instruments import INSTRUMENTS, instruments_named, training_instruments
from umtn.data.score import read_midi, write_midi
from umtn.errors import UserError


@pytest.mark.parametrize("name", ["piano", "winds"])
def test_round_trip_keeps_notes_and_curves(tmp_path: Path, name: str) -> None:
    score = compose(11, 40.0)
    write_midi(tmp_path / "a.mid", score, INSTRUMENTS[name])
    again = read_midi(tmp_path / "a.mid")
    key = lambda note: (round(note.start_s, 2), note.pitch)  # noqa: E731  (chords: equal starts, to a tick)
    wrote, read = np.array(sorted(score.notes, key=key)), np.array(sorted(again.notes, key=key))
    np.testing.assert_allclose(read[:, :2], wrote[:, :2], atol=1e-3)
    np.testing.assert_array_equal(read[:, 2:], wrote[:, 2:])
    times = score.table[:, 0] + 0.05
    np.testing.assert_allclose(again.expression.at(times), score.expression.at(times), atol=1.5)
    assert np.mean(np.abs(again.bend.at(times) - score.bend.at(times)) < 8) > 0.97  # steps of 8 ms in a scoop
    assert again.duration_s == pytest.approx(score.duration_s, abs=1e-3)


def test_a_section_splits_by_pitch_over_channels(tmp_path: Path) -> None:
    write_midi(tmp_path / "a.mid", compose(11, 40.0), INSTRUMENTS["winds"])
    messages = [m for m in mido.MidiFile(tmp_path / "a.mid") if not m.is_meta]
    programs = {m.channel: m.program for m in messages if m.type == "program_change"}
    played = {
        (programs[m.channel], 1 if m.note < 52 else 2 if m.note < 76 else 3)
        for m in messages
        if m.type == "note_on"
    }
    assert played == {(70, 1), (71, 2), (73, 3)}


def test_drums_are_left_out_and_unlike_curves_ignored(tmp_path: Path) -> None:
    track = mido.MidiTrack(
        [
            mido.Message("pitchwheel", channel=0, pitch=4096),
            mido.Message("pitchwheel", channel=1, pitch=-4096),
            mido.Message("note_on", channel=0, note=60, velocity=90),
            mido.Message("note_on", channel=9, note=36, velocity=90),
            mido.Message("note_off", channel=9, note=36, time=480),
            mido.Message(
                "note_on", channel=0, note=60, velocity=0, time=480
            ),  # a note-off as many files have it
        ]
    )
    mido.MidiFile(tracks=[track]).save(tmp_path / "a.mid")
    score = read_midi(tmp_path / "a.mid")
    assert [(n.pitch, n.velocity) for n in score.notes] == [(60, 90)]
    assert score.notes[0].end_s == pytest.approx(1.0)
    assert score.bend.points == ()


def test_bad_files_get_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no MIDI file"):
        read_midi(tmp_path / "none.mid")
    (tmp_path / "text.mid").write_text("this is text")
    (tmp_path / "empty.mid").write_bytes(b"")
    mido.MidiFile(tracks=[mido.MidiTrack()]).save(tmp_path / "silent.mid")
    for name in ("text.mid", "empty.mid"):
        with pytest.raises(UserError, match="not a readable MIDI file"):
            read_midi(tmp_path / name)
    with pytest.raises(UserError, match="no notes"):
        read_midi(tmp_path / "silent.mid")


def test_instruments_for_evaluation_are_never_trained_on() -> None:
    kept_out = {i.id for i in INSTRUMENTS.values() if i.role == "evaluation"}
    assert kept_out == {"accordion", "alto_sax", "koto", "whistle", "detuned_guitar"}
    trained = [(i.id, *(p for _, _, p in i.section)) for i in training_instruments()]
    assert not kept_out & {i[0] for i in trained}
    programs_kept_out = {21, 65, 107, 78}
    assert not programs_kept_out & {p for i in trained for p in i[1:]}


def test_instrument_names() -> None:
    assert [i.id for i in instruments_named("violin, domains,violin")][:3] == ["violin", "strings", "piano"]
    with pytest.raises(UserError, match="did you mean 'strings'"):
        instruments_named("string")
    with pytest.raises(UserError, match="known are domains"):
        instruments_named("qqq")
    with pytest.raises(UserError, match="no instrument"):
        instruments_named(" , ")
