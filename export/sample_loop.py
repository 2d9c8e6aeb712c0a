"""Autoregressive decoders as ONNX: one `Loop` turn per audio sample, one graph call per hop.

latent -> condition ---------------------------------.
noise  -> [hop, 1] -------------------------.         |
state  -> Loop( hop times: state, class <- sample_step(condition, noise[i], temperature, state) )
                '-> classes [hop, 1] -> mu-law decoding -> audio

Of a guided one the guide, the mouth and the emphasis come before the loop, which reads a class of the guide each turn,
and what it drew is settled after it.

Weights that lose nothing in 16 bits are stored so, behind a `Cast` that a runtime folds away as it loads the graph.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import onnx
import torch
from onnx import TensorProto, compose, helper, numpy_helper
from torch import Tensor, nn

from export.bundle import Graph, Port, State
from export.guidance import Sampled
from export.onnx import OPSET, initial_states, trace
from umtn.decoders.guided import GuidedDecoder, net_of
from umtn.decoders.wavenet import WaveNetDecoder
from umtn.mulaw import mulaw_decode

__all__ = ["export_wavenet"]

LARGE = 256  # numbers; of fewer the cast would take more room than it saves


class _Hear(nn.Module):
    """(latent, *state) -> (condition, the guide's classes [hop, 1], *state)."""

    def __init__(self, decoder: GuidedDecoder) -> None:
        super().__init__()
        self.decoder = decoder

    def forward(self, latent: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        z, _, classes, after = self.decoder.hear(latent, list(state))
        return self.decoder.wavenet.condition(z), classes.reshape(-1, 1), *after


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

    def __init__(self, decoder: Sampled) -> None:
        super().__init__()
        self.decoder = decoder

    def forward(self, classes: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        d = self.decoder
        drawn = mulaw_decode(classes.reshape(1, 1, -1), net_of(d).classes)
        if not isinstance(d, GuidedDecoder):
            return (drawn,)
        audio, settled = d.emphasis.settle(drawn[:, 0] / d.drive, state[0])
        return audio.unsqueeze(1), settled


def export_wavenet(decoder: Sampled) -> tuple[bytes, Graph]:
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
    body = _body(parts["sample"], looped, net_of(decoder).guided)
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


def _parts(decoder: Sampled) -> tuple[dict[str, onnx.ModelProto], dict[str, Tensor]]:
    """The three pieces, exported alone: every inner name gets the piece's prefix, the seams keep theirs. And the states
    that the loop carries."""
    net, latent = net_of(decoder), torch.zeros(1, decoder.latent_channels, 1)
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
    listening = _Hear(decoder) if isinstance(decoder, GuidedDecoder) else net.condition
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
