"""Int8 in the graph: quantize and dequantize (QDQ) nodes around what convolutions read.

One form that OpenVINO, ONNX Runtime and TensorRT take, and that `linter` checks: signed symmetric int8, zero points 0,
one step for a whole value, one step for each output channel of a weight, biases in float (ONNX QuantizeLinear and
DequantizeLinear; TensorRT's "explicit quantization").
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from postfilter.errors import WeightsError
from postfilter.quantize.edges import HEAD, NORMALISED, convolutions
from postfilter.quantize.equalisation import equalised
from postfilter.quantize.network_input import covariance_by_value, network_inputs, never_negative
from postfilter.quantize.weight_rounding import rounded_weight

if TYPE_CHECKING:
    import onnx
    from numpy.typing import NDArray

    from postfilter.quantize.ranges import Ranges

__all__ = ["CENTRE", "HALVED", "INPUT_STEP", "padding", "to_int8"]

CENTRE = 128 / 255
"""Subtracted from the normalised samples: 0..255 becomes -128..127 steps, all that int8 holds, and nothing is lost."""
HALVED = 127 / 255
"""Of a step of int8, that of uint8 over the same range of positive values."""
INPUT_STEP = 1 / 255
"""One code value of 8-bit samples, normalised."""


def padding(node: onnx.NodeProto) -> list[int]:
    """Return a convolution's padding: top, left, bottom, right.

    Raises:
        WeightsError: it is not given in numbers.
    """
    for attribute in node.attribute:
        if attribute.name == "auto_pad" and attribute.s not in (b"NOTSET", b"VALID"):
            raise WeightsError(
                f"{node.name} pads by auto_pad {attribute.s.decode()}, which is not quantized; try --fp16"
            )
    return next((list(each.ints) for each in node.attribute if each.name == "pads"), [0, 0, 0, 0])


def to_int8(
    graph: onnx.ModelProto,
    ranges: Ranges,
    *,
    layers: Collection[str] | None = None,
    unsigned: bool = False,
    weight_bits: int = 8,
) -> onnx.ModelProto:
    """Return the graph with convolutions that read int8 and have int8 weights; the one given is left as it is.

    0. Channels are scaled as the ranges say.
    1. What a chosen convolution reads passes a QuantizeLinear and a DequantizeLinear; a value that several read passes
       one pair.
    2. Its weight becomes int8 and a DequantizeLinear along the output channels; its bias stays float.
    3. A value that is mostly positive has its centre subtracted before, so that no half of int8 is left unused; the
       zero padding becomes padding with minus the centre, and the bias takes up the difference. The network's input,
       centred by `CENTRE`, is exact in int8, also where it is cut and shuffled first.
    4. Where `unsigned`, what is never negative becomes uint8 instead: the network's input, which is exact so too and
       needs no centre, and what a Relu makes, which gets steps half as large over the same range.
    5. Nothing is quantized between a convolution and its PReLU, nor around depth-to-space.

    Args:
        graph: fp32, of `export.to_graph`, rewritten or not.
        ranges: of the values read.
        layers: names of the convolutions to quantize; all where None.
        unsigned: whether the backend takes uint8, which TensorRT does not.
        weight_bits: 8, or 7 for processors on which sums of byte products saturate.

    Raises:
        WeightsError: no range is known for a value that has to be quantized.
        ValueError: a layer that is none of `convolutions(graph)`.
    """
    import onnx

    graph = equalised(graph, ranges.scales)
    known, inputs = convolutions(graph), network_inputs(graph)
    chosen = set(known if layers is None else layers)
    if not chosen <= set(known):
        raise ValueError(f"no convolutions of the graph: {', '.join(sorted(chosen - set(known)))}; it has {known}")

    quantized = onnx.ModelProto()
    quantized.CopyFrom(graph)
    body = quantized.graph
    nodes: list[onnx.NodeProto] = []
    rounded: set[str] = set()
    covariance_of = covariance_by_value(graph)
    positive = {*inputs, *never_negative(graph)} if unsigned else set()
    for node in list(body.node):
        if node.name in chosen:
            source = node.input[0]
            origin = inputs.get(source)
            step, centre = _range_of(source, ranges) if origin is None else (INPUT_STEP, CENTRE)
            kind = np.dtype(np.uint8 if source in positive else np.int8)
            if source in positive:
                step, centre = step if origin is not None else step * HALVED, 0.0
            if centre:
                before, source = _centre(body, node, centre)
                nodes += before
            if source not in rounded:
                nodes += _round_value(body, source, step, kind)
                rounded.add(source)
            nodes.append(_round_weight(body, node, centre, covariance_of, most=2 ** (weight_bits - 1) - 1))
            node.input[0] = f"{source}.rounded"
        nodes.append(node)
    del body.node[:], body.value_info[:]
    body.node.extend(nodes)
    used = {name for node in nodes for name in node.input}
    kept = [each for each in body.initializer if each.name in used]
    del body.initializer[:]
    body.initializer.extend(kept)
    onnx.checker.check_model(quantized, full_check=True)
    return quantized


def _range_of(value: str, ranges: Ranges) -> tuple[float, float]:
    """Return the step and the centre of a value."""
    if value not in ranges.steps:
        raise WeightsError(
            f"no range is known of {value!r}, only of {', '.join(ranges.steps) or 'nothing'}; give typical decoded "
            "clips or pictures with --calibrate"
        )
    return ranges.steps[value], ranges.centres.get(value, 0.0)


def _centre(body: onnx.GraphProto, node: onnx.NodeProto, centre: float) -> tuple[list[onnx.NodeProto], str]:
    """Return the nodes that centre and pad what a convolution reads, and the name of the result."""
    from onnx import helper

    value = node.input[0]
    # The samples' nodes stay in the head, which no other precision touches.
    name = f"{HEAD if value == NORMALISED else ''}{node.name}.input"
    pads = padding(node)
    for attribute in node.attribute:
        if attribute.name == "pads":
            attribute.ints[:] = [0] * len(pads)
    subtracted = _constant(body, f"{name}.centre", np.array(centre, np.float32))
    nodes = [helper.make_node("Sub", [value, subtracted], [f"{name}.centred"], name=f"{name}.centre")]
    if not any(pads):
        return nodes, f"{name}.centred"
    top, left, bottom, right = pads
    sides = _constant(body, f"{name}.pads", np.array([0, 0, top, left, 0, 0, bottom, right], np.int64))
    zero = _constant(body, f"{name}.zero", np.array(-centre, np.float32))
    nodes.append(helper.make_node("Pad", [f"{name}.centred", sides, zero], [f"{name}.padded"], name=f"{name}.pad"))
    return nodes, f"{name}.padded"


def _round_value(body: onnx.GraphProto, value: str, step: float, kind: np.dtype[Any]) -> list[onnx.NodeProto]:
    """Return the nodes that take a value through eight bits."""
    from onnx import helper

    shared = [
        _constant(body, f"{value}.step", np.array(step, np.float32)),
        _constant(body, f"{value}.zero", np.array(0, kind)),
    ]
    return [
        helper.make_node("QuantizeLinear", [value, *shared], [f"{value}.int8"], name=f"{value}.quantize"),
        helper.make_node("DequantizeLinear", [f"{value}.int8", *shared], [f"{value}.rounded"], name=f"{value}.restore"),
    ]


def _round_weight(
    body: onnx.GraphProto,
    node: onnx.NodeProto,
    centre: float,
    covariance_of: Callable[[str, Sequence[int]], NDArray[np.float64] | None],
    *,
    most: int,
) -> onnx.NodeProto:
    """Make a convolution read an int8 weight; return the node that restores it to float.

    Where it reads a centred value, its bias gains the centre times the sum of its weights.
    """
    from onnx import helper, numpy_helper

    constants = {each.name: each for each in body.initializer}
    # Of a layer's own: two layers may share a weight, but hardly ever do.
    name = f"{node.name}.weight"
    weight = numpy_helper.to_array(constants[node.input[1]]).astype(np.float32)
    rounded, step = rounded_weight(weight, covariance=covariance_of(node.input[0], weight.shape), most=most)
    node.input[1] = f"{name}.rounded"
    if centre:
        sums = rounded.astype(np.float64).sum(axis=tuple(range(1, weight.ndim))) * step
        bias = numpy_helper.to_array(constants[node.input[2]]) if len(node.input) > 2 else np.zeros(len(step))
        del node.input[2:]
        node.input.append(_constant(body, f"{node.name}.bias.centred", (bias + centre * sums).astype(np.float32)))
    inputs = [
        _constant(body, f"{name}.int8", rounded),
        _constant(body, f"{name}.step", step),
        _constant(body, f"{name}.zero", np.zeros(step.shape, np.int8)),
    ]
    return helper.make_node("DequantizeLinear", inputs, [node.input[1]], name=f"{name}.restore", axis=0)


def _constant(body: onnx.GraphProto, name: str, value: NDArray[Any]) -> str:
    from onnx import numpy_helper

    body.initializer.append(numpy_helper.from_array(value, name))
    return name
