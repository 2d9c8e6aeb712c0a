"""Two tiny checkpoints and the bundles made from them by the command line, once per run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from export.__main__ import main
from tests.export.toys import Exported, make_checkpoint


def _exported(folder: Path, name: str, domains: tuple[str, ...]) -> Exported:
    checkpoint = make_checkpoint(folder / "checkpoint", name, domains)
    assert main([str(checkpoint), "-o", str(folder / "toy.umtn"), "--torchscript", "--notes", "random"]) == 0
    return Exported(checkpoint, folder / "toy.umtn")


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def live(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    return _exported(tmp_path_factory.mktemp("live"), "tiny-live", ("strings", "My Voice"))


@pytest.fixture(scope="session")
def wavenet(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    return _exported(tmp_path_factory.mktemp("wavenet"), "tiny-wavenet-live", ("strings",))
