"""`umtn compare`: each figure's better direction, and reports that are none."""

from __future__ import annotations

import argparse
import copy
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from umtn.cli import evaluate
from umtn.errors import UserError
from umtn.evaluation.report import COLUMNS, SIDE_FIGURES, changes, comparison, only_targets, read_report


def report(**figures: float) -> dict[str, Any]:
    return {
        "model": {"name": "first"},
        "material": {"score": "s", "start_s": 0.0, "seconds": 8.0, "sources": ["koto"], "never_trained": []},
        "lags": {"piano": {"measured_s": 0.01}},
        "silence": {"piano": {"silence_dbfs": -90.0}},
        "means": {
            "all": {"model": figures}, "never_trained": {}, "sources": {"koto": figures},
            "targets": {"piano": {"model": figures}},
        },
    }  # fmt: skip


@pytest.mark.parametrize(
    ("key", "before", "after", "verdict"),
    [
        ("onset_f1", 0.5, 0.6, "better"),
        ("onset_f1", 0.6, 0.5, "worse"),
        ("onset_f1", 0.501, 0.504, "same"),  # not as written
        ("octave_errors", 0.1, 0.3, "worse"),
        ("rest_dbfs", -60.0, -80.0, "better"),
        ("level_difference_db", -6.0, 2.0, "better"),  # nearer to 0
        ("level_difference_db", 2.0, -6.0, "worse"),
        ("level_difference_db", 2.0, -2.0, "same"),
        ("vibrato_kept", 0.5, 1.1, "better"),  # nearer to 1
    ],
)
def test_each_figure_has_its_own_good_direction(key: str, before: float, after: float, verdict: str) -> None:
    found = [c for c in changes(report(**{key: before}), report(**{key: after})) if c.column.key == key]
    assert {c.where for c in found} == {"all", "piano", "source koto"}
    assert {c.verdict for c in found} == {verdict}


def test_only_changes_are_listed_and_all_are_counted() -> None:
    a, b = report(onset_f1=0.5, timbre_share=0.9), report(onset_f1=0.7, timbre_share=0.9)
    b["silence"]["piano"]["silence_dbfs"] = -50.0
    text = comparison(a, b)
    assert "0.50          0.70  better" in text
    assert "worse" in next(line for line in text.splitlines() if "out for silence" in line)
    assert "timbre" not in text and "Not the same material" not in text
    assert text.endswith("3 better, 1 worse, 0 changed, 4 same")


def test_other_material_is_said_aloud() -> None:
    b = report(onset_f1=0.5)
    b["material"] = copy.deepcopy(b["material"]) | {"seconds": 60.0}
    assert "length differ" in comparison(report(onset_f1=0.5), b)


def shipped() -> dict[str, Any]:
    return read_report(Path(__file__).parents[3] / "docs/figures/evaluation.json")


def test_targets_that_only_one_report_has_are_left_out_of_every_mean() -> None:
    whole = shipped()
    part = only_targets(whole, ("piano", "organ"))
    rows = [r for r in whole["rows"] if r["kind"] == "model" and r["target"] in ("piano", "organ")]
    wanted = sum(r["onset_f1"] for r in rows) / len(rows)
    assert part["means"]["all"]["model"]["onset_f1"] == pytest.approx(wanted, abs=1e-4)
    text = comparison(whole, part)
    assert "asked for strings, winds, voice, brass, plucked, mallets: not counted" in text
    assert "0 better, 0 worse" in text
    with pytest.raises(UserError, match="share no target: winds and piano, organ"):
        comparison(only_targets(whole, ("winds",)), part)


def test_all_targets_are_the_report_itself() -> None:
    whole = shipped()
    again = only_targets(whole, whole["means"]["targets"])["means"]
    assert again["targets"] == whole["means"]["targets"] and again["sources"] == whole["means"]["sources"]
    assert again["all"] == whole["means"]["all"] and again["never_trained"] == whole["means"]["never_trained"]


def test_a_figure_that_one_report_lacks_is_no_change() -> None:
    assert not [c for c in changes(report(dtw=0.5), report()) if c.column.key == "dtw"]


def test_keys_are_unique() -> None:
    keys = [c.key for c in COLUMNS + SIDE_FIGURES]
    assert len(keys) == len(set(keys))


def test_the_command_and_its_slips(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    parser = argparse.ArgumentParser()
    evaluate.register(parser.add_subparsers())
    a, b = tmp_path / "a.json", tmp_path / "b.json"
    a.write_text(json.dumps(report(onset_f1=0.5)))
    b.write_text(json.dumps(report(onset_f1=0.9)))
    args = parser.parse_args(["compare", str(a), str(b)])
    args.run(args)
    assert "3 better" in capsys.readouterr().out
    for content, message in (("{", "not JSON"), ("[]", "not a report"), ('{"model": {}}', "no 'material'")):
        b.write_text(content)
        with pytest.raises(UserError, match=message):
            read_report(b)
    with pytest.raises(UserError, match="cannot be read"):
        read_report(tmp_path / "none.json")


@pytest.mark.slow
def test_a_reader_that_has_read_enough_is_no_fault() -> None:
    report = str(Path(__file__).parents[3] / "docs/figures/evaluation.json")
    words = [sys.executable, "-m", "umtn", "compare", report, report]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as run:
        assert run.stdout is not None and run.stderr is not None
        run.stdout.close()
        told = run.stderr.read().decode()
    assert run.returncode == 0 and "Error" not in told
