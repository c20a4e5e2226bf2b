"""A linter for QDQ graphs: what a backend would refuse, or worse, compute wrongly without a word.

TensorRT in particular reads an unsigned zero point as a signed one, and builds an engine from scales along the wrong
axis of a weight without complaint.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from postfilter.errors import ArtefactError

if TYPE_CHECKING:
    import onnx
    from numpy.typing import NDArray

__all__ = ["check_quantized", "lint"]

_QUANTIZE, _RESTORE = "QuantizeLinear", "DequantizeLinear"
_OUTPUT_AXIS = {"Conv": 0, "ConvTranspose": 1}
"""Where the output channels of a weight are, by operator."""


def check_quantized(graph: onnx.ModelProto, *, unsigned: bool = False) -> None:
    """Refuse a graph in which `lint` finds anything.

    Args:
        graph: of `to_int8`.
        unsigned: whether it is for a backend that takes uint8.

    Raises:
        ArtefactError: with every finding.
    """
    found = lint(graph, unsigned=unsigned)
    if found:
        raise ArtefactError(
            f"the quantized graph breaks {len(found)} rules that backends rely on: {'; '.join(found)}; quantize it "
            "again with export-engine --int8"
        )


def lint(graph: onnx.ModelProto, *, unsigned: bool = False) -> list[str]:
    """Return a sentence for each place that breaks one of these rules; none for a graph without QDQ nodes.

    1. Every type is int8, or, of activations where `unsigned`, uint8; every zero point is there and 0.
    2. Every step is a positive finite constant; one for an activation, one an output channel for a weight, along axis 0
       of a convolution's and axis 1 of a transposed convolution's.
    3. A bias is not quantized. (TensorRT refuses int32 DequantizeLinear.)
    4. A QuantizeLinear is read by DequantizeLinear nodes of the same step alone, and these by convolutions alone.
    5. A convolution whose input is quantized has a quantized weight, and the other way round.
    6. A convolution is not parted from its PReLU by QDQ nodes, and depth-to-space reads no quantized value.
    """
    return list(_findings(_Graph(graph, unsigned=unsigned)))


class _Graph:
    """Who makes and who reads each value."""

    def __init__(self, graph: onnx.ModelProto, *, unsigned: bool) -> None:
        from onnx import numpy_helper

        self.of_values = (np.int8, np.uint8) if unsigned else (np.int8,)
        """Types that activations may have."""
        self.nodes = list(graph.graph.node)
        self.constants = {each.name: numpy_helper.to_array(each) for each in graph.graph.initializer}
        self.makers = {name: node for node in self.nodes for name in node.output}
        self.readers: dict[str, list[tuple[onnx.NodeProto, int]]] = {}
        for node in self.nodes:
            for place, name in enumerate(node.input):
                self.readers.setdefault(name, []).append((node, place))

    def type_of_maker(self, value: str) -> str:
        return self.makers[value].op_type if value in self.makers else ""

    def source_of(self, restoring: onnx.NodeProto) -> str:
        """The type of the operator whose output a QuantizeLinear and this DequantizeLinear pass on."""
        quantizing = self.makers.get(restoring.input[0])
        return self.type_of_maker(quantizing.input[0]) if quantizing is not None else ""


def _findings(graph: _Graph) -> Iterator[str]:
    for node in graph.nodes:
        if node.op_type in (_QUANTIZE, _RESTORE):
            yield from _parameters(graph, node)
        if node.op_type == _QUANTIZE:
            yield from _pair(graph, node)
        if node.op_type == _RESTORE:
            yield from _reading(graph, node)
        if node.op_type in _OUTPUT_AXIS:
            quantized = [graph.type_of_maker(name) == _RESTORE for name in node.input[:2]]
            if quantized[0] != quantized[1]:
                yield f"{node.name} has a quantized {'input' if quantized[0] else 'weight'} alone"


def _parameters(graph: _Graph, node: onnx.NodeProto) -> Iterator[str]:
    """Rules 1 and 2 as far as one node shows them."""
    step: NDArray[Any] | None = graph.constants.get(node.input[1])
    if step is None:
        yield f"the step of {node.name} is no constant"
    elif not (np.isfinite(step).all() and (step > 0).all()):
        yield f"a step of {node.name} is not positive"
    zero = graph.constants.get(node.input[2]) if len(node.input) > 2 else None
    allowed = (np.int8,) if node.input[0] in graph.constants else graph.of_values
    if zero is None or zero.dtype not in allowed:
        yield f"{node.name} is {'without a zero point' if zero is None else f'of {zero.dtype}'}, not int8"
    elif zero.any():
        yield f"a zero point of {node.name} is not 0"
    if step is not None and step.ndim and node.input[0] not in graph.constants:
        yield f"{node.name} has {step.size} steps for an activation, which takes one"


def _pair(graph: _Graph, node: onnx.NodeProto) -> Iterator[str]:
    """Rule 4, from the side of the QuantizeLinear."""
    readers = graph.readers.get(node.output[0], [])
    if not readers:
        yield f"nothing reads {node.name}"
    for reader, _ in readers:
        if reader.op_type != _RESTORE:
            yield f"{reader.name} ({reader.op_type}) reads {node.name} without a DequantizeLinear"
        elif not _same(graph, reader.input[1], node.input[1]):
            yield f"{reader.name} has another step than {node.name}"


def _reading(graph: _Graph, node: onnx.NodeProto) -> Iterator[str]:
    """Rules 2, 3, 4 and 6, from the side of the DequantizeLinear."""
    weight = graph.constants.get(node.input[0])
    axis = next((each.i for each in node.attribute if each.name == "axis"), 1)
    for reader, place in graph.readers.get(node.output[0], []):
        if reader.op_type == "PRelu" and graph.source_of(node) in _OUTPUT_AXIS:
            yield f"{node.name} stands between a convolution and its PReLU {reader.name}"
        elif reader.op_type not in _OUTPUT_AXIS:
            yield f"{reader.name} ({reader.op_type}) reads the quantized value of {node.name}; only convolutions may"
        elif place == 2:
            yield f"{node.name} restores the bias of {reader.name}, which must be float"
        elif place == 1 and weight is None:
            yield f"the weight of {reader.name} is quantized while it runs; it has to be an int8 constant"
        elif place == 1 and weight is not None:
            step, right = graph.constants.get(node.input[1]), _OUTPUT_AXIS[reader.op_type]
            if step is not None and (step.ndim != 1 or axis != right or step.size != weight.shape[right]):
                yield (
                    f"{node.name} has {step.size} steps along axis {axis}; the {weight.shape[right]} output channels "
                    f"of {reader.name} are along axis {right}"
                )
        elif place == 0 and graph.type_of_maker(node.input[0]) != _QUANTIZE:
            yield f"{node.name} feeds {reader.name} and follows no QuantizeLinear"


def _same(graph: _Graph, first: str, second: str) -> bool:
    return first == second or np.array_equal(graph.constants.get(first, -1), graph.constants.get(second, -2))
