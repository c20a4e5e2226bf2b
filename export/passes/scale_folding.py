"""The passes that fold the division by the peak into the first weight and the multiplication by it into the last.

A convolution is linear: that of samples / peak is that of the samples with weight / peak. Zero padding stays exact,
since 0 / peak is 0; a shift of the samples would not be. Behind the last convolution the same holds of weight and bias.

The weights are divided by nodes of the graph that read the one initializer `peak`, so that `runtime.bit_depth` still
makes another bit depth by editing that number alone; backends compute such nodes once, on loading.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from postfilter.export.passes.graph_edit import constant, readers
from postfilter.quantize import HEAD, TAIL
from postfilter.runtime.bit_depth import PEAK

if TYPE_CHECKING:
    import onnx

__all__ = ["fold_input_scale", "fold_output_scale"]

_BEHIND = ("DepthToSpace", "Slice")
"""Operators behind the last convolution that only move samples, so that a factor may pass them."""
_BEFORE = ("Pad", "SpaceToDepth")
"""Operators before the first one that only move samples, or add zeros."""


def fold_input_scale(graph: onnx.ModelProto) -> list[str]:
    """Divide the weights of what reads the normalised samples instead of the samples; return a sentence.

    Done where all that reads the division by `peak` is a Conv with a constant weight, perhaps behind the zeros and the
    SpaceToDepth of `export.space_to_depth`. For networks in fp32 alone: code values up to 65535 do not fit fp16, nor do
    weights / peak keep their digits there.
    """
    body = graph.graph
    division = next((node for node in body.node if node.op_type == "Div" and PEAK in node.input[1:]), None)
    if division is None:
        return []
    # What asks for the size alone may as well ask the samples.
    read = [node for node in readers(body, division.output[0]) if node.op_type != "Shape"]
    found = [_convolution_behind(body, node, division.output[0]) for node in read]
    convolutions = [node for node in found if node is not None]
    if not found or len(convolutions) < len(found):
        return []
    for node in convolutions:
        _scale_input(body, node, 1, operator="Div", prefix=HEAD)
    for node in readers(body, division.output[0]):
        _rename_input(node, division.output[0], division.input[0])
    body.node.remove(division)
    return [f"division by the peak -> into the weight of {', '.join(node.name for node in convolutions)}"]


def fold_output_scale(graph: onnx.ModelProto) -> list[str]:
    """Multiply weight and bias of the last convolution instead of its output; return a sentence.

    Done where what is multiplied by `peak` is made by a Conv with constant weight and bias, perhaps through
    DepthToSpace and Slice, each read by the next alone.
    """
    body = graph.graph
    product = next((node for node in body.node if node.op_type == "Mul" and PEAK in node.input[1:]), None)
    node = None if product is None else _convolution_before(body, product.input[0])
    if product is None or node is None:
        return []
    for index in range(1, len(node.input)):
        _scale_input(body, node, index, operator="Mul", prefix=TAIL)
    for reader in readers(body, product.output[0]):
        _rename_input(reader, product.output[0], product.input[0])
    body.node.remove(product)
    return [f"multiplication by the peak -> into weight and bias of {node.name}"]


def _convolution_behind(graph: onnx.GraphProto, node: onnx.NodeProto, value: str) -> onnx.NodeProto | None:
    """The Conv that a reader of `value` is, or that alone reads it."""
    while node.op_type in _BEFORE:
        value = node.output[0]
        behind = readers(graph, value)
        if len(behind) != 1:
            return None
        node = behind[0]
    is_data = node.op_type == "Conv" and node.input[0] == value
    return node if is_data and constant(graph, node.input[1]) is not None else None


def _convolution_before(graph: onnx.GraphProto, value: str) -> onnx.NodeProto | None:
    """The Conv that makes `value`, with nothing but moves of samples between, each value of them read once."""
    while True:
        node = next((each for each in graph.node if value in each.output), None)
        if node is None or len(readers(graph, value)) != 1:
            return None
        if node.op_type == "Conv":
            return node if all(constant(graph, name) is not None for name in node.input[1:]) else None
        if node.op_type not in _BEHIND:
            return None
        value = node.input[0]


def _scale_input(graph: onnx.GraphProto, node: onnx.NodeProto, index: int, *, operator: str, prefix: str) -> None:
    """Put the constant at `index`, divided or multiplied by the peak, in its place."""
    from onnx import helper

    scaled = f"{node.input[index]}.scaled"
    made = helper.make_node(operator, [node.input[index], PEAK], [scaled], name=f"{prefix}{scaled}")
    graph.node.insert(list(graph.node).index(node), made)
    node.input[index] = scaled


def _rename_input(node: onnx.NodeProto, old: str, new: str) -> None:
    node.input[:] = [new if name == old else name for name in node.input]
