"""What the exact rewrites share: reading constants and attributes, and putting nodes in the place of others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import onnx
    from numpy.typing import NDArray

__all__ = ["attributes", "constant", "known_sizes", "readers", "replace_nodes"]


def attributes(node: onnx.NodeProto) -> dict[str, Any]:
    """Return a node's attributes as plain values; text is bytes."""
    import onnx

    return {each.name: onnx.helper.get_attribute_value(each) for each in node.attribute}


def constant(graph: onnx.GraphProto, name: str) -> NDArray[np.floating] | None:
    """Return the initializer called `name`, None where the graph has no such."""
    from onnx import numpy_helper

    found = next((each for each in graph.initializer if each.name == name), None)
    return None if found is None else numpy_helper.to_array(found)


def readers(graph: onnx.GraphProto, value: str) -> list[onnx.NodeProto]:
    """Return the nodes that read a value; one that reads it twice comes once."""
    return [node for node in graph.node if value in node.input]


def known_sizes(model: onnx.ModelProto) -> dict[str, tuple[int | None, ...]]:
    """Return the shape of every value that shape inference finds; a side that is open is None."""
    import onnx

    inferred = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    return {
        value.name: tuple(
            side.dim_value if side.HasField("dim_value") else None for side in value.type.tensor_type.shape.dim
        )
        for value in (*inferred.input, *inferred.value_info, *inferred.output)
    }


def replace_nodes(
    graph: onnx.GraphProto,
    old: Sequence[onnx.NodeProto],
    new: Sequence[onnx.NodeProto],
    constants: Sequence[onnx.TensorProto],
) -> None:
    """Put `new` where the first of `old` stands, add `constants`, and drop the initializers that nobody reads any more.

    Initializers that nobody read before stay, and so does the order of all others.
    """
    position = list(graph.node).index(old[0])
    unused = {name for node in old for name in node.input}
    for node in old:
        graph.node.remove(node)
    for k, node in enumerate(new):
        graph.node.insert(position + k, node)
    unused -= {name for node in graph.node for name in node.input}
    remaining = [each for each in graph.initializer if each.name not in unused]
    del graph.initializer[:]
    graph.initializer.extend([*remaining, *constants])
