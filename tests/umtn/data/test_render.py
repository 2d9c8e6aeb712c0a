"""Rendering: a short score through the real FluidSynth and through our own voices, in time with the score."""

import argparse
import json
from pathlib import Path

import mido
import numpy as np
import pytest

from umtn.cli.data import register
from umtn.data.compose import compose
from umtn.data.dataset import Dataset, Track
from umtn.data.instruments import INSTRUMENTS, instruments_named
from umtn.data.render import VOICES, Plan, level, make_scores, render, synthesize
from umtn.data.score import Curve, Note, Score
from umtn.data.soundfont import find_font, render_score
from umtn.errors import UserError

RATE = 24_000
SCORE = Score(3.0, (Note(0.25, 0.6, 60, 100), Note(1.0, 1.4, 72, 100), Note(1.75, 2.2, 50, 100)))


def onsets(audio: np.ndarray) -> list[float]:
    """Where the signal passes a tenth of each note's peak, in seconds, looking from 50 ms before the note."""
    found = []
    for note in SCORE.notes:
        begin = round((note.start_s - 0.05) * RATE)
        part = np.abs(audio[begin : round(note.end_s * RATE)])
        found.append((begin + int(np.argmax(part > 0.1 * part.max()))) / RATE)
    return found


@pytest.mark.fluidsynth
def test_real_render_starts_in_time_with_the_score() -> None:
    """Sample 0 is time 0: else a translation would be trained to be early or late."""
    piano = render_score(SCORE, INSTRUMENTS["piano"], find_font("fluidr3"), RATE)
    winds = render_score(SCORE, INSTRUMENTS["winds"], find_font("fluidr3"), RATE)  # two channels in use
    assert piano.shape == winds.shape == (3 * RATE,) and piano.dtype == np.float32
    assert np.abs(piano[: round(0.249 * RATE)]).max() < 1e-3
    for audio, slowest in ((piano, 0.010), (winds, 0.060)):
        lags = np.array(onsets(audio)) - [n.start_s for n in SCORE.notes]
        assert np.all(lags > -0.002) and np.all(lags < slowest), lags


def pitch_hz(audio: np.ndarray) -> float:
    """The strongest line of a windowed spectrum, refined by a parabola through its neighbours."""
    power = np.log(np.abs(np.fft.rfft(audio * np.hanning(len(audio)), 8 * len(audio))) + 1e-9)
    k = int(power.argmax())
    a, b, c = power[k - 1 : k + 2]
    return (k + 0.5 * (a - c) / (a - 2 * b + c)) * RATE / (8 * len(audio))


@pytest.mark.parametrize("name", [pytest.param("square_lead", marks=pytest.mark.fluidsynth), "sine"])
def test_bends_are_played_as_written(name: str) -> None:
    score = Score(2.0, (Note(0.2, 1.8, 69, 100),), bend=Curve(((0.0, 0.0), (0.9, 0.0), (0.91, 150.0))))
    if INSTRUMENTS[name].synthetic:
        audio = synthesize(score, name, RATE)
    else:
        audio = render_score(score, INSTRUMENTS[name], find_font("fluidr3"), RATE)
    before, after = pitch_hz(audio[9600:20400]), pitch_hz(audio[26400:38400])
    assert 1200 * np.log2(after / before) == pytest.approx(150, abs=4)


@pytest.mark.parametrize("voice", VOICES)
def test_synthetic_voices_play_the_score(voice: str) -> None:
    audio = synthesize(SCORE, voice, RATE, seed=1)
    assert audio.shape == (3 * RATE,) and np.isfinite(audio).all() and audio.dtype == np.float32
    np.testing.assert_array_equal(audio, synthesize(SCORE, voice, RATE, seed=1))
    lags = np.array(onsets(audio)) - [n.start_s for n in SCORE.notes]
    assert np.all(lags > -1e-3) and np.all(lags < 0.06)
    assert np.abs(audio[round(0.7 * RATE) : round(0.99 * RATE)]).max() == 0  # silent between the notes
    loud = Score(SCORE.duration_s, tuple(n._replace(velocity=127) for n in SCORE.notes))
    assert np.abs(synthesize(loud, voice, RATE, seed=1)).max() > 1.3 * np.abs(audio).max()


@pytest.mark.parametrize("voice", VOICES)
def test_synthetic_voices_do_not_alias(voice: str) -> None:
    """The top note has partials up to Nyquist: nothing strong may stand below its fundamental."""
    audio = synthesize(Score(1.0, (Note(0.1, 0.9, 96, 100),)), voice, RATE, seed=2)
    spectrum = np.abs(np.fft.rfft(audio * np.hanning(len(audio))))
    assert spectrum[50:1800].max() < 0.02 * spectrum.max()


