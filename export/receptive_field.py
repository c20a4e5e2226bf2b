"""How far a graph reaches and which sizes it takes, derived from its operators."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from postfilter.errors import ArtefactError

if TYPE_CHECKING:
    import onnx

__all__ = ["ReceptiveField", "receptive_field"]


@dataclass(frozen=True, kw_only=True)
class ReceptiveField:
    """What pieces of a frame must respect."""

    halo: int
    """The furthest that an input sample can be from an output sample that it changes, along either axis, in samples."""
    size_multiple: int
    """Height and width must be multiples of it: so the output has the input's size, and moving the input by it moves
    the output by the same."""


def receptive_field(graph: onnx.ModelProto) -> ReceptiveField:
    """Derive the reach of a graph with one input and one output of planes, [N, C, H, W].

    For each position of each value the first and the last input position that it depends on is followed through the
    operators, along one axis and then the other. Weights are not looked at: a tap that is zero reaches as far as any,
    and so does one that a rewrite adds. Give the graph as it was before rewriting, which computes the same.

    Raises:
        ArtefactError: an operator that is not known to keep to a neighbourhood, such as a global pooling; or no size up
            to multiples of 64 comes out as it went in.
    """
    fields = [_along(graph, axis) for axis in (0, 1)]
    return ReceptiveField(
        halo=max(each.halo for each in fields), size_multiple=math.lcm(*(each.size_multiple for each in fields))
    )


class _NoSuchSizeError(Exception):
    """The graph does not take the size that is tried."""


@dataclass(frozen=True, kw_only=True)
class _Reach:
    """For each position along an axis the first and last input position that it depends on."""

    first: NDArray[np.int64]
    last: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.first)

    def gathered(self, sources: list[NDArray[np.int64]]) -> _Reach:
        """Return positions of which the i-th depends on `sources[i]`; what lies outside is padding."""
        inside = [each[(each >= 0) & (each < len(self))] for each in sources]
        if not inside or any(not len(each) for each in inside):
            raise _NoSuchSizeError
        return _Reach(
            first=np.array([self.first[each].min() for each in inside]),
            last=np.array([self.last[each].max() for each in inside]),
        )


def _along(graph: onnx.ModelProto, axis: int) -> ReceptiveField:
    for multiple in range(1, 65):
        length = 64 * multiple
        previous = None
        while length <= 64 * 64 * multiple:
            halo = _halo_at(graph, axis, length, multiple)
            if halo is None:
                break
            if halo == previous and 4 * halo < length:
                return ReceptiveField(halo=halo, size_multiple=multiple)
            previous, length = halo, 2 * length
    raise ArtefactError(
        "no size up to multiples of 64 comes out of the graph as it went in, or its reach grows with the frame; only "
        "graphs that map planes to planes of the same size can be filtered in pieces"
    )


def _halo_at(graph: onnx.ModelProto, axis: int, length: int, multiple: int) -> int | None:
    """The reach for an input of `length`; None where a multiple of `multiple` is no size that the graph keeps."""
    halo = 0
    for side in (length, length + multiple):
        try:
            reach = _output(graph, axis, side)
        except _NoSuchSizeError:
            return None
        if len(reach) != side:
            return None
        places = np.arange(side)
        before, after = places - reach.first, reach.last - places
        halo = max(halo, int(before.max()), int(after.max()))
        # Far from the borders each sample must reach as far as the one a multiple further on.
        inner = slice(side // 4, -(side // 4) - multiple)
        for each in (before, after):
            if (each[inner] != each[side // 4 + multiple : len(each) - side // 4]).any():
                return None
    return halo


def _output(graph: onnx.ModelProto, axis: int, length: int) -> _Reach:
    from onnx import numpy_helper

    places = np.arange(length)
    values = {graph.graph.input[0].name: _Reach(first=places, last=places)}
    constants = {each.name: numpy_helper.to_array(each) for each in graph.graph.initializer}
    for node in graph.graph.node:
        if node.op_type == "Constant":
            constants[node.output[0]] = numpy_helper.to_array(node.attribute[0].t)
            continue
        reading = [values[name] for name in node.input if name in values]
        if node.op_type == "Shape" and reading:
            # Only the side along this axis is asked for; the other stands in for itself.
            told = _attributes(node)
            constants[node.output[0]] = np.array([1, 1, len(reading[0]), len(reading[0])])[
                told.get("start", 0) : told.get("end")
            ]
            continue
        if not reading:
            if node.op_type in _ARITHMETIC and all(name in constants for name in node.input):
                constants[node.output[0]] = _ARITHMETIC[node.op_type](*(constants[name] for name in node.input))
            continue  # constants made from constants
        operator = _OPERATORS.get(node.op_type)
        if operator is None:
            raise ArtefactError(
                f"the graph has an operator {node.op_type} ({node.name}), of which it is not known how far it reaches; "
                f"known are {', '.join(sorted(_OPERATORS))}"
            )
        given = [constants[name] for name in node.input if name in constants]
        made = operator(node, _joined(reading), given, axis)
        values |= dict.fromkeys(node.output, made)
    return values[graph.graph.output[0].name]


def _joined(reading: Iterable[_Reach]) -> _Reach:
    """What depends on several values at the same position."""
    reading = list(reading)
    if len({len(each) for each in reading}) != 1:
        raise _NoSuchSizeError
    first = np.minimum.reduce([each.first for each in reading])
    return _Reach(first=first, last=np.maximum.reduce([each.last for each in reading]))


def _attributes(node: onnx.NodeProto) -> dict[str, Any]:
    from onnx import helper

    return {each.name: helper.get_attribute_value(each) for each in node.attribute}


def _elementwise(node: onnx.NodeProto, reach: _Reach, given: list[NDArray[Any]], axis: int) -> _Reach:
    if any(each.ndim > 1 and each.shape[-2:] != (1, 1) for each in given):
        raise ArtefactError(f"{node.op_type} ({node.name}) has a constant that differs from sample to sample")
    return reach


def _of_channels(node: onnx.NodeProto, reach: _Reach, given: list[NDArray[Any]], axis: int) -> _Reach:
    if _attributes(node).get("axis", 0) != 1:
        raise ArtefactError(f"{node.op_type} ({node.name}) does not join, take or split channels; only that is known")
    return reach


def _window(node: onnx.NodeProto, axis: int, kernel: int) -> tuple[int, int, int, int, int]:
    """(kernel, stride, dilation, padding before, padding after) along an axis."""
    told = _attributes(node)
    if told.get("auto_pad", b"NOTSET") not in (b"NOTSET", b"VALID") or told.get("ceil_mode", 0):
        raise ArtefactError(f"{node.op_type} ({node.name}) leaves its padding to the backend; write it out as `pads`")
    pads = told.get("pads", [0, 0, 0, 0])
    return kernel, told.get("strides", [1, 1])[axis], told.get("dilations", [1, 1])[axis], pads[axis], pads[axis + 2]


def _sliding(node: onnx.NodeProto, reach: _Reach, kernel: int, axis: int) -> _Reach:
    kernel, stride, dilation, before, after = _window(node, axis, kernel)
    count = (len(reach) + before + after - dilation * (kernel - 1) - 1) // stride + 1
    taps = dilation * np.arange(kernel) - before
    return reach.gathered([place * stride + taps for place in range(count)])


def _convolution(node: onnx.NodeProto, reach: _Reach, given: list[NDArray[Any]], axis: int) -> _Reach:
    kernel = _attributes(node).get("kernel_shape") or (given[0].shape[2:] if given else None)
    if kernel is None:
        raise ArtefactError(f"{node.op_type} ({node.name}) tells no kernel_shape")
    return _sliding(node, reach, kernel[axis], axis)


def _transposed(node: onnx.NodeProto, reach: _Reach, given: list[NDArray[Any]], axis: int) -> _Reach:
    told = _attributes(node)
    size = told.get("kernel_shape") or (given[0].shape[2:] if given else None)
    if size is None or "output_shape" in told:
        raise ArtefactError(f"{node.op_type} ({node.name}) must tell kernel_shape and pads, and no output_shape")
    kernel, stride, dilation, before, after = _window(node, axis, size[axis])
    extra = told.get("output_padding", [0, 0])[axis]
    count = stride * (len(reach) - 1) + extra + dilation * (kernel - 1) + 1 - before - after
    # Output j takes tap t of input i where j = stride * i + dilation * t - before.
    places = np.arange(count)[:, None] + before - dilation * np.arange(kernel)
    return reach.gathered([each[each % stride == 0] // stride for each in places])


def _depth_to_space(node: onnx.NodeProto, reach: _Reach, given: list[NDArray[Any]], axis: int) -> _Reach:
    block = _attributes(node)["blocksize"]
    return _Reach(first=np.repeat(reach.first, block), last=np.repeat(reach.last, block))


def _space_to_depth(node: onnx.NodeProto, reach: _Reach, given: list[NDArray[Any]], axis: int) -> _Reach:
    block = _attributes(node)["blocksize"]
    if len(reach) % block:
        raise _NoSuchSizeError
    return _Reach(first=reach.first.reshape(-1, block).min(1), last=reach.last.reshape(-1, block).max(1))


def _slice(node: onnx.NodeProto, reach: _Reach, given: list[NDArray[Any]], axis: int) -> _Reach:
    if len(given) != len(node.input) - 1:
        raise ArtefactError(f"{node.op_type} ({node.name}) cuts by what is known only while it runs")
    starts, ends = given[0], given[1]
    axes = given[2] if len(given) > 2 else np.arange(len(starts))
    steps = given[3] if len(given) > 3 else np.ones(len(starts), int)
    for each, start, end, step in zip(axes % 4, starts, ends, steps, strict=True):
        if each == axis + 2:
            part = slice(int(start), int(end), int(step))
            return _Reach(first=reach.first[part], last=reach.last[part])
    return reach


def _pad(node: onnx.NodeProto, reach: _Reach, given: list[NDArray[Any]], axis: int) -> _Reach:
    if not given:
        raise ArtefactError(f"{node.op_type} ({node.name}) pads by what is known only while it runs")
    before, after = given[0].reshape(2, -1)[:, axis + 2]
    if before or after:
        # Sizes that need no filling up are enough to know.
        raise _NoSuchSizeError
    return reach


def _concatenated(*parts: NDArray[Any]) -> NDArray[Any]:
    return np.concatenate(parts)


_ARITHMETIC: dict[str, Callable[..., Any]] = {
    "Add": np.add,
    "Concat": _concatenated,
    "Mod": np.mod,
    "Mul": np.multiply,
    "Neg": np.negative,
    "Sub": np.subtract,
}
"""Sizes are computed with these."""

_ELEMENTWISE = (
    *(
        "Abs",
        "Add",
        "BatchNormalization",
        "Cast",
        "Clip",
        "DequantizeLinear",
        "Div",
        "Elu",
        "Erf",
        "Exp",
        "HardSigmoid",
    ),
    *("HardSwish", "Identity", "LeakyRelu", "Max", "Min", "Mul", "Neg", "PRelu", "Pow", "QuantizeLinear", "Relu"),
    *("Round", "Sigmoid", "Softplus", "Sqrt", "Sub", "Tanh"),
)

_OPERATORS: dict[str, Callable[[Any, _Reach, list[NDArray[Any]], int], _Reach]] = {
    **dict.fromkeys(_ELEMENTWISE, _elementwise),
    **dict.fromkeys(("Concat", "Gather", "Split"), _of_channels),
    **dict.fromkeys(("Conv", "AveragePool", "MaxPool"), _convolution),
    "ConvTranspose": _transposed,
    "DepthToSpace": _depth_to_space,
    "Pad": _pad,
    "Slice": _slice,
    "SpaceToDepth": _space_to_depth,
}
