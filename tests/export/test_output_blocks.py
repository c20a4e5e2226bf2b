"""A convolution of a block of outputs, with depth-to-space behind it, is the convolution of single ones."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from postfilter.export import rewrite
from postfilter.export.passes.output_blocks import best_block

ONLY = ["output-blocks"]
SIZES = ((8, 12), (7, 5), (1, 1), (6, 9), (2, 3))


def _model(
    outputs,
    kernel,
    pads,
    *,
    scale=1,
    mode="CRD",
    opset=17,
    size=("H", "W"),
    bias=True,
    groups=1,
    inputs=2,
    **attributes,
):
    """A convolution, with depth-to-space behind it where `scale` is above 1; weights are sixteenths."""
    rng = np.random.default_rng(7)
    shape = (outputs * scale * scale, inputs // groups, *kernel)
    weights = [numpy_helper.from_array((rng.integers(-32, 33, shape) / 16).astype(np.float32), "w")]
    if bias:
        weights.append(numpy_helper.from_array((rng.integers(-32, 33, shape[0]) / 16).astype(np.float32), "b"))
    nodes = [
        helper.make_node(
            "Conv",
            ["x", *(each.name for each in weights)],
            ["features" if scale > 1 else "y"],
            name="last",
            kernel_shape=kernel,
            pads=pads,
            group=groups,
            **attributes,
        )
    ]
    if scale > 1:
        nodes.append(helper.make_node("DepthToSpace", ["features"], ["y"], name="shuffle", blocksize=scale, mode=mode))
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", inputs, *size])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", outputs, None, None])],
        weights,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def _run(model: onnx.ModelProto, x: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"x": x})[0]


@pytest.mark.parametrize(
    ("outputs", "kernel", "pads", "scale", "block"),
    [
        (1, (5, 5), (2, 2, 2, 2), 2, 2),  # fastarcnn-luma after the subpixel pass
        (1, (5, 5), (2, 2, 2, 2), 1, 4),  # arcnn-luma
        (3, (5, 5), (2, 2, 2, 2), 1, 2),  # arcnn
        (1, (3, 3), (1, 1, 1, 1), 2, 2),
        (2, (3, 5), (0, 4, 2, 0), 1, 2),  # neither square nor centred
        (1, (4, 4), (1, 2, 2, 1), 1, 4),
        (1, (7, 7), (3, 3, 3, 3), 1, 4),
    ],
)
def test_the_blocks_hold_the_same_sums_whatever_the_size(outputs, kernel, pads, scale, block):
    model = _model(outputs, kernel, pads, scale=scale)
    rewritten, done = rewrite(model, only=ONLY)
    assert len(done) == 1
    convolution = next(node for node in rewritten.graph.node if node.op_type == "Conv")
    strides = next(each.ints for each in convolution.attribute if each.name == "strides")
    assert list(strides) == [block, block]
    for height, width in SIZES:
        # Small whole numbers times sixteenths: sums are exact in float32 in any order, so that no tolerance is needed.
        x = np.random.default_rng(1).integers(-8, 9, (2, 2, height, width)).astype(np.float32)
        np.testing.assert_array_equal(_run(rewritten, x), _run(model, x))


def test_no_slice_where_the_size_is_known_to_fit():
    x = np.random.default_rng(1).integers(-8, 9, (1, 2, 8, 12)).astype(np.float32)
    for size, slices in (((8, 12), 0), ((8, 13), 1), (("H", "W"), 1)):
        model = _model(1, (5, 5), (2, 2, 2, 2), size=size)
        rewritten, _ = rewrite(model, only=ONLY)
        assert sum(node.op_type == "Slice" for node in rewritten.graph.node) == slices
        if size != (8, 13):
            np.testing.assert_array_equal(_run(rewritten, x), _run(model, x))


def test_it_works_without_a_bias_and_drops_what_is_read_no_more():
    model = _model(1, (5, 5), (2, 2, 2, 2), bias=False)
    rewritten, _ = rewrite(model, only=ONLY)
    read = {name for node in rewritten.graph.node for name in node.input}
    assert {each.name for each in rewritten.graph.initializer} <= read
    x = np.random.default_rng(4).integers(-8, 9, (1, 2, 9, 6)).astype(np.float32)
    np.testing.assert_array_equal(_run(rewritten, x), _run(model, x))


@pytest.mark.parametrize(
    "model",
    [
        pytest.param(_model(16, (5, 5), (2, 2, 2, 2)), id="enough outputs"),
        pytest.param(_model(3, (5, 5), (2, 2, 2, 2), scale=2), id="12 of 16"),
        pytest.param(_model(1, (1, 1), (0, 0, 0, 0), scale=2), id="1x1"),
        pytest.param(_model(1, (5, 5), (0, 0, 0, 0)), id="size changes"),
        pytest.param(_model(1, (5, 5), (2, 2, 2, 2), strides=[2, 2]), id="stride"),
        pytest.param(_model(1, (3, 3), (1, 1, 1, 1), dilations=[2, 2]), id="dilation"),
        pytest.param(_model(2, (5, 5), (2, 2, 2, 2), groups=2), id="groups"),
        pytest.param(_model(2, (5, 5), (2, 2, 2, 2), scale=2, mode="DCR"), id="other order of channels"),
        pytest.param(_model(1, (5, 5), (2, 2, 2, 2), opset=13), id="size unknown, opset 13"),
    ],
)
def test_what_the_pass_does_not_cover_stays(model):
    rewritten, done = rewrite(model, only=ONLY)
    assert done == []
    assert rewritten.SerializeToString(deterministic=True) == model.SerializeToString(deterministic=True)


def test_the_block_is_the_cheapest_by_count():
    # Taps times vectors a position: 25, 36 / 4, 49 / 9 and 64 / 16 for one output channel.
    assert best_block((5, 5), 1) == 4
    assert best_block((5, 5), 4) == 2
    assert best_block((5, 5), 12) == 1
    # A vector of 4 is full at once.
    assert best_block((5, 5), 4, lanes=4) == 1
