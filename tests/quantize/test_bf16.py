from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import openvino
import pytest
from onnx import TensorProto, numpy_helper

from postfilter.errors import DeviceError
from postfilter.quantize import refuse_bf16, to_bf16
from postfilter.runtime.bit_depth import with_bit_depth


def _in_openvino(graph: onnx.ModelProto, samples: np.ndarray, **settings: str) -> np.ndarray:
    core = openvino.Core()
    return core.compile_model(core.read_model(graph.SerializeToString()), "CPU", settings)(samples)[0]


def test_the_network_is_bfloat16_and_what_surrounds_it_single_precision(shipped):
    for name in ("fastarcnn-luma", "arcnn"):
        graph, _ = shipped(name)
        network = {node.input[index] for node in graph.graph.node if node.op_type == "Conv" for index in (1, 2)}
        network |= {node.input[1] for node in graph.graph.node if node.op_type == "PRelu"}
        bf16 = to_bf16(graph)
        before = {each.name: each.data_type for each in graph.graph.initializer}
        after = {each.name: each.data_type for each in bf16.graph.initializer}
        assert {key for key, kind in after.items() if kind == TensorProto.BFLOAT16} == network
        assert {key: kind for key, kind in after.items() if key not in network} == {
            key: kind for key, kind in before.items() if key not in network
        }
        inferred = onnx.shape_inference.infer_shapes(bf16, strict_mode=True)
        types = {each.name: each.type.tensor_type.elem_type for each in inferred.graph.value_info}
        for value in ("codes", "normalised", "network", "scaled", "restored", "rounded", "clipped"):
            assert types[value] == TensorProto.FLOAT, value
        assert all(types[node.output[0]] == TensorProto.BFLOAT16 for node in bf16.graph.node if node.op_type == "Conv")
        assert bf16.opset_import[0].version == 22 and bf16.ir_version == 10


def test_weights_are_rounded_to_the_nearest_and_half_to_even(small_graph):
    graph = small_graph()
    slope = np.array([1 + 2**-8, 1 + 3 * 2**-8, 1 + 2**-8 + 2**-20, -1 - 2**-8, 3.3e38, 1e-40], np.float32)
    weight = next(each for each in graph.graph.initializer if each.name == "b1")
    weight.CopyFrom(numpy_helper.from_array(np.concatenate([slope, [0, -0.0]]).astype(np.float32), "b1"))
    rounded = next(each for each in to_bf16(graph).graph.initializer if each.name == "b1")
    found = numpy_helper.to_array(rounded).astype(np.float64)
    # 7 bits after the point: between 1 and 2 a step is 2**-7.
    assert found[:4].tolist() == [1, 1 + 2 * 2**-7, 1 + 2**-7, -1]
    np.testing.assert_allclose(found[4], 3.3e38, rtol=2**-8)
    assert found[5:].tolist() == [pytest.approx(1e-40, rel=0.01), 0, 0]


@pytest.mark.parametrize("name", ["fastarcnn-luma", "arcnn-luma", "fastarcnn"])
def test_openvino_runs_it_nearly_as_fp32(shipped, coded, name):
    graph, _ = shipped(name)
    samples = coded(1 if "luma" in name else 3)[..., 200:264, 200:296]
    single = _in_openvino(graph, samples, INFERENCE_PRECISION_HINT="f32")
    found = _in_openvino(to_bf16(graph), samples)
    assert np.abs(single.astype(int) - found).max() <= 2
    assert 10 * np.log10(255**2 / np.mean((single.astype(float) - found) ** 2)) > 50
    assert not np.array_equal(single, samples)


def test_ten_bits_keep_their_last_bits(shipped, coded):
    graph, _ = shipped("fastarcnn-luma")
    samples = coded(1)[..., 200:264, 200:296].astype(np.uint16) * 4 + 3
    single, found = (
        _in_openvino(with_bit_depth(each, 10), samples, INFERENCE_PRECISION_HINT="f32")
        for each in (graph, to_bf16(graph))
    )
    assert found.dtype == np.uint16
    assert 10 * np.log10(1023**2 / np.mean((single.astype(float) - found) ** 2)) > 50


def test_same_graph_same_bytes_and_the_one_given_is_left_alone(shipped):
    graph, _ = shipped("fastarcnn-luma")
    before = graph.SerializeToString(deterministic=True)
    first, second = (to_bf16(graph).SerializeToString(deterministic=True) for _ in range(2))
    assert first == second
    assert graph.SerializeToString(deterministic=True) == before


def test_onnx_runtime_on_a_cpu_is_refused_for_it_has_no_such_convolution(small_graph):
    with pytest.raises(DeviceError, match=r"bf16.*ONNX Runtime.*--backend openvino"):
        refuse_bf16("onnxruntime", device="cpu")
    with pytest.raises(Exception, match=r"NOT_IMPLEMENTED.*Conv"):
        onnxruntime.InferenceSession(to_bf16(small_graph()).SerializeToString(), providers=["CPUExecutionProvider"])


@pytest.mark.parametrize(("backend", "device"), [("openvino", "CPU"), ("tensorrt", "cuda:0"), ("torch", "cpu")])
def test_other_backends_are_not_refused(backend, device):
    refuse_bf16(backend, device=device)
