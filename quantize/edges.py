"""Which nodes of a graph work on code values, and so stay in fp32 whatever the precision of the network between."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnx

__all__ = ["HEAD", "NORMALISED", "TAIL", "split_nodes"]

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
