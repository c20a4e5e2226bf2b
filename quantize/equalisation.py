"""Channels of one value made equally large, so that the one step of int8 that they share is fine enough for all.

A ReLU, or a PReLU of one slope, passes a positive factor on. So the weights that make a channel can be divided by one
and the weights that read it multiplied, and the network computes the same (Nagel et al. 2019, "Data-Free Quantization
Through Weight Equalization and Bias Correction"). How far to go is tried: channels of one size are read by weights of
different sizes, which have to share a step instead (as Xiao et al. 2023, "SmoothQuant", weigh the two).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from postfilter.quantize.edges import convolutions

if TYPE_CHECKING:
    import onnx
    from numpy.typing import NDArray

    Largest: TypeAlias = Mapping[str, NDArray[np.float32]]

__all__ = ["balanced_values", "equalised", "scales_of"]

_LEAST = 1e-3
"""Of the largest channel: smaller ones count as this large; a silent one is not blown up."""


def balanced_values(graph: onnx.ModelProto) -> list[str]:
    """Return the values whose channels can be scaled: made by a convolution and a ReLU, read by convolutions alone."""
    return list(_links(graph))


def scales_of(largest: Largest, *, strength: float) -> dict[str, list[float]]:
    """Return what each channel of each value is to be divided by.

    Args:
        largest: value -> its largest sample by channel, float32 [C].
        strength: 0 changes nothing, 1 makes all channels of a value as large as its largest.
    """
    scales = {}
    for value, each in largest.items():
        relative = np.maximum(each / max(float(each.max()), 1e-12), _LEAST)
        scales[value] = [float(np.float32(share)) for share in relative.astype(np.float64) ** strength]
    return scales


def equalised(graph: onnx.ModelProto, scales: Mapping[str, Sequence[float]]) -> onnx.ModelProto:
    """Return the graph with channels divided by `scales` and the weights that read them multiplied.

    Args:
        graph: fp32, of `export.to_graph`, rewritten or not; left as it is.
        scales: value -> a positive factor for each channel; of `balanced_values`.

    Raises:
        ValueError: a value that cannot be scaled, or another number of channels.
    """
    import onnx

    if not scales:
        return graph
    changed = onnx.ModelProto()
    changed.CopyFrom(graph)
    links = _links(changed)
    if unknown := sorted(scales.keys() - links.keys()):
        raise ValueError(f"the graph has no value {', '.join(unknown)} whose channels could be scaled")
    for value, each in scales.items():
        maker, readers = links[value]
        factors = np.array(each, np.float64)
        for name in maker.input[1:]:
            _multiply(changed.graph, name, 1 / factors, axis=0)
        for reader in readers:
            _multiply(changed.graph, reader.input[1], factors, axis=1)
    return changed


def _links(graph: onnx.ModelProto) -> dict[str, tuple[onnx.NodeProto, list[onnx.NodeProto]]]:
    """Value -> the convolution that makes it by way of an activation, and the convolutions that read it."""
    body = graph.graph
    constants = {each.name: list(each.dims) for each in body.initializer}
    used = [name for node in body.node for name in node.input]
    layers = {
        node.output[0]: node
        for node in body.node
        if node.name in convolutions(graph) and all(used.count(name) == 1 for name in node.input[1:])
    }
    found = {}
    for node in body.node:
        homogeneous = node.op_type == "Relu" or (node.op_type == "PRelu" and _single(constants.get(node.input[1])))
        if not homogeneous or node.input[0] not in layers or used.count(node.input[0]) != 1:
            continue
        readers = [each for each in body.node if node.output[0] in each.input and each.op_type != "Shape"]
        if readers and all(each.output[0] in layers and _ungrouped(each) for each in readers):
            found[node.output[0]] = (layers[node.input[0]], readers)
    return found


def _single(shape: list[int] | None) -> bool:
    return shape is not None and int(np.prod(shape)) == 1


def _ungrouped(node: onnx.NodeProto) -> bool:
    return all(each.i == 1 for each in node.attribute if each.name == "group")


def _multiply(body: onnx.GraphProto, name: str, factors: NDArray[np.float64], *, axis: int) -> None:
    from onnx import numpy_helper

    (constant,) = (each for each in body.initializer if each.name == name)
    values = numpy_helper.to_array(constant)
    if values.shape[axis] != len(factors):
        raise ValueError(f"{name} has {values.shape[axis]} channels and there are {len(factors)} factors")
    shape = [1] * values.ndim
    shape[axis] = -1
    constant.CopyFrom(numpy_helper.from_array((values * factors.reshape(shape)).astype(np.float32), name))