def test_level_is_that_of_the_sounding_parts_and_never_clips() -> None:
    wave = 0.01 * np.sin(np.arange(RATE) * 0.1).astype(np.float32)
    samples, gain_db = level(np.concatenate((wave, np.zeros(9 * RATE, np.float32))), RATE)
    rms = np.sqrt(np.mean((samples[:RATE] / 32767.0) ** 2))
    assert 20 * np.log10(rms) == pytest.approx(-23, abs=0.1)
    assert gain_db == pytest.approx(-23 - 20 * np.log10(0.01 / np.sqrt(2)), abs=0.05)
    clicks = np.zeros(RATE, np.float32)
    clicks[::6000] = 0.1
    assert np.abs(level(clicks, RATE)[0]).max() == pytest.approx(0.98 * 32767, abs=1)
    assert np.all(level(np.zeros(100, np.float32), RATE)[0] == 0)


@pytest.mark.fluidsynth
def test_render_writes_a_set_that_training_can_open(tmp_path: Path) -> None:
    scores = {"a": SCORE, "b": compose(1, 4.0)}
    plan = Plan(tuple(instruments_named("violin,organ,sine")), ("fluidr3",), RATE)
    data = render(tmp_path / "out", scores, plan)
    assert data.domains == ["organ"] and len(data.all_tracks) == 6
    assert {(t.score, t.split) for t in data.all_tracks} == {("a", "train"), ("b", "valid")}
    (sine,) = data.tracks("train", role="source", domain="sine")
    assert sine.font == "synthetic" and data.audio(sine).dtype == np.int16 and sine.length == 3 * RATE
    assert isinstance(data.audio(sine), np.memmap) and data.audio(sine) is data.audio(sine)
    assert data.score("a").notes == SCORE.notes
    with pytest.raises(UserError, match="no tracks for train piano; it has: organ"):
        data.tracks("train", "piano")
    with pytest.raises(UserError, match="unknown split"):
        data.tracks("test")


def test_a_track_knows_the_notes_it_cannot_play() -> None:
    track = Track("a.npy", "train", "bass_guitar", "source", 1, highest=INSTRUMENTS["bass_guitar"].highest)
    score = Score(4.0, (Note(0.0, 1.0, 84, 90), Note(2.0, 3.0, 85, 90)))
    assert track.plays_all(score, 0.0, 2.0) and track.plays_all(score, 3.0, 4.0)
    assert not track.plays_all(score, 1.0, 2.1)


def test_a_stopped_render_goes_on_and_other_data_are_not_mixed_in(tmp_path: Path) -> None:
    plan = Plan(tuple(instruments_named("sine")), (), RATE)
    render(tmp_path, {"a": SCORE}, plan)
    before = (tmp_path / "audio/a/synthetic.sine.npy").stat().st_mtime_ns
    more = Plan(tuple(instruments_named("sine,analog")), (), RATE)
    done: list[float] = []
    data = render(tmp_path, {"a": SCORE}, more, done.append)
    assert [t.domain for t in data.all_tracks] == ["sine", "analog"]  # as planned, whatever is done first
    assert (tmp_path / "audio/a/synthetic.sine.npy").stat().st_mtime_ns == before
    assert sum(done) == 6.0  # the bar counts what was there already
    with pytest.raises(UserError, match="another score called 'a'"):
        render(tmp_path, {"a": compose(1, 3.0)}, plan)
    with pytest.raises(UserError, match="at 24000 Hz already"):
        render(tmp_path, {"a": SCORE}, Plan(plan.instruments, (), 16_000))
    with pytest.raises(UserError, match="no sound font named"):
        render(tmp_path, {"a": SCORE}, Plan(tuple(instruments_named("piano")), (), RATE))


def test_a_score_never_changes_sides_when_more_are_added(tmp_path: Path) -> None:
    """The last score validates: with one more score the old last one would have stood on both sides."""
    a, b, c = SCORE, compose(1, 3.0), compose(2, 3.0)
    render(tmp_path, {"a": a, "b": b}, Plan(tuple(instruments_named("sine")), (), RATE))
    more = Plan(tuple(instruments_named("sine,analog")), (), RATE)
    tracks = render(tmp_path, {"a": a, "b": b, "c": c}, more).all_tracks
    sides = {name: {t.split for t in tracks if t.score == name} for name in "abc"}
    assert sides == {"a": {"train"}, "b": {"valid"}, "c": {"valid"}}


