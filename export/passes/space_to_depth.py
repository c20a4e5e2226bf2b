"""The pass that turns a strided convolution into space-to-depth and a convolution.

Along one axis a convolution with stride s, kernel k and leading padding p reads, for output q, the inputs s q + t - p.
Written as s (q + d) + r with r in 0..s-1, tap t = s d + r + p belongs to channel r of position q + d after
space-to-depth. Those d reach from floor(-p / s) to floor((k - 1 - p) / s): a convolution of that many taps and stride 1
on s s times the channels. Taps that do not exist are zeros.

Few input channels leave most of a processor's vector or matrix unit idle; more of them fill it. It costs the shuffle
and, where k is no multiple of s, multiplications by zeros.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from postfilter.export.passes.graph_edit import attributes, constant, known_sizes, replace_nodes

if TYPE_CHECKING:
    import numpy as np
    import onnx
    from numpy.typing import NDArray

__all__ = ["space_to_depth", "unshuffled_weight"]

_FEW = 4
"""Input channels up to which a convolution is replaced."""
_SHAPE_ENDS = 15
"""The opset from which Shape takes a part of the sides."""


@dataclass(frozen=True, kw_only=True)
class _Axis:
    """One spatial axis of a strided convolution, and the one that equals it."""

    kernel: int
    stride: int
    begin: int
    """Padding in front."""
    end: int

    @property
    def first(self) -> int:
        """The smallest offset d that output q reads."""
        return -self.begin // self.stride

    @property
    def last(self) -> int:
        """The largest."""
        return (self.kernel - 1 - self.begin) // self.stride

    @property
    def taps(self) -> int:
        return self.last - self.first + 1

    def trailing(self, size: int | None) -> int | None:
        """Padding behind that gives as many outputs; may be negative. None where a size that is not known decides it.

        An axis of s m - u samples, 0 <= u < s, is filled up to m positions. It has
        m + floor((padding - kernel - u) / s) + 1 outputs, and a convolution of stride 1 must have the same.
        """
        slack = self.begin + self.end - self.kernel
        if size is None and slack % self.stride != self.stride - 1:
            return None
        short = 0 if size is None else -size % self.stride
        return self.last + 1 + (slack - short) // self.stride


def space_to_depth(graph: onnx.ModelProto) -> list[str]:
    """Replace strided convolutions on few channels in place; return a sentence for each.

    A Conv is replaced where all of this holds, and left alone elsewhere:

    1. two spatial axes with one stride, at least 2 (space-to-depth has one block size);
    2. at most 4 input channels, one group, no dilation, padding given as numbers, the weight a constant;
    3. the new convolution needs no negative padding, and its padding does not depend on a size that is not known: so it
       is for an open size where padding - kernel is one less than a multiple of the stride, as it is for 9x9 of stride
       2 and padding 4.

    Where the size is no multiple of the stride, or not known, zeros are added behind, as the padding would.
    """
    sizes: dict[str, tuple[int | None, ...]] | None = None
    done = []
    pads_open = any(each.domain == "" and each.version >= _SHAPE_ENDS for each in graph.opset_import)
    for node in list(graph.graph.node):
        found = _place(graph.graph, node) if node.op_type == "Conv" else None
        if found is None:
            continue
        weight, *axes = found
        sizes = known_sizes(graph) if sizes is None else sizes
        height, width = sizes.get(node.input[0], (None,) * 4)[2:]
        bottom, right = axes[0].trailing(height), axes[1].trailing(width)
        whole = height is not None and width is not None and height % axes[0].stride == width % axes[0].stride == 0
        if bottom is not None and right is not None and min(bottom, right) >= 0 and (whole or pads_open):
            done.append(_replace(graph.graph, node, weight, *axes, trailing=(bottom, right), fill=not whole))
    return done


def unshuffled_weight(weight: NDArray[np.floating], rows: _Axis, columns: _Axis) -> NDArray[np.floating]:
    """Return the weight behind space-to-depth, of the same type and made of the same numbers and zeros.

    Args:
        weight: [out, in, height, width].
        rows: the vertical axis.
        columns: the horizontal one, of the same stride s.

    Returns:
        [out, s s in, rows.taps, columns.taps]; channel (ry s + rx) in + c holds input channel c at row parity ry and
        column parity rx, the order of SpaceToDepth.
    """
    import numpy as np

    stride = rows.stride
    outputs, inputs = weight.shape[:2]
    made = np.zeros((outputs, stride, stride, inputs, rows.taps, columns.taps), weight.dtype)
    for ky in range(rows.kernel):
        dy, ry = divmod(ky - rows.begin, stride)
        for kx in range(columns.kernel):
            dx, rx = divmod(kx - columns.begin, stride)
            made[:, ry, rx, :, dy - rows.first, dx - columns.first] = weight[:, :, ky, kx]
    return made.reshape(outputs, stride * stride * inputs, rows.taps, columns.taps)


def _place(graph: onnx.GraphProto, node: onnx.NodeProto) -> tuple[NDArray[np.floating], _Axis, _Axis] | None:
    """Return the weight and the two axes of a convolution, None where a condition of the pass does not hold."""
    given = attributes(node)
    weight = constant(graph, node.input[1])
    if weight is None or weight.ndim != 4 or weight.shape[1] > _FEW or given.get("group", 1) != 1:
        return None
    strides, pads = given.get("strides", [1, 1]), given.get("pads", [0] * 4)
    if strides[0] != strides[1] or strides[0] < 2 or list(given.get("dilations", [1, 1])) != [1, 1]:
        return None
    if given.get("auto_pad", b"NOTSET") != b"NOTSET":
        return None
    rows, columns = (
        _Axis(kernel=weight.shape[2 + k], stride=strides[k], begin=pads[k], end=pads[2 + k]) for k in range(2)
    )
    return weight, rows, columns


def _replace(
    graph: onnx.GraphProto,
    node: onnx.NodeProto,
    old: NDArray[np.floating],
    rows: _Axis,
    columns: _Axis,
    *,
    trailing: tuple[int, int],
    fill: bool,
) -> str:
    """Put padding to a multiple where needed, space-to-depth and the convolution in the node's place."""
    import numpy as np
    from onnx import helper, numpy_helper

    stride, name, source = rows.stride, node.name or node.output[0], node.input[0]
    weight = unshuffled_weight(old, rows, columns)
    added = [numpy_helper.from_array(weight, f"{name}.unshuffled.weight")]
    new = []
    if fill:
        size, negative, short, padding = (f"{name}.{role}" for role in ("size", "negative", "short", "fill"))
        for role, values in (("block", [stride]), ("front", [0] * 6)):
            added.append(numpy_helper.from_array(np.array(values, np.int64), f"{name}.fill.{role}"))
        new = [
            helper.make_node("Shape", [source], [size], name=size, start=2, end=4),
            helper.make_node("Neg", [size], [negative], name=negative),
            helper.make_node("Mod", [negative, f"{name}.fill.block"], [short], name=short),
            helper.make_node("Concat", [f"{name}.fill.front", short], [padding], name=padding, axis=0),
            helper.make_node("Pad", [source, padding], [f"{name}.filled"], name=f"{name}.filled"),
        ]
        source = f"{name}.filled"
    new += [
        helper.make_node("SpaceToDepth", [source], [f"{name}.unshuffled"], name=f"{name}.unshuffle", blocksize=stride),
        helper.make_node(
            "Conv",
            [f"{name}.unshuffled", f"{name}.unshuffled.weight", *node.input[2:]],
            [node.output[0]],
            name=name,
            kernel_shape=weight.shape[2:],
            pads=[-rows.first, -columns.first, *trailing],
        ),
    ]
    replace_nodes(graph, [node], new, added)
    return (
        f"{name}: convolution {rows.kernel}x{columns.kernel} of stride {stride} on {old.shape[1]} channels -> "
        f"space-to-depth {stride} and convolution {rows.taps}x{columns.taps} on {weight.shape[1]}"
    )
