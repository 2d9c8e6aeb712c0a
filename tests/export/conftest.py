"""Two tiny checkpoints and the bundles made from them by the command line, once per run."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from export.__main__ import main
from umtn.checkpoint import Progress, save
from umtn.config import preset
from umtn.translator import Translator


def make_checkpoint(folder: Path, name: str, domains: tuple[str, ...], seed: int = 0) -> Path:
    """Random weights, so that no bias is zero and no domain like another."""
    torch.manual_seed(seed)
    config = dataclasses.replace(preset(name), domains=domains)
    save(folder, config, Translator(config).state_dict(), {}, Progress())
    return folder


@dataclasses.dataclass(frozen=True)
class Exported:
    checkpoint: Path
    bundle: Path


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
