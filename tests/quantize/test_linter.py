from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, quantize_static

from postfilter.errors import ArtefactError
from postfilter.quantize import check_quantized, lint, to_int8


@pytest.fixture
def quantized(small_graph, widest):
    """A graph with every kind of place that the rules speak of, which breaks none: two convolutions of 8 and 4 output
    channels, a PReLU, depth-to-space."""
    graph = small_graph()
    rng = np.random.default_rng(3)
    weight = rng.standard_normal((4, 8, 3, 3)).astype(np.float32)
    _constant(graph, "w2").CopyFrom(numpy_helper.from_array(weight, "w2"))
    graph.graph.initializer.append(numpy_helper.from_array(np.zeros(4, np.float32), "b2"))
    second = _node(graph, "three")
    second.input.append("b2")
    second.output[0] = "blocks"
    shuffle = helper.make_node("DepthToSpace", ["blocks"], ["network"], name="shuffle", blocksize=2)
    graph.graph.node.insert(5, shuffle)
    _node(graph, "tail.add").input[0] = "scaled"  # not the samples, whose size is another now
    del graph.graph.output[0].type.tensor_type.shape.dim[:]
    for side in ("N", 1, "H2", "W2"):
        dimension = graph.graph.output[0].type.tensor_type.shape.dim.add()
        if isinstance(side, int):
            dimension.dim_value = side
        else:
            dimension.dim_param = side
    onnx.checker.check_model(graph, full_check=True)
    samples = rng.integers(0, 256, (1, 1, 16, 16), dtype=np.uint8)
    return to_int8(graph, widest(graph, samples))


def _node(graph: onnx.ModelProto, name: str) -> onnx.NodeProto:
    return next(node for node in graph.graph.node if node.name == name)


def _constant(graph: onnx.ModelProto, name: str) -> onnx.TensorProto:
    return next(each for each in graph.graph.initializer if each.name == name)


def _set(graph: onnx.ModelProto, name: str, value: np.ndarray) -> None:
    _constant(graph, name).CopyFrom(numpy_helper.from_array(value, name))


def _wrong_axis(graph: onnx.ModelProto) -> None:
    (axis,) = [each for each in _node(graph, "three.weight.restore").attribute if each.name == "axis"]
    axis.i = 1


def _axis_of_a_convolution_on_a_transposed_one(graph: onnx.ModelProto) -> None:
    _node(graph, "three").op_type = "ConvTranspose"


def _unsigned_zero_point(graph: onnx.ModelProto) -> None:
    _set(graph, "two.zero", np.array(128, np.uint8))


def _nonzero_zero_point(graph: onnx.ModelProto) -> None:
    _set(graph, "two.zero", np.array(3, np.int8))


def _no_zero_point(graph: onnx.ModelProto) -> None:
    for name in ("two.quantize", "two.restore"):
        del _node(graph, name).input[2:]


def _restored_bias(graph: onnx.ModelProto) -> None:
    graph.graph.initializer.extend(
        [
            numpy_helper.from_array(np.zeros(4, np.int32), "b2.int32"),
            numpy_helper.from_array(np.ones(4, np.float32), "b2.step"),
            numpy_helper.from_array(np.zeros(4, np.int32), "b2.zero"),
        ]
    )
    restore = helper.make_node("DequantizeLinear", ["b2.int32", "b2.step", "b2.zero"], ["b2.f"], name="b2.restore")
    graph.graph.node.insert(0, restore)
    _node(graph, "three").input[2] = "b2.f"


def _pair_before(reader: str) -> Callable[[onnx.ModelProto], None]:
    def apply(graph: onnx.ModelProto) -> None:
        node = _node(graph, reader)
        at = list(graph.graph.node).index(node)
        pair = [
            helper.make_node("QuantizeLinear", [node.input[0], "two.step", "two.zero"], ["q"], name="added.quantize"),
            helper.make_node("DequantizeLinear", ["q", "two.step", "two.zero"], ["dq"], name="added.restore"),
        ]
        node.input[0] = "dq"
        for each in reversed(pair):
            graph.graph.node.insert(at, each)

    apply.__name__ = f"pair_before_{reader}"
    return apply


def _float_weight(graph: onnx.ModelProto) -> None:
    graph.graph.initializer.append(numpy_helper.from_array(np.ones((4, 8, 3, 3), np.float32), "float"))
    _node(graph, "three").input[1] = "float"


def _float_input(graph: onnx.ModelProto) -> None:
    _node(graph, "three").input[0] = "two"


def _weight_quantized_while_it_runs(graph: onnx.ModelProto) -> None:
    node = _node(graph, "three.weight.restore")
    graph.graph.initializer.append(numpy_helper.from_array(np.ones((4, 8, 3, 3), np.float32), "float"))
    quantize = helper.make_node("QuantizeLinear", ["float", *node.input[1:]], ["w.q"], name="w.quantize", axis=0)
    node.input[0] = "w.q"
    graph.graph.node.insert(0, quantize)


