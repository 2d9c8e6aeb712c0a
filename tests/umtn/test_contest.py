"""`umtn rivals` and `umtn ablate` from end to end at toy size: equal budgets, one table, and a stopped run goes on."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from tests.umtn import tinydata
from umtn import experiments
from umtn.__main__ import main
from umtn.data.dataset import Dataset
from umtn.model import checkpoint
from umtn.model.config import LiveDecoderConfig
from umtn.model.presets import PRESETS, preset
from umtn.training.train import train

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:.*:DeprecationWarning", "ignore:.*:FutureWarning"),
]
NAMES = ("tiny-live", "tiny-live-small")


@pytest.fixture(autouse=True)
def _rival(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another preset behind the encoder of `tiny-live`."""
    small = LiveDecoderConfig(hidden=4, partials=4, bands=4, voices=2)
    monkeypatch.setitem(PRESETS, NAMES[1], replace(preset(NAMES[0]), preset=NAMES[1], decoder=small))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tinydata.make(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def live(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tinydata.live(Dataset.open(data), tmp_path_factory.mktemp("live") / "c")


def command(data: Path, live: Path, out: Path, *more: str) -> list[str]:
    words = [
        "rivals",
        "--data",
        data,
        "--held-out",
        data,
        "--encoder",
        live,
        "--out",
        out,
        "--minutes",
        "0.02",
    ]
    words += ["--domains", "piano", "--presets", ",".join(NAMES), "--sources", "saw"]
    return [*map(str, words), "--minutes-per-source", "0.1", *more]


def test_rivals_are_trained_judged_and_compared(
    data: Path, live: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, stopped = tmp_path / "out", replace(preset(NAMES[1]), domains=("piano",))
    train(stopped, Dataset.open(data), out / NAMES[1], 0.02, resume=False, steps=1, encoder=live)
    assert main(command(data, live, out)) == 0  # goes on there
    rows = json.loads((out / "rivals.json").read_text())
    assert tuple(rows) == NAMES
    ear = checkpoint.load(live).encoder.state_dict()
    for name, row in rows.items():
        config, progress = checkpoint.read_config(out / name)
        assert config.preset == name and config.domains == ("piano",)
        assert row["steps"] == progress.step >= 1 and progress.minutes >= 0.02
        trained = checkpoint.load(out / name).encoder.state_dict()
        assert all(v.equal(ear[k]) for k, v in trained.items())
    table = (out / "rivals.md").read_text()
    assert f"| | {' | '.join(NAMES)} |" in table and "| F1 one |" in table
    assert table.split("\n\n")[0] in capsys.readouterr().out
    # all done: called again, nothing is trained or played anew
    before = {
        p: p.stat().st_mtime_ns for p in out.rglob("*") if p.suffix == ".safetensors" or p.stem in NAMES
    }
    assert main(command(data, live, out)) == 0
    assert {p: p.stat().st_mtime_ns for p in before} == before
    assert main(command(data, live, out, "--seed", "3")) == 2
    assert "seed 0, but 3 came" in capsys.readouterr().err
    other = tmp_path / "other"
    train(
        replace(preset("tiny-live"), domains=("piano",)),
        Dataset.open(data),
        other,
        5,
        resume=False,
        steps=1,
        seed=7,
    )
    assert main(command(data, other, out)) == 2
    assert "hears otherwise than" in capsys.readouterr().err


def test_a_slip_is_told_before_the_first_hour(
    data: Path, live: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(command(data, live, tmp_path / "o", "--presets", "tiny-live,tiny-life")) == 2
    assert "no preset 'tiny-life'" in capsys.readouterr().err
    assert main(command(data, live, tmp_path / "o", "--minutes", "0")) == 2
    assert "--minutes is 0; it should be above 0" in capsys.readouterr().err
    assert main(command(data, live, tmp_path / "o", "--steps", "0")) == 2
    assert "--steps is 0; it should be above 0" in capsys.readouterr().err
    assert main(command(data, live, tmp_path / "o", "--clips", "0.1")) == 2
    assert "clips should last 0.3 seconds" in capsys.readouterr().err
    assert not (tmp_path / "o").exists()


def test_the_table_shows_the_best_of_each_line() -> None:
    rows = {
        "a": {"pitch_f1_one": 0.9, "clicks_per_minute": 3.0},
        "b": {"pitch_f1_one": 0.5, "clicks_per_minute": 1.0},
        "c": {"pitch_f1_one": 0.9, "clicks_per_minute": 1.0},
    }
    about = dict.fromkeys(experiments.ABOUT, 1.0)
    lines = experiments.markdown({name: row | about for name, row in rows.items()}).splitlines()
    assert "| F1 one | **0.90** | 0.50 | **0.90** |" in lines
    assert "| clicks | 3.0 | **1.0** | **1.0** |" in lines
    assert "| timbre | - | - | - |" in lines


def test_what_each_part_of_the_objective_is_worth(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    configs = experiments.ablations("tiny-live")
    parts = ("confusion", "augmentation", "pairs", "reconstruction")
    assert tuple(configs) == ("tiny-live", *(f"tiny-live-without-{part}" for part in parts))
    assert [c.confusion.weight == 0 for c in configs.values()] == [False, True, False, False, False]
    monkeypatch.setattr(experiments, "ABLATIONS", ("pairs",))  # one tells how the command does with them all
    words = ["ablate", "--preset", "tiny-live", "--data", data, "--held-out", data, "--out", tmp_path / "out"]
    words += ["--steps", "3", "--clips", "0.5", "--domains", ",".join(tinydata.DOMAINS), "--sources", "saw"]
    words += ["--minutes-per-source", "0.1"]
    assert main([*map(str, words)]) == 0
    rows = json.loads((tmp_path / "out" / "ablations.json").read_text())
    assert tuple(rows) == ("tiny-live", "tiny-live-without-pairs")
    assert [checkpoint.read_config(tmp_path / "out" / name)[0].training.pairs for name in rows] == [
        True,
        False,
    ]
    assert [row["steps"] for row in rows.values()] == [3, 3]
    assert checkpoint.read_config(tmp_path / "out" / "tiny-live")[0].training.seconds == 0.5
    assert all(0 <= row["domain probe"] <= 1 for row in rows.values())
