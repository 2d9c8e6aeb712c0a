"""`umtn evaluate` from end to end, on a model that knows nothing and on one that is perfect."""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.realtime.fakebundle import write_fake_bundle
from tests.umtn import tinydata
from umtn.cli import evaluate as cli_evaluate
from umtn.data.compose import compose
from umtn.data.dataset import Dataset
from umtn.errors import UserError
from umtn.evaluation.evaluate import Judges, evaluate
from umtn.evaluation.material import Material
from umtn.evaluation.report import table
from umtn.model import checkpoint
from umtn.model.checkpoint import Progress
from umtn.model.presets import preset
from umtn.model.translator import Translator
from umtn.offline import BundlePlayer, open_player

CONFIG = replace(preset("tiny-live"), domains=tinydata.DOMAINS)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tinydata.make(tmp_path_factory.mktemp("data"), CONFIG.sample_rate)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("checkpoint")
    translator = Translator(CONFIG)
    checkpoint.save(folder, CONFIG, translator.state_dict(), {}, Progress())
    return folder


def run(*arguments: object) -> None:
    parser = argparse.ArgumentParser()
    cli_evaluate.register(parser.add_subparsers())
    args = parser.parse_args([str(a) for a in arguments])
    args.run(args)


class Oracle:
    """Plays the true rendering, 20 ms late: every figure must be that of the truth."""

    name, declared_lag_s = "oracle", 0.0
    facts: dict[str, float | int | str] = {}

    def __init__(self, material: Material) -> None:
        self.material, self.sample_rate = material, material.rate
        self.domains = tuple(material.truths)

    def play(self, audio: np.ndarray, targets: tuple[str, ...]) -> dict[str, np.ndarray]:
        late = round(0.02 * self.sample_rate)
        silent = len(audio) > self.material.samples or not np.any(audio)
        out = {}
        for t in targets:
            truth = np.zeros(len(audio), np.float32) if silent else self.material.truths[t][: len(audio)]
            out[t] = np.pad(truth, (late, 0))[: len(audio)]
        return out


@pytest.mark.slow
def test_a_perfect_model_reaches_the_ceiling(data: Path) -> None:
    material = Material.choose(Dataset.open(data), 0.0, 10.0, ("saw",))
    report = evaluate(Oracle(material), material)
    for target, kinds in report["means"]["targets"].items():
        assert report["lags"][target]["measured_s"] == pytest.approx(0.02, abs=0.002)
        for name in ("pitch_f1", "onset_f1", "timbre_share"):
            assert kinds["model"][name] == pytest.approx(kinds["truth"][name], abs=0.06)
        assert kinds["model"]["logmel_distance_db"] < 1.0 < kinds["copy"]["logmel_distance_db"]
        assert kinds["model"]["loudness_correlation"] > 0.98
        for name in ("raw_pitch_accuracy", "ncc", "dtw"):
            assert kinds["model"][name] == pytest.approx(kinds["truth"][name], abs=0.06)
        assert kinds["copy"]["ncc"] == kinds["copy"]["dtw"] == 1.0
        assert kinds["model"]["attack_ms"] == pytest.approx(kinds["truth"]["attack_ms"] + 20, abs=3)
        assert report["silence"][target]["silence_dbfs"] == -120.0


