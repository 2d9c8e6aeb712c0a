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
