"""Autoregressive decoders as ONNX: one `Loop` turn per audio sample, one graph call per hop.

latent -> condition ---------------------------------.
noise  -> [hop, 1] -------------------------.         |
state  -> Loop( hop times: state, class <- sample_step(condition, noise[i], temperature, state) )
                '-> classes [hop, 1] -> mu-law decoding -> audio

Weights that lose nothing in 16 bits are stored so, behind a `Cast` that a runtime folds away as it loads the graph.
"""

from __future__ import annotations

import numpy as np
import onnx
import torch
from onnx import TensorProto, compose, helper, numpy_helper
from torch import Tensor, nn

from export.bundle import Graph, Port, State
from export.onnx import OPSET, initial_states, trace
from umtn.decoders.wavenet import WaveNetDecoder
from umtn.mulaw import mulaw_decode

__all__ = ["export_wavenet"]

LARGE = 256  # numbers; of fewer the cast would take more room than it saves


class _Sample(nn.Module):
    """(condition, uniform, temperature, *state) -> (class, *state): one sample."""

    def __init__(self, decoder: WaveNetDecoder) -> None:
        super().__init__()
        self.decoder = decoder

    def forward(
        self, condition: Tensor, uniform: Tensor, temperature: Tensor, *state: Tensor
    ) -> tuple[Tensor, ...]:
        drawn, after = self.decoder.sample_step(condition[:, :, 0], uniform, temperature, list(state))
        return drawn, *after


class _Decode(nn.Module):
    """Classes [hop, 1] -> audio [1, 1, hop]."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.classes = classes

    def forward(self, classes: Tensor) -> Tensor:
        return mulaw_decode(classes.reshape(1, 1, -1), self.classes)


def export_wavenet(decoder: WaveNetDecoder) -> tuple[bytes, Graph]:
    """The decoder's graph for one hop, its inputs latent, noise, temperature and the states."""
    states = initial_states(decoder)
    hop = decoder.hop
    latent = Port("latent", (1, decoder.latent_channels, 1))
    noise, temperature, audio = (
        Port("noise", (1, 1, hop)),
        Port("temperature", (1,)),
        Port("audio", (1, 1, hop)),
    )
    parts = _parts(decoder)
    names = [state.name for state in states]
    body = _body(parts["sample"], names, decoder.init_state(1))
    nodes = [
        *parts["condition"].graph.node,
        helper.make_node("Reshape", ["noise", "loop.noise_shape"], ["loop.noise"]),
        helper.make_node(
            "Loop",
            ["loop.count", "loop.go", *names],
            [*(state.output for state in states), "decode.classes"],
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


def _parts(decoder: WaveNetDecoder) -> dict[str, onnx.ModelProto]:
    """The three pieces, exported alone; every inner name gets the piece's prefix, the seams keep theirs."""
    latent = torch.zeros(1, decoder.latent_channels, 1)
    state = dict(zip(decoder.state_names(), decoder.init_state(1), strict=True))
    ports = {
        "condition.out": decoder.condition(latent),
        "uniform": torch.full((1,), 0.5),
        "temperature": torch.ones(1),
    }
    parts = {
        "condition": trace(decoder.condition, {"latent": latent}, ["condition.out"]),
        "sample": trace(
            _Sample(decoder),
            {**ports, **state},
            ["drawn", *(f"next.{name}" for name in state)],
        ),
        "decode": trace(
            _Decode(decoder.classes),
            {"decode.classes": torch.zeros(decoder.hop, 1, dtype=torch.int64)},
            ["audio"],
        ),
    }
    return {
        name: compose.add_prefix(model, f"{name}/", rename_inputs=False, rename_outputs=False)
        for name, model in parts.items()
    }


def _body(sample: onnx.ModelProto, names: list[str], state: list[Tensor]) -> onnx.GraphProto:
    """The loop's body. Weights, condition and temperature lie in the outer graph and are seen from here."""
    seam = {name: f"loop/{name}" for name in names} | {f"next.{name}": f"loop/next.{name}" for name in names}
    seam["uniform"] = "loop/uniform"
    nodes = [
        helper.make_node("Gather", ["loop.noise", "loop/turn"], ["loop/uniform"], axis=0),
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
    carried = [
        (name, kinds[value.dtype], list(value.shape)) for name, value in zip(names, state, strict=True)
    ]
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
