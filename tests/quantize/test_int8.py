from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx
import openvino
import pytest
from onnx import helper, numpy_helper

from postfilter.errors import WeightsError
from postfilter.quantize import Ranges, check_quantized, convolutions, to_int8
from postfilter.quantize.int8 import CENTRE, INPUT_STEP
from postfilter.quantize.trial import Trial, observe
from postfilter.runtime.bit_depth import with_bit_depth

MODELS = ("arcnn", "fastarcnn", "arcnn-luma", "fastarcnn-luma")
NO_RANGES = Ranges(model="m", weights_sha256="0", steps={}, source="none", frames=0)


def _samples(*shape: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def _psnr(first: np.ndarray, second: np.ndarray, peak: float) -> float:
    return float(10 * np.log10(peak**2 / np.mean((first.astype(np.float64) - second) ** 2)))


def _known(ranges: Ranges) -> dict[str, tuple[float, float]]:
    """Value -> (step, centre), as a trial takes them."""
    return {value: (step, ranges.centres.get(value, 0.0)) for value, step in ranges.steps.items()}


def _initializer(graph: onnx.ModelProto, name: str) -> onnx.TensorProto:
    return next(each for each in graph.graph.initializer if each.name == name)


@pytest.mark.parametrize("size", [(24, 40), (1, 1), (37, 23)])
def test_every_code_value_of_the_input_is_exact_at_borders_too(small_graph, run, size):
    graph = small_graph()
    # Weights that are whole steps already, so that nothing but the input could be rounded.
    steps = np.random.default_rng(2).integers(-127, 128, (8, 1, 3, 3))
    steps[:, 0, 0, 0] = 127
    weight = _initializer(graph, "w1")
    weight.CopyFrom(numpy_helper.from_array((steps / 1024).astype(np.float32), "w1"))
    quantized = to_int8(graph, NO_RANGES, layers=["one"])
    samples = _samples(1, 1, *size)
    samples.flat[:256] = np.arange(256, dtype=np.uint8)[: samples.size]
    np.testing.assert_allclose(run(quantized, samples, "one"), run(graph, samples, "one"), atol=2e-6)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("level", [0, 16, 235, 255])
def test_flat_frames_come_out_as_in_fp32(shipped, run, name, level):
    graph, ranges = shipped(name)
    samples = np.full((1, 1 if "luma" in name else 3, 64, 72), level, np.uint8)
    single, quantized = run(graph, samples), run(to_int8(graph, ranges), samples)
    difference = np.abs(single.astype(int) - quantized)
    assert difference[..., 20:-20, 20:-20].max() <= 1
    # Where white meets the zeros outside of the picture there are values beyond the ranges.
    assert difference.max() <= 3
    assert (difference > 1).mean() < 0.03


@pytest.mark.parametrize(
    ("name", "size"), [("arcnn-luma", (37, 45)), ("fastarcnn-luma", (26, 34)), ("fastarcnn", (2, 2))]
)
def test_centring_and_padding_change_no_number(shipped, run, name, size):
    graph, ranges = shipped(name)
    samples = _samples(1, 1 if "luma" in name else 3, *size)
    quantized = run(to_int8(graph, ranges), samples, "network")
    # A sum that is close to a half may be rounded the other way; steps that are 1 % off show many times more.
    trial = Trial(graph, samples, quantized)
    other = {value: (step * 1.01, centre) for value, (step, centre) in _known(ranges).items()}
    assert trial.error(_known(ranges)) < 0.1 * trial.error(other)


@pytest.mark.parametrize("size", [(1, 1), (9, 14)])
def test_a_centred_value_may_be_padded_and_a_layer_without_bias_gets_one(small_graph, run, widest, size):
    graph, samples = small_graph(scale=0.3), _samples(1, 1, *size)
    ranges = widest(graph, samples)
    ranges = replace(ranges, centres={"two": 20 * ranges.steps["two"]})
    quantized = to_int8(graph, ranges)
    found = run(quantized, samples, "network")
    assert Trial(graph, samples, found).error(_known(ranges)) < 1e-10
    assert next(node for node in quantized.graph.node if node.name == "three").input[2]
    check_quantized(quantized)


def test_a_centre_makes_room_for_values_of_one_sign(small_graph, run, widest):
    graph, samples = small_graph(scale=0.3), _samples(1, 1, 48, 48)
    _initializer(graph, "b1").CopyFrom(numpy_helper.from_array(np.full(8, 6, np.float32), "b1"))
    largest = widest(graph, samples)
    (low, high), wanted = observe(graph, samples)[0]["two"], run(graph, samples, "network")
    assert low > -0.1 * high
    step = high / 254
    centred = replace(largest, steps={"two": step}, centres={"two": 127 * step})
    errors = [np.mean((run(to_int8(graph, each), samples, "network") - wanted) ** 2) for each in (largest, centred)]
    # Half the step is a quarter of the error of rounding; that of the weights stays.
    assert errors[1] < 0.7 * errors[0]


def test_a_value_that_two_layers_read_is_rounded_once(small_graph, run, widest):
    graph, samples = small_graph(), _samples(1, 1, 16, 16)
    nodes = list(graph.graph.node)
    branch = [
        helper.make_node("Conv", ["two", "w2"], ["branch"], name="branch", pads=[1] * 4),
        helper.make_node("Add", ["network", "branch"], ["both"], name="both"),
    ]
    nodes[5].input[0] = "both"
    del graph.graph.node[:]
    graph.graph.node.extend([*nodes[:5], *branch, *nodes[5:]])
    quantized = to_int8(graph, widest(graph, samples))
    assert sum(node.op_type == "QuantizeLinear" for node in quantized.graph.node) == 2
    check_quantized(quantized)
    assert np.abs(run(quantized, samples).astype(int) - run(graph, samples)).max() <= 2


def test_only_the_chosen_layers_are_quantized(shipped):
    graph, ranges = shipped("fastarcnn-luma")
    names = convolutions(graph)
    quantized = to_int8(graph, ranges, layers=names[1:3])
    weights = {node.name: node.input[1] for node in quantized.graph.node if node.op_type == "Conv"}
    assert [name for name in names if weights[name].endswith(".rounded")] == names[1:3]
    assert sum(node.op_type == "QuantizeLinear" for node in quantized.graph.node) == 2
    check_quantized(quantized)
    nothing = to_int8(graph, ranges, layers=[])
    assert not any("Quantize" in node.op_type for node in nothing.graph.node)
    with pytest.raises(ValueError, match=r"nowhere.*base\.0"):
        to_int8(graph, ranges, layers=["nowhere"])


def test_the_first_step_is_one_code_value(shipped):
    graph, ranges = shipped("fastarcnn-luma")
    quantized = to_int8(graph, ranges)
    first = next(node for node in quantized.graph.node if node.op_type == "QuantizeLinear")
    step = numpy_helper.to_array(_initializer(quantized, first.input[1]))
    assert step.shape == () and step == np.float32(INPUT_STEP)
    codes = np.arange(256) / 255 - CENTRE
    np.testing.assert_allclose(codes / INPUT_STEP, np.arange(-128, 128), atol=1e-9)


def test_a_value_without_a_range_is_named_and_calibration_advised(shipped):
    graph, ranges = shipped("fastarcnn-luma")
    known = {value: step for value, step in ranges.steps.items() if value != "base.5"}
    with pytest.raises(WeightsError, match=r"'base\.5'.*base\.1.*--calibrate"):
        to_int8(graph, replace(ranges, steps=known))


def test_padding_that_is_not_in_numbers_is_refused(small_graph, widest):
    graph = small_graph()
    ranges = widest(graph, _samples(1, 1, 8, 8))
    layer = next(node for node in graph.graph.node if node.name == "one")
    del layer.attribute[:]
    layer.attribute.append(helper.make_attribute("auto_pad", "SAME_UPPER"))
    with pytest.raises(WeightsError, match=r"SAME_UPPER.*--fp16"):
        to_int8(graph, ranges)


def test_same_graph_same_bytes_and_the_one_given_is_left_alone(shipped):
    graph, ranges = shipped("fastarcnn-luma")
    before = graph.SerializeToString(deterministic=True)
    first, second = (to_int8(graph, ranges).SerializeToString(deterministic=True) for _ in range(2))
    assert first == second
    assert graph.SerializeToString(deterministic=True) == before


@pytest.mark.parametrize("name", ["fastarcnn-luma", "arcnn-luma"])
def test_ten_bits_are_nearly_as_near_to_fp32_as_eight(shipped, run, coded, name):
    graph, ranges = shipped(name)
    eight = coded(1)[..., 200:264, 200:296]
    ten = eight.astype(np.uint16) * 4 + _samples(*eight.shape) % 4
    quantized = to_int8(graph, ranges)
    at_eight = _psnr(run(quantized, eight), run(graph, eight), 255)
    at_ten = _psnr(run(with_bit_depth(quantized, 10), ten), run(with_bit_depth(graph, 10), ten), 1023)
    assert at_eight > 48
    # Of 10 bits the network sees the upper 8; what is added to its output keeps all of them.
    assert at_ten > at_eight - 2


@pytest.mark.parametrize("name", MODELS)
def test_openvino_runs_every_convolution_in_int8_and_agrees_with_onnx_runtime(shipped, run, coded, name):
    core = openvino.Core()
    if "INT8" not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        pytest.skip("this CPU has no int8 arithmetic that OpenVINO uses")
    graph, ranges = shipped(name)
    samples = coded(1 if "luma" in name else 3)[..., 200:264, 200:296]
    quantized = to_int8(graph, ranges)
    model = core.read_model(quantized.SerializeToString())
    model.reshape(list(samples.shape))
    compiled = core.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    ran = {}
    for node in compiled.get_runtime_model().get_ordered_ops():
        facts = {key: value.astype(str) for key, value in node.get_rt_info().items()}
        if facts["layerType"] == "Convolution":
            ran[node.get_friendly_name()] = facts["runtimePrecision"]
    assert len(ran) == len(convolutions(graph))
    assert set(ran.values()) <= {"i8", "u8", "I8", "U8"}, ran
    difference = np.abs(compiled(samples)[0].astype(int) - run(quantized, samples))
    # Floats are added in another order, so that a value near half a step is now and then rounded the other way.
    assert difference.max() <= 1
    assert (difference > 0).mean() < 0.03
