"""Every export in here goes through one memory of traced graphs."""

from __future__ import annotations

import pytest


@pytest.fixture(scope="session", autouse=True)
def traces(traces_once: None) -> None:
    """Tiny models of the same seed are exported again and again."""
