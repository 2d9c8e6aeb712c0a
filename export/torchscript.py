# no `from __future__ import annotations` here: TorchScript reads the annotations
"""Streaming modules as TorchScript files: any number of streams and blocks, one plain signature.

    step(audio_B1N, state) -> (latent_BDT, state)               encoder
    step(latent_BDT, state) -> (audio_B1N, state)               decoders without noise
    step(latent_BDT, noise_B1N, state) -> (audio_B1N, state)    decoders with noise, at temperature 1
    step_at(latent, noise, temperature, state)                  the same at any temperature [1]
    init_state(streams) -> state                                fresh state, stream first

`forward` is `step`. TorchScript is code: load such a file only if you trust where it comes from.
"""

import io
import warnings
import zipfile

import torch
from torch import Tensor, nn

from umtn.model.decoders.base import Decoder
from umtn.model.streaming import StreamingModule

__all__ = ["load_script", "script_decoder", "script_encoder", "script_module"]


class _Encoder(nn.Module):
    def __init__(self, encoder: StreamingModule) -> None:
        super().__init__()
        self.inner = encoder
        self.block: int = encoder.block

    @torch.jit.export
    def init_state(self, streams: int) -> list[Tensor]:
        return self.inner.init_state(streams)

    @torch.jit.export
    def step(self, audio: Tensor, state: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        return self.inner.step(audio, state)

    def forward(self, audio: Tensor, state: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        return self.inner.step(audio, state)


class _Decoder(nn.Module):
    """A decoder that reads no noise."""

    def __init__(self, decoder: Decoder) -> None:
        super().__init__()
        self.inner = decoder
        self.hop: int = decoder.hop

    @torch.jit.export
    def init_state(self, streams: int) -> list[Tensor]:
        return self.inner.init_state(streams)

    @torch.jit.export
    def step(self, latent: Tensor, state: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        silence = torch.zeros([latent.shape[0], 1, latent.shape[2] * self.hop], device=latent.device)
        return self.inner.decode_step(latent, silence, torch.ones([1], device=latent.device), state)

    def forward(self, latent: Tensor, state: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        return self.step(latent, state)


class _NoiseDecoder(nn.Module):
    def __init__(self, decoder: Decoder) -> None:
        super().__init__()
        self.inner = decoder
        self.hop: int = decoder.hop

    @torch.jit.export
    def init_state(self, streams: int) -> list[Tensor]:
        return self.inner.init_state(streams)

    @torch.jit.export
    def step_at(
        self, latent: Tensor, noise: Tensor, temperature: Tensor, state: list[Tensor]
    ) -> tuple[Tensor, list[Tensor]]:
        return self.inner.decode_step(latent, noise, temperature, state)

    @torch.jit.export
    def step(self, latent: Tensor, noise: Tensor, state: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        return self.inner.decode_step(latent, noise, torch.ones([1], device=latent.device), state)

    def forward(self, latent: Tensor, noise: Tensor, state: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        return self.step(latent, noise, state)


def script_module(module: nn.Module) -> torch.jit.ScriptModule:
    """`torch.jit.script` in eval mode; torch calls it deprecated, but nn~ and Neutone load nothing else."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return torch.jit.script(module.eval())  # type: ignore[no-any-return]


def load_script(data: bytes) -> torch.jit.ScriptModule:
    """Runs code from the file; RuntimeError when it is none."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return torch.jit.load(io.BytesIO(data), map_location="cpu").eval()  # type: ignore[no-any-return]


def script_encoder(encoder: StreamingModule) -> bytes:
    """The file `torchscript/encoder.ts`."""
    return _save(_Encoder(encoder))


def script_decoder(decoder: Decoder) -> bytes:
    """The file `torchscript/<domain>.ts`."""
    return _save(_NoiseDecoder(decoder) if decoder.needs_noise else _Decoder(decoder))


def _save(module: nn.Module) -> bytes:
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.jit.save(script_module(module), buffer)
    return _without_paths(buffer.getvalue())


def _without_paths(archive: bytes) -> bytes:
    """Drops the debug records: they hold the file names of the machine that made the file."""
    stripped = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(archive)) as source,
        zipfile.ZipFile(stripped, "w") as target,
    ):
        for info in source.infolist():
            if not info.filename.endswith(".debug_pkl"):
                target.writestr(zipfile.ZipInfo(info.filename), source.read(info))
    return stripped.getvalue()
