"""The transposed convolution and what replaces it are the same function."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from postfilter.export import rewrite

# kernel, stride, padding (top, left, bottom, right), output padding: ours first, then others' and awkward ones.
GEOMETRIES = [
    (9, 2, (4, 4, 4, 4), (1, 1)),
    (4, 2, (1, 1, 1, 1), (0, 0)),
    (2, 2, (0, 0, 0, 0), (0, 0)),
    (3, 2, (1, 1, 1, 1), (1, 1)),
    (3, 2, (1, 1, 1, 1), (0, 0)),
    (5, 3, (1, 1, 1, 1), (0, 0)),
    (5, 3, (2, 2, 0, 1), (2, 1)),
    (9, 4, (3, 3, 2, 2), (0, 0)),
    (3, 4, (0, 0, 0, 0), (0, 0)),
    (3, 4, (0, 0, 0, 0), (3, 2)),
    (7, 2, (0, 3, 6, 3), (0, 1)),
    ((3, 8), 2, (1, 3, 0, 3), (0, 0)),
]


def _transposed(kernel, stride, pads, output_padding, *, groups=1, dtype=np.float32, bias=True, **attributes):
    rng = np.random.default_rng(7)
    inputs, outputs = 4, 6
    kernel = (kernel, kernel) if isinstance(kernel, int) else kernel
    weights = [numpy_helper.from_array(rng.standard_normal((inputs, outputs // groups, *kernel)).astype(dtype), "w")]
    if bias:
        weights.append(numpy_helper.from_array(rng.standard_normal(outputs).astype(dtype), "b"))
    node = helper.make_node(
        "ConvTranspose",
        ["x", *(each.name for each in weights)],
        ["y"],
        name="up",
        kernel_shape=kernel,
        strides=[stride, stride] if isinstance(stride, int) else stride,
        pads=pads,
        output_padding=output_padding,
        group=groups,
        **attributes,
    )
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    graph = helper.make_graph(
        [node],
        "g",
        [helper.make_tensor_value_info("x", kind, ["N", inputs, "H", "W"])],
        [helper.make_tensor_value_info("y", kind, ["N", outputs, None, None])],
        weights,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def _run(model: onnx.ModelProto, x: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"x": x})[0]


def _operators(model: onnx.ModelProto) -> list[str]:
    return [node.op_type for node in model.graph.node]


@pytest.mark.parametrize(("kernel", "stride", "pads", "output_padding"), GEOMETRIES)
@pytest.mark.parametrize("groups", [1, 2])
def test_the_rewritten_graph_computes_the_same_sums(kernel, stride, pads, output_padding, groups):
    model = _transposed(kernel, stride, pads, output_padding, groups=groups)
    rewritten, done = rewrite(model)
    assert len(done) == 1
    assert "ConvTranspose" not in _operators(rewritten)
    rng = np.random.default_rng(1)
    for height, width in ((8, 12), (7, 5), (4, 9)):
        # Whole numbers in a small range: sums are then exact in float32 whatever their order, so borders and taps are
        # compared without any tolerance.
        x = rng.integers(-8, 9, (2, 4, height, width)).astype(np.float32)
        for each in (model, rewritten):
            for weight in each.graph.initializer:
                if weight.data_type == TensorProto.FLOAT:
                    values = np.round(numpy_helper.to_array(weight) * 16) / 16
                    weight.CopyFrom(numpy_helper.from_array(values, weight.name))
        expected, got = _run(model, x), _run(rewritten, x)
        assert got.shape == expected.shape
        np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize(("kernel", "stride", "pads", "output_padding"), GEOMETRIES[:4])
def test_random_floats_agree_to_rounding(kernel, stride, pads, output_padding):
    model = _transposed(kernel, stride, pads, output_padding)
    rewritten, _ = rewrite(model)
    x = np.random.default_rng(2).standard_normal((1, 4, 33, 17)).astype(np.float32)
    np.testing.assert_allclose(_run(rewritten, x), _run(model, x), rtol=0, atol=2e-5)


def test_half_precision_weights_are_only_moved():
    model = _transposed(9, 2, (4, 4, 4, 4), (1, 1), dtype=np.float16)
    rewritten, done = rewrite(model)
    assert len(done) == 1
    before, after = (
        next(
            numpy_helper.to_array(each)
            for each in graph.graph.initializer
            if each.name.endswith("w" if k == 0 else "weight")
        )
        for k, graph in enumerate((model, rewritten))
    )
    assert after.dtype == np.float16
    assert after.shape == (24, 4, 5, 5)
    np.testing.assert_array_equal(np.sort(after[after != 0]), np.sort(before.ravel()))
    x = np.random.default_rng(3).standard_normal((1, 4, 9, 11)).astype(np.float16)
    np.testing.assert_allclose(
        _run(rewritten, x).astype(np.float32), _run(model, x).astype(np.float32), rtol=0, atol=0.05
    )


def test_it_works_without_a_bias():
    model = _transposed(4, 2, (1, 1, 1, 1), (0, 0), bias=False)
    rewritten, _ = rewrite(model)
    x = np.random.default_rng(4).standard_normal((1, 4, 6, 6)).astype(np.float32)
    np.testing.assert_allclose(_run(rewritten, x), _run(model, x), rtol=0, atol=2e-5)


def test_the_input_graph_is_left_alone_and_the_result_is_deterministic():
    model = _transposed(9, 2, (4, 4, 4, 4), (1, 1))
    before = model.SerializeToString(deterministic=True)
    first, second = rewrite(model)[0], rewrite(model)[0]
    assert model.SerializeToString(deterministic=True) == before
    assert first.SerializeToString(deterministic=True) == second.SerializeToString(deterministic=True)
    assert {each.name for each in first.graph.initializer} == {"up.subpixel.weight", "up.subpixel.bias"}


@pytest.mark.parametrize(
    "model",
    [
        pytest.param(_transposed(4, (2, 4), (1, 0, 1, 0), (0, 0)), id="two strides"),
        pytest.param(_transposed(4, 1, (1, 1, 1, 1), (0, 0)), id="stride one"),
        pytest.param(_transposed(3, 2, (1, 1, 1, 1), (0, 0), dilations=[2, 2]), id="dilation"),
        pytest.param(_transposed(4, 2, (0, 0, 0, 0), (0, 0), auto_pad="SAME_UPPER"), id="auto_pad"),
        pytest.param(_transposed(4, 2, (0, 0, 0, 0), (0, 0), output_shape=[16, 16]), id="output_shape"),
    ],
)
def test_what_the_pass_does_not_cover_stays(model):
    rewritten, done = rewrite(model)
    assert done == []
    assert rewritten.SerializeToString(deterministic=True) == model.SerializeToString(deterministic=True)
