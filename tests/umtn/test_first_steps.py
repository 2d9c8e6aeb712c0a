"""What a newcomer types first: shipped bundles by name, and data that the preset then takes."""

from __future__ import annotations

import shlex
from dataclasses import replace
from pathlib import Path

import pytest

from export.__main__ import main as export
from tests.umtn.tinydata import make
from umtn.__main__ import build_parser, main
from umtn.data.dataset import Dataset
from umtn.errors import UserError
from umtn.model.presets import preset
from umtn.training.batches import BatchSource


def test_a_shipped_bundle_is_found_by_its_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    mine = tmp_path / "mine.umtn"
    # each goes on to what it does with the bundle
    assert main(["add-domain", "new", str(empty), "--to", "live", "-o", str(mine)]) == 2
    assert "holds no recording" in capsys.readouterr().err
    assert main(["guide", "--data", str(make(tmp_path / "data")), "--bundle", "live"]) == 2
    assert "The data are at 8000 Hz, but 'live" in capsys.readouterr().err
    assert main(["evaluate", "live", "--data", str(empty)]) == 2
    assert "holds no manifest.json" in capsys.readouterr().err


def test_a_shipped_bundle_is_verified_by_its_name(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("export.verify.verify", lambda bundle, translator: [])
    assert export(["verify", "live"]) == 0
    assert "live.umtn: 0 of 0" in capsys.readouterr().out


def test_a_shipped_bundle_is_not_written_into(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["add-domain", "new", str(tmp_path), "--to", "live"]) == 2
    assert "say with -o NAME.umtn" in capsys.readouterr().err


@pytest.mark.parametrize(
    "command",
    ["add-domain new . --to lvie -o x.umtn", "guide --data {data} --bundle lvie", "evaluate lvie --data x"],
)
def test_a_slip_in_a_bundles_name_is_told(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = command.format(data=make(tmp_path / "data")).split()
    assert main(words) == 2
    assert "did you mean live?" in capsys.readouterr().err
    assert export(["verify", "lvie"]) == 2
    assert "did you mean live?" in capsys.readouterr().err


def test_render_says_before_it_begins_how_much_sound_that_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--preset", "tiny-live", "--minutes", "0.1", "--instruments", "sine,analog", "--jobs", "1"]
    assert main(["render", str(tmp_path / "small"), *words]) == 0
    said = capsys.readouterr()
    first, last = said.out.splitlines()
    assert "0.1 minutes of score x 2 parts" in first and "0 minutes of sound at 8000 Hz" in first
    assert "tiny-live" in last and "wavenet-live" not in last.replace("tiny-wavenet-live", "")
    assert "0.2 of 0.2 minutes of sound" in said.err
    assert Dataset.open(tmp_path / "small").sample_rate == preset("tiny-live").sample_rate


def test_a_rate_beside_a_preset_of_another_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["render", str(tmp_path / "x"), "--preset", "tiny-live", "--rate", "24000"]) == 2
    assert "--rate 24000 is not that of --preset tiny-live, 8000" in capsys.readouterr().err
    assert main(["render", str(tmp_path / "x"), "--preset", "tyny-live"]) == 2
    assert "did you mean 'tiny-live'?" in capsys.readouterr().err
    assert not (tmp_path / "x").exists()


def test_data_of_another_rate_are_refused_with_the_command_that_makes_them_right(tmp_path: Path) -> None:
    """A newcomer rendered for five minutes what `tiny-live` then refused."""
    folder = tmp_path / "of mine"
    assert (
        main(["render", str(folder), "--minutes", "0.2", "--instruments", "sine,analog", "--jobs", "1"]) == 0
    )
    config = replace(preset("tiny-live"), domains=("sine",))
    with pytest.raises(UserError, match="at 24000 Hz, for the presets live, .*wants 8000 Hz") as refused:
        BatchSource(Dataset.open(folder), config, "train", 0)
    command = str(refused.value).split("with --rate 8000: python -m umtn ")[1].rstrip(".")
    args = build_parser().parse_args(shlex.split(command))
    assert (args.out, args.rate, args.minutes) == (Path(f"{folder}-8000"), 8000, 0.2)
    assert args.instruments == "sine,analog"
    assert main([*shlex.split(command), "--jobs", "1"]) == 0
    assert Dataset.open(args.out).sample_rate == 8000
