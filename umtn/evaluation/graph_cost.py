"""Weights and multiplications of an ONNX graph, read off its shapes."""

from __future__ import annotations

import math

import onnx

__all__ = ["graph_macs", "graph_parameters"]

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
