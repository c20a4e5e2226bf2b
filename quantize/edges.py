"""The parts of a graph: what works on code values and stays in fp32, the network between, and its layers."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnx

__all__ = ["HEAD", "NORMALISED", "TAIL", "convolutions", "crossing_values", "float_weights", "split_nodes"]

HEAD = "head."
"""Nodes from the samples to the network's input have names that begin so."""
TAIL = "tail."
"""Nodes from the network's output to the filtered samples have names that begin so."""

NORMALISED = "normalised"
"""The value that the network reads: samples divided by their peak, 0..1."""


def split_nodes(
    graph: onnx.ModelProto,
) -> tuple[list[onnx.NodeProto], list[onnx.NodeProto], list[onnx.NodeProto]]:
    """Return the nodes of the head, of the network and of the tail, each in the graph's order.

    Raises:
        ValueError: the graph has no such three parts; `export.to_graph` makes those that have.
    """
    head = [node for node in graph.graph.node if node.name.startswith(HEAD)]
    tail = [node for node in graph.graph.node if node.name.startswith(TAIL)]
    body = [node for node in graph.graph.node if not node.name.startswith((HEAD, TAIL))]
    if not (head and body and tail):
        raise ValueError(
            f"a graph with {len(head)} head, {len(body)} network and {len(tail)} tail nodes; none may be 0"
        )
    return head, body, tail


def crossing_values(
    head: list[onnx.NodeProto], body: list[onnx.NodeProto], tail: list[onnx.NodeProto]
) -> tuple[list[str], list[str]]:
    """Return the values that the network reads from the head, and those that the tail reads from the network."""
    made_before = {name for node in head for name in node.output}
    read_after = {name for node in tail for name in node.input}
    read = dict.fromkeys(name for node in body for name in node.input)
    made = [name for node in body for name in node.output]
    return [name for name in read if name in made_before], [name for name in made if name in read_after]


def float_weights(graph: onnx.ModelProto, body: list[onnx.NodeProto]) -> list[onnx.TensorProto]:
    """Return the float32 initializers that nodes read, as they lie in the graph."""
    import onnx

    read = {name for node in body for name in node.input}
    return [each for each in graph.graph.initializer if each.name in read and each.data_type == onnx.TensorProto.FLOAT]


def convolutions(graph: onnx.ModelProto) -> list[str]:
    """Return the names of the layers that can be quantized: convolutions with constant weights, in order."""
    constants = {each.name for each in graph.graph.initializer}
    return [
        node.name
        for node in graph.graph.node
        if node.op_type == "Conv" and node.input[1] in constants and not node.name.startswith(HEAD)
    ]
