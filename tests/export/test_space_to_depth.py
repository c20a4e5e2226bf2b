"""A strided convolution, and space-to-depth with a convolution, are the same function."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from postfilter.export import rewrite

ONLY = ["space-to-depth"]


def _model(kernel, strides, pads, *, inputs=3, size=("H", "W"), opset=17, bias=True, groups=1, **attributes):
    rng = np.random.default_rng(7)
    shape = (6, inputs // groups, *kernel)
    weights = [numpy_helper.from_array((rng.integers(-32, 33, shape) / 16).astype(np.float32), "w")]
    if bias:
        weights.append(numpy_helper.from_array((rng.integers(-32, 33, 6) / 16).astype(np.float32), "b"))
    node = helper.make_node(
        "Conv",
        ["x", *(each.name for each in weights)],
        ["y"],
        name="first",
        kernel_shape=kernel,
        strides=strides,
        pads=pads,
        group=groups,
        **attributes,
    )
    graph = helper.make_graph(
        [node],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", inputs, *size])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 6, None, None])],
        weights,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def _run(model: onnx.ModelProto, x: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"x": x})[0]


def _samples(inputs: int, height: int, width: int) -> np.ndarray:
    # Small whole numbers times sixteenths: sums are exact in float32 in any order, so that no tolerance is needed.
    return np.random.default_rng(1).integers(-8, 9, (2, inputs, height, width)).astype(np.float32)


@pytest.mark.parametrize(
    ("kernel", "stride", "pads"),
    [
        ((9, 9), 2, (4, 4, 4, 4)),  # Fast ARCNN
        ((3, 3), 2, (1, 1, 1, 1)),
        ((5, 7), 2, (2, 3, 2, 3)),
        ((4, 4), 3, (0, 3, 3, 0)),
        ((9, 9), 4, (3, 4, 5, 4)),
    ],
)
@pytest.mark.parametrize("inputs", [1, 3])
def test_the_same_sums_at_any_size(kernel, stride, pads, inputs):
    model = _model(kernel, [stride, stride], pads, inputs=inputs)
    rewritten, done = rewrite(model, only=ONLY)
    assert len(done) == 1
    assert "SpaceToDepth" in {node.op_type for node in rewritten.graph.node}
    for height, width in ((8, 12), (7, 5), (4, 9), (10, 11)):
        x = _samples(inputs, height, width)
        np.testing.assert_array_equal(_run(rewritten, x), _run(model, x))


@pytest.mark.parametrize("size", [(8, 12), (9, 12), (9, 13), (10, 7)])
@pytest.mark.parametrize(("kernel", "pads"), [((4, 4), (1, 1, 1, 1)), ((3, 3), (1, 0, 1, 0)), ((4, 4), (2, 1, 2, 1))])
def test_padding_that_depends_on_the_size_where_that_is_known(size, kernel, pads):
    model = _model(kernel, [2, 2], pads, size=size)
    rewritten, done = rewrite(model, only=ONLY)
    assert len(done) == 1
    fills = sum(node.op_type == "Pad" for node in rewritten.graph.node)
    assert fills == (1 if size[0] % 2 or size[1] % 2 else 0)
    x = _samples(3, *size)
    np.testing.assert_array_equal(_run(rewritten, x), _run(model, x))


def test_it_works_without_a_bias():
    model = _model((9, 9), [2, 2], (4, 4, 4, 4), bias=False)
    x = _samples(3, 10, 14)
    np.testing.assert_array_equal(_run(rewrite(model, only=ONLY)[0], x), _run(model, x))


@pytest.mark.parametrize(
    "model",
    [
        pytest.param(_model((9, 9), [2, 2], (4, 4, 4, 4), inputs=8), id="many channels"),
        pytest.param(_model((9, 9), [1, 1], (4, 4, 4, 4)), id="stride one"),
        pytest.param(_model((9, 9), [2, 1], (4, 4, 4, 4)), id="two strides"),
        pytest.param(_model((3, 3), [2, 2], (1, 1, 1, 1), dilations=[2, 2]), id="dilation"),
        pytest.param(_model((9, 9), [2, 2], (4, 4, 4, 4), groups=3), id="groups"),
        pytest.param(_model((4, 4), [2, 2], (1, 1, 1, 1)), id="padding depends on an open size"),
        pytest.param(_model((2, 2), [2, 2], (0, 0, 0, 0), size=(9, 12)), id="would cut the input"),
        pytest.param(_model((9, 9), [2, 2], (4, 4, 4, 4), opset=13), id="size unknown, opset 13"),
    ],
)
def test_what_the_pass_does_not_cover_stays(model):
    rewritten, done = rewrite(model, only=ONLY)
    assert done == []
    assert rewritten.SerializeToString(deterministic=True) == model.SerializeToString(deterministic=True)
