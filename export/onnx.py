"""Streaming modules as ONNX graphs: state in and out by name, one stream, one block a call.

The graphs are made by torch.export, folded, stripped of everything that tells of the machine they were made
on, and checked. float64 and int64 states (phases, ring positions) keep their type.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterable, Sequence

import numpy as np
import onnx
import onnx_ir as ir
import onnx_ir.passes.common as passes
import torch
from onnx import TensorProto, compose, helper, numpy_helper
from onnxscript.optimizer import fold_constants
from torch import Tensor, nn

from export.bundle.bundle import BundleError, Graph, Port, State
from umtn.model.companding import mulaw_decode
from umtn.model.decoders.base import Decoder, SampledDecoder
from umtn.model.decoders.wavenet import WaveNetDecoder
from umtn.model.streaming import StreamingModule

__all__ = [
    "OPSET",
    "dtype_name",
    "export_decoder",
    "export_encoder",
    "export_wavenet",
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
    """A decoder's graph for blocks of `frames` latent frames; `export.onnx` has the autoregressive."""
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


# Autoregressive decoders as ONNX: one `Loop` turn per audio sample, one graph call per hop.
#
# latent -> condition ---------------------------------.
# noise  -> [hop, 1] -------------------------.         |
# state  -> Loop( hop times: state, class <- sample_step(condition, noise[i], temperature, state) )
#                 '-> classes [hop, 1] -> mu-law decoding -> audio
#
# Of a guided one the guide, the mouth and the emphasis come before the loop, which reads a class of the guide each
# turn,
# and what it drew is settled after it.
#
# Weights that lose nothing in 16 bits are stored so, behind a `Cast` that a runtime folds away as it loads the graph.


LARGE = 256  # numbers; of fewer the cast would take more room than it saves


