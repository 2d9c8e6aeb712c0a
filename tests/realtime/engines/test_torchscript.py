"""The TorchScript engine: a scripted twin of the fake bundle's modules, held against the same probe."""

from __future__ import annotations

import dataclasses
import io
from pathlib import Path
from typing import List, Tuple

import pytest

torch = pytest.importorskip("torch")

from torch import Tensor  # noqa: E402

from export.bundle.bundle import Bundle, write_bundle  # noqa: E402
from realtime.engines import load_engine  # noqa: E402
from tests.realtime.fakebundle import NOISE_LEVEL, write_fake_bundle  # noqa: E402


class Encoder(torch.nn.Module):
    @torch.jit.export
    def step(self, x: Tensor, state: List[Tensor]) -> Tuple[Tensor, List[Tensor]]:
        y = torch.empty_like(x)
        last = state[0][0, 0, 0]
        for n in range(x.shape[2]):
            last = 0.5 * x[0, 0, n] + 0.5 * last
            y[0, 0, n] = last
        return y.reshape(1, -1, 1), [last.reshape(1, 1, 1)]


class Mean(torch.nn.Module):
    @torch.jit.export
    def step(self, latent: Tensor, state: List[Tensor]) -> Tuple[Tensor, List[Tensor]]:
        both = torch.cat([state[0], latent.reshape(1, 1, -1)], dim=2)
        return 0.5 * (both[:, :, 1:] + both[:, :, :-1]), [both[:, :, -1:]]


class Bright(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.level = NOISE_LEVEL

    @torch.jit.export
    def step(self, latent: Tensor, noise: Tensor, state: List[Tensor]) -> Tuple[Tensor, List[Tensor]]:
        z = latent.reshape(1, 1, -1)
        return torch.tanh(2 * z) / 2 + self.level * (noise - 0.5) + state[0] / 4, [z]


def scripted(module: torch.nn.Module) -> bytes:
    packed = io.BytesIO()
    torch.jit.save(torch.jit.script(module), packed)
    return packed.getvalue()


def scripted_bundle(folder: Path) -> Bundle:
    """The fake bundle with TorchScript beside its graphs."""
    plain = Bundle.open(write_fake_bundle(folder / "plain.umtn"))
    files = {name: plain.read(name) for name in plain.names}
    for name, module in (("encoder", Encoder()), ("strings", Mean()), ("piano", Bright())):
        files[f"torchscript/{name}.ts"] = scripted(module)
    write_bundle(folder / "both.umtn", dataclasses.replace(plain.manifest, files={}), files)
    return Bundle.open(folder / "both.umtn")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_probe_is_met(tmp_path: Path) -> None:
    engine = load_engine(scripted_bundle(tmp_path), "torchscript")  # refuses a wrong probe by itself
    assert engine.name == "torchscript"
