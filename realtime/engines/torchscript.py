"""TorchScript, for comparison. The only place in `realtime` that imports torch; loads code from the bundle.

`torchscript/encoder.ts`: step(audio, state) -> (latent, state); `torchscript/<domain>.ts`:
step(latent, state) or step(latent, noise, state) -> (audio, state). State tensors in the manifest's order.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import numpy as np

from realtime.engines.engine import BufferedEngine
from realtime.shared.saved_classes import saved
from umtn.errors import UserError

if TYPE_CHECKING:
    from export.bundle.bundle import Bundle, Graph

__all__ = ["TorchScriptEngine"]


@saved("torchscript-module")
class _Stepper:
    """See `Part`: one scripted module with its states, on the arrays given by the names of its inputs."""

    def __init__(
        self,
        torch: Any,
        bundle: Bundle,
        file: str,
        graph: Graph,
        inputs: dict[str, np.ndarray],
        output: np.ndarray,
    ) -> None:
        self._torch, self._graph, self._output = torch, graph, output
        names = sorted(
            (port.name for port in graph.inputs), key=lambda name: name != "latent"
        )  # that one first
        self._inputs = [torch.from_numpy(inputs[name]) for name in names]
        self.noisy = "noise" in names
        try:
            module = torch.jit.load(io.BytesIO(bundle.read(file)), map_location="cpu").eval()
        except RuntimeError as error:
            reason = str(error).strip().splitlines()[0]
            raise UserError(f"{file} of {bundle.path.name} cannot be loaded by PyTorch ({reason})") from None
        self._step = module.step
        self.reset()
        self.keep()

    def reset(self) -> None:
        torch = self._torch
        self._state = [
            torch.full(s.shape, s.initial, dtype=getattr(torch, s.dtype)) for s in self._graph.states
        ]

    def keep(self) -> None:
        self._kept = self._state  # a step makes new ones

    def rest(self) -> None:
        self._state = self._kept

    def step(self) -> None:
        with self._torch.inference_mode():
            # clones: a state may be a view of an input, and our inputs are buffers that change under it
            y, self._state = self._step(*(x.clone() for x in self._inputs), self._state)
        self._output[...] = y.numpy()


@saved("torchscript-engine")
class TorchScriptEngine(BufferedEngine):
    """See `Engine`. PyTorch allocates inside; use it to compare, not on stage."""

    name = "torchscript"

    def __init__(self, bundle: Bundle, seed: int | None = None) -> None:
        try:
            import torch
        except ImportError:
            from umtn.missing import pip_install

            raise UserError(
                f"the engine torchscript needs PyTorch, which is not installed; {pip_install('train')}, or play "
                "without --engine"
            ) from None
        torch.set_num_threads(1)
        torch.set_flush_denormal(True)
        super().__init__(bundle.manifest, seed)
        manifest, buffers = self.manifest, self.buffers
        files = ["torchscript/encoder.ts", *(f"torchscript/{d.id}.ts" for d in manifest.domains)]
        if any(file not in bundle.names for file in files):
            raise UserError(
                f"{bundle.path.name} holds no TorchScript; export it with --torchscript, or use --engine onnx"
            )
        graphs = [manifest.graphs[manifest.encoder], *(manifest.graphs[d.graph] for d in manifest.domains)]
        outputs = [buffers.latent, *(buffers.out for _ in manifest.domains)]
        self._encoder, *self._decoders = (
            _Stepper(torch, bundle, file, graph, vars(buffers), output)
            for file, graph, output in zip(files, graphs, outputs, strict=True)
        )
