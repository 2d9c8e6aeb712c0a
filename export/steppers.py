"""One graph, three ways to run it: PyTorch, TorchScript, ONNX Runtime; all numpy in, numpy out, state inside.

Ports are time-last arrays [1, C, n * size]: audio for an encoder, latent (and noise) for a decoder.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
import onnxruntime
import torch
from torch import Tensor

from export.bundle import BundleError, Graph
from export.torchscript import load_script
from umtn.decoders.base import Decoder
from umtn.streaming import State, StreamingModule

__all__ = [
    "OnnxStepper",
    "Stepper",
    "TorchStepper",
    "module_stepper",
    "script_stepper",
    "stream",
]


class Stepper(Protocol):
    """`any_length`: whether one call may hold several blocks."""

    any_length: bool

    def reset(self) -> None: ...

    def take(self, state: State) -> None: ...

    def __call__(self, *ports: np.ndarray) -> np.ndarray: ...


class TorchStepper:
    """`step(*ports, state) -> (output, state)` of an eager or scripted module."""

    any_length = True

    def __init__(
        self,
        step: Callable[..., tuple[Tensor, State]],
        init_state: Callable[[int], State],
    ) -> None:
        self._step, self._init_state = step, init_state
        self.reset()

    def reset(self) -> None:
        self._state = self._init_state(1)

    def take(self, state: State) -> None:
        """Go on from a state of the module's."""
        self._state = [value.clone() for value in state]

    @torch.no_grad()
    def __call__(self, *ports: np.ndarray) -> np.ndarray:
        output, self._state = self._step(*map(torch.from_numpy, ports), self._state)
        return output.numpy()  # type: ignore[no-any-return]


class OnnxStepper:
    """An ONNX graph on the CPU, one thread; a temperature input, where there is one, stays 1."""

    any_length = False

    def __init__(self, data: bytes, graph: Graph) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        try:
            self._session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime has one class per failure, no common base
            reason = (str(error).strip().splitlines() or ["no reason given"])[0]
            raise BundleError(f"{graph.path}: ONNX Runtime cannot load it ({reason})") from None
        self._graph = graph
        self._ports = [port.name for port in graph.inputs if port.name != "temperature"]
        self._fixed = {p.name: np.ones(p.shape, p.dtype) for p in graph.inputs if p.name == "temperature"}
        self.reset()

    def reset(self) -> None:
        self._state = {s.name: np.full(s.shape, s.initial, s.dtype) for s in self._graph.states}

    def take(self, state: State) -> None:
        """Go on from a state of the module's, which the graph's are in order."""
        self._state = {s.name: value.numpy() for s, value in zip(self._graph.states, state, strict=True)}

    def __call__(self, *ports: np.ndarray) -> np.ndarray:
        feed: dict[str, Any] = {
            **dict(zip(self._ports, ports, strict=True)),
            **self._fixed,
            **self._state,
        }
        names = [
            self._graph.outputs[0].name,
            *(state.output for state in self._graph.states),
        ]
        output, *after = self._session.run(names, feed)
        self._state = dict(zip(self._state, after, strict=True))
        return np.asarray(output)


def module_stepper(module: StreamingModule) -> TorchStepper:
    """An encoder or decoder of a checkpoint."""
    if not isinstance(module, Decoder):
        return TorchStepper(module.step, module.init_state)

    def step(latent: Tensor, *rest: Any) -> tuple[Tensor, State]:
        silence = torch.zeros(1, 1, latent.shape[2] * module.hop)
        noise, state = rest if module.needs_noise else (silence, rest[0])
        return module.decode_step(latent, noise, torch.ones(1), state)

    return TorchStepper(step, module.init_state)


def script_stepper(data: bytes, path: str) -> TorchStepper:
    """A TorchScript file. This runs code from the file."""
    try:
        module = load_script(data)
    except RuntimeError as error:
        raise BundleError(f"{path}: PyTorch cannot load it ({str(error).strip().splitlines()[0]})") from None
    return TorchStepper(module.step, module.init_state)


def stream(stepper: Stepper, ports: Sequence[np.ndarray], blocks: int, piece: int = 1) -> np.ndarray:
    """Run from a fresh state, `piece` blocks a call (the last call may hold fewer); -> the whole output."""
    stepper.reset()
    sizes = [port.shape[-1] // blocks for port in ports]
    outputs = []
    for first in range(0, blocks, piece):
        last = min(first + piece, blocks)
        cut = [np.ascontiguousarray(p[..., first * n : last * n]) for p, n in zip(ports, sizes, strict=True)]
        outputs.append(stepper(*cut))
    return np.concatenate(outputs, axis=-1)
