"""`make play`: what it chooses, and that it ends with what to type next."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from realtime import play
from umtn import missing


@pytest.fixture
def played(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """What the live loop was asked for; the folder is empty, and its `.venv` runs."""
    asked: list[list[str]] = []

    def run(arguments: Sequence[str]) -> int:
        asked.append(list(arguments))
        return 0

    monkeypatch.setattr(play.run, "main", run)
    monkeypatch.setattr(missing, "ROOT", tmp_path)
    monkeypatch.setattr(sys, "prefix", str(tmp_path / ".venv"))
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.chdir(tmp_path)
    return asked


def test_a_microphone_is_played(
    played: list[list[str]], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(play, "has_microphone", lambda: True)
    assert play.main(["--mix", "1"]) == 0
    assert played == [["--to", "strings", "--mix", "1"]]
    said = capsys.readouterr().out.splitlines()
    assert said == ["Next, type:  .venv/bin/umtn play --in mic --to strings"]


def test_without_one_the_clip_is(
    played: list[list[str]], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """After it everybody was told of `python -m realtime.run`, which another Python then ran."""
    monkeypatch.setattr(play, "has_microphone", lambda: False)
    assert play.main([]) == 0
    assert played == [["--in", "demo", "--out", "out/strings.wav", "--to", "strings"]]
    said = capsys.readouterr().out.splitlines()
    assert "No audio device here" in said[0]
    assert said[-1] == "Next, type:  .venv/bin/umtn play --in mic --to strings"


def test_a_failure_advises_nothing(
    played: list[list[str]], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(play.run, "main", lambda arguments: 2)
    assert play.main(["--in", "nowhere"]) == 2
    assert "Next" not in capsys.readouterr().out
