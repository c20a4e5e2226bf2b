"""The pass that turns a transposed convolution into a convolution and depth-to-space.

Along one axis a transposed convolution with stride s, kernel k and leading padding p adds x[i] w[t] to output sample
i s + t - p. Output sample s q + r therefore takes tap t = r + p - s d from input sample q + d, for every d that makes t
a tap. Those d reach from ceil((p - k + 1) / s) to floor((s - 1 + p) / s): a convolution of that many taps gives all s
outputs of position q as s channels, which depth-to-space lays side by side. Taps that do not exist are zeros.

Backends run this several times faster: their transposed convolutions scatter, or multiply by inserted zeros.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from postfilter.export.passes.graph_edit import attributes, replace_nodes

if TYPE_CHECKING:
    import numpy as np
    import onnx
    from numpy.typing import NDArray

__all__ = ["Axis", "subpixel_convolutions", "subpixel_weight"]


@dataclass(frozen=True, kw_only=True)
class Axis:
    """One spatial axis of a transposed convolution, and the convolution that equals it."""

    kernel: int
    stride: int
    begin: int
    """Padding in front."""
    end: int
    output_padding: int

    @property
    def first(self) -> int:
        """The smallest offset d of an input sample that output position q reads."""
        return math.ceil((self.begin - self.kernel + 1) / self.stride)

    @property
    def last(self) -> int:
        """The largest."""
        return (self.stride - 1 + self.begin) // self.stride

    @property
    def growth(self) -> int:
        """Samples of output beyond stride times the input's; may be negative."""
        return self.kernel - self.stride - self.begin - self.end + self.output_padding

    @property
    def taps(self) -> int:
        """Of the convolution."""
        return self.last - self.first + 1

    @property
    def pads(self) -> tuple[int, int]:
        """Padding of the convolution, so that it has one position for each `stride` samples of output begun."""
        return -self.first, self.last + math.ceil(self.growth / self.stride)

    @property
    def surplus(self) -> int:
        """Samples at the end that depth-to-space makes too many; less than `stride`."""
        return -self.growth % self.stride


def subpixel_convolutions(graph: onnx.ModelProto) -> list[str]:
    """Replace transposed convolutions in place; return a sentence for each.

    A ConvTranspose is replaced where all of this holds, and left alone elsewhere:

    1. two spatial axes with one stride, at least 2 (depth-to-space has one block size);
    2. no dilation, and padding given as numbers (no `auto_pad`, no `output_shape`);
    3. kernel, padding and stride known, the weight a constant;
    4. the convolution needs no negative padding (the standard has none): never so for padding below the kernel's size.
    """
    done = []
    for node in list(graph.graph.node):
        axes = _axes(graph.graph, node) if node.op_type == "ConvTranspose" else None
        if axes is not None:
            done.append(_replace(graph.graph, node, *axes))
    return done


def subpixel_weight(
    weight: NDArray[np.floating], rows: Axis, columns: Axis, *, groups: int = 1
) -> NDArray[np.floating]:
    """Return the convolution's weight, of the same type and made of the same numbers and zeros.

    Args:
        weight: [in, out / groups, kernel, kernel], as ConvTranspose has it.
        rows: the vertical axis.
        columns: the horizontal one, of the same stride s.
        groups: of both.

    Returns:
        [out s s, in / groups, rows.taps, columns.taps]; channel o s s + ry s + rx makes the samples at row parity ry
        and column parity rx, the order of depth-to-space's CRD mode.
    """
    import numpy as np

    stride = rows.stride
    inputs, outputs = weight.shape[0] // groups, weight.shape[1]
    source = weight.reshape(groups, inputs, outputs, rows.kernel, columns.kernel)
    made = np.zeros((groups, outputs, stride, stride, inputs, rows.taps, columns.taps), weight.dtype)
    for ry, dy, ky in _taps(rows):
        for rx, dx, kx in _taps(columns):
            made[:, :, ry, rx, :, dy, dx] = source[..., ky, kx].swapaxes(1, 2)
    return made.reshape(groups * outputs * stride * stride, inputs, rows.taps, columns.taps)