def _computed_step(graph: onnx.ModelProto) -> None:
    graph.graph.node.insert(0, helper.make_node("Identity", ["two.step"], ["step"], name="step"))
    for name in ("two.quantize", "two.restore"):
        _node(graph, name).input[1] = "step"


def _negative_step(graph: onnx.ModelProto) -> None:
    _set(graph, "two.step", np.array(-0.1, np.float32))


def _infinite_step(graph: onnx.ModelProto) -> None:
    _set(graph, "two.step", np.array(np.inf, np.float32))


def _steps_along_an_activation(graph: onnx.ModelProto) -> None:
    _set(graph, "two.step", np.full(8, 0.1, np.float32))


def _two_steps_in_one_pair(graph: onnx.ModelProto) -> None:
    graph.graph.initializer.append(numpy_helper.from_array(np.array(0.5, np.float32), "another"))
    _node(graph, "two.restore").input[1] = "another"


def _quantized_for_nobody(graph: onnx.ModelProto) -> None:
    _node(graph, "three").input[0] = "two"
    graph.graph.node.remove(_node(graph, "two.restore"))


def _read_as_integers(graph: onnx.ModelProto) -> None:
    graph.graph.node.append(helper.make_node("Cast", ["two.int8"], ["seen"], name="look", to=TensorProto.FLOAT))


def _restored_without_being_quantized(graph: onnx.ModelProto) -> None:
    graph.graph.node.remove(_node(graph, "two.quantize"))
    graph.graph.input.append(helper.make_tensor_value_info("two.int8", TensorProto.INT8, None))


BROKEN = [
    (_wrong_axis, r"three\.weight\.restore has 4 steps along axis 1; the 4 output channels of three are along axis 0"),
    (_axis_of_a_convolution_on_a_transposed_one, r"the 8 output channels of three are along axis 1"),
    (_unsigned_zero_point, r"two\.quantize is of uint8, not int8"),
    (_nonzero_zero_point, r"a zero point of two\.restore is not 0"),
    (_no_zero_point, r"two\.quantize is without a zero point"),
    (_restored_bias, r"b2\.restore restores the bias of three"),
    (_pair_before("two"), r"added\.restore stands between a convolution and its PReLU two"),
    (_pair_before("shuffle"), r"shuffle \(DepthToSpace\) reads the quantized value of added\.restore"),
    (_float_weight, r"three has a quantized input alone"),
    (_float_input, r"three has a quantized weight alone"),
    (_weight_quantized_while_it_runs, r"the weight of three is quantized while it runs"),
    (_computed_step, r"the step of two\.quantize is no constant"),
    (_negative_step, r"a step of two\.quantize is not positive"),
    (_infinite_step, r"a step of two\.restore is not positive"),
    (_steps_along_an_activation, r"two\.quantize has 8 steps for an activation"),
    (_two_steps_in_one_pair, r"two\.restore has another step than two\.quantize"),
    (_quantized_for_nobody, r"nothing reads two\.quantize"),
    (_read_as_integers, r"look \(Cast\) reads two\.quantize without a DequantizeLinear"),
    (_restored_without_being_quantized, r"two\.restore feeds three and follows no QuantizeLinear"),
]


@pytest.mark.parametrize(("breaks", "finding"), BROKEN, ids=[breaks.__name__.lstrip("_") for breaks, _ in BROKEN])
def test_each_rule_is_told_when_it_is_broken(quantized, breaks, finding):
    assert lint(quantized) == []
    breaks(quantized)
    with pytest.raises(ArtefactError, match=finding):
        check_quantized(quantized)


def test_every_finding_is_told_at_once(quantized):
    _wrong_axis(quantized)
    _restored_bias(quantized)
    with pytest.raises(ArtefactError, match=r"axis 1.*bias|bias.*axis 1"):
        check_quantized(quantized)


@pytest.mark.parametrize("name", ["arcnn", "fastarcnn", "arcnn-luma", "fastarcnn-luma"])
def test_what_the_quantizer_makes_passes(shipped, name):
    graph, ranges = shipped(name)
    assert lint(graph) == []
    assert lint(to_int8(graph, ranges)) == []


class _Frames(CalibrationDataReader):
    def __init__(self) -> None:
        rng = np.random.default_rng(4)
        self._frames = iter([{"samples": rng.integers(0, 256, (1, 1, 16, 16), dtype=np.uint8)} for _ in range(2)])

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self._frames, None)


def test_what_onnx_runtime_quantizes_by_default_is_refused(small_graph, tmp_path: Path):
    source, target = tmp_path / "fp32.onnx", tmp_path / "int8.onnx"
    onnx.save(small_graph(), source)
    quantize_static(source, target, _Frames())
    graph = onnx.load(target)
    found = " ".join(lint(graph))
    # Zero points other than 0 and an int32 bias: what TensorRT refuses.
    assert re.search("a zero point of .* is not 0", found)
    assert "restores the bias" in found
    with pytest.raises(ArtefactError, match="export-engine --int8"):
        check_quantized(graph)