class _Hear(nn.Module):
    """(latent, *state) -> (condition, the guide's classes [hop, 1], *state)."""

    def __init__(self, decoder: SampledDecoder) -> None:
        super().__init__()
        self.decoder = decoder

    def forward(self, latent: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        z, _, classes, after = self.decoder.hear(latent, list(state))  # type: ignore[operator]
        return self.decoder.net.condition(z), classes.reshape(-1, 1), *after


class _Sample(nn.Module):
    """(condition, uniform, temperature, the guide's class if guided, *state) -> (class, *state): one sample."""

    def __init__(self, decoder: WaveNetDecoder) -> None:
        super().__init__()
        self.decoder = decoder

    def forward(
        self, condition: Tensor, uniform: Tensor, temperature: Tensor, *rest: Tensor
    ) -> tuple[Tensor, ...]:
        guide, state = (rest[0], rest[1:]) if self.decoder.guided else (None, rest)
        drawn, after = self.decoder.sample_step(condition[:, :, 0], uniform, temperature, list(state), guide)
        return drawn, *after


class _Decode(nn.Module):
    """(classes [hop, 1], *state) -> (audio [1, 1, hop], *state); the state is a guided one's, of its emphasis."""

    def __init__(self, decoder: SampledDecoder) -> None:
        super().__init__()
        self.decoder = decoder

    def forward(self, classes: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        drawn = mulaw_decode(classes.reshape(1, 1, -1), self.decoder.net.classes)
        if not state:
            return (drawn,)
        audio, settled = self.decoder.sound_of(drawn[:, 0], list(state))
        return audio.unsqueeze(1), *settled


def export_wavenet(decoder: SampledDecoder) -> tuple[bytes, Graph]:
    """The decoder's graph for one hop, its inputs latent, noise, temperature and the states."""
    states = initial_states(decoder)
    hop = decoder.hop
    latent = Port("latent", (1, decoder.latent_channels, 1))
    noise, temperature, audio = (
        Port("noise", (1, 1, hop)),
        Port("temperature", (1,)),
        Port("audio", (1, 1, hop)),
    )
    parts, looped = _parts(decoder)
    body = _body(parts["sample"], looped, decoder.net.guided)
    nodes = [
        *parts["condition"].graph.node,
        helper.make_node("Reshape", ["noise", "loop.noise_shape"], ["loop.noise"]),
        helper.make_node(
            "Loop",
            ["loop.count", "loop.go", *looped],
            [*(f"next.{name}" for name in looped), "decode.classes"],
            body=body,
        ),
        *parts["decode"].graph.node,
    ]
    constants = {
        "loop.noise_shape": torch.tensor([hop, 1]),
        "loop.count": torch.tensor(hop),
        "loop.go": torch.tensor(True),
    }
    weights = [numpy_helper.from_array(value.numpy(), name) for name, value in constants.items()]
    for part in parts.values():
        weights.extend(part.graph.initializer)
    widened, weights = _halved(weights)
    graph = helper.make_graph(
        [*widened, *nodes],
        "wavenet",
        [*map(_value, (latent, noise, temperature)), *map(_value, states)],
        [_value(audio), *(_value(Port(s.output, s.shape, s.dtype)) for s in states)],
        weights,
    )
    model = helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=parts["sample"].ir_version,
    )
    onnx.checker.check_model(model, full_check=True)
    return model.SerializeToString(), Graph("", "", (latent, noise, temperature), (audio,), states)


def _halved(weights: list[onnx.TensorProto]) -> tuple[list[onnx.NodeProto], list[onnx.TensorProto]]:
    """Casts back to 32 bits, and the weights, those in 16 bits that are worth it and lose nothing."""
    casts, kept = [], []
    for weight in weights:
        if weight.data_type == TensorProto.FLOAT:
            value = numpy_helper.to_array(weight)
            half = value.astype(np.float16)
            if value.size >= LARGE and np.array_equal(half.astype(np.float32), value):
                name = f"{weight.name}.half"
                casts.append(helper.make_node("Cast", [name], [weight.name], to=TensorProto.FLOAT))
                weight = numpy_helper.from_array(half, name)
        kept.append(weight)
    return casts, kept


def _parts(decoder: SampledDecoder) -> tuple[dict[str, onnx.ModelProto], dict[str, Tensor]]:
    """The three pieces, exported alone: every inner name gets the piece's prefix, the seams keep theirs. And the states
    that the loop carries."""
    net, latent = decoder.net, torch.zeros(1, decoder.latent_channels, 1)
    every = dict(zip(decoder.state_names(), decoder.init_state(1), strict=True))
    before = len(every) - len(net.state_names())  # what a guided one remembers beside its net
    names = list(every)
    looped = {name: every[name] for name in names[before:]}
    heard = {name: every[name] for name in names[: max(0, before - 1)]}
    settled = {name: every[name] for name in names[len(heard) : before]}
    ports = {
        "condition.out": torch.zeros(1, net.condition.out_channels, 1),
        "uniform": torch.full((1,), 0.5),
        "temperature": torch.ones(1),
    }
    if net.guided:
        ports["guide"] = torch.zeros(1, dtype=torch.int64)
    told = ["loop.guide"] if net.guided else []
    listening = _Hear(decoder) if net.guided else net.condition
    parts = {
        "condition": trace(listening, {"latent": latent, **heard}, ["condition.out", *told, *_next(heard)]),
        "sample": trace(_Sample(net), {**ports, **looped}, ["drawn", *_next(looped)]),
        "decode": trace(
            _Decode(decoder),
            {"decode.classes": torch.zeros(decoder.hop, 1, dtype=torch.int64), **settled},
            ["audio", *_next(settled)],
        ),
    }
    prefixed = {
        name: compose.add_prefix(model, f"{name}/", rename_inputs=False, rename_outputs=False)
        for name, model in parts.items()
    }
    return prefixed, looped


def _next(states: Iterable[str]) -> list[str]:
    return [f"next.{name}" for name in states]


def _body(sample: onnx.ModelProto, state: dict[str, Tensor], guided: bool) -> onnx.GraphProto:
    """The loop's body. Weights, condition and temperature lie in the outer graph and are seen from here."""
    seam = {name: f"loop/{name}" for name in (*state, *_next(state))}
    rows = {"uniform": "loop.noise", **({"guide": "loop.guide"} if guided else {})}  # one for each turn
    seam |= {name: f"loop/{name}" for name in rows}
    nodes = [
        *(helper.make_node("Gather", [rows[n], "loop/turn"], [seam[n]], axis=0) for n in rows),
        helper.make_node("Identity", ["loop/go"], ["loop/go_on"]),
    ]
    for node in sample.graph.node:
        copy = onnx.NodeProto()
        copy.CopyFrom(node)
        copy.input[:] = [seam.get(name, name) for name in node.input]
        copy.output[:] = [seam.get(name, name) for name in node.output]
        nodes.append(copy)
    kinds = {
        torch.float32: TensorProto.FLOAT,
        torch.int64: TensorProto.INT64,
        torch.float64: TensorProto.DOUBLE,
    }
    carried = [(name, kinds[value.dtype], list(value.shape)) for name, value in state.items()]
    inputs = [
        helper.make_tensor_value_info("loop/turn", TensorProto.INT64, []),
        helper.make_tensor_value_info("loop/go", TensorProto.BOOL, []),
        *(helper.make_tensor_value_info(seam[name], kind, shape) for name, kind, shape in carried),
    ]
    outputs = [
        helper.make_tensor_value_info("loop/go_on", TensorProto.BOOL, []),
        *(helper.make_tensor_value_info(seam[f"next.{name}"], kind, shape) for name, kind, shape in carried),
        helper.make_tensor_value_info("drawn", TensorProto.INT64, [1]),
    ]
    return helper.make_graph(nodes, "one_sample", inputs, outputs)


def _value(port: Port | State) -> onnx.ValueInfoProto:
    kinds = {
        "float32": TensorProto.FLOAT,
        "float64": TensorProto.DOUBLE,
        "int64": TensorProto.INT64,
    }
    return helper.make_tensor_value_info(port.name, kinds[port.dtype], list(port.shape))
