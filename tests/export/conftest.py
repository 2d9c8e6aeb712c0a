"""Three tiny checkpoints and the bundles made from them by the command line, once per run."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from tests.export.toys import Exported, export_toy

WORDS = ("--torchscript", "--notes", "random")


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session", autouse=True)
def traces(traces_once: None) -> None:
    """All exports below it."""


@pytest.fixture(scope="session")
def live(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    return export_toy(tmp_path_factory.mktemp("live"), "tiny-live", ("strings", "My Voice"), *WORDS)


@pytest.fixture(scope="session")
def wavenet(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    return export_toy(tmp_path_factory.mktemp("wavenet"), "tiny-wavenet-plain", ("strings",), *WORDS, hop=64)


@pytest.fixture(scope="session")
def guided(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    return export_toy(tmp_path_factory.mktemp("guided"), "tiny-wavenet-live", ("strings",), *WORDS)
