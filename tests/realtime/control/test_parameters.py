"""The table is sane, and what is made from it follows it."""

from __future__ import annotations

import ast
import dataclasses
import math
from pathlib import Path

import pytest

from realtime.dsp.controls import CELLS, Controls, default_cells, fill
from realtime.options import build_parser
from realtime.shared import parameters
from realtime.shared.memory import PARAMETER_INDEX
from realtime.shared.parameters import (
    FAMILIES,
    PARAMETERS,
    STATUS,
    VALUES,
    Family,
    Parameter,
    Status,
    by_name,
    markdown_table,
    with_domains,
)

ENTRIES: tuple[Parameter | Status, ...] = (*PARAMETERS, *STATUS)


def test_names_and_addresses_are_unique() -> None:
    addresses = [entry.address for entry in ENTRIES]
    assert len(set(addresses)) == len(addresses)
    options = [p.cli for p in PARAMETERS if p.cli]
    assert len(set(options)) == len(options)


@pytest.mark.parametrize("parameter", PARAMETERS, ids=lambda p: p.name)
def test_entry(parameter: Parameter) -> None:
    assert parameter.low <= parameter.default <= parameter.high
    assert parameter.clip(parameter.default) == parameter.default
    assert parameter.clip(-1e9) == parameter.low
    assert parameter.clip(1e9) == parameter.high
    assert parameter.description
    assert parameter.smoothing_ms >= 0


@pytest.mark.parametrize("parameter", PARAMETERS, ids=lambda p: p.name)
def test_normalized_goes_there_and_back(parameter: Parameter) -> None:
    for step in range(11):
        value = parameter.clip(parameter.low + (parameter.high - parameter.low) * step / 10)
        assert parameter.denormalize(parameter.normalize(value)) == pytest.approx(value, abs=1e-9)
    assert parameter.denormalize(0) == parameter.low
    assert parameter.denormalize(1) == parameter.high


def test_a_frozen_entry_and_an_unknown_name() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(PARAMETERS[0], "low", 1.0)  # noqa: B010
    with pytest.raises(KeyError):
        by_name("nothing")


def test_domains_narrow_the_choice() -> None:
    to = next(p for p in with_domains(("a", "b", "c")) if p.name == "to")
    assert (to.low, to.high, to.choices) == (0.0, 2.0, ("a", "b", "c"))


def test_domains_have_a_weight_each_with_a_cell_of_its_own() -> None:
    weights = [p for p in with_domains(("a", "b")) if p.name.startswith("blend")]
    assert [(p.name, p.address, p.stored) for p in weights] == [
        ("blend/a", "/umtn/blend/a", "blend/0"),
        ("blend/b", "/umtn/blend/b", "blend/1"),
    ]


def test_the_readme_table_has_a_row_for_each() -> None:
    table = markdown_table()
    for entry in ENTRIES:
        address = f"{entry.address}/DOMAIN" if getattr(entry, "per_domain", False) else entry.address
        assert table.count(f"| `{address}` |") == 1
    for family in FAMILIES:
        assert table.count(f"| `{family.address}/N` |") == 1
    widths = {line.count("|") for line in table.split("\n\n")[0].splitlines()}
    assert widths == {6}


def test_every_option_of_the_table_is_on_the_command_line() -> None:
    text = build_parser().format_help()
    for parameter in PARAMETERS:
        assert parameter.cli is None or f"{parameter.cli} " in text


def test_cli_value_takes_the_range_of_the_table() -> None:
    options = vars(build_parser().parse_args(["--gain", "-6.5", "--mix", "0.5"]))
    assert options["output/gain_db"] == -6.5
    assert options["mix"] == 0.5
    with pytest.raises(ValueError, match="-60 to 24 dB"):
        build_parser().parse_args(["--gain", str(math.nextafter(24.0, 99.0) + 1)])


def _read_elsewhere() -> set[str]:
    """Attributes that the program reads by name, beyond the table's own file."""
    realtime = Path(parameters.__file__).parents[1]
    return {
        node.attr
        for path in realtime.rglob("*.py")
        if path != Path(parameters.__file__)
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load)
    }


@pytest.mark.parametrize("entry", [Parameter, Status, Family], ids=lambda c: c.__name__)
def test_every_column_is_read_somewhere(entry: type) -> None:
    """What nobody reads is not in the table; `cell` is read as `stored`."""
    by_formula = {"cell": "stored"}
    read = _read_elsewhere()
    columns = [by_formula.get(f.name, f.name) for f in dataclasses.fields(entry)]
    assert [c for c in columns if c not in read] == []


def test_controls_and_cells_are_made_from_the_table() -> None:
    valued = [p for p in PARAMETERS if p.kind in VALUES]
    assert set(vars(Controls())) == {e.attribute for e in (*valued, *FAMILIES)}
    cells = default_cells()
    assert len(cells) == CELLS == len(PARAMETER_INDEX)
    controls = Controls()
    for p in valued:
        if p.per_domain:
            cells[PARAMETER_INDEX[f"{p.name}/3"]] = p.high
        else:
            assert getattr(controls, p.attribute) == p.default
            cells[PARAMETER_INDEX[p.name]] = p.high
    fill(controls, cells)
    for p in valued:
        value = getattr(controls, p.attribute)
        assert (value[3] if p.per_domain else value) == p.high
        kind = {"float": float, "bool": bool, "choice": int}[p.kind]
        assert p.per_domain or type(value) is kind
    with pytest.raises(TypeError, match="volume"):
        Controls(volume=1.0)
