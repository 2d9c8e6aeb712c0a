"""Presets survive JSON; a slip in a key names the nearest known one."""

import json

import pytest

from umtn.errors import UserError
from umtn.model.config import Config
from umtn.model.presets import PRESETS, preset


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
    with pytest.raises(UserError, match="known are conv, guided, live, wavenet"):
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
