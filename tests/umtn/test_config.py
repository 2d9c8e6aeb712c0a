"""Presets survive JSON; a slip in a key names the nearest known one."""

import json
from pathlib import Path

import pytest

from export.__main__ import main as export
from umtn.__main__ import main as umtn
from umtn.errors import UserError
from umtn.model import checkpoint
from umtn.model.config import Config
from umtn.model.presets import PRESETS, preset
from umtn.model.translator import Translator


@pytest.mark.parametrize("name", list(PRESETS))
def test_presets_survive_json(name: str) -> None:
    assert Config.from_json(preset(name).to_json()) == preset(name)


def test_slips_get_a_sentence() -> None:
    with pytest.raises(UserError, match="did you mean 'live'"):
        preset("lve")
    table = json.loads(preset("live").to_json())
    table["decoder"]["partails"] = table["decoder"].pop("partials")
    with pytest.raises(UserError, match=r"config.decoder has no setting 'partails'; did you mean 'partials'"):
        Config.from_json(json.dumps(table))
    table["decoder"] = {"kind": "magic"}
    with pytest.raises(UserError, match="known are guided, live, wavenet"):
        Config.from_json(json.dumps(table))
    with pytest.raises(UserError, match="not JSON"):
        Config.from_json("{")
    with pytest.raises(UserError, match="incomplete"):
        Config.from_json("{}")


@pytest.mark.parametrize(
    "number", ["NaN", "Infinity", "-Infinity", "1e400", "true", '"3"', "null", "1" + 400 * "0"]
)
@pytest.mark.parametrize(
    ("where", "key"),
    [
        (None, "sample_rate"),
        (None, "hop"),
        ("training", "learning_rate"),
        ("training", "batch"),
        ("decoder", "partials"),
    ],
)
def test_a_number_that_is_none_is_named(where: str | None, key: str, number: str) -> None:
    table = json.loads(preset("live").to_json())
    (table if where is None else table[where])[key] = "?"
    text = json.dumps(table).replace('"?"', number)
    if (key, number[:2]) in (("sample_rate", "10"), ("hop", "10"), ("batch", "10"), ("partials", "10")):
        assert Config.from_json(text)  # a whole number; what it is used for judges its size
        return
    with pytest.raises(UserError, match=rf"{key} should be a (whole|finite) number"):
        Config.from_json(text)


# as `tiny-live-conv` was written while there were convolutional decoders
CONV = {
    "kind": "conv",
    "channels": [12, 8],
    "strides": [16],
    "dilations": [1, 2],
    "later": [1],
    "bands": 4,
    "past": 0,
}
ADVERSARY = {"periods": [2, 3], "windows": [128], "channels": 4, "learning_rate": 5e-4, "joins": 0.0}


def test_a_model_with_convolutional_decoders_gets_a_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whoever opens it; what was written beside it in those days opens as ever."""
    folder = tmp_path / "old"
    config = preset("tiny-live")
    checkpoint.save(folder, config, Translator(config).state_dict(), {}, checkpoint.Progress())
    path = folder / "checkpoint.json"
    record = json.loads(path.read_text())
    record["config"]["adversary"] = None
    path.write_text(json.dumps(record))
    assert checkpoint.load(folder).config == config
    record["config"] |= {"preset": "tiny-live-conv", "decoder": CONV, "adversary": ADVERSARY}
    path.write_text(json.dumps(record))
    before = sorted(p.name for p in tmp_path.rglob("*"))
    played = ["in.wav", "--checkpoint", str(folder), "-o", "out.wav", "--to", "piano"]
    for main, words in (
        (export, [str(folder), "-o", str(tmp_path / "b.umtn")]),
        (umtn, ["translate", *played]),
    ):
        assert main(words) == 2
        said = capsys.readouterr().err
        assert said.count("\n") == 1 and "Traceback" not in said
        assert "preset 'tiny-live-conv') has convolutional decoders, which this version no longer has" in said
    assert sorted(p.name for p in tmp_path.rglob("*")) == before
