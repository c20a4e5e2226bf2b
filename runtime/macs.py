"""Multiply-accumulates of a graph, node by node, from its shapes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from postfilter.runtime.backend import multiplies

if TYPE_CHECKING:
    import onnx

    from postfilter.runtime.backend import Layer, Shape

__all__ = ["layer_mmacs", "node_macs"]


def node_macs(graph: onnx.ModelProto, shape: Shape) -> dict[str, int]:
    """Return the multiply-accumulates of each node that has any, for input samples of `shape`.

    A convolution makes each output sample from one kernel of inputs, a transposed one spreads each input sample over
    one kernel of outputs; biases count nothing, samples of the padding and zeros in a kernel count as any other.

    Returns:
        Node name (the name of its output where it has none) -> count.
    """
    import onnx

    still = onnx.ModelProto()
    still.CopyFrom(graph)
    for value, sides in ((still.graph.input[0], shape), (still.graph.output[0], shape)):
        del value.type.tensor_type.shape.dim[:]
        for side in sides:
            value.type.tensor_type.shape.dim.add().dim_value = side
    del still.graph.value_info[:]  # shapes left by an export for any size would contradict
    shapes = _shapes(onnx.shape_inference.infer_shapes(still, data_prop=True))
    found: dict[str, int] = {}
    for node in still.graph.node:
        count = _macs(node.op_type, [shapes.get(name, ()) for name in node.input], shapes.get(node.output[0], ()))
        if count:
            found[node.name or node.output[0]] = count
    return found


def layer_mmacs(layers: Sequence[Layer], graph: onnx.ModelProto, shape: Shape) -> list[float]:
    """Return each executed layer's million multiply-accumulates, from the nodes of which it was made.

    Backends tell a node by its name or by that of its output; both are understood. Where fusing lost the name, the
    nodes and the multiplying layers left over are matched in order, if there are as many of the one as of the other.
    """
    macs = node_macs(graph, shape)
    nodes = {node.output[0]: node.name or node.output[0] for node in graph.graph.node}
    nodes |= {name: name for name in macs}
    made_of = [{nodes[name] for name in (each.name, *each.made_of) if nodes.get(name) in macs} for each in layers]
    left_nodes = [name for name in macs if not any(name in names for names in made_of)]
    left_layers = [index for index, each in enumerate(layers) if multiplies(each.type) and not made_of[index]]
    if len(left_nodes) == len(left_layers):
        for index, name in zip(left_layers, left_nodes, strict=True):
            made_of[index].add(name)
    return [
        sum(macs[name] for name in names) / 1e6 if each.mmac is None else each.mmac
        for each, names in zip(layers, made_of, strict=True)
    ]


def _shapes(graph: onnx.ModelProto) -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {each.name: tuple(each.dims) for each in graph.graph.initializer}
    for value in (*graph.graph.input, *graph.graph.value_info, *graph.graph.output):
        sides = value.type.tensor_type.shape.dim
        if all(side.HasField("dim_value") for side in sides):
            shapes[value.name] = tuple(side.dim_value for side in sides)
    return shapes


def _macs(operator: str, inputs: list[tuple[int, ...]], output: tuple[int, ...]) -> int:
    if len(inputs) < 2 or not inputs[1] or not output:
        return 0
    if operator == "Conv":  # weight: [out, in / groups, …]
        return math.prod(output) * math.prod(inputs[1][1:])
    if operator == "ConvTranspose":  # weight: [in, out / groups, …]
        return math.prod(inputs[0]) * math.prod(inputs[1][1:])
    if operator == "MatMul" and inputs[0]:
        return math.prod(output) * inputs[0][-1]
    return 0
