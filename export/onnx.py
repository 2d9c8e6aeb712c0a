"""Streaming modules as ONNX graphs: state in and out by name, one stream, one block a call.

The graphs are made by torch.export, folded, stripped of everything that tells of the machine they were made
on, and checked. float64 and int64 states (phases, ring positions) keep their type.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Sequence

import onnx
import onnx_ir as ir
import onnx_ir.passes.common as passes
import torch
from onnxscript.optimizer import fold_constants
from torch import Tensor, nn

from export.bundle import BundleError, Graph, Port, State
from umtn.decoders.base import Decoder
from umtn.streaming import StreamingModule

__all__ = [
    "OPSET",
    "dtype_name",
    "export_decoder",
    "export_encoder",
    "initial_states",
    "trace",
]

OPSET = 18
_DTYPES = {torch.float32: "float32", torch.float64: "float64", torch.int64: "int64"}


def dtype_name(tensor: Tensor) -> str:
    """The manifest's word for a tensor's type."""
    if tensor.dtype not in _DTYPES:
        raise BundleError(f"a bundle holds {', '.join(_DTYPES.values())}, but a tensor is {tensor.dtype}")
    return _DTYPES[tensor.dtype]


def initial_states(module: StreamingModule) -> tuple[State, ...]:
    """The module's states as the manifest lists them. A fresh state must be one number throughout."""
    states = []
    for name, value in zip(module.state_names(), module.init_state(1), strict=True):
        fill = value.flatten()[0].item()
        if not bool((value == fill).all()):
            raise BundleError(f"the state {name!r} does not start as one number throughout")
        states.append(State(name, f"next.{name}", tuple(value.shape), dtype_name(value), float(fill)))
    return tuple(states)


class _EncoderGraph(nn.Module):
    """(audio, *state) -> (latent, *state)."""

    def __init__(self, encoder: StreamingModule) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, audio: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        latent, after = self.encoder.step(audio, list(state))
        return latent, *after


class _DecoderGraph(nn.Module):
    """(latent, noise?, *state) -> (audio, *state), at temperature 1."""

    one: Tensor

    def __init__(self, decoder: Decoder) -> None:
        super().__init__()
        self.decoder = decoder
        self.register_buffer("one", torch.ones(1))

    def forward(self, latent: Tensor, *rest: Tensor) -> tuple[Tensor, ...]:
        silence = latent.new_zeros(1, 1, latent.shape[2] * self.decoder.hop)
        noise, state = (rest[0], rest[1:]) if self.decoder.needs_noise else (silence, rest)
        audio, after = self.decoder.decode_step(latent, noise, self.one, list(state))
        return audio, *after


def export_encoder(encoder: StreamingModule) -> tuple[bytes, Graph]:
    """The encoder's graph, one block a call: file and entry in the manifest (path and hash left open)."""
    states = initial_states(encoder)
    audio = torch.zeros(1, 1, encoder.block)
    inputs = {"audio": audio, **_state_inputs(encoder)}
    latent, *_ = _EncoderGraph(encoder)(*inputs.values())
    outputs = ["latent", *(state.output for state in states)]
    model = trace(_EncoderGraph(encoder), inputs, outputs)
    return model.SerializeToString(), Graph(
        "", "", (_port("audio", audio),), (_port("latent", latent),), states
    )


def export_decoder(decoder: Decoder, frames: int = 1) -> tuple[bytes, Graph]:
    """A decoder's graph for blocks of `frames` latent frames; `export.sample_loop` has the autoregressive."""
    states = initial_states(decoder)
    ports = {"latent": torch.zeros(1, decoder.latent_channels, frames)}
    if decoder.needs_noise:
        ports["noise"] = torch.full((1, 1, frames * decoder.hop), 0.5)
    inputs = {**ports, **_state_inputs(decoder)}
    audio, *_ = _DecoderGraph(decoder)(*inputs.values())
    outputs = ["audio", *(state.output for state in states)]
    model = trace(_DecoderGraph(decoder), inputs, outputs)
    graph = Graph(
        "",
        "",
        tuple(_port(*item) for item in ports.items()),
        (_port("audio", audio),),
        states,
    )
    return model.SerializeToString(), graph


def _state_inputs(module: StreamingModule) -> dict[str, Tensor]:
    return dict(zip(module.state_names(), module.init_state(1), strict=True))


def _port(name: str, tensor: Tensor) -> Port:
    return Port(name, tuple(tensor.shape), dtype_name(tensor))


@torch.no_grad()
def trace(module: nn.Module, inputs: dict[str, Tensor], outputs: Sequence[str]) -> onnx.ModelProto:
    """`module(*inputs)` as a checked ONNX model of fixed shapes with these names."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)  # it warns of every torchvision operator that is not there
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                module.eval(),
                tuple(inputs.values()),
                input_names=list(inputs),
                output_names=list(outputs),
                opset_version=OPSET,
                dynamo=True,
                optimize=False,  # see _fold
                verbose=False,
            )
    finally:
        logger.setLevel(level)
    assert program is not None  # only a file given by name makes it None
    _fold(program.model)
    model = program.model_proto
    _strip(model)
    onnx.checker.check_model(model, full_check=True)
    _check_names(model, list(inputs), list(outputs))
    return model


def _fold(model: ir.Model) -> None:
    """Constants are computed, unused and doubled nodes dropped; nothing is rewritten by pattern.

    The exporter's own optimiser also rewrites, and its patterns match constants within 1e-8: it takes the
    1e-8 in log(power + 1e-8) for zero and drops it (onnxscript 0.7.2, `_pattern_ir.Constant`).
    """
    passes.InlinePass()(model)
    fold_constants(model)
    for clean in (
        passes.IdentityEliminationPass(),
        passes.RemoveUnusedNodesPass(),
        passes.RemoveUnusedFunctionsPass(),
        passes.RemoveUnusedOpsetsPass(),
        passes.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0),
        passes.DeduplicateInitializersPass(),
        passes.CommonSubexpressionEliminationPass(),
        passes.RemoveUnusedNodesPass(),
    ):
        clean(model)


def _strip(model: onnx.ModelProto) -> None:
    """Drops stack traces and file names: a bundle is the same wherever it was made."""
    model.ClearField("metadata_props")
    model.ClearField("doc_string")
    del model.graph.value_info[:]
    holders = [
        model.graph,
        *model.graph.node,
        *model.graph.input,
        *model.graph.output,
        *model.graph.initializer,
    ]
    for holder in holders:
        holder.ClearField("metadata_props")
        holder.ClearField("doc_string")


def _check_names(model: onnx.ModelProto, inputs: list[str], outputs: list[str]) -> None:
    """A state that the exporter dropped or baked in would be a graph that forgets."""
    got_in = [value.name for value in model.graph.input]
    got_out = [value.name for value in model.graph.output]
    if got_in != inputs or got_out != outputs or model.functions:
        raise BundleError(f"the ONNX exporter changed the graph's interface: {got_in} -> {got_out}")
