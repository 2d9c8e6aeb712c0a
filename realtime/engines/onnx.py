"""ONNX Runtime, one thread, states bound to two sets of buffers that take turns.

    step 0:  A -> graph -> B        step 1:  B -> graph -> A

On the CPU the bound values *are* the numpy arrays: a step copies nothing and allocates nothing here.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from realtime.engines.engine import BufferedEngine, StreamBuffers
from realtime.shared.saved_classes import saved
from umtn.errors import UserError

try:
    import onnxruntime as ort
except ImportError as error:  # an extra; this module is imported only where it is to play
    from umtn.missing import sentence

    why = "" if isinstance(error, ModuleNotFoundError) else str(error)
    raise UserError(sentence("onnxruntime", why=why)) from None

if TYPE_CHECKING:
    from export.bundle.bundle import Bundle, Graph, State

__all__ = ["GraphStepper", "OnnxEngine", "cuda_offered", "encoder_stepper"]


def cuda_offered() -> bool:
    """Whether this onnxruntime was built with CUDA (that says nothing of the machine)."""
    return "CUDAExecutionProvider" in ort.get_available_providers()


def _session(data: bytes, path: str, cuda: bool) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1  # blocks this small lose by sharing
    options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.enable_mem_pattern = True
    options.enable_cpu_mem_arena = True
    options.log_severity_level = 4
    options.add_session_config_entry("session.set_denormal_as_zero", "1")
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    providers = ["CUDAExecutionProvider", "CPUExecutionProvider"] if cuda else ["CPUExecutionProvider"]
    try:
        session = ort.InferenceSession(data, options, providers=providers)
    except Exception as error:  # onnxruntime has one class per failure and no common base
        reason = str(error).strip().splitlines()[0]
        raise UserError(f"{path} of the bundle cannot be loaded by ONNX Runtime ({reason})") from None
    if cuda and session.get_providers()[0] != "CUDAExecutionProvider":
        raise UserError(
            "ONNX Runtime could not use the GPU (its CUDA libraries are missing); use --engine onnx"
        )
    return session


@saved("onnx-state")
@dataclass
class _Buffer:
    """A state tensor, on the host or on the GPU, that can be filled with its initial value."""

    state: State
    cuda: bool
    value: Any = None
    initial: np.ndarray = field(init=False)
    kept: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        self.kept = self.initial = np.full(self.state.shape, self.state.initial, self.state.dtype)
        self.array = self.initial.copy()
        self.value = ort.OrtValue.ortvalue_from_numpy(self.array, *(("cuda", 0) if self.cuda else ()))

    def read(self) -> np.ndarray:
        return self.value.numpy() if self.cuda else self.array.copy()

    def write(self, array: np.ndarray) -> None:
        if self.cuda:
            self.value.update_inplace(array)
        else:
            self.array[...] = array


@saved("onnx-graph")
class GraphStepper:
    """See `Part`: one graph with its states, on the arrays given by the names of its inputs and outputs."""

    def __init__(
        self,
        data: bytes,
        graph: Graph,
        inputs: dict[str, np.ndarray],
        outputs: dict[str, np.ndarray],
        cuda: bool,
    ) -> None:
        self.noisy = any(port.name == "noise" for port in graph.inputs)
        self._session = _session(data, graph.path, cuda)
        self._buffers = [[_Buffer(s, cuda) for s in graph.states] for _ in range(2)]
        self._keep = [*inputs.values(), *outputs.values()]
        self._bindings = [self._bind(graph, inputs, outputs, *pair) for pair in ((0, 1), (1, 0))]
        self._turn = 0

    def _bind(
        self,
        graph: Graph,
        inputs: dict[str, np.ndarray],
        outputs: dict[str, np.ndarray],
        source: int,
        target: int,
    ) -> Any:
        binding = self._session.io_binding()
        for port in graph.inputs:
            binding.bind_ortvalue_input(port.name, ort.OrtValue.ortvalue_from_numpy(inputs[port.name]))
        for port in graph.outputs:
            binding.bind_ortvalue_output(port.name, ort.OrtValue.ortvalue_from_numpy(outputs[port.name]))
        for i, state in enumerate(graph.states):
            binding.bind_ortvalue_input(state.name, self._buffers[source][i].value)
            binding.bind_ortvalue_output(state.output, self._buffers[target][i].value)
        return binding

    def step(self) -> None:
        # without RunOptions: even empty ones cost the encoder 30 us a call
        self._session.run_with_iobinding(self._bindings[self._turn])
        self._turn ^= 1

    def reset(self) -> None:
        for buffer in self._buffers[self._turn]:
            buffer.write(buffer.initial)

    def keep(self) -> None:
        for now, other in zip(self._buffers[self._turn], self._buffers[self._turn ^ 1], strict=True):
            now.kept = other.kept = now.read()
            now.kept.flags.writeable = False  # no state

    def rest(self) -> None:
        for buffer in self._buffers[self._turn]:
            buffer.write(buffer.kept)


def encoder_stepper(bundle: Bundle, buffers: StreamBuffers, cuda: bool = False) -> GraphStepper:
    """The bundle's encoder, from the buffers' audio to their latent."""
    path = bundle.manifest.encoder
    inputs, outputs = {"audio": buffers.audio}, {"latent": buffers.latent}
    return GraphStepper(bundle.read(path), bundle.manifest.graphs[path], inputs, outputs, cuda)


@saved("onnx-engine")
class OnnxEngine(BufferedEngine):
    """See `Engine`. With `cuda` the states live on the GPU and only audio crosses."""

    def __init__(self, bundle: Bundle, cuda: bool = False, seed: int | None = None) -> None:
        super().__init__(bundle.manifest, seed)
        self.name = "onnx-cuda" if cuda else "onnx"
        buffers, graphs = self.buffers, bundle.manifest.graphs
        self._encoder = encoder_stepper(bundle, buffers, cuda)
        inputs = {"latent": buffers.latent, "noise": buffers.noise, "temperature": buffers.temperature}
        self._decoders = [
            GraphStepper(
                bundle.read(domain.graph), graphs[domain.graph], inputs, {"audio": buffers.out}, cuda
            )
            for domain in bundle.manifest.domains
        ]
