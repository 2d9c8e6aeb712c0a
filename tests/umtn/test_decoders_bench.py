"""The training bench prints a line for each way there is, and names what has no WaveNet."""

from __future__ import annotations

import re

import pytest

from benchmarks import teacher_forcing
from umtn.errors import UserError


@pytest.mark.parametrize("name", ["tiny-wavenet-live", "tiny-wavenet-plain"])
def test_every_way_has_its_figure(name: str) -> None:
    lines = teacher_forcing.table(name, clips=1, runs=1).splitlines()
    assert lines[0].startswith(name)
    assert lines[1].startswith("PyTorch's products")
    assert all(float(re.findall(r"[\d.]+", line)[-2]) > 0 for line in lines[1:])


def test_a_preset_without_a_wavenet_is_named() -> None:
    with pytest.raises(UserError, match="'tiny-live' has no WaveNet decoder"):
        teacher_forcing.table("tiny-live", clips=1, runs=1)