def test_make_scores_cuts_to_equal_parts_and_adds_files(tmp_path: Path) -> None:
    track = mido.MidiTrack([mido.Message("note_on", note=60), mido.Message("note_off", note=60, time=480)])
    mido.MidiFile(tracks=[track]).save(tmp_path / "tune.mid")
    scores = make_scores(0.5, 3, [tmp_path / "tune.mid"], longest_minutes=0.2)
    assert list(scores) == ["random-3-000", "random-3-001", "random-3-002", "file-tune"]
    assert scores["random-3-000"].duration_s == pytest.approx(10.0)
    assert scores["random-3-000"].notes != scores["random-3-001"].notes
    with pytest.raises(UserError, match="two score files"):
        make_scores(0, 3, [tmp_path / "tune.mid", tmp_path / "tune.mid"])
    with pytest.raises(UserError, match="nothing to render"):
        render(tmp_path / "out", {}, Plan((), ()))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"format": "else"}, "not the manifest"),
        ({"version": 99}, "newer version"),
        ({"kind": "odd"}, "not the manifest"),
        ({"tracks": [{"path": "a.npy"}]}, "not the manifest"),
        ({"tracks": [{"speed": 1}]}, "unknown track field 'speed'"),
    ],
)
def test_a_foreign_manifest_is_refused(tmp_path: Path, change: dict[str, object], sentence: str) -> None:
    raw = {"format": "umtn-data", "version": 1, "kind": "paired", "sample_rate": RATE, "tracks": []}
    (tmp_path / "manifest.json").write_text(json.dumps({**raw, **change}))
    with pytest.raises(UserError, match=sentence):
        Dataset.open(tmp_path)


def test_audio_that_is_missing_cut_short_or_outside_is_refused(tmp_path: Path) -> None:
    data = render(tmp_path, {"a": SCORE}, Plan(tuple(instruments_named("sine")), (), RATE))
    file = tmp_path / data.all_tracks[0].path
    content = file.read_bytes()
    file.write_bytes(content[:-100])
    with pytest.raises(UserError, match="cannot be read"):
        data.audio(data.all_tracks[0])
    np.save(file, np.zeros(5, np.int16))
    with pytest.raises(UserError, match="not int16"):
        data.audio(data.all_tracks[0])
    file.unlink()
    with pytest.raises(UserError, match="cannot be read"):
        data.audio(data.all_tracks[0])
    text = (tmp_path / "manifest.json").read_text().replace("audio/a/", "../a/")
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(UserError, match="leaves the data folder"):
        (data := Dataset.open(tmp_path)).audio(data.all_tracks[0])


def test_fonts_that_are_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="unknown sound font 'nofont'"):
        find_font("nofont")
    monkeypatch.setattr("umtn.data.soundfont.FOLDERS", ())
    monkeypatch.setenv("UMTN_SOUNDFONTS", str(tmp_path))
    with pytest.raises(UserError, match="install it"):
        find_font("fluidr3")
    (tmp_path / "FluidR3_GM.sf2").write_bytes(b"RIFF")
    assert find_font("fluidr3") == tmp_path / "FluidR3_GM.sf2"


def command(*words: str) -> int:
    parser = argparse.ArgumentParser()
    register(parser.add_subparsers(required=True))
    arguments = parser.parse_args(words)
    return arguments.run(arguments)


def test_render_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = str(tmp_path / "out")
    assert command("render", out, "--minutes", "0.1", "--instruments", "sine,analog", "--jobs", "1") == 0
    assert "2 tracks" in capsys.readouterr().out
    with pytest.raises(UserError, match="did you mean 'violin'"):
        command("render", out, "--instruments", "violon")
    with pytest.raises(SystemExit, match="2"):
        command("render", out, "--minutes", "-3")


@pytest.mark.fluidsynth
def test_a_broken_font_gets_a_sentence(tmp_path: Path) -> None:
    """FluidSynth plays the system's default font instead and exits with 0: the data would be mislabelled."""
    (tmp_path / "bad.sf2").write_bytes(b"not a font")
    with pytest.raises(UserError, match=r"with bad\.sf2"):
        render_score(SCORE, INSTRUMENTS["piano"], tmp_path / "bad.sf2", RATE)
    (tmp_path / "cut.sf2").write_bytes(find_font("fluidr3").read_bytes()[:100_000])
    with pytest.raises(UserError, match=r"with cut\.sf2"):
        render_score(SCORE, INSTRUMENTS["piano"], tmp_path / "cut.sf2", RATE)
