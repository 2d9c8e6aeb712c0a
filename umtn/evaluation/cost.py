"""What a model costs: time on one thread, weights, multiplications."""

from __future__ import annotations

import math
import time

import numpy as np
import onnx
import torch
from torch.utils.flop_counter import FlopCounterMode

from umtn.evaluation.material import Material
from umtn.offline import BundlePlayer, CheckpointPlayer, Player

__all__ = ["cost", "graph_macs", "graph_parameters", "size"]


# Weights and multiplications of an ONNX graph, read off its shapes.


LOOPS = ("Loop", "Scan", "If")


def graph_parameters(data: bytes) -> int:
    """Numbers in the floating-point initialisers and constants of a graph, fixed filters included."""
    graph = onnx.load_from_string(data).graph
    tensors = list(graph.initializer)
    tensors += [a.t for n in graph.node if n.op_type == "Constant" for a in n.attribute if a.HasField("t")]
    kinds = (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16, onnx.TensorProto.DOUBLE)
    return sum(math.prod(t.dims) for t in tensors if t.data_type in kinds)


def graph_macs(data: bytes) -> int | None:
    """Multiply-accumulates of convolutions and matrix products in one run; None if it loops or a shape is open."""
    model = onnx.shape_inference.infer_shapes(onnx.load_from_string(data))
    graph = model.graph
    if any(n.op_type in LOOPS for n in graph.node):
        return None
    shapes = {t.name: list(t.dims) for t in graph.initializer}
    for value in (*graph.input, *graph.output, *graph.value_info):
        shapes[value.name] = [d.dim_value for d in value.type.tensor_type.shape.dim]
    for node in graph.node:
        for attribute in node.attribute:
            if node.op_type == "Constant" and attribute.HasField("t"):
                shapes[node.output[0]] = list(attribute.t.dims)
    total = 0
    for node in graph.node:
        each = _per_output(node, shapes)
        if each is None:
            continue
        made = math.prod(shapes.get(node.output[0], [0]))
        if each * made == 0:
            return None
        total += each * made
    return total


def _per_output(node: onnx.NodeProto, shapes: dict[str, list[int]]) -> int | None:
    """Multiplications for each output number; None for a node that is no product, 0 for an unknown shape."""
    if node.op_type == "Conv":  # weight: [out, in / groups, kernel...]
        return math.prod(shapes.get(node.input[1], [0, 0])[1:])
    if node.op_type == "ConvTranspose":
        weight = shapes.get(node.input[1], [0])
        strides = next((list(a.ints) for a in node.attribute if a.name == "strides"), [1])
        groups = next((a.i for a in node.attribute if a.name == "group"), 1)
        return math.prod(weight[:1] + weight[2:]) // (math.prod(strides) * groups)
    if node.op_type == "MatMul":
        return shapes.get(node.input[0], [0])[-1]
    if node.op_type == "Gemm":
        turned = any(a.name == "transA" and a.i for a in node.attribute)
        return shapes.get(node.input[0], [0, 0])[0 if turned else 1]
    return None


TIMED_S = 4.0
COUNTED_FRAMES = 16


def cost(player: Player, target: str, material: Material) -> dict[str, float]:
    """`rtf` (encoder and one decoder, one thread), and `parameters` and `mac_per_s` where they can be counted."""
    audio = next(iter(material.sources.values()))[: round(TIMED_S * material.rate)]
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        player.play(audio[: material.rate // 10], (target,))  # the first call also makes plans and buffers
        began = time.perf_counter()
        player.play(audio, (target,))
        seconds = time.perf_counter() - began
    finally:
        torch.set_num_threads(threads)
    return {"rtf": round(seconds * material.rate / len(audio), 4), **size(player, target)}


def size(player: Player, target: str) -> dict[str, float]:
    """Parameters and multiply-accumulates per second of encoder and one decoder; empty for other players."""
    if isinstance(player, CheckpointPlayer):
        return _of_checkpoint(player, target)
    if isinstance(player, BundlePlayer):
        return _of_bundle(player, target)
    return {}


@torch.no_grad()
def _of_checkpoint(player: CheckpointPlayer, target: str) -> dict[str, float]:
    translator = player.translator
    n = COUNTED_FRAMES * translator.config.hop
    parts = (translator.encoder, translator.decoder(target))
    with FlopCounterMode(display=False) as counter:
        player.play(np.zeros(n, np.float32), (target,))
    macs = counter.get_total_flops() / 2 * translator.config.sample_rate / n
    return {
        "parameters": sum(p.numel() for part in parts for p in part.parameters()),
        "mac_per_s": round(macs),
    }


def _of_bundle(player: BundlePlayer, target: str) -> dict[str, float]:
    bundle = player.bundle
    manifest = bundle.manifest
    graphs = [bundle.read(p) for p in (manifest.encoder, bundle.domain(target).graph)]
    macs = [graph_macs(g) for g in graphs]
    found: dict[str, float] = {"parameters": sum(graph_parameters(g) for g in graphs)}
    if all(m is not None for m in macs):
        blocks_per_s = manifest.sample_rate / manifest.block
        found["mac_per_s"] = round(sum(m for m in macs if m is not None) * blocks_per_s)
    return found
