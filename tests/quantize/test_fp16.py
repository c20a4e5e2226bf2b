from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, numpy_helper

from postfilter.errors import WeightsError
from postfilter.quantize import to_fp16


def test_the_network_is_half_and_what_surrounds_it_single_precision(small_graph):
    half = to_fp16(small_graph())
    types = {each.name: each.data_type for each in half.graph.initializer}
    assert {name for name, kind in types.items() if kind == TensorProto.FLOAT16} == {"w1", "b1", "w2", "slope"}
    assert {name for name, kind in types.items() if kind == TensorProto.FLOAT} == {"peak", "zero"}
    inferred = onnx.shape_inference.infer_shapes(half, strict_mode=True)
    values = {each.name: each.type.tensor_type.elem_type for each in inferred.graph.value_info}
    for name in ("codes", "normalised", "scaled", "restored", "rounded", "clipped"):
        assert values[name] == TensorProto.FLOAT, name
    assert values["one"] == values["two"] == TensorProto.FLOAT16
    assert [node.op_type for node in half.graph.node].count("Cast") == 4


def test_it_filters_nearly_as_the_single_precision_graph_does(small_graph, run):
    samples = np.random.default_rng(1).integers(0, 256, (2, 1, 40, 56), dtype=np.uint8)
    single, half = run(small_graph(), samples), run(to_fp16(small_graph()), samples)
    assert not np.array_equal(single, samples)
    assert np.abs(single.astype(int) - half).max() <= 1
    assert np.mean(single != half) < 0.05


def test_same_graph_same_bytes_and_the_one_given_is_left_alone(small_graph):
    graph = small_graph()
    before = graph.SerializeToString(deterministic=True)
    first, second = (to_fp16(graph).SerializeToString(deterministic=True) for _ in range(2))
    assert first == second
    assert graph.SerializeToString(deterministic=True) == before


def test_a_weight_beyond_fp16_is_refused_by_name(small_graph):
    graph = small_graph()
    large = numpy_helper.to_array(graph.graph.initializer[-1]).copy()
    large[0, 0, 1, 1] = -70000
    graph.graph.initializer[-1].CopyFrom(numpy_helper.from_array(large, "w2"))
    with pytest.raises(WeightsError, match=r"w2 \(up to 7e\+04\).*--fp32"):
        to_fp16(graph)


def test_very_small_weights_do_not_become_large(small_graph):
    graph = to_fp16(small_graph(scale=1e-9))
    weights = [numpy_helper.to_array(each) for each in graph.graph.initializer if each.name.startswith("w")]
    assert max(float(np.abs(each.astype(np.float32)).max()) for each in weights) <= 1e-7