def _taps(axis: Axis) -> list[tuple[int, int, int]]:
    """(parity of the output, tap of the convolution, tap of the transposed one) of every tap that exists."""
    found = []
    for parity in range(axis.stride):
        for position, offset in enumerate(range(axis.first, axis.last + 1)):
            tap = parity + axis.begin - axis.stride * offset
            if 0 <= tap < axis.kernel:
                found.append((parity, position, tap))
    return found


def _axes(graph: onnx.GraphProto, node: onnx.NodeProto) -> tuple[Axis, Axis] | None:
    """Return the two axes of a ConvTranspose, None where a condition of the pass does not hold."""
    given = attributes(node)
    weight = next((each for each in graph.initializer if each.name == node.input[1]), None)
    biases = node.input[2:]
    constants = {each.name for each in graph.initializer}
    if weight is None or len(weight.dims) != 4 or not constants.issuperset(biases):
        return None
    strides, dilations = given.get("strides", [1, 1]), given.get("dilations", [1, 1])
    pads, extra = given.get("pads", [0] * 4), given.get("output_padding", [0, 0])
    if strides[0] != strides[1] or strides[0] < 2 or list(dilations) != [1, 1]:
        return None
    if given.get("auto_pad", b"NOTSET") != b"NOTSET" or "output_shape" in given:
        return None
    rows, columns = (
        Axis(kernel=weight.dims[2 + k], stride=strides[k], begin=pads[k], end=pads[2 + k], output_padding=extra[k])
        for k in range(2)
    )
    return (rows, columns) if min(*rows.pads, *columns.pads) >= 0 else None


def _replace(graph: onnx.GraphProto, node: onnx.NodeProto, rows: Axis, columns: Axis) -> str:
    """Put the convolution, depth-to-space and, where needed, a slice in the node's place."""
    import numpy as np
    from onnx import helper, numpy_helper

    stride, name = rows.stride, node.name or node.output[0]
    weights = {each.name: each for each in graph.initializer}
    groups = attributes(node).get("group", 1)
    weight = subpixel_weight(numpy_helper.to_array(weights[node.input[1]]), rows, columns, groups=groups)
    added = [numpy_helper.from_array(weight, f"{name}.subpixel.weight")]
    if len(node.input) > 2:
        bias = numpy_helper.to_array(weights[node.input[2]]).repeat(stride * stride)
        added.append(numpy_helper.from_array(bias, f"{name}.subpixel.bias"))

    surplus = (rows.surplus, columns.surplus)
    shuffled = f"{name}.shuffled" if any(surplus) else node.output[0]
    nodes = [
        helper.make_node(
            "Conv",
            [node.input[0], *(each.name for each in added)],
            [f"{name}.subpixel"],
            name=f"{name}.subpixel",
            group=groups,
            kernel_shape=weight.shape[2:],
            pads=[rows.pads[0], columns.pads[0], rows.pads[1], columns.pads[1]],
        ),
        helper.make_node(
            "DepthToSpace",
            [f"{name}.subpixel"],
            [shuffled],
            name=f"{name}.shuffle",
            blocksize=stride,
            mode="CRD",
        ),
    ]
    if any(surplus):
        kept = [2**31 - 1 if s == 0 else -s for s in surplus]
        for role, values in (("starts", [0, 0]), ("ends", kept), ("axes", [2, 3])):
            added.append(numpy_helper.from_array(np.array(values, np.int64), f"{name}.crop.{role}"))
        constants = [f"{name}.crop.{role}" for role in ("starts", "ends", "axes")]
        nodes.append(helper.make_node("Slice", [shuffled, *constants], [node.output[0]], name=f"{name}.crop"))

    kernel = f"{rows.kernel}x{columns.kernel}"
    sentence = (
        f"{name}: transposed convolution {kernel} of stride {stride} -> convolution {rows.taps}x{columns.taps} and "
        f"depth-to-space {stride}"
    )
    replace_nodes(graph, [node], nodes, added)
    return sentence