@pytest.mark.slow
def test_a_tiny_checkpoint_through_the_command(
    data: Path, tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "report.json"
    run(
        "evaluate", tiny, "--data", data, "--json", out, "--figures", tmp_path / "png",
        "--minutes-per-source", 0.08, "--sources", "saw,strings",
    )  # fmt: skip
    report = json.loads(out.read_text())
    pairs = {(r["kind"], r["source"], r["target"]) for r in report["rows"]}
    assert ("model", "saw", "piano") in pairs and ("copy", "saw", "piano") in pairs
    assert ("model", "strings", "strings") not in pairs  # to play oneself is no translation
    assert all(0 <= r["pitch_f1"] <= 1 for r in report["rows"])
    for row in report["cost"].values():
        assert row["parameters"] > 1000 and row["mac_per_s"] > 1e5 and row["rtf"] > 0
    assert 0 <= report["latent"]["probe_domain"] <= 1 and report["latent"]["probe_chance"] == 0.5
    assert len(list((tmp_path / "png").glob("*.png"))) == len(CONFIG.domains)
    assert "timbre judge on true renderings" in capsys.readouterr().out


def test_material_comes_at_the_rate_that_is_asked(data: Path) -> None:
    opened = Dataset.open(data)
    own = Material.choose(opened, 1.0, 3.0, ("saw",))
    twice = Material.choose(opened, 1.0, 3.0, ("saw",), 2 * own.rate)
    assert (own.rate, twice.rate, twice.samples) == (8000, 16000, 2 * own.samples)
    for low, high in (
        (own.sources["saw"], twice.sources["saw"]),
        (own.truths["piano"], twice.truths["piano"]),
    ):
        assert np.corrcoef(high[::2], low)[0, 1] > 0.99  # a saw's and a square's edges ring
    report = evaluate(Oracle(twice), twice)
    assert report["means"]["all"]["model"]["pitch_f1"] > 0.5
    assert "air_difference_db" not in report["means"]["all"]["model"]  # 8 kHz at most


@pytest.mark.slow
def test_never_trained_sources_have_their_own_means(data: Path, tmp_path: Path) -> None:
    opened = Dataset.open(data)
    material = Material.choose(opened, 0.0, 4.0)
    new = Material(**{**material.__dict__, "never_trained": frozenset({"saw"})})
    report = evaluate(Oracle(new), new)
    assert report["material"]["never_trained"] == ["saw"]
    assert report["means"]["never_trained"]["model"]["pitch_f1"] >= 0
    assert "saw*" in table(report)


def test_a_bundle_is_played_block_by_block(tmp_path: Path) -> None:
    path = tmp_path / "fake.umtn"
    write_fake_bundle(path, identity=True)
    player = open_player(path)
    assert isinstance(player, BundlePlayer)
    audio = np.random.default_rng(0).standard_normal(1000).astype(np.float32) * 0.1
    first = player.domains[0]
    for _ in range(2):  # from a fresh state each time
        assert np.allclose(player.play(audio, (first,))[first], audio, atol=1e-6)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--sources", "kazoo"), "no instrument 'kazoo'"),
        (("--targets", "kazoo"), "no domain 'kazoo'"),
        (("--start", "9999"), "do not lie in a score"),
        (("--minutes-per-source", "0"), "do not lie in a score"),
        (("--precision", "int8"), "plays in float32"),
    ],
)
def test_slips_are_told_in_one_sentence(data: Path, tiny: Path, more: tuple[str, ...], message: str) -> None:
    with pytest.raises(UserError, match=message):
        run("evaluate", tiny, "--data", data, *more)


def test_precision_is_of_wavenets_alone(tmp_path: Path) -> None:
    path = tmp_path / "fake.umtn"
    write_fake_bundle(path, identity=True)
    with pytest.raises(UserError, match="'fake.umtn' has none"):
        open_player(path, "int8")


def test_no_model_and_no_data(data: Path, tiny: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not exist"):
        run("evaluate", tmp_path / "none.umtn", "--data", data)
    (tmp_path / "broken.umtn").write_bytes(b"PK")
    with pytest.raises(UserError, match="broken"):
        run("evaluate", tmp_path / "broken.umtn", "--data", data)
    with pytest.raises(UserError, match="manifest"):
        run("evaluate", tiny, "--data", tmp_path)


def test_the_cut_at_the_end_is_no_click() -> None:
    """Where the lag was removed the sound breaks off, in the middle of a note if need be."""
    rate, t = 48_000, np.arange(4 * 48_000) / 48_000
    made = np.asarray(0.3 * np.sin(2 * np.pi * 217.3 * t), np.float32)  # not at a zero
    cut = np.asarray(np.pad(made[960:], (0, 960)), np.float32)
    judges = Judges(compose(0, 6.0), 0.0, rate)
    heard = judges.hear(cut)
    assert judges.figures(heard, cut, made, "piano")["clicks_per_minute"] > 0
    assert judges.figures(heard, cut, made, "piano", 0.02)["clicks_per_minute"] == 0
