from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from postfilter.errors import WeightsError
from postfilter.quantize import HEAD, TAIL, to_fp16


def _graph(*, scale: float = 0.05) -> onnx.ModelProto:
    """Samples -> codes / peak -> 3x3 convolution, PReLU, 3x3 convolution -> * peak + codes -> samples."""
    rng = np.random.default_rng(0)

    def weight(name: str, *shape: int) -> onnx.TensorProto:
        return numpy_helper.from_array((rng.standard_normal(shape) * scale).astype(np.float32), name)

    nodes = [
        helper.make_node("Cast", ["samples"], ["codes"], name=f"{HEAD}cast", to=TensorProto.FLOAT),
        helper.make_node("Div", ["codes", "peak"], ["normalised"], name=f"{HEAD}normalise"),
        helper.make_node("Conv", ["normalised", "w1", "b1"], ["one"], name="one", pads=[1] * 4),
        helper.make_node("PRelu", ["one", "slope"], ["two"], name="two"),
        helper.make_node("Conv", ["two", "w2"], ["network"], name="three", pads=[1] * 4),
        helper.make_node("Mul", ["network", "peak"], ["scaled"], name=f"{TAIL}scale"),
        helper.make_node("Add", ["codes", "scaled"], ["restored"], name=f"{TAIL}add"),
        helper.make_node("Round", ["restored"], ["rounded"], name=f"{TAIL}round"),
        helper.make_node("Clip", ["rounded", "zero", "peak"], ["clipped"], name=f"{TAIL}clip"),
        helper.make_node("Cast", ["clipped"], ["filtered"], name=f"{TAIL}cast", to=TensorProto.UINT8),
    ]
    constants = [
        numpy_helper.from_array(np.array(255, np.float32), "peak"),
        numpy_helper.from_array(np.array(0, np.float32), "zero"),
        numpy_helper.from_array(np.full((1, 1, 1), 0.25, np.float32), "slope"),
        weight("w1", 8, 1, 3, 3),
        weight("b1", 8),
        weight("w2", 1, 8, 3, 3),
    ]
    shape = ["N", 1, "H", "W"]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("samples", TensorProto.UINT8, shape)],
        [helper.make_tensor_value_info("filtered", TensorProto.UINT8, shape)],
        constants,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def _run(model: onnx.ModelProto, samples: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"samples": samples})[0]


def test_the_network_is_half_and_what_surrounds_it_single_precision():
    half = to_fp16(_graph())
    types = {each.name: each.data_type for each in half.graph.initializer}
    assert {name for name, kind in types.items() if kind == TensorProto.FLOAT16} == {"w1", "b1", "w2", "slope"}
    assert {name for name, kind in types.items() if kind == TensorProto.FLOAT} == {"peak", "zero"}
    inferred = onnx.shape_inference.infer_shapes(half, strict_mode=True)
    values = {each.name: each.type.tensor_type.elem_type for each in inferred.graph.value_info}
    for name in ("codes", "normalised", "scaled", "restored", "rounded", "clipped"):
        assert values[name] == TensorProto.FLOAT, name
    assert values["one"] == values["two"] == TensorProto.FLOAT16
    assert [node.op_type for node in half.graph.node].count("Cast") == 4


def test_it_filters_nearly_as_the_single_precision_graph_does():
    samples = np.random.default_rng(1).integers(0, 256, (2, 1, 40, 56), dtype=np.uint8)
    single, half = _run(_graph(), samples), _run(to_fp16(_graph()), samples)
    assert not np.array_equal(single, samples)
    assert np.abs(single.astype(int) - half).max() <= 1
    assert np.mean(single != half) < 0.05


def test_same_graph_same_bytes_and_the_one_given_is_left_alone():
    graph = _graph()
    before = graph.SerializeToString(deterministic=True)
    first, second = (to_fp16(graph).SerializeToString(deterministic=True) for _ in range(2))
    assert first == second
    assert graph.SerializeToString(deterministic=True) == before


def test_a_weight_beyond_fp16_is_refused_by_name():
    graph = _graph()
    large = numpy_helper.to_array(graph.graph.initializer[-1]).copy()
    large[0, 0, 1, 1] = -70000
    graph.graph.initializer[-1].CopyFrom(numpy_helper.from_array(large, "w2"))
    with pytest.raises(WeightsError, match=r"w2 \(up to 7e\+04\).*--fp32"):
        to_fp16(graph)


def test_very_small_weights_do_not_become_large():
    graph = to_fp16(_graph(scale=1e-9))
    weights = [numpy_helper.to_array(each) for each in graph.graph.initializer if each.name.startswith("w")]
    assert max(float(np.abs(each.astype(np.float32)).max()) for each in weights) <= 1e-7
