"""The pass that makes several neighbouring outputs of a convolution at once, as channels.

A processor multiplies a vector of output channels at a time, 16 floats with AVX-512. A convolution with 4 output
channels fills a quarter of it and pays for the whole. Output (i, j) of the block at position q reads the inputs from
b q + i on, so one kernel of k + b - 1 taps, with zeros around the k that are its own, makes each of the b b outputs as
a channel, at stride b; depth-to-space lays them side by side. More taps are multiplied, b b times fewer positions are
visited, and the vector is full: 5x5 with 4 outputs becomes 6x6 of stride 2 with 16, which takes 36 / (25 * 4) of the
time.

Where depth-to-space s follows already, the two are one of block s b.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from postfilter.export.passes.graph_edit import attributes, constant, known_sizes, readers, replace_nodes

if TYPE_CHECKING:
    import numpy as np
    import onnx
    from numpy.typing import NDArray

__all__ = ["LANES", "best_block", "block_weight", "output_blocks"]

LANES = 16
"""Output channels that are multiplied at a time: float32 and int32 sums of AVX-512."""
_LARGEST_BLOCK = 4
_WORTH = 0.75
"""Done where the convolution then takes less than this share of its time, by count."""
_SHAPE_ENDS = 15
"""The opset from which Shape takes a part of the sides."""


@dataclass(frozen=True, kw_only=True)
class _Place:
    """A convolution to which the pass applies."""

    convolution: onnx.NodeProto
    shuffle: onnx.NodeProto | None
    """The depth-to-space behind it."""
    weight: NDArray[np.floating]
    bias: NDArray[np.floating] | None
    pads: list[int]
    scale: int
    """Block size of that depth-to-space; 1 where there is none."""
    block: int


def output_blocks(graph: onnx.ModelProto) -> list[str]:
    """Replace convolutions in place; return a sentence for each.

    A Conv is replaced where all of this holds, and left alone elsewhere:

    1. two spatial axes, stride 1, no dilation, one group, padding given as numbers that keep the size;
    2. weight and bias are constants;
    3. `best_block` finds a block by which at least a quarter of its time is saved;
    4. if a DepthToSpace alone reads it, that is of CRD mode, and becomes one with that of the pass.

    Where the size is no multiple of the block, or not known, a slice cuts off what the last block makes too much.
    """
    sizes: dict[str, tuple[int | None, ...]] | None = None
    done = []
    slices = any(each.domain == "" and each.version >= _SHAPE_ENDS for each in graph.opset_import)
    for node in list(graph.graph.node):
        place = _place(graph.graph, node) if node.op_type == "Conv" else None
        if place is None:
            continue
        sizes = known_sizes(graph) if sizes is None else sizes
        size = sizes.get(node.input[0], (None,) * 4)[2:]
        whole = all(side is not None and side % place.block == 0 for side in size)
        if whole or slices:
            done.append(_replace(graph.graph, place, slice_off=not whole))
    return done


def best_block(kernel: tuple[int, int], outputs: int, *, lanes: int = LANES) -> int:
    """Return the block side from 1 to 4 with the least work, counted in whole vectors a sample of the original output.

    Args:
        kernel: height and width.
        outputs: channels.
        lanes: channels in a vector.
    """

    def work(block: int) -> float:
        taps = (kernel[0] + block - 1) * (kernel[1] + block - 1)
        vectors = -(-outputs * block * block // lanes)
        return taps * vectors / (block * block)

    best = min(range(1, _LARGEST_BLOCK + 1), key=work)
    return best if work(best) < _WORTH * work(1) else 1


def block_weight(weight: NDArray[np.floating], *, scale: int, block: int) -> NDArray[np.floating]:
    """Return the weight that makes a block of outputs, of the same type and made of the same numbers and zeros.

    Args:
        weight: [out s s, in, height, width], in the order of depth-to-space's CRD mode with block s.
        scale: that s; 1 where none follows.
        block: b, the side of the block.

    Returns:
        [out (b s)(b s), in, height + b - 1, width + b - 1], in the order of CRD mode with block b s.
    """
    import numpy as np

    channels, inputs, height, width = weight.shape
    outputs = channels // (scale * scale)
    source = weight.reshape(outputs, scale, scale, inputs, height, width)
    made = np.zeros(
        (outputs, block, scale, block, scale, inputs, height + block - 1, width + block - 1), dtype=weight.dtype
    )
    for i in range(block):
        for j in range(block):
            made[:, i, :, j, :, :, i : i + height, j : j + width] = source
    return made.reshape(channels * block * block, inputs, height + block - 1, width + block - 1)


def _block_bias(bias: NDArray[np.floating], *, scale: int, block: int) -> NDArray[np.floating]:
    """[out s s] -> [out (b s)(b s)], each value as often as its channel is made."""
    import numpy as np

    source = bias.reshape(-1, 1, scale, 1, scale)
    return np.broadcast_to(source, (source.shape[0], block, scale, block, scale)).reshape(-1)


def _place(graph: onnx.GraphProto, node: onnx.NodeProto) -> _Place | None:
    """Return what there is to replace, None where a condition does not hold."""
    given = attributes(node)
    weight = constant(graph, node.input[1])
    bias = constant(graph, node.input[2]) if len(node.input) > 2 else None
    if weight is None or weight.ndim != 4 or (len(node.input) > 2 and bias is None):
        return None
    kernel = weight.shape[2], weight.shape[3]
    pads = list(given.get("pads", [0] * 4))
    plain = (
        list(given.get("strides", [1, 1])) == [1, 1]
        and list(given.get("dilations", [1, 1])) == [1, 1]
        and given.get("group", 1) == 1
        and given.get("auto_pad", b"NOTSET") == b"NOTSET"
        and all(pads[k] + pads[2 + k] == kernel[k] - 1 for k in range(2))
    )
    block = best_block(kernel, weight.shape[0])
    if not plain or block == 1:
        return None
    shuffle = _shuffle_behind(graph, node)
    if shuffle is not None and attributes(shuffle).get("mode", b"DCR") != b"CRD":
        return None
    scale = 1 if shuffle is None else attributes(shuffle)["blocksize"]
    return _Place(convolution=node, shuffle=shuffle, weight=weight, bias=bias, pads=pads, scale=scale, block=block)


def _shuffle_behind(graph: onnx.GraphProto, node: onnx.NodeProto) -> onnx.NodeProto | None:
    """The DepthToSpace that is all that reads a node; None for any other reader."""
    found = readers(graph, node.output[0])
    is_output = any(each.name == node.output[0] for each in graph.output)
    return found[0] if len(found) == 1 and not is_output and found[0].op_type == "DepthToSpace" else None


def _replace(graph: onnx.GraphProto, place: _Place, *, slice_off: bool) -> str:
    """Put the convolution of a block, depth-to-space and, where needed, a slice in the place of the nodes."""
    import numpy as np
    from onnx import helper, numpy_helper

    node, block, scale = place.convolution, place.block, place.scale
    name = node.name or node.output[0]
    output = node.output[0] if place.shuffle is None else place.shuffle.output[0]
    weight = block_weight(place.weight, scale=scale, block=block)
    added = [numpy_helper.from_array(weight, f"{name}.block.weight")]
    if place.bias is not None:
        added.append(numpy_helper.from_array(_block_bias(place.bias, scale=scale, block=block), f"{name}.block.bias"))
    shuffled = f"{name}.unsliced" if slice_off else output
    top, left, bottom, right = place.pads
    new = [
        helper.make_node(
            "Conv",
            [node.input[0], *(each.name for each in added)],
            [f"{name}.block"],
            name=name,
            kernel_shape=weight.shape[2:],
            strides=[block, block],
            # So many positions that the last block is begun: the ceiling of size / block.
            pads=[top, left, bottom + block - 1, right + block - 1],
        ),
        helper.make_node(
            "DepthToSpace",
            [f"{name}.block"],
            [shuffled],
            name=place.shuffle.name if place.shuffle is not None else f"{name}.shuffle",
            blocksize=block * scale,
            mode="CRD",
        ),
    ]
    if slice_off:
        for role, values in (("scale", [scale]), ("starts", [0, 0]), ("axes", [2, 3])):
            added.append(numpy_helper.from_array(np.array(values, np.int64), f"{name}.slice.{role}"))
        new += [
            helper.make_node("Shape", [node.input[0]], [f"{name}.size"], name=f"{name}.size", start=2, end=4),
            helper.make_node("Mul", [f"{name}.size", f"{name}.slice.scale"], [f"{name}.ends"], name=f"{name}.ends"),
            helper.make_node(
                "Slice",
                [shuffled, f"{name}.slice.starts", f"{name}.ends", f"{name}.slice.axes"],
                [output],
                name=f"{name}.slice",
            ),
        ]
    replace_nodes(graph, [node] if place.shuffle is None else [node, place.shuffle], new, added)
    (before, _, *old), (after, _, *made) = place.weight.shape, weight.shape
    return (
        f"{name}: convolution {old[0]}x{old[1]} to {before} channels -> {made[0]}x{made[1]} of stride {block} to "
        f"{after} channels and depth-to-space {block * scale}"
    )
