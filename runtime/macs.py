"""Multiply-accumulates of a graph, node by node, and the values that they need, from its shapes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from postfilter.runtime.backend import multiplies

if TYPE_CHECKING:
    import onnx

    from postfilter.runtime.backend import Layer, Shape

__all__ = ["LayerWork", "layer_work", "node_macs"]


@dataclass(frozen=True, kw_only=True)
class LayerWork:
    """What an executed layer has to do."""

    mmac: float
    """Million multiply-accumulates."""
    values: int | None
    """Values that its multiplying nodes read and write, weights included; None where the graph does not tell."""


def node_macs(graph: onnx.ModelProto, shape: Shape) -> dict[str, int]:
    """Return the multiply-accumulates of each node that has any, for input samples of `shape`.

    A convolution makes each output sample from one kernel of inputs, a transposed one spreads each input sample over
    one kernel of outputs; biases count nothing, samples of the padding and zeros in a kernel count as any other.

    Returns:
        Node name (the name of its output where it has none) -> count.
    """
    return {name: macs for name, (macs, _) in _multiplying_nodes(graph, shape).items()}


def layer_work(layers: Sequence[Layer], graph: onnx.ModelProto, shape: Shape) -> list[LayerWork]:
    """Return each executed layer's work, from the nodes of which it was made.

    Backends tell a node by its name or by that of its output; both are understood. Where fusing lost the name, the
    nodes and the multiplying layers left over are matched in order, if there are as many of the one as of the other.
    """
    work = _multiplying_nodes(graph, shape)
    nodes = {node.output[0]: node.name or node.output[0] for node in graph.graph.node}
    nodes |= {name: name for name in work}
    made_of = [{nodes[name] for name in (each.name, *each.made_of) if nodes.get(name) in work} for each in layers]
    left_nodes = [name for name in work if not any(name in names for names in made_of)]
    left_layers = [index for index, each in enumerate(layers) if multiplies(each.type) and not made_of[index]]
    if len(left_nodes) == len(left_layers):
        for index, name in zip(left_layers, left_nodes, strict=True):
            made_of[index].add(name)
    return [
        LayerWork(
            mmac=sum(work[name][0] for name in names) / 1e6 if each.mmac is None else each.mmac,
            values=sum(work[name][1] for name in names) if names else None,
        )
        for each, names in zip(layers, made_of, strict=True)
    ]


def _multiplying_nodes(graph: onnx.ModelProto, shape: Shape) -> dict[str, tuple[int, int]]:
    """Return, of each node that multiplies, its multiply-accumulates and how many values it reads and writes."""
    import onnx

    still = onnx.ModelProto()
    still.CopyFrom(graph)
    for value in (still.graph.input[0], still.graph.output[0]):
        channels = value.type.tensor_type.shape.dim[1].dim_value  # the input may have further inputs behind the picture
        del value.type.tensor_type.shape.dim[:]
        for side in (shape[0], channels, *shape[2:]):
            value.type.tensor_type.shape.dim.add().dim_value = side
    del still.graph.value_info[:]  # shapes left by an export for any size would contradict
    shapes = _shapes(onnx.shape_inference.infer_shapes(still, data_prop=True))
    found: dict[str, tuple[int, int]] = {}
    for node in still.graph.node:
        inputs, output = [shapes.get(name, ()) for name in node.input], shapes.get(node.output[0], ())
        if count := _macs(node.op_type, inputs, output):
            found[node.name or node.output[0]] = count, sum(map(math.prod, (*inputs[:2], output)))
    return found


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
