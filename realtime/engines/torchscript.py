"""TorchScript, for comparison. The only place in `realtime` that imports torch; loads code from the bundle.

`torchscript/encoder.ts`: step(audio, state) -> (latent, state); `torchscript/<domain>.ts`:
step(latent, state) or step(latent, noise, state) -> (audio, state). State tensors in the manifest's order.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import numpy as np

from realtime.errors import UserError

if TYPE_CHECKING:
    from export.bundle import Bundle, Graph
    from realtime.engines.base import Cost

__all__ = ["TorchScriptEngine"]


class _Stepper:
    """One scripted module with its states."""

    def __init__(self, torch: Any, bundle: Bundle, file: str, graph: Graph) -> None:
        self._torch, self._graph = torch, graph
        try:
            module = torch.jit.load(io.BytesIO(bundle.read(file)), map_location="cpu").eval()
        except RuntimeError as error:
            reason = str(error).strip().splitlines()[0]
            raise UserError(f"{file} of {bundle.path.name} cannot be loaded by PyTorch ({reason})") from None
        self._step = module.step
        self.reset()

    def reset(self) -> None:
        torch = self._torch
        self._state = [
            torch.full(s.shape, s.initial, dtype=getattr(torch, s.dtype)) for s in self._graph.states
        ]

    def step(self, *inputs: Any) -> Any:
        with self._torch.inference_mode():
            # clones: a state may be a view of an input, and our inputs are buffers that change under it
            y, self._state = self._step(*(x.clone() for x in inputs), self._state)
        return y


class TorchScriptEngine:
    """See `Engine`. PyTorch allocates inside; use it to compare, not on stage."""

    name = "torchscript"

    def __init__(self, bundle: Bundle, seed: int | None = None) -> None:
        try:
            import torch
        except ImportError:
            raise UserError(
                "the engine torchscript needs PyTorch, which is not installed; use --engine onnx"
            ) from None
        torch.set_num_threads(1)
        torch.set_flush_denormal(True)
        manifest = self.manifest = bundle.manifest
        self.cost: Cost | None = None
        files = ["torchscript/encoder.ts", *(f"torchscript/{d.id}.ts" for d in manifest.domains)]
        if any(file not in bundle.names for file in files):
            raise UserError(
                f"{bundle.path.name} holds no TorchScript; export it with --torchscript, or use --engine onnx"
            )
        graphs = [manifest.graphs[manifest.encoder], *(manifest.graphs[d.graph] for d in manifest.domains)]
        steppers = [_Stepper(torch, bundle, file, graph) for file, graph in zip(files, graphs, strict=True)]
        self._encoder, self._decoders = steppers[0], steppers[1:]
        self._extra = [[p.name for p in graph.inputs if p.name != "latent"] for graph in graphs[1:]]
        self._audio = torch.zeros(1, 1, manifest.block)
        self._noise = torch.zeros(1, 1, manifest.block)
        self._temperature = torch.ones(1)
        self._latent = torch.zeros(1, manifest.latent_channels, manifest.block // manifest.hop)
        self.latent = self._latent[0].numpy()
        self._random = np.random.default_rng(seed)

    @property
    def temperature(self) -> float:
        return float(self._temperature[0])

    @temperature.setter
    def temperature(self, value: float) -> None:
        self._temperature.fill_(value)

    def encode(self, audio: np.ndarray) -> np.ndarray:
        self._audio.numpy()[0, 0] = audio
        self.latent[:] = self._encoder.step(self._audio)[0].numpy()
        return self.latent

    def decode(self, domain: int, out: np.ndarray, noise: np.ndarray | None = None) -> None:
        extra = self._extra[domain]
        if "noise" in extra:
            buffer = self._noise.numpy()[0, 0]
            if noise is None:
                self._random.random(out=buffer, dtype=np.float32)
            else:
                buffer[:] = noise
        named = {"noise": self._noise, "temperature": self._temperature}
        out[:] = self._decoders[domain].step(self._latent, *(named[name] for name in extra))[0, 0].numpy()

    def reset(self, domain: int | None = None) -> None:
        for stepper in [self._decoders[domain]] if domain is not None else [self._encoder, *self._decoders]:
            stepper.reset()
