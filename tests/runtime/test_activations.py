"""Live bytes of small graphs, counted by hand."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from postfilter.runtime.activations import activation_bytes_per_px


def test_values_are_held_from_their_maker_to_their_last_reader(tiny_graph: Callable[..., onnx.ModelProto]) -> None:
    # 8 channels at half the size before and behind a PReLU, float32, beside the code values kept for the residual.
    assert activation_bytes_per_px(tiny_graph()) == 8 * 4 / 4 * 2 + 4
    # RGB: 12 channels at half the size before depth-to-space, 3 at the full size behind it.
    assert activation_bytes_per_px(tiny_graph(channels=3)) == 12 * 4 / 4 + 3 * 4 + 3 * 4


def test_what_is_quantized_at_once_counts_as_bytes() -> None:
    scale = numpy_helper.from_array(np.array(0.1, np.float32), "scale")
    zero = numpy_helper.from_array(np.array(0, np.int8), "zero")
    weight = numpy_helper.from_array(np.ones((4, 1, 1, 1), np.float32), "w")
    back = numpy_helper.from_array(np.ones((1, 4, 1, 1), np.float32), "v")
    nodes = [
        helper.make_node("Cast", ["samples"], ["x"], to=TensorProto.FLOAT),
        helper.make_node("Conv", ["x", "w"], ["c"]),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("QuantizeLinear", ["r", "scale", "zero"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["d"]),
        helper.make_node("Conv", ["d", "v"], ["y"]),
        helper.make_node("Cast", ["y"], ["filtered"], to=TensorProto.UINT8),
    ]
    value = [helper.make_tensor_value_info(n, TensorProto.UINT8, [1, 1, "H", "W"]) for n in ("samples", "filtered")]
    graph = helper.make_graph(nodes, "q", value[:1], value[1:], [scale, zero, weight, back])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    # At most: 4 + 4 bytes of channels into and out of the Relu or the quantizer, or those and a float of output.
    assert activation_bytes_per_px(model) == 8
