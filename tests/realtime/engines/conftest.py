"""Tiny bundles of two domains with random weights, one of each kind, exported once per run."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from export.bundle.bundle import Bundle

DOMAINS = ("strings", "piano")


def _exported(tmp_path_factory: pytest.TempPathFactory, preset: str, hop: int | None = None) -> Bundle:
    pytest.importorskip("torch")
    from tests.export.toys import export_toy

    return Bundle.open(export_toy(tmp_path_factory.mktemp(preset), preset, DOMAINS, hop=hop).bundle)


@pytest.fixture(scope="session")
def live_bundle(tmp_path_factory: pytest.TempPathFactory, traces_once: None) -> Bundle:
    return _exported(tmp_path_factory, "tiny-live")


@pytest.fixture(scope="session")
def wavenet_bundle(tmp_path_factory: pytest.TempPathFactory, traces_once: None) -> Bundle:
    """Its hop divides the longest window, which the native encoder needs and the preset's does not."""
    return _exported(tmp_path_factory, "tiny-wavenet-plain", hop=64)


@pytest.fixture(scope="session")
def one_thread() -> Iterator[None]:
    """PyTorch draws a few streams' samples five times as fast so."""
    torch = pytest.importorskip("torch")
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def guided_bundle(tmp_path_factory: pytest.TempPathFactory, one_thread: None, traces_once: None) -> Bundle:
    return _exported(tmp_path_factory, "tiny-wavenet-live")
