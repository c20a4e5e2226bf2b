"""How much memory a graph's intermediate values take, for each sample of the plane that it filters."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from postfilter.errors import ArtefactError

if TYPE_CHECKING:
    import onnx

__all__ = ["activation_bytes_per_px"]

_ELEMENTWISE = ("PRelu", "Relu", "LeakyRelu", "Clip", "Add", "Mul", "Div", "Sub")
_SIDE = 64
"""The size at which shapes are counted: everything in these graphs grows with the plane."""


def activation_bytes_per_px(graph: onnx.ModelProto) -> float:
    """Return the bytes of intermediate values that are alive at once, at most, for each sample of one plane.

    Each value is held from the node that makes it to the last that reads it; the samples that go in and come out are
    not counted. A value that only goes on to be quantized takes one byte, since backends quantize in the layer that
    makes it, and what `DequantizeLinear` makes takes none: it is read as bytes. Backends that reuse less take more.

    Raises:
        ArtefactError: shapes do not follow from those of the input.
    """
    import onnx

    still = onnx.ModelProto()
    still.CopyFrom(graph)
    for value in (still.graph.input[0], still.graph.output[0]):
        channels = value.type.tensor_type.shape.dim[1].dim_value
        del value.type.tensor_type.shape.dim[:]
        for side in (1, channels, _SIDE, _SIDE):
            value.type.tensor_type.shape.dim.add().dim_value = side
    del still.graph.value_info[:]
    try:
        inferred = onnx.shape_inference.infer_shapes(still, strict_mode=True, data_prop=True).graph
    except onnx.shape_inference.InferenceError as error:
        raise ArtefactError(f"the graph's shapes do not follow from its input ({error})") from error
    elements = {
        each.name: (
            math.prod(side.dim_value for side in each.type.tensor_type.shape.dim),
            onnx.helper.tensor_dtype_to_np_dtype(each.type.tensor_type.elem_type).itemsize,
        )
        for each in inferred.value_info
    }
    readers: dict[str, list[onnx.NodeProto]] = {}
    for node in still.graph.node:
        for name in node.input if node.op_type != "Shape" else ():  # which reads no values
            readers.setdefault(name, []).append(node)
    constants = {each.name for each in still.graph.initializer}
    last = {name: node for name, nodes in readers.items() for node in nodes[-1:]}

    alive: dict[str, int] = {}
    most = 0
    for node in still.graph.node:
        if all(name in constants for name in node.input):
            constants.update(node.output)
            continue
        for name in node.output:
            count, size = elements.get(name, (0, 0))
            if node.op_type == "DequantizeLinear":
                # It is its input, so that stays for as long as this is read.
                count = 0
                last[node.input[0]] = last.get(name, node)
            elif _only_quantized(name, readers):
                size = 1
            alive[name] = count * size
        most = max(most, sum(alive.values()))
        for name in [each for each in alive if last.get(each) is node]:
            del alive[name]
    return most / _SIDE**2


def _only_quantized(name: str, readers: dict[str, list[onnx.NodeProto]]) -> bool:
    """Whether all that reads a value quantizes it, at once or after operations on single values."""
    reading = readers.get(name, [])
    return bool(reading) and all(
        node.op_type == "QuantizeLinear"
        or (node.op_type in _ELEMENTWISE and all(_only_quantized(each, readers) for each in node.output))
        for node in reading
    )
