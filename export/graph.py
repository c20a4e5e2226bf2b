"""A model as an ONNX graph: samples in, samples out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from postfilter.export.network import network_nodes
from postfilter.quantize import HEAD, NORMALISED, TAIL

if TYPE_CHECKING:
    import onnx

    from postfilter.models import Model

__all__ = ["BIT_DEPTH", "INPUT", "OUTPUT", "graph_bytes", "to_graph"]

INPUT = "samples"
OUTPUT = "filtered"
BIT_DEPTH = 8
"""Graphs are made for 8 bits; `runtime.bit_depth` turns one into its twin for another depth on loading."""

_IR_VERSION = 8
"""The oldest that goes with the opset, so that older backends read the file."""


def to_graph(model: Model, *, size: tuple[int, int] | None = None) -> onnx.ModelProto:
    """Return the graph of a model: input `samples` and output `filtered`, both uint8 [N, C, H, W].

    Where the model reads more than the picture, `samples` has a channel for each input behind the picture's, see
    `runtime.further_inputs`.

    The graph is `models.sample_filter.SampleFilter`, operator by operator: cast, division by `peak`, the network,
    scaling by `peak`, addition of the input where the model is residual, rounding (half to even), clipping to
    0..`peak`, cast. `peak` is one float32 initializer, so another bit depth is an edit of that number and of the sample
    type. The same weights give the same bytes, and nothing in them tells of the machine.

    Args:
        model: network, weights and card.
        size: (width, height) of the frames; each side is rounded up to the card's size multiple. None leaves N, H and W
            open; H and W must then be such multiples. N is open in either case.

    Raises:
        MissingDependencyError: torch or onnxscript is not installed.
    """
    import numpy as np
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    channels, given = model.card.channels, model.card.input_channels
    nodes, weights, opset = network_nodes(
        model.network, channels=given, multiple=model.card.size_multiple, source=NORMALISED, target="network"
    )
    filtered = "scaled"
    head = [
        helper.make_node("Cast", [INPUT], ["codes"], name=f"{HEAD}cast", to=TensorProto.FLOAT),
        helper.make_node("Div", ["codes", "peak"], [NORMALISED], name=f"{HEAD}normalise"),
    ]
    tail = [helper.make_node("Mul", ["network", "peak"], ["scaled"], name=f"{TAIL}scale")]
    constants = [
        numpy_helper.from_array(np.array(2**BIT_DEPTH - 1, np.float32), "peak"),
        numpy_helper.from_array(np.array(0, np.float32), "zero"),
    ]
    if model.card.residual:
        filtered, picture = "restored", "codes"
        if given != channels:
            picture = "picture"
            bounds = {"picture.first": 0, "picture.end": channels, "picture.axis": 1}
            tail.append(helper.make_node("Slice", ["codes", *bounds], ["picture"], name=f"{TAIL}picture"))
            constants += [numpy_helper.from_array(np.array([value]), name) for name, value in bounds.items()]
        tail.append(helper.make_node("Add", [picture, "scaled"], ["restored"], name=f"{TAIL}add"))
    tail += [
        helper.make_node("Round", [filtered], ["rounded"], name=f"{TAIL}round"),
        helper.make_node("Clip", ["rounded", "zero", "peak"], ["clipped"], name=f"{TAIL}clip"),
        helper.make_node("Cast", ["clipped"], [OUTPUT], name=f"{TAIL}cast", to=TensorProto.UINT8),
    ]
    height, width = ("H", "W") if size is None else _padded(size, model.card.size_multiple)
    graph = helper.make_graph(
        [*head, *nodes, *tail],
        model.card.name,
        [helper.make_tensor_value_info(INPUT, TensorProto.UINT8, ["N", given, height, width])],
        [helper.make_tensor_value_info(OUTPUT, TensorProto.UINT8, ["N", channels, height, width])],
        [*constants, *weights],
    )
    made = helper.make_model(
        graph, producer_name="postfilter", opset_imports=[helper.make_opsetid("", opset)], ir_version=_IR_VERSION
    )
    onnx.checker.check_model(made, full_check=True)
    return made


def graph_bytes(graph: onnx.ModelProto) -> bytes:
    """Return what `model.onnx` holds: the same bytes for the same graph."""
    return graph.SerializeToString(deterministic=True)


def _padded(size: tuple[int, int], multiple: int) -> tuple[int, int]:
    """(height, width), each rounded up to a multiple of `multiple`."""
    width, height = size
    return -(-height // multiple) * multiple, -(-width // multiple) * multiple
